"""Names in the environment by which processes of bgapp hand each other what is not a setting; nothing secret."""

from __future__ import annotations

APP = "BGAPP_APP"  # the application to load
DEFAULT_APP = "wsgi:app"
GENERATION = "_BGAPP_GENERATION"  # of the code, as the leading app process knows it
NODE = "_BGAPP_NODE"  # the folder of the launcher's node
PYTHONPATH = "_BGAPP_PYTHONPATH"  # what PYTHONPATH was before the launcher put its sys.path there
TESTING = "_BGAPP_TESTING"  # "1" in tests that arm failpoints
FAILPOINTS = "_BGAPP_FAILPOINTS"  # see bgapp.failpoints
IN_RUNNER = "_BGAPP_RUNNER"  # set in every process of the runner's side: no clock starts there
