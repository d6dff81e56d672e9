"""What follows the caller's commit: once, in order, and never after a rollback; on a database that bgapp never saw."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from bgapp.database import Database
from bgapp.errors import BadOption
from bgapp.hostsession import after_commit, connection_of, refuse_self_lock
from bgapp.runtime import of


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    engine = create_engine(f"sqlite:///{tmp_path / 'host.sqlite'}")
    with Session(engine) as found:
        found.execute(text("CREATE TABLE t (n INTEGER)"))
        found.commit()
        yield found
    engine.dispose()


@pytest.fixture
def done() -> list[str]:
    return []


def write(session: Session) -> None:
    session.execute(text("INSERT INTO t VALUES (1)"))


def test_actions_follow_the_commit_in_their_order_and_once(session: Session, done: list[str]) -> None:
    for name in ("a", "b", "c"):
        write(session)
        after_commit(session, lambda name=name: done.append(name))  # type: ignore[misc] # a default binds it now
    assert done == []
    session.commit()
    assert done == ["a", "b", "c"]
    write(session)
    session.commit()
    assert done == ["a", "b", "c"]


@pytest.mark.parametrize("end", [Session.rollback, Session.close, Session.reset, Session.invalidate])
def test_nothing_follows_any_other_end(session: Session, done: list[str], end: Callable[[Session], None]) -> None:
    write(session)
    after_commit(session, lambda: done.append("a"))
    end(session)
    session.commit()
    write(session)
    session.commit()
    assert done == []


def test_nothing_follows_a_commit_that_failed(session: Session, done: list[str]) -> None:
    after_commit(session, lambda: done.append("a"))
    session.execute(text("PRAGMA foreign_keys = ON"))
    session.commit()
    assert done == ["a"]
    session.execute(text("CREATE TABLE parent (id INTEGER PRIMARY KEY)"))
    session.execute(text("CREATE TABLE child (id INTEGER REFERENCES parent DEFERRABLE INITIALLY DEFERRED)"))
    session.commit()
    session.execute(text("PRAGMA foreign_keys = ON"))
    session.execute(text("INSERT INTO child VALUES (1)"))
    after_commit(session, lambda: done.append("b"))
    with pytest.raises(Exception, match="FOREIGN KEY"):
        session.commit()
    session.rollback()
    write(session)
    session.commit()
    assert done == ["a"]


def test_the_session_can_be_used_by_the_action(session: Session, done: list[str]) -> None:
    def count() -> None:
        done.append(str(session.execute(text("SELECT count(*) FROM t")).scalar()))

    write(session)
    after_commit(session, count)
    session.commit()
    assert done == ["1"]


def test_an_action_may_ask_for_another(session: Session, done: list[str]) -> None:
    def first() -> None:
        done.append("first")
        write(session)
        after_commit(session, lambda: done.append("second"))

    write(session)
    after_commit(session, first)
    session.commit()
    assert done == ["first"]
    session.commit()
    assert done == ["first", "second"]


def test_a_begin_block_is_a_commit(session: Session, done: list[str]) -> None:
    session.rollback()
    with session.begin():
        write(session)
        after_commit(session, lambda: done.append("a"))
        assert done == []
    assert done == ["a"]
    with pytest.raises(ZeroDivisionError), session.begin():
        after_commit(session, lambda: done.append("b"))
        raise ZeroDivisionError
    assert done == ["a"]


def test_savepoints_decide_for_what_stands_in_them(session: Session, done: list[str]) -> None:
    write(session)
    after_commit(session, lambda: done.append("outside"))
    with session.begin_nested():
        write(session)
        after_commit(session, lambda: done.append("released"))
    lost = session.begin_nested()
    after_commit(session, lambda: done.append("lost"))
    with session.begin_nested():
        after_commit(session, lambda: done.append("lost with it"))
    lost.rollback()
    after_commit(session, lambda: done.append("after"))
    assert done == []
    session.commit()
    assert done == ["outside", "released", "after"]


def test_sessions_keep_apart(session: Session, done: list[str]) -> None:
    with Session(session.get_bind()) as other:
        session.connection()
        after_commit(session, lambda: done.append("one"))
        other.connection()
        after_commit(other, lambda: done.append("other"))
        session.rollback()
        session.commit()
        assert done == []
        other.commit()
    assert done == ["other"]


def test_a_scoped_session_is_the_threads_own(session: Session, done: list[str]) -> None:
    scoped = scoped_session(sessionmaker(session.get_bind()))
    scoped.connection()
    after_commit(scoped, lambda: done.append("a"))
    scoped().commit()
    assert done == ["a"]
    scoped.connection()
    after_commit(scoped, lambda: done.append("b"))
    scoped.remove()
    assert done == ["a"]


@pytest.mark.parametrize("nonsense", [None, "session", 3, Session, sessionmaker()], ids=repr)
def test_what_is_no_session_is_refused(nonsense: object, tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'jobs.sqlite'}")
    with (
        pytest.raises(BadOption, match="session is a SQLAlchemy Session, not a") as caught,
        connection_of(nonsense, database),
    ):
        pass
    assert caught.value.argument == "session"
    with pytest.raises(BadOption):
        after_commit(nonsense, lambda: None)


def test_a_session_without_a_database_is_refused(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'jobs.sqlite'}")
    told = pytest.raises(BadOption, match="no database of its own")
    with Session() as unbound, told, connection_of(unbound, database):
        pass


def test_a_link_to_the_same_file_is_the_same_database(make_app: Callable[..., Flask], tmp_path: Path) -> None:
    app = make_app(database_url=f"sqlite:///{tmp_path / 'jobs.sqlite'}")
    of(app).ready()
    (tmp_path / "link.sqlite").symlink_to(tmp_path / "jobs.sqlite")
    engine = create_engine(f"sqlite:///{tmp_path / 'link.sqlite'}")
    with Session(engine) as session, connection_of(session, of(app).database) as connection:
        assert connection.execute(text("SELECT count(*) FROM bgapp_jobs")).scalar() == 0
    engine.dispose()


def test_nothing_is_refused_outside_an_application_or_before_a_session_was_used(
    make_app: Callable[..., Flask], tmp_path: Path
) -> None:
    app = make_app(database_url=f"sqlite:///{tmp_path / 'jobs.sqlite'}")
    refuse_self_lock(of(app).database)
    with app.app_context():
        refuse_self_lock(of(app).database)
        session = app.extensions["sqlalchemy"].session
        session.execute(text("SELECT 1"))
        session.commit()
        refuse_self_lock(of(app).database)


def test_a_write_to_another_file_is_no_hindrance(make_app: Callable[..., Flask], tmp_path: Path) -> None:
    app = make_app(database_url=f"sqlite:///{tmp_path / 'jobs.sqlite'}")
    other = Database(f"sqlite:///{tmp_path / 'other.sqlite'}")
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        session.execute(text("CREATE TABLE t (n INTEGER)"))
        session.execute(text("INSERT INTO t VALUES (1)"))
        refuse_self_lock(other)
