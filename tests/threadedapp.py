"""The stand-alone application, made unfit for forking: importing it leaves a thread behind."""

from __future__ import annotations

import threading

from bgapp import create_app

threading.Thread(target=threading.Event().wait, daemon=True).start()
app = create_app()
