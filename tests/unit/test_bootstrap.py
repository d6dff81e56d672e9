"""The two commands' set-up: what it makes, leaves alone, refuses and explains, and how it goes on afterwards."""

from __future__ import annotations

import hashlib
import os
import runpy
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from base64 import b64encode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import cast

import pytest

from bgapp import bootstrap

ROOT = Path(__file__).resolve().parents[2]
HERE = ".".join(map(str, sys.version_info[:2]))
needs_posix = pytest.mark.skipif(os.name != "posix", reason="links a Python into place, as only POSIX allows")


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    path = tmp_path / "requirements.lock"
    path.write_text("flask==3.1.3\n")
    return path


def environment_in(folder: Path, version: str = HERE) -> Path:
    """Lay out what `python -m venv` makes, around the running Python."""
    python = bootstrap.python_of(folder)
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    (folder / "pyvenv.cfg").write_text(f"home = /usr/bin\nversion = {version}.9\n")
    return folder


# What is ready, and what must be made.


@needs_posix
def test_an_environment_is_ready_only_with_this_locks_stamp_and_a_python(tmp_path: Path, lock: Path) -> None:
    wanted = bootstrap.stamp_for(lock)
    folder = tmp_path / ".venv"
    assert not bootstrap.is_ready(folder, wanted)
    environment_in(folder)
    assert not bootstrap.is_ready(folder, wanted)
    (folder / bootstrap.STAMP).write_text(wanted)
    assert bootstrap.is_ready(folder, wanted)
    bootstrap.python_of(folder).unlink()
    assert not bootstrap.is_ready(folder, wanted)


def test_the_stamp_changes_with_the_lock_and_with_the_python(lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = bootstrap.stamp_for(lock)
    assert bootstrap.stamp_for(lock) == first
    with monkeypatch.context() as patch:
        patch.setattr(sys, "version_info", (3, 99, 0, "final", 0))
        assert bootstrap.stamp_for(lock) != first
    lock.write_text("flask==3.1.4\n")
    assert bootstrap.stamp_for(lock) != first


@needs_posix
def test_what_bgapp_made_is_made_anew_when_a_pip_was_killed_in_it_or_the_python_is_another(tmp_path: Path) -> None:
    sound = environment_in(tmp_path / "sound")
    busy = environment_in(tmp_path / "busy")
    other = environment_in(tmp_path / "other", "3.10")
    (busy / bootstrap.BUSY).touch()
    for folder in (sound, busy, other):
        (folder / bootstrap.MADE).touch()
    assert [bootstrap.must_be_made(folder) for folder in (sound, busy, other)] == [False, True, True]


@needs_posix
@pytest.mark.parametrize("version", [HERE, "3.11", "3.99"])
def test_a_persons_environment_is_used_as_it_is(tmp_path: Path, version: str) -> None:
    folder = environment_in(tmp_path / ".venv", version)
    (folder / bootstrap.BUSY).touch()
    assert not bootstrap.must_be_made(folder)


@needs_posix
def test_a_persons_environment_of_an_old_python_is_refused_and_left_alone(tmp_path: Path) -> None:
    folder = environment_in(tmp_path / ".venv", "3.10")
    with pytest.raises(bootstrap.SetupFailed, match="in the way"):
        bootstrap.must_be_made(folder)
    assert (folder / "pyvenv.cfg").exists()


def test_a_folder_that_is_no_environment_is_refused_and_an_empty_one_is_filled(tmp_path: Path) -> None:
    folder = tmp_path / ".venv"
    assert bootstrap.must_be_made(folder)
    folder.mkdir()
    assert bootstrap.must_be_made(folder)
    (folder / "thesis.txt").touch()
    with pytest.raises(bootstrap.SetupFailed, match="in the way"):
        bootstrap.must_be_made(folder)


@needs_posix
def test_a_path_that_no_environment_may_have_is_explained(tmp_path: Path) -> None:
    (tmp_path / "a:b").mkdir()
    with pytest.raises(bootstrap.SetupFailed, match="Move the project"):
        bootstrap.make(tmp_path / "a:b" / ".venv")


def test_the_lock_has_one_holder_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with path.open("ab") as other:
        with bootstrap.held(path):
            assert not bootstrap.try_lock(other.fileno())
        assert bootstrap.try_lock(other.fileno())


def test_whoever_waits_for_the_lock_says_so_and_goes_on_when_it_is_free(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "lock"
    with path.open("ab") as holder:
        assert bootstrap.try_lock(holder.fileno())
        monkeypatch.setattr(time, "sleep", lambda seconds: holder.close())  # freed during the first wait
        with bootstrap.held(path):
            assert holder.closed
    assert "waiting" in capsys.readouterr().err


# What a person is told.


@pytest.mark.parametrize("command", ["bgapp", "tests"])
def test_an_old_python_meets_a_sentence(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "version_info", (3, 10, 13, "final", 0))
        with pytest.raises(SystemExit) as stopped:
            runpy.run_path(str(ROOT / command / "__main__.py"))
    assert "3.11 or newer" in str(stopped.value)
    assert sys.executable in str(stopped.value)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "disk is full"),
        ("Temporary failure in name resolution\nERROR: No matching distribution found for alembic", "did not answer"),
        (
            "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.",
            "not the one that the lock names",
        ),
        ("ERROR: No matching distribution found for psycopg-binary==3.3.9", "no build for this Python"),
        ("OSError: [Errno 13] Permission denied: '/srv/x'", "could not be written"),
        ("something new\nERROR: never seen before", "ERROR: never seen before"),
    ],
)
def test_a_failed_pip_is_explained_and_its_log_named(said: str, told: str, tmp_path: Path) -> None:
    message = bootstrap.explained(said, tmp_path / "setup.log")
    assert told in message
    assert str(tmp_path / "setup.log") in message


