"""Make a virtual environment from a lock file, once, and go on in it; standard library only.

`python3 bgapp` and `python3 tests` load this file by its path, before anything is installed, so it imports nothing of
bgapp. Files in the environment tell its state: `bgapp-stamp`, that everything was installed, from which lock and for
which Python; `bgapp-busy`, that a pip runs or was killed; `bgapp-made`, that this command made it and may make it anew.
An environment that a person made is only added to.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

OLDEST_PYTHON = (3, 11)
MADE = "bgapp-made"
BUSY = "bgapp-busy"
STAMP = "bgapp-stamp"
LOG = "bgapp-setup.log"

# For a Python that has no copy of pip, as Debian's. Any newer release will do: change both lines.
PIP_WHEEL = "pip-26.3-py3-none-any.whl"
PIP_SHA256 = "f3b60b20ffaadd4415ed7957212a38ac63fa4c5fa375bd0f4a797777940fad13"
DOWNLOAD_SECONDS = 30.0

# What pip says when it fails, and what a person can do about it; the first that fits is shown.
NO_INDEX = (
    "The package index did not answer. Check the network; behind a proxy or with an index of your own,"
    " set HTTPS_PROXY or PIP_INDEX_URL. Then start again."
)
NO_ANSWER = (
    "name resolution|getaddrinfo failed|nodename nor servname|Failed to establish a new connection"
    "|Network is unreachable|timed out|Connection refused|Connection aborted|ProxyError|SSLError"
)
CHANGED = "A downloaded file is not the one that the lock names: the index or a proxy changed it. It was not used."
TROUBLES = {
    "No space left on device|not enough space on the disk": "The disk is full. Free some space and start again.",
    NO_ANSWER: NO_INDEX,
    "DO NOT MATCH THE HASHES": CHANGED,
    "No matching distribution found|Failed building wheel|Failed to build": (
        "A package has no build for this Python on this machine. Try CPython 3.11 to 3.14, 64 bits."
    ),
    "Permission denied|Access is denied": "A file could not be written. Check who owns the project folder.",
}


class SetupFailed(Exception):
    """The environment could not be made; the message is for the person who started the command."""


def main(root: str, environment: str, lock: str, words: Sequence[str]) -> NoReturn:
    """Have `environment` ready in the project folder `root`, then run its Python with `words`.

    Exits with that Python's own exit code, with 1 when the environment could not be made, with 130 after Ctrl-C.
    """
    folder = Path(root, environment)
    try:
        prepare(folder, Path(root, lock))
        code = go_on(python_of(folder), words, Path(root))
    except SetupFailed as error:
        sys.exit(f"Cannot set up {environment}: {error}")
    except OSError as error:
        sys.exit(f"Cannot set up {environment}: {error.strerror or error} ({error.filename or folder})")
    except KeyboardInterrupt:
        print(f"\nStopped. The next start goes on with {environment}.", file=sys.stderr)
        code = 130
    sys.exit(code)


def prepare(folder: Path, lock: Path) -> None:
    """Make or renew the environment unless it is ready; of several starts at once one works and the others wait."""
    wanted = stamp_for(lock)
    if is_ready(folder, wanted):
        return
    with held(folder.with_name(folder.name + ".lock")):
        if not is_ready(folder, wanted):
            set_up(folder, lock, wanted)


def stamp_for(lock: Path) -> str:
    """Return the text that stands in an environment made from `lock` by the running Python."""
    version = ".".join(map(str, sys.version_info[:2]))
    return f"{sys.implementation.name} {version} {hashlib.sha256(lock.read_bytes()).hexdigest()}\n"


def is_ready(folder: Path, wanted: str) -> bool:
    """Tell whether everything was installed, for this Python and from this lock, and the environment still works."""
    try:
        return (folder / STAMP).read_text(encoding="utf-8") == wanted and python_of(folder).exists()
    except OSError:
        return False


def python_of(folder: Path) -> Path:
    """Return where the environment has its Python."""
    return folder / "Scripts" / "python.exe" if os.name == "nt" else folder / "bin" / "python"


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the lock file `path`, waiting for whoever has it. The system frees it when its holder ends in any way."""
    with path.open("ab") as file:
        if not try_lock(file.fileno()):
            print("Another start is setting up; waiting for it.", file=sys.stderr)
            while not try_lock(file.fileno()):
                time.sleep(0.2)
        yield


if sys.platform == "win32":
    import msvcrt

    def try_lock(descriptor: int) -> bool:
        """Take the lock if nobody has it; tell whether it was taken."""
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        return True

