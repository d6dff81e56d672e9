from __future__ import annotations

import subprocess
import sys
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select, update

from bgapp import throttle
from bgapp.database import Database
from bgapp.throttle import FORGOTTEN, FREE, FREE_OF_NAME, KNOWN_FOR, LONGEST_WAIT, THROTTLE
from tests.conftest import ROOT
from tests.factories import NOW, SECOND

HERE, ELSEWHERE = "192.0.2.1", "198.51.100.7"


def fail(database: Database, address: str | None = HERE, name: str | None = None, at: datetime = NOW) -> float:
    with database.write() as connection:
        return throttle.begin(connection, address, at, name)


def check(database: Database, address: str | None = HERE, name: str | None = None, at: datetime = NOW) -> float:
    with database.read() as connection:
        return throttle.check(connection, address, at, name)


def succeed(database: Database, address: str | None = HERE, name: str | None = None, at: datetime = NOW) -> None:
    """Log in: a try that turns out right."""
    with database.write() as connection:
        assert throttle.begin(connection, address, at, name) == 0.0
        throttle.succeed(connection, address, at, name)


def keys(database: Database) -> list[str]:
    with database.read() as connection:
        found = connection.execute(select(THROTTLE.c.key)).scalars()
        return sorted(key.partition(":")[0] for key in found)


def exhaust(database: Database, address: str, at: datetime = NOW) -> None:
    for _ in range(FREE):
        assert fail(database, address, at=at) == 0.0


# Waits ---------------------------------------------------------------------------------------------------------------


def test_after_some_failures_each_further_one_doubles_the_wait_up_to_a_quarter_of_an_hour(database: Database) -> None:
    at = NOW
    waits: list[float] = []
    exhaust(database, HERE)
    while len(waits) < 14:
        wait = fail(database, at=at)
        waits.append(wait)
        at += timedelta(seconds=wait)
        assert fail(database, at=at) == 0.0
    # Meanwhile failures are forgotten, one each quarter of an hour, so the last steps come a little slower.
    assert waits[:10] == [2.0**step for step in range(10)]
    assert waits[-1] == LONGEST_WAIT == max(waits)


def test_waiting_counts_nothing_and_makes_nothing_longer(database: Database) -> None:
    exhaust(database, HERE)
    for _ in range(50):
        assert fail(database) == 1.0 == check(database)
    assert fail(database, at=NOW + SECOND) == 0.0


def test_looking_counts_nothing(database: Database) -> None:
    for _ in range(50):
        assert check(database, HERE, "ann") == 0.0
    assert keys(database) == []


def test_failures_are_forgotten_one_each_quarter_of_an_hour(database: Database) -> None:
    exhaust(database, HERE)
    step = timedelta(seconds=LONGEST_WAIT)
    assert fail(database, at=NOW + step) == 0.0  # the fifth again, since one is forgotten
    assert fail(database, at=NOW + step) == 1.0
    for _ in range(FREE):
        assert fail(database, at=NOW + 20 * step) == 0.0
    assert fail(database, at=NOW + 20 * step) == 1.0


def test_a_slip_now_and_then_never_adds_up(database: Database) -> None:
    step = timedelta(seconds=LONGEST_WAIT)
    assert [fail(database, at=NOW + number * step) for number in range(40)] == [0.0] * 40


def test_a_clock_that_was_set_back_locks_nobody_out(database: Database) -> None:
    exhaust(database, HERE, NOW + timedelta(days=3))
    assert check(database) == 0.0 == fail(database)
    assert fail(database) <= LONGEST_WAIT


# Names and addresses -------------------------------------------------------------------------------------------------


def test_one_address_that_tries_a_name_does_not_keep_its_owner_out_elsewhere(database: Database) -> None:
    for _ in range(200):
        fail(database, HERE, "ann")
    assert fail(database, HERE, "bob") > 0
    succeed(database, ELSEWHERE, "ann")


def test_many_addresses_that_try_one_name_make_it_wait_in_any_spelling(database: Database) -> None:
    looked_at = [fail(database, f"192.0.2.{number}", "Ann") for number in range(200)].count(0.0)
    assert looked_at == FREE_OF_NAME <= 12
    assert check(database, ELSEWHERE, " aNN ") > 0 == check(database, ELSEWHERE, "bob")


