from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask

from bgapp import JobHandle, clock, lifecycle, run_background_job
from bgapp.errors import UnknownJob
from bgapp.models import Status
from bgapp.runtime import Runtime, of
from tests import factories as make


@pytest.fixture
def runtime(make_app: Callable[..., Flask], tmp_path: Path) -> Iterator[Runtime]:
    app = make_app(database_url=f"sqlite:///{tmp_path / 'jobs.sqlite'}")
    found = of(app)
    found.ready()
    with app.app_context():
        yield found


def inserted(runtime: Runtime, status: Status, **columns: object) -> JobHandle:
    with runtime.database.write() as connection:
        return JobHandle(runtime, make.insert_job(connection, status, **columns))


def test_a_handle_is_true_and_names_its_job(runtime: Runtime) -> None:
    handle = run_background_job("Work", "add", [1, 2])
    assert handle
    assert (handle.created, repr(handle)) == (True, f"<JobHandle {handle.id}>")
    assert JobHandle(runtime, 4711), "also of a job that nobody has"


def test_it_looks_when_it_is_asked_first(runtime: Runtime) -> None:
    handle = inserted(runtime, Status.FAILED, error="ValueError: no", result=None)
    assert (handle.status, handle.error, handle.result) == ("failed", "ValueError: no", None)


@pytest.mark.parametrize(("text", "value"), [('{"a": [1]}', {"a": [1]}), ("null", None), ("0", 0), ("{broken", None)])
def test_a_result_is_the_value_and_not_its_text(runtime: Runtime, text: str, value: object) -> None:
    assert inserted(runtime, Status.COMPLETED, result=text).result == value


@pytest.mark.parametrize("status", Status)
def test_waiting_returns_at_once_whether_the_job_has_ended(runtime: Runtime, status: Status) -> None:
    assert inserted(runtime, status).wait(0) is (status in ("completed", "failed", "cancelled"))


def test_waiting_ends_with_the_job(runtime: Runtime) -> None:
    handle = run_background_job("Work", "add", [1, 2])
    began = clock.monotonic()

    def cancel() -> None:
        with runtime.database.write() as connection:
            lifecycle.cancel(connection, handle.id, None, clock.now())

    other = threading.Timer(0.05, cancel)
    other.start()
    assert handle.wait(60)
    assert handle.status == "cancelled"
    assert clock.monotonic() - began < 60
    other.join()


def test_an_unknown_job_is_an_error_and_no_endless_wait(runtime: Runtime) -> None:
    with pytest.raises(UnknownJob):
        JobHandle(runtime, 4711).wait()
