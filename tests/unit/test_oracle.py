"""The oracle of chaos: each thing that must not be, made by hand, is found; and what may be is left in peace."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bgapp.testing import oracle, witness
from bgapp.testing.oracle import Attempt, Request, Row
from bgapp.testing.witness import END, RAISED, START, Line

DONE = Row(id=1, tag=1, status="completed", reason=None, attempt=1)
LOST = Attempt(1, 1, "failed", "lost")
COMPLETED = Attempt(1, 1, "completed", None)


def line(mark: str, attempt: int = 1, at: int = 10, *, pid: int = 100, alone: bool = True, job: int = 1) -> Line:
    return Line(mark, job, attempt, at, pid + attempt, 5, alone)


def kinds(
    request: Request | None = None,
    row: Row | None = DONE,
    attempts: tuple[Attempt, ...] = (COMPLETED,),
    lines: tuple[Line, ...] = (line(START, at=10), line(END, at=20)),
    alive: dict[tuple[int, int], int] | None = None,
) -> list[str]:
    """Return the kinds of what is wrong with one job, by default one that completed at its first attempt."""
    request = request or Request(tag=1, retries=0, job=1)
    found = oracle.judge([request], [] if row is None else [row], attempts, lines, alive or {})
    assert all(one.text and one.evidence for one in found), "whatever is found is shown"
    return sorted({one.kind for one in found})


def test_a_job_that_completed_is_in_order() -> None:
    assert kinds() == []


def test_a_lost_attempt_and_a_second_one_are_in_order() -> None:
    row, attempts = replace(DONE, attempt=2), (LOST, Attempt(1, 2, "completed", None))
    lines = (line(START, 1, 10), line(START, 2, 30), line(END, 2, 40))
    assert kinds(Request(1, 1, 1), row, attempts, lines) == []


def test_a_job_that_was_not_acknowledged_may_be_stored_or_not() -> None:
    unsure = Request(tag=1, retries=0, job=None)
    assert kinds(unsure) == []
    assert kinds(unsure, row=None, attempts=(), lines=()) == []


def test_an_acknowledged_job_that_is_not_in_the_table_is_lost() -> None:
    assert kinds(row=None, attempts=(), lines=()) == ["lost"]


def test_an_id_under_which_another_job_is_stored_is_lost() -> None:
    requests = [Request(1, 0, job=1), Request(2, 0, job=1)]
    assert [one.kind for one in oracle.judge(requests, [DONE], [COMPLETED], [line(START), line(END)], {})] == ["lost"]


@pytest.mark.parametrize("status", ["pending", "scheduled", "running"])
def test_a_job_that_has_not_ended_is_stuck(status: str) -> None:
    assert "stuck" in kinds(row=replace(DONE, status=status))


def test_jobs_that_nobody_asked_for_and_jobs_stored_twice_are_found() -> None:
    assert kinds(row=replace(DONE, tag=99)) == ["lost", "unasked"]
    twice = oracle.judge([Request(1, 0, job=1)], [DONE, replace(DONE, id=2, attempt=0, status="cancelled")], [], [], {})
    assert "unasked" in {one.kind for one in twice}


def test_a_job_that_ran_and_is_not_in_the_table_is_found() -> None:
    assert kinds(lines=(line(START), line(END), line(START, job=77))) == ["unasked"]


def test_two_runs_at_once_are_found_by_their_ends() -> None:
    row, attempts = replace(DONE, attempt=2), (LOST, Attempt(1, 2, "completed", None))
    lines = (line(START, 1, 10), line(START, 2, 30), line(END, 1, 35), line(END, 2, 40))
    assert kinds(Request(1, 1, 1), row, attempts, lines) == ["overlap"]


def test_two_runs_at_once_are_found_by_a_process_that_was_seen_alive() -> None:
    row, attempts = replace(DONE, attempt=2), (LOST, Attempt(1, 2, "completed", None))
    lines = (line(START, 1, 10), line(START, 2, 30), line(END, 2, 40))
    assert kinds(Request(1, 1, 1), row, attempts, lines, {(101, 5): 31}) == ["overlap"]
    assert kinds(Request(1, 1, 1), row, attempts, lines, {(101, 5): 29}) == []


def test_two_runs_at_once_are_found_by_the_kernels_lock() -> None:
    row, attempts = replace(DONE, attempt=2), (LOST, Attempt(1, 2, "completed", None))
    lines = (line(START, 1, 10), line(START, 2, 30, alone=False), line(END, 2, 40))
    assert kinds(Request(1, 1, 1), row, attempts, lines) == ["overlap"]


def test_a_run_that_no_attempt_records_is_found() -> None:
    lines = (line(START, 1, 10), line(END, 1, 20), line(START, 2, 30))
    assert "unrecorded run" in kinds(Request(1, 3, 1), lines=lines)


def test_a_job_without_retries_that_started_twice_is_found() -> None:
    row, attempts = replace(DONE, attempt=2), (LOST, Attempt(1, 2, "completed", None))
    lines = (line(START, 1, 10), line(START, 2, 30), line(END, 2, 40))
    assert kinds(Request(1, 0, 1), row, attempts, lines) == ["second run"]
    assert kinds(Request(1, 0, 1, granted=1), row, attempts, lines) == []


def test_an_attempt_that_started_twice_is_found() -> None:
    assert kinds(lines=(line(START, at=10), line(END, at=20), line(START, at=30, pid=200))) == ["second run"]


def test_a_run_after_one_that_completed_is_found_unless_a_person_asked_for_it() -> None:
    row, attempts = replace(DONE, attempt=2), (COMPLETED, Attempt(1, 2, "completed", None))
    lines = (line(START, 1, 10), line(END, 1, 20), line(START, 2, 30), line(END, 2, 40))
    assert kinds(Request(1, 5, 1), row, attempts, lines) == ["second run"]
    assert kinds(Request(1, 5, 1, granted=1), row, attempts, lines) == []


def test_a_completed_attempt_whose_method_never_returned_is_found() -> None:
    assert kinds(lines=(line(START),)) == ["no end"]


def test_an_attempt_called_not_started_whose_method_ran_is_found() -> None:
    row = replace(DONE, attempt=2)
    attempts = (Attempt(1, 1, "failed", "not_started"), Attempt(1, 2, "completed", None))
    lines = (line(START, 1, 10), line(START, 2, 30), line(END, 2, 40))
    assert "not_started" in kinds(Request(1, 3, 1), row, attempts, lines)
    assert kinds(row=row, attempts=attempts, lines=lines[1:]) == []


def test_an_attempt_left_open_and_a_number_left_out_are_found() -> None:
    assert kinds(attempts=(Attempt(1, 1, "running", None),)) == ["open attempt", "wrong outcome"]
    row, lines = replace(DONE, attempt=2), (line(START, 2, 30), line(END, 2, 40))
    assert kinds(row=row, attempts=(Attempt(1, 2, "completed", None),), lines=lines) == ["open attempt"]


def test_an_error_that_the_method_never_raised_is_found() -> None:
    row, failed = replace(DONE, status="failed", reason="error"), (Attempt(1, 1, "failed", "error"),)
    assert kinds(row=row, attempts=failed) == ["wrong outcome"]
    assert kinds(row=row, attempts=failed, lines=(line(START, at=10), line(RAISED, at=20))) == []


def test_an_ending_that_no_blow_explains_is_found() -> None:
    row = replace(DONE, status="failed", reason="no_result")
    assert kinds(row=row, attempts=(Attempt(1, 1, "failed", "no_result"),)) == ["wrong outcome"]


def test_a_job_that_contradicts_its_last_attempt_is_found() -> None:
    assert kinds(Request(1, 0, 1), replace(DONE, status="failed", reason="lost")) == ["wrong outcome"]
    assert kinds(attempts=(), lines=(), row=replace(DONE, attempt=0)) == ["wrong outcome"]


def test_a_job_that_failed_with_retries_left_is_found_unless_it_is_poison() -> None:
    row, raised = replace(DONE, status="failed", reason="error"), (line(START, at=10), line(RAISED, at=20))
    assert kinds(Request(1, 2, 1), row, (Attempt(1, 1, "failed", "error"),), raised) == ["gave up early"]
    lost = tuple(Attempt(1, number, "failed", "lost") for number in (1, 2, 3))
    starts = tuple(line(START, number, number * 10) for number in (1, 2, 3))
    assert kinds(Request(1, 9, 1), replace(row, attempt=3, reason="poison"), lost, starts) == []


def test_a_cancel_that_nobody_asked_for_is_found() -> None:
    row = replace(DONE, status="cancelled", reason="cancelled", attempt=0)
    assert kinds(row=row, attempts=(), lines=()) == ["cancel"]
    assert kinds(Request(1, 0, 1, may_be_cancelled=True), row, (), ()) == []


def test_a_run_or_a_failure_after_an_acknowledged_cancel_is_found() -> None:
    asked = Request(1, 3, 1, cancelled_at=1, may_be_cancelled=True)
    row, attempts = replace(DONE, attempt=2), (LOST, Attempt(1, 2, "completed", None))
    lines = (line(START, 1, 10), line(START, 2, 30), line(END, 2, 40))
    assert kinds(asked, row, attempts, lines) == ["cancel"]
    assert "cancel" in kinds(asked, replace(DONE, status="failed", reason="lost"), (LOST,), (line(START),))
    assert kinds(asked) == [], "a result may come before the cancel is seen"


def test_a_method_that_returns_long_after_its_cancel_is_found() -> None:
    asked = Request(1, 3, 1, cancelled_at=1, cancelled_ns=10, may_be_cancelled=True)
    late = int(oracle.CANCEL_TIME * 1e9) + 11
    assert kinds(asked, lines=(line(START, at=5), line(END, at=late))) == ["cancel"]
    assert kinds(asked, lines=(line(START, at=5), line(END, at=late - 10))) == []


def test_a_witness_reads_what_it_wrote_and_counts_what_is_not_whole(tmp_path: Path) -> None:
    path = tmp_path / "witness"
    path.write_text(f"{line(START)!s:63}\n{line(END, alone=False)!s:63}\nS 1 1 12\n")
    assert witness.read(path) == ([line(START), line(END, alone=False)], 1)
    assert witness.read(tmp_path / "none") == ([], 0)
