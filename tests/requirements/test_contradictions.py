"""How what the seeds contradict each other in was settled; docs/requirements.md says so in words."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask

from bgapp import run_background_job
from bgapp.errors import ClassNotAllowed
from bgapp.models import Status
from bgapp.settings import Backoff
from tests.conftest import ROOT
from tests.requirements.shopjobs import Till
from tests.requirements.support import SHOP, ask, runner, statuses, told
from tests.site import Site


def test_the_unit_of_a_wait_is_the_second(quiet: Site) -> None:
    assert quiet.app.extensions["bgapp"].settings.retry_backoff == Backoff(0.05, fixed=True)
    job = quiet.job(ask(quiet, Till, "where", retries=2, delay=60, backoff=60))
    waits = datetime.fromisoformat(job["run_at"]) - datetime.fromisoformat(job["created_at"])
    assert waits == timedelta(seconds=60)
    help_text = quiet.app.test_cli_runner().invoke(args=["run-job", "--help"]).output
    assert "seconds" in help_text.lower()
    assert "minute" not in help_text.lower()


@pytest.mark.parametrize("retries", [0, 1, 2])
def test_retries_are_counted_without_the_first_run(living: Site, retries: int) -> None:
    found = living.wait(living.enqueue("fail", retries=retries))
    assert len(found["attempts"]) == 1 + retries


def test_words_are_never_split_at_commas(quiet: Site) -> None:
    done = runner(quiet, "JobService", "execute", "param1,param2,param3", "a,,b,")
    assert done.stdout.splitlines()[0] == "param1,param2,param3 a,,b,"
    words = ["run-job", "Till", "keep", "param1,param2,param3", "--json"]
    made = quiet.app.test_cli_runner().invoke(args=words)
    assert made.exit_code == 0, made.output
    assert json.loads(made.stdout)["params"] == {"words": ["param1,param2,param3"]}


def test_a_class_is_named_bare_or_dotted_or_given_itself(quiet: Site) -> None:
    for name in ("Till", f"{SHOP}.Till", Till):
        assert quiet.job(ask(quiet, name, "where"))["class"] == f"{SHOP}.Till"


def test_a_bare_name_that_two_classes_have_is_refused_with_both(make_app: Callable[..., Flask]) -> None:
    app = make_app(allowed_jobs=[f"{SHOP}.Till", "another.shop.Till"])
    with app.app_context(), pytest.raises(ClassNotAllowed, match=rf"{SHOP}\.Till or another\.shop\.Till"):
        run_background_job("Till", "where")
    with app.app_context():
        assert run_background_job(f"{SHOP}.Till", "where")


@pytest.mark.parametrize(
    "shape",
    [
        [f"{SHOP}.Cart"],
        {f"{SHOP}.Cart": ["fill"]},
        {f"{SHOP}.Cart": {"allowed_methods": ["fill"]}},
        {f"{SHOP}.Cart": {"methods": {"fill": {}}}},
    ],
    ids=["s44", "s23", "s30", "own"],
)
def test_every_shape_of_the_allow_list_is_understood(make_app: Callable[..., Flask], shape: object) -> None:
    with make_app(allowed_jobs=shape).app_context():
        assert run_background_job("Cart", "fill")


def test_completed_is_the_word_for_success(living: Site) -> None:
    job = living.enqueue("add", 1, 1)
    assert living.wait(job)["status"] == str(Status.COMPLETED) == "completed"
    assert "Job completed successfully" in statuses(told(living, job))
    assert "success" not in {str(status) for status in Status}


def test_positional_parameters_are_logged_by_name(quiet: Site) -> None:
    by_place = ask(quiet, Till, "sell", ["bread", "2.50", "2026-10-01"])
    by_name = ask(quiet, Till, "sell", {"on": "2026-10-01", "price": "2.50", "item": "bread"})
    expected = '{"item": "bread", "price": "2.50", "on": "2026-10-01"}'
    assert [told(quiet, job)[0]["Parameters"] for job in (by_place, by_name)] == [expected] * 2


def test_the_time_zone_of_logs_and_store_is_utc(quiet: Site) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    done = runner(quiet, "SampleJob", "process", "x", env={"TZ": "Pacific/Kiritimati"})
    assert done.returncode == 0, done.stderr
    stamp = re.findall(r"Timestamp: ([\d :-]+) ", quiet.log())[-1]
    assert before <= datetime.fromisoformat(stamp).replace(tzinfo=UTC) <= datetime.now(UTC)
    assert quiet.job(ask(quiet, Till, "where"))["created_at"].endswith("Z")


def test_nothing_of_another_queue_or_broker_is_needed() -> None:
    names = re.findall(r"^([A-Za-z0-9_-]+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    brokers = {"celery", "rq", "redis", "huey", "dramatiq", "kombu", "pika", "flask-rq2", "procrastinate"}
    assert names
    assert brokers.isdisjoint(name.lower() for name in names)
