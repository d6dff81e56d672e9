"""An app process for tests: the stand-alone application with its clock, and no server."""

from __future__ import annotations

import threading

from bgapp import start_clock
from wsgi import app

if __name__ == "__main__":
    start_clock(app)
    threading.Event().wait()
