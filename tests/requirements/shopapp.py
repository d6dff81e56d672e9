"""A shop: a Flask application of its own with bgapp mounted in it, as the seeds' examples are."""

from __future__ import annotations

import os

from flask import Flask, redirect, request
from werkzeug.wrappers import Response

from bgapp import BackgroundJobs, run_background_job, start

app = Flask(__name__, instance_path=os.environ["BGAPP_INSTANCE"])
BackgroundJobs(app)
start(app)


@app.get("/")
def home() -> str:
    return '<form method="post" action="/reports"><button>Build the report</button></form>'


@app.post("/reports")
def order_report() -> Response:
    job = run_background_job("Work", "note", [request.form["witness"], 2.0])
    return redirect(f"/?job={job.id}")


@app.get("/test-background-job")
def test_background_job() -> str:
    run_background_job("bgapp.jobs.samples.SampleJob", "execute", ["Hello, Background Job!"], 3)
    return "Background job dispatched!"
