"""The signals around an attempt: sent in order, with the application as sender, and harmless to the job."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask

from bgapp.signals import Attempt, around, job_failed, job_finished, job_started, tell_failed

JOB = Attempt(7, 2, 3, "shop.jobs.Report", "build")
Seen = list[tuple[str, Any, dict[str, Any]]]


@pytest.fixture
def app() -> Flask:
    return Flask("shop")


@pytest.fixture
def seen(app: Flask) -> Iterator[Seen]:
    """What was sent for that application, and nothing of another's."""
    found: Seen = []
    connected = []
    for signal in (job_started, job_finished, job_failed):

        def receive(sender: Any, _name: str = signal.name, **values: Any) -> None:
            found.append((_name, sender, values))

        signal.connect(receive, app)
        connected.append((signal, receive))
    yield found
    for signal, receive in connected:
        signal.disconnect(receive, app)


def test_a_method_that_returns_is_started_and_finished(app: Flask, seen: Seen) -> None:
    with around(app, JOB):
        assert [name for name, _, _ in seen] == ["job-started"]
    assert seen == [("job-started", app, {"job": JOB}), ("job-finished", app, {"job": JOB})]


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(0), KeyboardInterrupt()])
def test_a_method_that_raises_has_failed_and_the_error_goes_on(app: Flask, seen: Seen, error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, around(app, JOB):
        raise error
    assert caught.value is error
    assert [name for name, _, _ in seen] == ["job-started", "job-failed"]
    assert seen[1][2] == {"job": JOB, "error": error}


def test_a_class_that_cannot_be_imported_has_failed_without_a_start(app: Flask, seen: Seen) -> None:
    error = ImportError("gone")
    tell_failed(app, JOB, error)
    assert seen == [("job-failed", app, {"job": JOB, "error": error})]


def test_another_applications_signals_are_not_heard(seen: Seen) -> None:
    with around(Flask("other"), JOB):
        pass
    assert seen == []


def test_a_receiver_that_fails_does_no_harm_and_is_told(app: Flask, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(sender: Any, **_: Any) -> None:
        raise RuntimeError("the tracker is down")

    with job_started.connected_to(broken, app), around(app, JOB):
        done = True
    assert done
    assert "the tracker is down" in capsys.readouterr().err
