"""`python3 tests`: set up an environment for the tests and run the whole suite; further words go to pytest.

Any Python can parse this file (hence no `annotations` import): an old one shall meet a sentence, not a SyntaxError.
"""

import os
import runpy
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)

if sys.version_info < (3, 11):
    found = "The tests need Python 3.11 or newer; this is Python %s (%s)." % (sys.version.split()[0], sys.executable)
    sys.exit(found + "\nStart them with a newer one: python3.13 tests (Windows: py -3.13 tests)")

if __name__ == "__main__":
    sys.path[:] = [place for place in sys.path if os.path.abspath(place) != HERE]
    # In parallel, so that tests which share something by mistake fail here too, and two to a core, since they wait half
    # of the time; pytest-randomly shuffles them. -rfEs: at the end, what failed, and what was skipped and why.
    processes = max(2, min(2 * (os.cpu_count() or 1), 8))
    words = ["-q", "-rfEs", "-n", str(processes), "--dist", "worksteal"] + sys.argv[1:]
    bootstrap = runpy.run_path(os.path.join(ROOT, "bgapp", "bootstrap.py"), run_name="bgapp_bootstrap")
    bootstrap["main"](ROOT, ".venv-tests", "tests.lock", ["-m", "pytest"] + words)
