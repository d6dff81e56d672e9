"""The stand-alone application: bgapp with a Flask-SQLAlchemy database of its own, users, and the sample jobs."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from bgapp import secretkey
from bgapp.extension import BackgroundJobs
from bgapp.settings import load
from bgapp.sqlitelibrary import sqlite_library

SAMPLE_JOBS = {
    "bgapp.jobs.folder_scan.FolderScan": ["scan"],
    "bgapp.jobs.csv_import.CsvImport": ["load"],
    "bgapp.jobs.users.UserSeeder": ["seed"],
    "bgapp.jobs.samples.JobService": ["execute"],
    "bgapp.jobs.samples.SampleJob": ["process", "execute"],
}


def create_app(overrides: Mapping[str, Any] | None = None) -> Flask:
    """Return the stand-alone application; `overrides` are settings by full name that win over all other places.

    Raises ConfigurationError.
    """
    app = Flask("bgapp", root_path=str(Path(__file__).parent), static_folder=None, instance_path=_instance())
    app.config["BGAPP_ALLOWED_JOBS"] = SAMPLE_JOBS
    settings = load(
        Path(app.instance_path),
        overrides=overrides,
        config={"BGAPP_ALLOWED_JOBS": SAMPLE_JOBS},
        environ=os.environ,
        dotenv=Path.cwd() / ".env",
    )
    app.config["SQLALCHEMY_DATABASE_URI"] = settings.database_url
    if settings.database_file is not None:
        # One SQLite library for every engine of this process: two on one file lose each other's locks.
        app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {"module": sqlite_library()}
    SQLAlchemy(app)
    BackgroundJobs(app, overrides=overrides, mounted=False)
    key = secretkey.load(settings.instance)  # without one, the first request makes it
    if key is not None:
        if not app.debug:
            secretkey.refuse_weak(key, str(secretkey.path(settings.instance)))
        app.secret_key = key
    return app


def _instance() -> str:
    """Return the instance folder: beside the package in a checkout, under the environment once installed."""
    named = os.environ.get("BGAPP_INSTANCE")
    if named:
        return str(Path(named).expanduser().absolute())
    checkout = Path(__file__).parent.parent
    if (checkout / "wsgi.py").exists():
        return str(checkout / "instance")
    return str(Path(sys.prefix) / "var" / "bgapp-instance")
