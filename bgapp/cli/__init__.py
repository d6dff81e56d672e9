"""The commands: which there are, and under which names an application gets them."""

from __future__ import annotations

import click
from flask import Flask

from bgapp.cli.doctor import doctor
from bgapp.cli.jobs import jobs
from bgapp.cli.runjob import run_job
from bgapp.cli.runners import runners, scheduler_command
from bgapp.cli.users import users

COMMANDS: tuple[click.Command, ...] = (run_job, jobs, runners, scheduler_command, users, doctor)
GROUP = "bgapp"


def register(app: Flask, *, mounted: bool) -> None:
    """Give an application its commands: at the top, or mounted in another's under `bgapp`, `run-job` also at the top.

    A command that the application has already stays its own.
    """
    if not mounted:
        for command in COMMANDS:
            app.cli.add_command(command)
        return
    group = click.Group(GROUP, commands=list(COMMANDS), help="Background jobs.", short_help="Background jobs.")
    app.cli.add_command(group)
    if run_job.name not in app.cli.commands:
        app.cli.add_command(run_job)
