"""`python3 bgapp`, once everything is installed: run a sample job, show its log, serve."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flask import Flask

from bgapp import attemptlog, clock, scheduler, stop, system
from bgapp.enqueue import enqueue
from bgapp.errors import BgappError
from bgapp.handle import JobHandle
from bgapp.handover import APP, DEFAULT_APP
from bgapp.runtime import Runtime, of
from bgapp.web.setup import setup_code

SAMPLE = ("bgapp.jobs.folder_scan.FolderScan", "scan")
PORTS_TO_TRY = 20
SAMPLE_TIME = 120.0  # seconds


def main(words: Sequence[str] | None = None) -> int:
    """Serve until Ctrl-C, or with `--once` end after the sample job; return the exit code."""
    arguments = _parser().parse_args(words)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        app = _load()
        runtime = of(app)
        server, address = _listen(app, arguments.host, arguments.port)
        scheduler.start_clock(app)
        threading.Thread(target=server.run, daemon=True, name="bgapp-server").start()
        print(f"bgapp serves at {address}", flush=True)
        code = setup_code(app)
        if code is not None:
            print(f"Make the first admin at {address}setup with the set-up code  {code}", flush=True)
        if arguments.sample:
            handle = enqueue(runtime, *SAMPLE, {"folder": os.getcwd(), "largest": 3}, {"retries": 0})
            done = _show_sample(runtime, handle)
            if arguments.once:
                return 0 if done else 1
        print("\nCtrl-C stops serving; jobs that run then run on.", flush=True)
        while True:
            time.sleep(3600)
    except BgappError as error:
        print(f"bgapp: {error}", file=sys.stderr)
        return 4
    except KeyboardInterrupt:
        print("\nbgapp stops serving.", flush=True)
        return 0 if not arguments.once else 130
    finally:
        if "app" in locals():
            _stop(app, arguments.once)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 bgapp", description="Run a sample job and serve bgapp.")
    parser.add_argument("--once", action="store_true", help="end after the sample job")
    parser.add_argument("--no-sample", dest="sample", action="store_false", help="serve without running a sample job")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8000, help="first port to try (default 8000)")
    return parser


def _load() -> Flask:
    """Return the checkout's own application (wsgi.py) where there is one, else a fresh stand-alone one."""
    if (Path.cwd() / "wsgi.py").exists() and os.environ.get(APP, DEFAULT_APP) == DEFAULT_APP:
        sys.path.insert(0, os.getcwd())
        app = importlib.import_module("wsgi").app
        assert isinstance(app, Flask)
        return app
    from bgapp import create_app

    os.environ.setdefault(APP, "bgapp:create_app()")
    return create_app()


def _listen(app: Flask, host: str, port: int) -> tuple[Any, str]:
    """Bind to `port` or the next free one; return the server and its address."""
    from waitress import create_server

    for candidate in range(port, port + PORTS_TO_TRY):
        listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, candidate))
        except OSError as error:
            listener.close()
            if candidate == port + PORTS_TO_TRY - 1:
                raise BgappError(f"cannot listen on {host}, ports {port} to {candidate}: {error.strerror}") from error
            continue
        if candidate != port:
            print(f"Port {port} is taken; using {candidate}.", flush=True)
        server = create_server(app, sockets=[listener], threads=8, ident="bgapp")
        return server, f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}/"
    raise AssertionError("unreachable")


def _show_sample(runtime: Runtime, handle: JobHandle) -> bool:
    """Print the sample job's log as it grows, then how it ended; return whether it completed."""
    print(f"\nSample job {handle.id}: {SAMPLE[0].rpartition('.')[2]}.{SAMPLE[1]}", flush=True)
    path, offset, deadline = attemptlog.path(runtime.settings.log_dir, handle.id, 1), 0, clock.monotonic() + SAMPLE_TIME
    while True:
        ended = handle.refresh().status in ("completed", "failed", "cancelled")
        chunk = attemptlog.read(path, offset)
        offset = chunk.next_offset
        for line in attemptlog.visible(chunk.data).splitlines():
            print(f"  | {line}", flush=True)
        if ended:
            break
        if clock.monotonic() > deadline:
            print(
                f"It has not ended after {SAMPLE_TIME:g} s; see {runtime.settings.log_dir / 'runner.log'}", flush=True
            )
            return False
        time.sleep(0.05)
    said = handle.error or json.dumps(handle.result)
    print(f"Job {handle.id} is {handle.status}: {said if len(said) <= 200 else said[:199] + '…'}", flush=True)
    return handle.status == "completed"


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _stop(app: Flask, once: bool) -> None:
    """Stop the clock; with `--once` also the host and runners, which would otherwise stay for more work."""
    scheduler.stop_clock(app)
    if once:
        runtime = of(app)
        stop.ask_to_stop(runtime.node, now=False)
        host = runtime.node.host()
        if host is not None:
            system.terminate(host[0])


if __name__ == "__main__":
    sys.exit(main())
