"""`python -m bgapp.runner`: the runner host, a runner, a child, or one job run here and now."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from bgapp import system
from bgapp.errors import BgappError, ConfigurationError, DatabaseUnavailable, JobRejected
from bgapp.handover import NODE
from bgapp.runner import loading

COMPLETED, NOT_COMPLETED, REFUSED, CONFIGURATION, CLOSED_PIPE = 0, 1, 2, 4, 141
USAGE = """usage: python -m bgapp.runner CLASS METHOD [PARAM ...]

Runs one job here and now, in a process of its own: one attempt, its output on this terminal, Ctrl-C cancels.
CLASS is a name from the allow-list (BGAPP_ALLOWED_JOBS), such as shop.jobs.ReportJob or ReportJob; every PARAM is a
word of its own. BGAPP_APP names the application (default wsgi:app).

Exit codes: 0 completed, 1 not completed or no free slot, 2 refused, 4 configuration or database, 130 Ctrl-C."""


def main(words: Sequence[str]) -> int:
    """Do what the words ask for and return the exit code."""
    system.private_umask()
    loading.restore_environment()
    try:
        if words == ["--host"]:
            from bgapp.runner.host import serve_host

            return serve_host()
        if words == ["--runner"]:
            _spawned_runner()
        if words[:1] == ["--child"] and len(words) == 2:
            _spawned_child(words[1])
        if words[:1] in (["--help"], ["-h"]):
            print(USAGE)
            return COMPLETED
        if len(words) < 2 or words[0].startswith("-"):
            print(USAGE, file=sys.stderr)
            return REFUSED
        from bgapp.runner.direct import run_here

        code = run_here(words[0], words[1], list(words[2:]))
        return _without_output() if code == CLOSED_PIPE else code
    except JobRejected as refusal:
        print(f"bgapp: {refusal}", file=sys.stderr)
        return REFUSED
    except (ConfigurationError, DatabaseUnavailable) as error:
        print(f"bgapp: {error}", file=sys.stderr)
        return CONFIGURATION
    except BgappError as error:
        print(f"bgapp: {error}", file=sys.stderr)
        return NOT_COMPLETED
    except BrokenPipeError:
        return _without_output()
    except KeyboardInterrupt:
        return 130


def _without_output() -> int:
    """Lead the output nowhere, so that the interpreter's last flush has nobody to fail at; return the exit code."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return CLOSED_PIPE


def _spawned_runner() -> NoReturn:
    from bgapp.node import Node
    from bgapp.runner.host import be_runner

    app = loading.load_application()
    loading.close_connections()
    be_runner(app, Node(Path(os.environ[NODE])), forks=False)


def _spawned_child(frames_text: str) -> NoReturn:
    """Be the child of one attempt: the order comes on stdin, whose end says that the runner is gone."""
    from bgapp.runner import child, frames

    frames_to = system.inherited_frame_fd(frames_text)
    lifeline = os.dup(0)
    order = child.Order.from_message(_read_order(frames.Unpacker(), lifeline))
    threading.Thread(target=_die_at_end_of, args=(lifeline,), daemon=True, name="bgapp-lifeline").start()
    try:
        output = os.dup(1)
        child.become(order, output, frames_to, None)
        reporter = child.Reporter(frames_to)
        child.run(loading.load_application(), order, reporter)
    except ConfigurationError as error:  # the application cannot be loaded: its traceback is in the output
        reporter.send({"kind": "error", "error": str(error)})
    child.finish()


def _read_order(unpacker: object, descriptor: int) -> dict[str, object]:
    from bgapp.runner import frames

    assert isinstance(unpacker, frames.Unpacker)
    while data := os.read(descriptor, 65536):
        for message in unpacker.feed(data):
            return message
    raise SystemExit(1)  # the runner ended before it could say what to do


def _die_at_end_of(descriptor: int) -> None:
    while os.read(descriptor, 4096):
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
