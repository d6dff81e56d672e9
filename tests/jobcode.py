"""Job code for tests: classes that succeed, fail, hang, crash and misbehave on request.

A witness file tells what really ran, without trusting bgapp: a line at the start and one at the end of each call.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import date
from pathlib import Path
from typing import Any

from flask import current_app

from bgapp import current_job, run_background_job


def witness(path: str, mark: str) -> None:
    """Append one whole line: mark, job, attempt, monotonic nanoseconds, pid."""
    line = f"{mark} {current_job.id} {current_job.attempt} {time.monotonic_ns()} {os.getpid()}\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(descriptor, line.encode())
    os.close(descriptor)


class Work:
    """One method for each behaviour that a test needs."""

    def add(self, first: int, second: int) -> int:
        return first + second

    def echo(self, value: Any = None) -> Any:
        return value

    def day_after(self, day: date) -> str:
        assert isinstance(day, date)
        return date.fromordinal(day.toordinal() + 1).isoformat()

    def fail(self, message: str = "no such luck") -> None:
        raise ValueError(message)

    def fail_until(self, attempt: int) -> int:
        if current_job.attempt < attempt:
            raise RuntimeError(f"attempt {current_job.attempt} fails")
        return current_job.attempt

    def note(self, path: str, seconds: float = 0.0) -> None:
        witness(path, "S")
        threading.Event().wait(seconds)  # libfaketime breaks time.sleep
        witness(path, "E")

    def fail_slowly(self, path: str, seconds: float) -> None:
        witness(path, "S")
        time.sleep(seconds)
        raise RuntimeError("failed after all")

    def stubborn(self, path: str, seconds: float = 60.0) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        witness(path, "S")
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            time.sleep(0.05)

    def leave_children(self, path: str, seconds: float = 60.0, then: float = 60.0) -> None:
        """Start one program in this session and one in a session of its own, each of which writes its pid."""
        for name, new_session in (("plain", False), ("own", True)):
            code = f"import os,time,sys; open({path!r} + '.{name}', 'w').write(str(os.getpid())); time.sleep({seconds})"
            subprocess.Popen([sys.executable, "-c", code], start_new_session=new_session)
        while not (Path(f"{path}.plain").exists() and Path(f"{path}.own").exists()):
            time.sleep(0.01)
        witness(path, "S")
        time.sleep(then)

    def talk(self, text: str, times: int = 1) -> None:
        for _ in range(times):
            print(text)

    def talk_all_ways(self) -> None:
        print("by print")
        sys.stderr.write("by stderr\n")
        os.write(1, b"by descriptor\n")
        subprocess.run([sys.executable, "-c", "print('by subprocess')"], check=True)
        logging.getLogger("shop").info("by logging")
        current_app.logger.warning("by the application's logger")

    def talk_then_crash(self) -> None:
        print("the last words")
        os.kill(os.getpid(), signal.SIGSEGV)

    def exit(self, code: int) -> None:
        os._exit(code)

    def kill_self(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def leave(self) -> None:
        sys.exit(0)

    def progress(self, path: str, seconds: float) -> None:
        current_job.progress(0.5, "half way")
        witness(path, "S")
        time.sleep(seconds)

    def secret(self, password: str) -> str:
        print(f"logging in with {password}")
        if password.startswith("bad"):
            raise PermissionError(f"the password {password} is wrong")
        return password

    def not_json(self) -> object:
        return {1, 2, 3}

    def spawn(self, path: str) -> int:
        """Enqueue another job from inside a job."""
        return run_background_job("Work", "note", {"path": path}).id

    def uses_database(self) -> int:
        from sqlalchemy import text

        session = current_app.extensions["sqlalchemy"].session
        session.execute(text("CREATE TABLE IF NOT EXISTS kept (n INTEGER)"))
        session.execute(text("INSERT INTO kept VALUES (1)"))
        session.commit()
        return int(session.execute(text("SELECT count(*) FROM kept")).scalar())

    async def later(self, value: int) -> int:
        return value

    @staticmethod
    def static(value: int) -> int:
        return value

    @classmethod
    def of_class(cls) -> str:
        return cls.__name__

    def thread_left(self) -> str:
        threading.Thread(target=time.sleep, args=(3600,)).start()
        return "returned"


class Broken:
    """A class that cannot be made."""

    def __init__(self) -> None:
        raise RuntimeError("out of order")

    def run(self) -> None:
        """Never reached."""
