"""A runner's turn at the database when COMMIT is not answered: nothing twice, nothing lost, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import Connection, event

from bgapp.database import Database
from bgapp.errors import DatabaseUnavailable, Fenced
from bgapp.eventlog import MAIN_NAME
from bgapp.node import Node
from bgapp.runner.ledger import Finished, Ledger
from bgapp.runtime import Runtime
from tests import factories as make
from tests.factories import COMPLETED, FAILED, LOST


@pytest.fixture
def node(runtime: Runtime, database: Database) -> Node:
    with database.write() as connection:
        make.add_node(connection, runtime.node.id)
    return runtime.node


@pytest.fixture
def ledger(runtime: Runtime, node: Node, database: Database) -> Ledger:
    return Ledger(runtime, database, node, make.owner(node.id))


@contextmanager
def answer_lost(database: Database, *, committed: bool) -> Iterator[None]:
    """Let the next COMMIT fail for its caller: after it has happened, or before."""

    def commit(connection: Connection) -> None:
        event.remove(database.engine, "commit", commit)
        if committed:
            connection.connection.commit() if not database.is_sqlite else connection.exec_driver_sql("COMMIT")
        raise DatabaseUnavailable("the connection broke")

    event.listen(database.engine, "commit", commit)
    yield


def claimed(ledger: Ledger) -> Finished:
    turn = ledger.turn(None, claims=True)
    assert turn.claim is not None
    return Finished(turn.claim, COMPLETED)


@pytest.mark.parametrize("committed", [True, False])
def test_a_claim_whose_commit_had_no_answer_is_this_runners_all_the_same(
    ledger: Ledger, database: Database, committed: bool
) -> None:
    job = make.add(database)
    other = make.add(database)
    with answer_lost(database, committed=committed), pytest.raises(DatabaseUnavailable):
        ledger.turn(None, claims=True)
    turn = ledger.turn(None, claims=True)
    assert turn.claim is not None
    assert (turn.claim.job, turn.claim.attempt) == (job, 1)
    assert make.row(database, other).status == "pending"


@pytest.mark.parametrize("committed", [True, False])
def test_an_outcome_whose_commit_had_no_answer_is_written_once_and_told_once(
    ledger: Ledger, runtime: Runtime, database: Database, node: Node, committed: bool
) -> None:
    job = make.add(database)
    finished = claimed(ledger)
    with answer_lost(database, committed=committed), pytest.raises(DatabaseUnavailable):
        ledger.turn(finished, claims=True)
    assert [path.name for path in node.outcomes.iterdir()] == [f"{job}-1.json"]
    assert ledger.turn(finished, claims=True).claim is None
    assert make.row(database, job).status == "completed"
    assert list(node.outcomes.iterdir()) == []
    log = (runtime.settings.log_dir / MAIN_NAME).read_text()
    assert log.count("Job completed successfully") == 1


@pytest.mark.parametrize("committed", [True, False])
def test_outcome_and_next_claim_are_found_together(ledger: Ledger, database: Database, committed: bool) -> None:
    first, second = make.add(database), make.add(database)
    finished = claimed(ledger)
    with answer_lost(database, committed=committed), pytest.raises(DatabaseUnavailable):
        ledger.turn(finished, claims=True)
    turn = ledger.turn(finished, claims=True)
    assert turn.claim is not None
    assert (turn.claim.job, turn.claim.attempt) == (second, 1)
    assert make.row(database, first).status == "completed"


def test_an_attempt_that_somebody_else_settled_is_fenced_and_its_file_goes(
    ledger: Ledger, database: Database, node: Node
) -> None:
    make.add(database)
    finished = claimed(ledger)
    with answer_lost(database, committed=False), pytest.raises(DatabaseUnavailable):
        ledger.turn(finished, claims=False)
    make.settle(database, finished.claim, LOST)
    with pytest.raises(Fenced):
        ledger.turn(finished, claims=False)
    assert list(node.outcomes.iterdir()) == []


def test_a_failure_that_is_settled_twice_uses_one_retry(ledger: Ledger, database: Database) -> None:
    job = make.add(database, retries=3)
    finished = Finished(claimed(ledger).claim, FAILED)
    with answer_lost(database, committed=True), pytest.raises(DatabaseUnavailable):
        ledger.turn(finished, claims=False)
    ledger.turn(finished, claims=False)
    row = make.row(database, job)
    assert (row.status, row.attempt, row.attempt_limit) == ("scheduled", 1, 4)
