"""What an app process hands to the runner host through the environment; nothing secret is among it."""

from __future__ import annotations

APP = "BGAPP_APP"  # the application to load
DEFAULT_APP = "wsgi:app"
GENERATION = "_BGAPP_GENERATION"  # of the code, as the leading app process knows it
NODE = "_BGAPP_NODE"  # the folder of the launcher's node
PYTHONPATH = "_BGAPP_PYTHONPATH"  # what PYTHONPATH was before the launcher put its sys.path there
IN_RUNNER = "_BGAPP_RUNNER"  # set in every process of the runner's side: no clock starts there