def test_a_missing_lock_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"Cannot set up \.venv: No such file.*requirements\.lock"):
        bootstrap.main(str(tmp_path), ".venv", "requirements.lock", [])


# Pip for a Python that has none.


class Index(HTTPServer):
    """A package index on this machine, with one wheel of pip behind a relative link, as mirrors have it."""

    content = b"not really a wheel"
    page = f'<a href="../../files/{bootstrap.PIP_WHEEL}#sha256=0&amp;x=1">pip</a>'.encode()
    authorizations: list[str | None]

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.authorizations = []

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        index = cast(Index, self.server)
        index.authorizations.append(self.headers["Authorization"])
        known = {"/simple/pip/": index.page, f"/files/{bootstrap.PIP_WHEEL}": index.content}
        content = known.get(self.path)
        self.send_response(404 if content is None else 200)
        self.end_headers()
        self.wfile.write(content or b"")

    def log_message(self, *words: object) -> None:
        """Say nothing."""


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    with Index() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        monkeypatch.setenv("PIP_INDEX_URL", f"http://{server.address}/simple")
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.delenv(name, raising=False)
        yield server
        server.shutdown()
        thread.join()


def test_pip_is_downloaded_from_the_index_and_checked(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap, "PIP_SHA256", hashlib.sha256(index.content).hexdigest())
    assert bootstrap.downloaded_pip(tmp_path).read_bytes() == index.content
    assert index.authorizations == [None, None]


def test_a_name_and_password_in_the_indexs_address_are_sent(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap, "PIP_SHA256", hashlib.sha256(index.content).hexdigest())
    monkeypatch.setenv("PIP_INDEX_URL", f"http://ann:a%40b@{index.address}/simple/")
    bootstrap.downloaded_pip(tmp_path)
    assert index.authorizations == ["Basic " + b64encode(b"ann:a@b").decode()] * 2


