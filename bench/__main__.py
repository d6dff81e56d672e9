"""`python3 bench`: set up an environment with bgapp and its peers, and measure them side by side.

Any Python can parse this file (hence no `annotations` import): an old one shall meet a sentence, not a SyntaxError.
"""

import os
import runpy
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)

if sys.version_info < (3, 11):
    found = "The bench needs Python 3.11 or newer; this is Python %s (%s)." % (sys.version.split()[0], sys.executable)
    sys.exit(found + "\nStart it with a newer one: python3.13 bench (Windows: py -3.13 bench)")

if __name__ == "__main__":
    sys.path[:] = [place for place in sys.path if os.path.abspath(place) != HERE]
    bootstrap = runpy.run_path(os.path.join(ROOT, "bgapp", "bootstrap.py"), run_name="bgapp_bootstrap")
    bootstrap["main"](ROOT, ".venv-bench", "bench.lock", ["-m", "bench.driver"] + sys.argv[1:])
