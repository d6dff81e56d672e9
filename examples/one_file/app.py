"""The smallest application with background jobs: one file, one job class, one button.

    cd examples/one_file
    flask run

Open http://127.0.0.1:5000/, press the button, and look at /jobs.
"""

from __future__ import annotations

import time

from flask import Flask, redirect, url_for

from bgapp import BackgroundJobs, current_job, run_background_job, start


class Greeter:
    """What the button starts: any plain class will do."""

    def greet(self, name: str, times: int = 3) -> dict[str, int]:
        """Greet somebody, slowly enough to watch.

        The hints decide what is accepted; this text is shown in the dashboard's form.
        """
        for number in range(1, times + 1):
            print(f"Hello, {name}!")
            current_job.progress(number / times, f"greeting {number} of {times}")
            time.sleep(0.2)
        return {"greetings": times}


app = Flask(__name__)
app.config["SECRET_KEY"] = "only-for-this-example-3f6c1e"  # yours comes from the environment
app.config["BGAPP_APP"] = "app:app"  # where runners find this application again
app.config["BGAPP_ALLOWED_JOBS"] = {"app.Greeter": ["greet"]}  # nothing else ever runs


def access() -> str:
    """Say who may see the dashboard: here everybody is an operator. Ask your own login instead."""
    return "operator"


BackgroundJobs(app, access=access)
start(app)


@app.get("/")
def home() -> str:
    """The page with the button."""
    return """<!doctype html><html lang="en"><title>One file</title><h1>One file</h1>
    <form method="post" action="/greet"><button>Greet in the background</button></form>
    <p><a href="/jobs/">Background jobs</a></p>"""


@app.post("/greet")
def greet() -> object:
    """Start the job and come back at once; the job carries on."""
    run_background_job(Greeter, "greet", {"name": "world"}, retries=2)
    return redirect(url_for("home"), 303)


@app.get("/test-background-job")
def test_background_job() -> str:
    """Start a job with three retries by a plain link."""
    run_background_job("Greeter", "greet", ["Background Job", 1], 3)
    return "Background job dispatched!"