else:
    import fcntl

    def try_lock(descriptor: int) -> bool:
        """Take the lock if nobody has it; tell whether it was taken."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def set_up(folder: Path, lock: Path, wanted: str) -> None:
    """Make or repair the environment, install the locked packages, and only then write the stamp."""
    began = time.monotonic()
    print(f"Setting up {folder.name}, once; the packages come from the network.", file=sys.stderr)
    anew = must_be_made(folder)
    (folder / STAMP).unlink(missing_ok=True)
    if anew:
        with step("making the environment"):
            make(folder)
    python = python_of(folder)
    if subprocess.run([python, "-I", "-c", "import pip"], stderr=subprocess.DEVNULL, check=False).returncode != 0:
        with step("installing pip"):
            wheel = pip_wheel(folder)
            run_pip(folder, [str(wheel / "pip"), "install", "--no-index", str(wheel)])
    count = sum(line[:1].isalnum() for line in lock.read_text(encoding="utf-8").splitlines())
    with step(f"installing {count} packages"):
        # The lock names every package, so pip need not look for more; and the modules that are used are compiled at
        # their first import, sooner than all of them now.
        run_pip(folder, ["-m", "pip", "install", "--no-deps", "--require-hashes", "-r", str(lock)])
    (folder / STAMP).write_text(wanted, encoding="utf-8")
    print(f"Ready after {time.monotonic() - began:.1f} s.", file=sys.stderr)


def must_be_made(folder: Path) -> bool:
    """Tell whether the environment must be made from nothing, which only happens to one that bgapp made.

    Raises SetupFailed when something else stands there that cannot be used.
    """
    if not folder.exists() or not any(folder.iterdir()):
        return True
    version = version_of(folder)
    working = python_of(folder).exists()
    if (folder / MADE).exists():
        return not working or version != sys.version_info[:2] or (folder / BUSY).exists()
    if not working or version < OLDEST_PYTHON:
        raise SetupFailed(
            f"{folder} is in the way: it was not made by this command, and is no environment of a working"
            " Python 3.11 or newer. Move or remove it, then start again."
        )
    return False


def version_of(folder: Path) -> tuple[int, int]:
    """Return which Python an environment was made for; (0, 0) when it does not say."""
    with contextlib.suppress(OSError, ValueError):
        for line in (folder / "pyvenv.cfg").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition("=")
            if name.strip() in ("version", "version_info"):
                major, minor = value.strip().split(".")[:2]
                return int(major), int(minor)
    return 0, 0


def make(folder: Path) -> None:
    """Make an empty environment in place of whatever bgapp made there before."""
    try:
        import venv  # slow to load, and needed once
    except ImportError as error:  # as with Debian's python3-minimal
        raise SetupFailed(f"This Python is not whole ({error}). Install your system's package python3-venv.") from None
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir()
    (folder / MADE).touch()  # first, so that an interrupted start leaves nothing that looks like a person's
    try:
        venv.EnvBuilder(symlinks=os.name != "nt", prompt="bgapp").create(folder)
    except ValueError as error:  # the path has a character, such as `:`, that no environment's path may have
        raise SetupFailed(f"{error} Move the project to another folder.") from None


@contextlib.contextmanager
def step(name: str) -> Iterator[None]:
    """Show a step on a line of its own, with the seconds that it took."""
    print(f"  {name} ... ", end="", file=sys.stderr, flush=True)
    began = time.monotonic()
    try:
        yield
    except BaseException:
        print("stopped", file=sys.stderr)
        raise
    print(f"{time.monotonic() - began:.1f} s", file=sys.stderr)


def pip_wheel(folder: Path) -> Path:
    """Return a wheel of pip: Python's own, the distribution's, else the pinned one from the index.

    Debian and its kin ship Python without `ensurepip`, and so without Python's own copy.
    """
    import importlib.util
    import sysconfig

    spec = importlib.util.find_spec("ensurepip")
    bundled = Path(spec.origin).parent / "_bundled" if spec and spec.origin else None
    for place in (bundled, sysconfig.get_config_var("WHEEL_PKG_DIR"), "/usr/share/python-wheels"):
        wheels = sorted(Path(place).glob("pip-*.whl")) if place else []
        if wheels:
            return wheels[-1]
    return downloaded_pip(folder)


def run_pip(folder: Path, words: Sequence[str]) -> None:
    """Run the environment's Python with `words`, a call of pip, its output in the log file; raise SetupFailed."""
    log = folder / LOG
    settings = {
        "PIP_USER": "0",  # a person's `user = true` cannot hold in an environment
        "PIP_NO_COMPILE": "1",
        "PIP_NO_INPUT": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_RETRIES": os.environ.get("PIP_RETRIES", "2"),  # pip's own five keep a person without network waiting
    }
    command = [str(python_of(folder)), "-I", *words]
    (folder / BUSY).touch()
    with log.open("wb") as output:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=os.environ | settings, check=False
        )
    (folder / BUSY).unlink()
    if done.returncode != 0:
        raise SetupFailed(explained(log.read_text(encoding="utf-8", errors="replace"), log))


