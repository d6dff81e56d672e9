"""Database addresses: which are accepted, in which form they come out, and that no password is ever shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy.engine import URL, make_url

from bgapp import databaseurl


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("postgresql://u:p@h/db", "postgresql+psycopg://u:p@h/db"),
        ("postgres://u:p@h/db", "postgresql+psycopg://u:p@h/db"),
        ("postgresql+psycopg://u:p@h:5433/db?sslmode=require", "postgresql+psycopg://u:p@h:5433/db?sslmode=require"),
        ("postgresql:///db", "postgresql+psycopg:///db"),
        ("POSTGRESQL://h/db", "postgresql+psycopg://h/db"),
        ("postgresql://u:p%40%2F%25@h/db", "postgresql+psycopg://u:p%40%2F%25@h/db"),
        ("sqlite+pysqlite:///jobs.sqlite", "sqlite:///jobs.sqlite"),
        (URL.create("postgresql", "u", "p@/", "h", 5432, "db"), "postgresql+psycopg://u:p%40%2F@h:5432/db"),
    ],
)
def test_sqlite_and_postgresql_are_accepted_in_one_form(given: object, expected: str) -> None:
    assert make_url(databaseurl.read(given)) == make_url(expected)


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("mysql://u:hunter22@h/db", "SQLite and with PostgreSQL"),
        ("postgresql+psycopg2://u:hunter22@h/db", "psycopg"),
        ("postgresql+asyncpg://u:hunter22@h/db", "psycopg"),
        ("sqlite+aiosqlite:///a.db", "SQLite and with PostgreSQL"),
        ("hunter22", "cannot be read"),
        ("postgresql:/u:hunter22@h/db", "cannot be read"),
        ("postgresql://u:hunter22@h:99x/db", "cannot be read"),
        ("postgresql://u:hunter22@h:70000/db", "port"),
        ("postgresql://u:hunt@er22@h/db", "%40"),
        ("postgresql://u:hunter22\n@h/db", "control"),
        ("sqlite://", "not in memory"),
        ("sqlite:///", "not in memory"),
        ("sqlite:///:memory:", "not in memory"),
        ("sqlite:///file:jobs?mode=memory&uri=true", "no options"),
        ("sqlite:///jobs.sqlite?timeout=5", "no options"),
        ("sqlite://data/jobs.sqlite", "three slashes"),
        ("sqlite:///a%00b", "control"),
        (7, "^$"),
        (b"sqlite:///a", "^$"),
    ],
)
def test_others_are_refused_without_telling_the_password(given: object, hint: str) -> None:
    with pytest.raises(ValueError, match=hint) as caught:
        databaseurl.read(given)
    assert "er22" not in str(caught.value)


@pytest.mark.parametrize("name", ["jobs.sqlite", "a b?c%20d#e&f.sqlite", "née:@.sqlite"])
def test_any_file_name_survives(tmp_path: Path, name: str) -> None:
    url = databaseurl.of_file(tmp_path / name)
    assert databaseurl.file_of(url) == tmp_path / name
    assert databaseurl.read(url) == url
    assert databaseurl.displayed(url) == f"sqlite:///{tmp_path / name}"


def test_a_relative_file_is_taken_from_the_folder(tmp_path: Path) -> None:
    assert (
        databaseurl.file_of(databaseurl.within(tmp_path, "sqlite:///data/../jobs.sqlite")) == tmp_path / "jobs.sqlite"
    )


def test_absolute_files_and_servers_stay(tmp_path: Path) -> None:
    absolute = databaseurl.of_file(tmp_path / "jobs.sqlite")
    assert databaseurl.within(tmp_path / "other", absolute) == absolute
    server = databaseurl.read("postgresql://u:p@h/db")
    assert databaseurl.within(tmp_path, server) == server
    assert databaseurl.file_of(server) is None


def test_a_file_may_stand_in_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert databaseurl.file_of(databaseurl.read("sqlite:///~/jobs.sqlite")) == tmp_path / "jobs.sqlite"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql://u:hunter22@h/db", "postgresql://u:***@h/db"),
        ("postgresql://u:hun@ter22@h/db", "postgresql://u:***@h/db"),
        ("postgresql://u/x:hunter22@h/db", "postgresql://u/x:***@h/db"),
        ("postgresql://u:hun/ter22?x#@h:99x/db", "postgresql://u:***@h:99x/db"),
        ("postgresql://:hunter22@h", "postgresql://:***@h"),
        ("postgresql://u@h:5432/db", "postgresql://u@h:5432/db"),
        ("postgresql://h/db?user=u&password=hunter22&sslmode=no", "postgresql://h/db?user=u&password=***&sslmode=no"),
        ("postgresql://h/db?p%61ssword=hunter22", "postgresql://h/db?p%61ssword=***"),
        ("nothing secret", "nothing secret"),
    ],
)
def test_passwords_are_masked_in_any_text(text: str, expected: str) -> None:
    assert databaseurl.masked(text) == expected


def test_a_displayed_server_has_no_password() -> None:
    url = databaseurl.read("postgresql://u:hunter22@h/db?sslpassword=hunter22")
    assert databaseurl.displayed(url) == "postgresql+psycopg://u:***@h/db?sslpassword=***"