def test_another_pip_than_the_pinned_one_is_refused_and_not_kept(index: Index, tmp_path: Path) -> None:
    with pytest.raises(bootstrap.SetupFailed, match="not the real one"):
        bootstrap.downloaded_pip(tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_index_without_pip_or_that_does_not_answer_is_explained(index: Index, tmp_path: Path) -> None:
    index.page = b"<a href='pip-1.0.tar.gz'>old</a>"
    with pytest.raises(bootstrap.SetupFailed, match=f"has no {bootstrap.PIP_WHEEL}"):
        bootstrap.downloaded_pip(tmp_path)
    index.server_close()
    with pytest.raises(bootstrap.SetupFailed, match="did not answer"):
        bootstrap.downloaded_pip(tmp_path)


def test_the_index_is_the_one_of_pips_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = tmp_path / "pip.conf"
    settings.write_text("[global]\nindex-url = https://mirror.example/simple%20x\n")
    monkeypatch.delenv("PIP_INDEX_URL", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(settings))
    assert bootstrap.index_url() == "https://mirror.example/simple%20x"
    monkeypatch.setenv("PIP_INDEX_URL", "https://nearer.example/simple")
    assert bootstrap.index_url() == "https://nearer.example/simple"


# The whole command, in a folder of its own.


def checkout_in(root: Path, standalone: str) -> Path:
    """Lay out the least that `python3 bgapp` needs; its lock names one package, which lies beside it."""
    package = root / "bgapp"
    package.mkdir(parents=True)
    for name in ("__main__.py", "bootstrap.py"):
        shutil.copy(ROOT / "bgapp" / name, package)
    (package / "__init__.py").touch()
    (package / "standalone.py").write_text(standalone)
    # Were the folder still searched for modules, these would be found before the standard library's.
    for name in ("subprocess", "shutil", "hashlib"):
        (package / f"{name}.py").write_text("raise SystemExit('a module of the folder hid the standard library')")
    wheel = root / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny.py", "answer = 42\n")
        archive.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        archive.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("tiny-1.0.dist-info/RECORD", "")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    (root / "requirements.lock").write_text(f"tiny @ {wheel.as_uri()} --hash=sha256:{digest}\n")
    return root


def ready_checkout_in(root: Path, standalone: str) -> Path:
    """The same, with an environment that needs no set-up."""
    checkout_in(root, standalone)
    folder = environment_in(root / ".venv")
    (folder / bootstrap.STAMP).write_text(bootstrap.stamp_for(root / "requirements.lock"))
    return root


def start(root: Path, *words: str) -> subprocess.Popen[str]:
    """Start the command from another folder than the checkout's."""
    command = [sys.executable, str(root / "bgapp"), *words]
    return subprocess.Popen(
        command, cwd=root.parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8"
    )


@pytest.mark.process
def test_two_first_starts_at_once_make_one_environment_and_both_go_on(tmp_path: Path) -> None:
    code = "import sys, tiny; print(sys.argv[1:], tiny.answer, sys.prefix); sys.exit(7)"
    root = checkout_in(tmp_path / "a folder", code)
    first, second = start(root, "--once"), start(root, "--port", "0")
    answers = [first.communicate(timeout=100), second.communicate(timeout=100)]
    assert [first.returncode, second.returncode] == [7, 7], answers
    assert [out for out, _ in answers] == [
        f"['--once'] 42 {root / '.venv'}\n",
        f"['--port', '0'] 42 {root / '.venv'}\n",
    ]
    assert sum("installing 1 packages" in err for _, err in answers) == 1
    again = start(root)
    out, err = again.communicate(timeout=60)
    assert (again.returncode, out, err) == (7, f"[] 42 {root / '.venv'}\n", "")


@needs_posix
@pytest.mark.process
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_reaches_what_was_started_and_its_exit_code_comes_back(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    standalone = (
        "import signal, sys\n"
        "for number in (signal.SIGINT, signal.SIGTERM): signal.signal(number, lambda n, f: sys.exit(128 + n))\n"
        "print('ready', flush=True)\n"
        "signal.pause()\n"
    )
    process = start(ready_checkout_in(tmp_path / "checkout", standalone))
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == code


@needs_posix
@pytest.mark.process
def test_an_installed_package_is_served_without_any_set_up(tmp_path: Path) -> None:
    root = checkout_in(tmp_path / "site", "import sys; print(__name__, sys.argv[1:])")
    (root / "requirements.lock").unlink()
    command = [sys.executable, "-m", "bgapp", "--once"]
    answer = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True, timeout=60)
    assert answer.stdout == "__main__ ['--once']\n"
    assert not (root / ".venv").exists()


class Interrupted:
    """A child during whose life the console sends Ctrl-C twice."""

    def __init__(self) -> None:
        self.interrupts = 2

    def wait(self) -> int:
        if self.interrupts:
            self.interrupts -= 1
            raise KeyboardInterrupt
        return 5


def test_on_windows_ctrl_c_is_left_to_the_child() -> None:
    child = Interrupted()
    assert bootstrap.wait_through_ctrl_c(cast("subprocess.Popen[bytes]", child)) == 5
    assert child.interrupts == 0
