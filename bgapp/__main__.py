"""`python3 bgapp`: set up this checkout and serve it. `python -m bgapp`: serve an installed bgapp.

Python runs a folder through this file alone, without the package's `__init__`, so nothing need be installed yet. Any
Python can parse it (hence no `annotations` import): an old one shall meet a sentence, not a SyntaxError.
"""

import os
import runpy
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)

if sys.version_info < (3, 11):
    found = "bgapp needs Python 3.11 or newer; this is Python %s (%s)." % (sys.version.split()[0], sys.executable)
    sys.exit(found + "\nStart it with a newer one: python3.13 bgapp (Windows: py -3.13 bgapp)")

if __name__ == "__main__":
    if __package__ and not os.path.exists(os.path.join(ROOT, "requirements.lock")):
        runpy.run_module("bgapp.standalone", run_name="__main__", alter_sys=True)
    else:
        # Python puts the folder that it runs first; its modules must not hide the standard library's.
        sys.path[:] = [place for place in sys.path if os.path.abspath(place) != HERE]
        bootstrap = runpy.run_path(os.path.join(HERE, "bootstrap.py"), run_name="bgapp_bootstrap")
        bootstrap["main"](ROOT, ".venv", "requirements.lock", ["-m", "bgapp.standalone"] + sys.argv[1:])
