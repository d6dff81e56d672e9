"""/health says ok or not, and nothing else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import update

from bgapp.models import Node
from bgapp.runtime import Runtime, of
from bgapp.web import health
from tests import factories
from tests.web.conftest import Browser


@pytest.fixture(autouse=True)
def ask_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "ANSWER_HOLDS", 0.0)


@pytest.fixture
def app(make_app: Any, database_url: str) -> Iterator[Flask]:
    """An application on each database in turn."""
    made: Flask = make_app(database_url=database_url)
    made.config["TESTING"] = False
    yield made
    if health.STATE in made.extensions:
        made.extensions[health.STATE].database.dispose()


def ask(app: Flask, path: str = "/health/ready") -> tuple[int, str]:
    answer = Browser(app).get(path)
    assert answer.mimetype == "text/plain"
    return answer.status_code, answer.text


def test_ready_means_a_database_that_can_be_written_and_a_clock_that_ticks(app: Flask) -> None:
    runtime = of(app)
    runtime.ready()
    assert ask(app) == (503, "not ok\n")
    factories.say_alive(runtime.database, runtime.node)
    seen(runtime, timedelta(seconds=5))
    assert ask(app) == (200, "ok\n")
    seen(runtime, timedelta(seconds=11))
    assert ask(app) == (503, "not ok\n")


def seen(runtime: Runtime, ago: timedelta) -> None:
    with runtime.database.write() as connection:
        now = runtime.database.clock(connection)
        connection.execute(update(Node).values(seen_at=now - ago))


def test_ready_leaves_the_database_as_it_is(app: Flask) -> None:
    runtime = of(app)
    runtime.ready()
    factories.say_alive(runtime.database, runtime.node)
    seen(runtime, timedelta(seconds=5))
    before = node_rows(runtime)
    assert ask(app)[0] == 200
    assert node_rows(runtime) == before


def node_rows(runtime: Runtime) -> list[Any]:
    with runtime.database.read() as connection:
        return list(connection.execute(Node.__table__.select()))


def test_live_needs_no_database(make_app: Callable[..., Flask], tmp_path: Any) -> None:
    app = make_app(database_url="postgresql+psycopg://nobody@127.0.0.1:1/none")
    assert ask(app, "/health/live") == (200, "ok\n")
    assert ask(app) == (503, "not ok\n")


def test_a_busy_database_is_not_ready_within_seconds(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(health, "DATABASE_WAIT", 0.05)
    app = make_app()
    runtime = of(app)
    runtime.ready()
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with runtime.database.write():
            held.set()
            done.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(30)
    try:
        assert ask(app) == (503, "not ok\n")
    finally:
        done.set()
        holder.join()
    assert "another process is writing" in caplog.text, "why stands in the log"


def test_whoever_asks_without_end_does_not_write_without_end(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "ANSWER_HOLDS", 3600.0)
    looks = []

    def look(*_: object) -> str:
        looks.append(1)
        return "not today"

    monkeypatch.setattr(health, "_problem", look)
    app = make_app()
    browser = Browser(app)
    assert {browser.get("/health/ready").status_code for _ in range(20)} == {503}
    assert len(looks) == 1
