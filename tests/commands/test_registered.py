from __future__ import annotations

from pathlib import Path

import click
import pytest
from flask import Flask

from bgapp import BackgroundJobs
from bgapp.runtime import of
from tests.site import Site

NAMES = {"run-job", "jobs", "runners", "scheduler", "doctor"}


@pytest.fixture
def shop(tmp_path: Path) -> Flask:
    """A host application with a command of its own."""
    app = Flask("shop", instance_path=str(tmp_path / "instance"))
    app.config["BGAPP_ALLOWED_JOBS"] = {"tests.jobcode.Work": ["add"]}
    app.cli.command("jobs")(lambda: click.echo("the shop's own jobs"))
    return app


def test_stand_alone_they_are_at_the_top(site: Site) -> None:
    assert set(site.app.cli.commands) >= NAMES
    assert "bgapp" not in site.app.cli.commands


def test_mounted_they_are_in_a_group_and_the_hosts_own_names_stay(shop: Flask) -> None:
    BackgroundJobs(shop)
    group = shop.cli.commands["bgapp"]
    assert isinstance(group, click.Group)
    assert set(group.commands) >= NAMES
    assert set(shop.cli.commands) == {"jobs", "bgapp", "run-job"}
    runner = shop.test_cli_runner()
    assert runner.invoke(args=["jobs"]).stdout == "the shop's own jobs\n"
    assert runner.invoke(args=["run-job", "Work", "add", "1", "2"]).stdout == "job 1 is pending\n"
    assert runner.invoke(args=["bgapp", "run-job", "Work", "add", "1", "-2"]).stdout == "job 2 is pending\n"
    assert "job 2: tests.jobcode.Work.add" in runner.invoke(args=["bgapp", "jobs", "show", "2"]).stdout
    of(shop).database.dispose()
    of(shop).events.close()


def test_a_host_with_a_run_job_of_its_own_keeps_it(shop: Flask) -> None:
    shop.cli.command("run-job")(lambda: click.echo("the shop's own"))
    BackgroundJobs(shop)
    runner = shop.test_cli_runner()
    assert runner.invoke(args=["run-job"]).stdout == "the shop's own\n"
    assert runner.invoke(args=["bgapp", "run-job", "Work", "add", "1", "2"]).stdout == "job 1 is pending\n"
    of(shop).database.dispose()
    of(shop).events.close()


def test_an_application_without_bgapp_is_told_so(site: Site) -> None:
    other = Flask("other")
    other.cli.add_command(site.app.cli.commands["doctor"])
    result = other.test_cli_runner().invoke(args=["doctor"])
    assert result.exit_code == 4
    assert "has no bgapp" in result.stderr