def explained(output: str, log: Path) -> str:
    """Return what to tell a person about a failed pip, given its output."""
    for signs, advice in TROUBLES.items():
        if re.search(signs, output):
            return f"{advice}\n(What pip said is in {log}.)"
    last = "\n".join(output.strip().splitlines()[-10:])
    return f"pip failed, saying at last:\n{last}\n(The whole of it is in {log}.)"


def go_on(python: Path, words: Sequence[str], root: Path) -> int:
    """Run the environment's Python with `words` in the project folder; return its exit code, if at all.

    On POSIX it takes this process's place, so signals and the exit code need nobody to pass them on. On Windows, where
    that would cut it off from the console, it is a child that gets Ctrl-C from the console itself.
    """
    command = [str(python), *words]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}  # hides the project
    if os.name == "posix":
        os.chdir(root)
        sys.stdout.flush()
        sys.stderr.flush()
        os.execve(python, command, environment)
    return wait_through_ctrl_c(subprocess.Popen(command, cwd=root, env=environment))


def wait_through_ctrl_c(child: subprocess.Popen[bytes]) -> int:
    """Wait for `child`, which the console also tells of Ctrl-C, and return its exit code."""
    while True:
        try:
            return child.wait()
        except KeyboardInterrupt:
            continue


def downloaded_pip(folder: Path) -> Path:
    """Download the pinned wheel of pip into `folder` and return its path; raise SetupFailed if it is not that wheel."""
    import html
    import urllib.error
    from urllib.parse import urldefrag, urljoin

    page = f"{index_url().rstrip('/')}/pip/"
    try:
        links = re.findall(r'href\s*=\s*["\']([^"\']+)["\']', fetched(page).decode("utf-8", "replace"))
        addresses = [urldefrag(urljoin(page, html.unescape(link))).url for link in links]
        address = next((address for address in addresses if address.endswith("/" + PIP_WHEEL)), None)
        if address is None:
            raise SetupFailed(f"This Python has no pip, and the package index has no {PIP_WHEEL}.")
        content = fetched(address)
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", error)
        raise SetupFailed(f"This Python has no pip, and downloading one failed ({reason}). {NO_INDEX}") from None
    if hashlib.sha256(content).hexdigest() != PIP_SHA256:
        raise SetupFailed(f"The index's {PIP_WHEEL} is not the real one (its SHA-256 differs). It was not used.")
    wheel = folder / PIP_WHEEL
    wheel.write_bytes(content)
    return wheel


def index_url() -> str:
    """Return the package index that pip would use: from its environment variable, its settings files, or PyPI."""
    import configparser

    found = "https://pypi.org/simple"
    home = Path.home()
    folders = [Path("/etc/xdg/pip"), Path("/etc"), home / ".pip"]
    folders += [Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config") / "pip"]
    files = [folder / "pip.conf" for folder in folders]
    if os.environ.get("PIP_CONFIG_FILE"):
        files.append(Path(os.environ["PIP_CONFIG_FILE"]))
    for file in files:
        settings = configparser.RawConfigParser()
        with contextlib.suppress(configparser.Error, UnicodeDecodeError):
            settings.read(file, encoding="utf-8")
            found = settings.get("global", "index-url", fallback=found)
    return os.environ.get("PIP_INDEX_URL") or found


def fetched(address: str) -> bytes:
    """Return what stands at `address`; a name and password in it are sent, as pip sends them."""
    import base64
    import ssl
    import urllib.request
    from urllib.parse import unquote, urlsplit

    parts = urlsplit(address)
    if parts.scheme not in ("http", "https"):
        raise SetupFailed(f"The package index {address} is not a web address, so pip cannot be taken from it.")
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    request = urllib.request.Request(bare)  # noqa: S310  the scheme was looked at
    if parts.username is not None:
        secret = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
        request.add_header("Authorization", "Basic " + base64.b64encode(secret).decode())
    context = ssl.create_default_context(cafile=os.environ.get("PIP_CERT") or None)
    with urllib.request.urlopen(request, timeout=DOWNLOAD_SECONDS, context=context) as answer:  # noqa: S310  as above
        content: bytes = answer.read()
    return content
