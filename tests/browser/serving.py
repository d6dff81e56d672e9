"""An app process for tests: the stand-alone application, served, with its clock. Prints its address and set-up code."""

from __future__ import annotations

import json

from werkzeug.serving import make_server

from bgapp import start_clock
from bgapp.web.setup import setup_code
from wsgi import app

if __name__ == "__main__":
    server = make_server("127.0.0.1", 0, app, threaded=True)
    start_clock(app)
    print(json.dumps([f"http://127.0.0.1:{server.server_port}", setup_code(app)]), flush=True)
    server.serve_forever()
