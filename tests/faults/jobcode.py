"""Job code that misbehaves: each method does one thing that a job must not be able to harm others with."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import ctypes
import functools
import multiprocessing
import os
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any, NoReturn

from bgapp import current_job, run_background_job
from bgapp.handover import IN_RUNNER

HEADER = struct.Struct(">I")


class Silent:
    """Something that must not be asked how it looks."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __repr__(self) -> str:
        Path(self.path).write_text("repr was called")
        return "seen"


class Unspeakable(Exception):
    """An error that cannot say what it is."""

    def __str__(self) -> str:
        raise SystemExit("not even this")


class Ugly:
    """One method, or a few, for each row of the matrix."""

    # B40, B41: what it returns ----------------------------------------------------------------------------------

    def give(self, what: str, path: str) -> Any:
        ring: list[Any] = []
        ring.append(ring)
        return {
            "set": {1},
            "object": Silent(path),
            "nan": float("nan"),
            "bytes": b"\xff",
            "generator": iter(()),
            "ring": ring,
            "lone surrogate": "\ud800",
        }[what]

    def give_long(self, letter: str, count: int) -> str:
        return letter * count

    # B42, B43: what it writes -----------------------------------------------------------------------------------

    def write_megabytes(self, count: int) -> None:
        block = b"x" * 1023 + b"\n"
        for _ in range(count):
            os.write(1, block * 1024)

    def flood(self) -> NoReturn:
        block = b"x" * 65536
        while True:
            os.write(1, block)

    def write_junk(self) -> None:
        for junk in (
            bytes(range(256)) * 64,
            b"\xff\xfe\x00",
            b"\x1b[2J\r\x1b]0;owned\a",
            "\u202e".encode(),
            b"z" * 3_000_000,
        ):
            os.write(1, junk)

    # B44: descriptors -------------------------------------------------------------------------------------------

    def close_standard(self, speaks: bool) -> str:
        for descriptor in (0, 1, 2):
            os.close(descriptor)
        if speaks:
            print("to nobody")
        return "returned"

    def close_all(self, path: str) -> None:
        os.closerange(3, 256)
        while os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600) < 40:
            pass

    # B45, B46: what it raises -----------------------------------------------------------------------------------

    def fail(self, how: str) -> None:
        if how == "huge":
            raise ValueError("h" * 5_000_000, ["x" * 1_000_000] * 2)
        if how == "ring":
            ring: list[Any] = []
            ring.append(ring)
            raise ValueError(ring)
        if how == "unspeakable":
            raise Unspeakable
        if how == "group":
            raise ExceptionGroup("several", [ValueError("one"), TypeError("two")])
        if how == "chain":
            self._chain(500)
        if how == "from C":
            b"".join([1])  # type: ignore[list-item] # that is the point
        if how == "letters":
            raise ValueError("\N{ROCKET}" * 40_000)
        if how == "surrogate":
            raise ValueError("a\ud800b")
        if how == "nul":
            raise ValueError("a\0b")

    def _chain(self, left: int) -> None:
        try:
            raise ValueError(f"link {left}")
        except ValueError:
            if left:
                self._chain(left - 1)
            raise

    def leave(self, how: str) -> None:
        raise {
            "BaseException": BaseException("plain"),
            "KeyboardInterrupt": KeyboardInterrupt(),
            "GeneratorExit": GeneratorExit(),
            "SystemExit 0": SystemExit(0),
            "SystemExit x": SystemExit("x"),
            "CancelledError": asyncio.CancelledError(),
        }[how]

    # B47, B48: how it dies --------------------------------------------------------------------------------------

    def die(self, how: str) -> None:
        if how == "exit 0":
            os._exit(0)
        if how == "exit 7":
            os._exit(7)
        if how == "abort":
            os.abort()
        if how == "segfault":
            ctypes.string_at(0)

    def recurse(self, deeply: bool) -> None:
        if deeply:
            sys.setrecursionlimit(2**31 - 1)
        self._through_c(0)

    def _through_c(self, level: int) -> Any:
        return functools.reduce(lambda _, one: self._through_c(one), [level, level + 1])

    # B49, B50, B52: processes, threads, signals -----------------------------------------------------------------

    def fork_and_return(self) -> str:
        return "parent" if os.fork() else "copy"

    def keep_thread(self, daemon: bool) -> str:
        threading.Thread(target=time.sleep, args=(3600,), daemon=daemon).start()
        return "returned"

    def hang_at_exit(self) -> str:
        atexit.register(time.sleep, 3600)
        return "returned"

    def keep_pool(self) -> str:
        pool = multiprocessing.get_context("fork").Pool(2)
        pool.map(abs, [1, 2])
        atexit.register(id, pool)
        return "returned"

    def change_everything(self) -> dict[str, Any]:
        os.chdir("/")
        os.umask(0)
        os.environ["LEFT_BEHIND"] = "1"
        os.environ["TZ"] = "Asia/Tokyo"
        time.tzset()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        sys.path.clear()
        sys.modules["left_behind"] = sys
        sys.setrecursionlimit(500)
        return self._surroundings()

    def surroundings(self) -> dict[str, Any]:
        return self._surroundings()

    def _surroundings(self) -> dict[str, Any]:
        mask = os.umask(0o077)
        os.umask(mask)
        return {
            "folder": os.getcwd(),
            "umask": mask,
            "left behind": os.environ.get("LEFT_BEHIND"),
            "zone": time.tzname[0],
            "SIGTERM": str(signal.getsignal(signal.SIGTERM)),
            "files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
            "path": len(sys.path),
            "module": "left_behind" in sys.modules,
            "recursion": sys.getrecursionlimit(),
            "core": resource.getrlimit(resource.RLIMIT_CORE)[0],
        }

    def resist(self, path: str) -> None:
        """Block and replace every signal that can be, start helpers in sessions of their own, and sleep."""
        signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP})
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        with contextlib.suppress(OSError):
            os.setsid()
        with contextlib.suppress(OSError):
            os.setpgid(0, 0)
        sleep = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up'); time.sleep(3600)"
        helper = subprocess.Popen([sys.executable, "-uc", sleep], start_new_session=True, stdout=subprocess.PIPE)
        assert helper.stdout is not None
        helper.stdout.readline()
        Path(path).write_text(str(helper.pid))
        time.sleep(3600)

    # B53, B54: the interpreter's lock, the others ---------------------------------------------------------------

    def hold_lock(self) -> None:
        """Keep the interpreter's lock inside C, with a handler that can therefore never run."""
        signal.signal(signal.SIGTERM, lambda *_: None)
        sum(range(10**15))

    def spin(self) -> NoReturn:
        while True:
            pass

    def stop_itself(self) -> None:
        os.kill(os.getpid(), signal.SIGSTOP)
        time.sleep(3600)

    def kill(self, whom: str) -> None:
        if whom == "parent":
            os.kill(os.getppid(), signal.SIGKILL)
        elif whom == "group":
            os.killpg(0, signal.SIGKILL)
        elif whom == "everyone":
            os.kill(-1, signal.SIGKILL)
        time.sleep(3600)

    # B55, B56: pipes --------------------------------------------------------------------------------------------

    def read_input(self) -> str:
        return sys.stdin.read()

    def forge(self, kind: str) -> str:
        """Write into every pipe but output, as a job that means harm would into the one that carries its result."""
        body = {
            "junk": b"\xff" * 64,
            "huge": HEADER.pack(2**31) + b"x",
            "array": HEADER.pack(2) + b"[]",
            "keys": self._frame(b'{"kind": "result", "result": "7", "status": "cancelled", "pid": 1}'),
            "no json": self._frame(b'{"kind": "result", "result": "{no json"}'),
            "surrogate": self._frame(b'{"kind": "error", "error": "a\\ud800\\u0000b", "traceback": "\\udfff"}'),
            "progress": self._frame(b'{"kind": "progress", "fraction": 1e999, "message": "\\ud800\\u0000"}'),
        }[kind]
        for name in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                if int(name) > 2 and os.readlink(f"/proc/self/fd/{name}").startswith("pipe:"):
                    os.write(int(name), body)
        if kind == "progress":
            time.sleep(1.5)  # long enough for the runner to tell the database
        return "honest"

    def _frame(self, body: bytes) -> bytes:
        return HEADER.pack(len(body)) + body

    # B57, B59, B60: shapes, jobs of jobs, files -----------------------------------------------------------------

    async def later(self) -> str:
        await asyncio.sleep(0)
        return "later"

    def steps(self) -> Generator[int]:
        yield 1

    @classmethod
    def of_class(cls, first: int) -> int:
        return first

    def ask_for_more(self, count: int) -> list[int]:
        return [run_background_job("Ugly", "later", unique_key=None, retries=0).id for _ in range(count)]

    def litter(self, then: str = "") -> str:
        """Leave files in the temporary folder, one of them where nothing can be removed from."""
        folder = Path(tempfile.gettempdir())
        closed = folder / "closed"
        closed.mkdir()
        (closed / "file").write_text("x")
        closed.chmod(0)
        with tempfile.NamedTemporaryFile(delete=False) as file:
            file.truncate(10 << 30)
        if then:
            Path(then).write_text(str(folder))
            time.sleep(3600)
        assert current_job.id
        return str(folder)

    # Limits -----------------------------------------------------------------------------------------------------

    def burn(self, handles_it: bool = False) -> NoReturn:
        if handles_it:
            signal.signal(signal.SIGXCPU, lambda *_: print("not yet"))
        self.spin()

    def grow(self, megabytes: int) -> int:
        kept = bytearray()
        for _ in range(megabytes):
            kept += b"x" * 1_048_576
        return len(kept)

    def open_files(self) -> int:
        kept = []
        try:
            while True:
                kept.append(os.open(os.devnull, os.O_RDONLY))
        except OSError:
            return max(kept) + 1

    def niceness(self) -> int:
        return os.nice(0)


class NeedsArguments:
    """Cannot be made without arguments."""

    def __init__(self, first: int) -> None:
        self.first = first

    def run(self) -> None:
        """Never reached."""


if os.environ.get(IN_RUNNER):
    print("the import of job code speaks")