def test_where_a_name_logged_in_it_is_counted_apart(database: Database) -> None:
    succeed(database, ELSEWHERE, "ann")
    for number in range(50):
        fail(database, f"192.0.2.{number}", "ann")
    assert check(database, HERE, "ann") > 0
    succeed(database, ELSEWHERE, "ann")


def test_a_known_name_at_its_address_waits_as_well(database: Database) -> None:
    succeed(database, HERE, "ann")
    exhaust_known = [fail(database, HERE, "ann") for _ in range(20)]
    assert exhaust_known.count(0.0) == FREE
    assert check(database, ELSEWHERE, "ann") == 0.0


def test_a_success_forgets_the_names_failures_but_not_the_addresss(database: Database) -> None:
    for number in range(FREE_OF_NAME - 1):
        fail(database, f"192.0.2.{number}", "ann")
    for _ in range(FREE - 1):
        fail(database, ELSEWHERE)
    succeed(database, ELSEWHERE, "ann")
    assert fail(database, ELSEWHERE) == 0.0  # the fifth
    assert fail(database, ELSEWHERE) == 1.0
    for number in range(FREE_OF_NAME):
        assert fail(database, f"203.0.113.{number}", "ann") == 0.0


def test_right_passwords_never_add_up(database: Database) -> None:
    for _ in range(20):
        succeed(database, HERE, "ann")
    assert check(database, HERE, "ann") == 0.0


def test_an_admin_can_forgive_a_name(database: Database) -> None:
    for number in range(20):
        fail(database, f"192.0.2.{number}", "ann")
    with database.write() as connection:
        throttle.forgive(connection, "ANN")
    assert check(database, ELSEWHERE, "ann") == 0.0


def test_an_address_that_waits_cannot_fill_the_table_with_names(database: Database) -> None:
    for number in range(100):
        fail(database, HERE, f"name {number}")
    assert len(keys(database)) <= 1 + FREE


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("fe80::1%eth0", "fe80::1%eth1", True),
        ("192.0.2.1", "192.0.2.2", False),
        (None, "", True),
        ("x" * 10_000, "\0\ud800", False),
    ],
)
def test_what_counts_as_one_address(tmp_path: object, one: str | None, other: str | None, same: bool) -> None:
    assert (throttle._address_key(one) == throttle._address_key(other)) is same
    assert len(throttle._address_key(one)) <= 80


@pytest.mark.parametrize("name", ["", "a\0b", "\ud800", "x" * 100_000, "\ufdfa" * 5000])
def test_any_text_may_stand_where_a_name_is_asked_for(database: Database, name: str) -> None:
    assert fail(database, HERE, name) == 0.0
    assert check(database, HERE, name) == 0.0


def test_what_people_type_as_a_name_is_not_stored(database: Database) -> None:
    fail(database, HERE, "my-password-in-the-wrong-field")
    with database.read() as connection:
        assert "wrong-field" not in repr(connection.execute(select(THROTTLE)).all())


def test_a_login_clears_away_what_no_longer_counts(database: Database) -> None:
    succeed(database, HERE, "ann")
    fail(database, ELSEWHERE, "bob")
    assert keys(database) == ["address", "address", "known", "name"]
    succeed(database, "203.0.113.1", "zoe", NOW + FORGOTTEN + SECOND)
    assert keys(database) == ["address", "known", "known"]
    with database.write() as connection:
        connection.execute(update(THROTTLE).values(since=NOW - KNOWN_FOR))
    succeed(database, "203.0.113.1", "zoe", NOW + SECOND)
    assert keys(database) == ["address", "known"]


# Many at once --------------------------------------------------------------------------------------------------------


@pytest.mark.process
def test_of_two_hundred_tries_in_four_processes_a_dozen_are_looked_at(database: Database, database_url: str) -> None:
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.tryprocess", database_url, "50"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for _ in range(4)
    ]
    for process in started:
        assert process.stdin is not None
        process.stdin.close()
    looked_at = []
    for process in started:
        assert process.stdout is not None
        with process.stdout:
            looked_at.append(int(process.stdout.read()))
        assert process.wait() == 0
    assert FREE <= sum(looked_at) <= 12
