"""The bench: its rows are known and documented, its sums are right, and its first row works with bgapp alone."""

from __future__ import annotations

import re

import pytest

from bench import plot, report
from bench.driver import ROWS, Measured, main, row_of
from bench.figures import Ratio, ratio
from bench.place import Line
from bench.rows import Mode, Numbers, kill
from bench.rows.burst import most_at_once
from bench.systems import SYSTEMS, Site
from tests.conftest import ROOT


@pytest.mark.parametrize("name", ROWS)
def test_every_row_is_known_by_its_name_and_explained(name: str) -> None:
    row = row_of(name)
    assert row.name == name
    assert set(row.systems + row.more) <= set(SYSTEMS) or name == "scale"
    assert re.search(rf"^\| `{name}` \|", (ROOT / "bench" / "README.md").read_text(encoding="utf-8"), re.MULTILINE)


def test_no_row_is_left_out_of_the_command() -> None:
    found = {path.stem for path in (ROOT / "bench" / "rows").glob("*.py")} - {"__init__"}
    assert found == set(ROWS)


def test_an_unknown_row_is_refused_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["kil"])
    assert "there is no row 'kil'" in capsys.readouterr().err


def test_only_numbers_of_the_same_round_are_divided_by_each_other() -> None:
    mine: list[Numbers] = [{"ms": 10.0}, {"ms": 40.0}, {"ms": None}]
    reference: list[Numbers] = [{"ms": 5.0}, {"ms": 10.0}, {"ms": 1.0}]
    assert ratio(mine, reference, "ms") == Ratio(middle=3.0, least=2.0, most=4.0)
    assert ratio(mine, [], "ms") is None


def test_jobs_overlap_only_while_both_are_under_way() -> None:
    assert most_at_once([(1.0, 1), (2.0, -1), (2.0, 1), (3.0, 1), (4.0, -1), (5.0, -1)]) == 2


def test_a_system_that_cannot_be_measured_is_named_with_the_reason() -> None:
    measured = Measured(row_of("kill"), Mode(short=True), ["bgapp"])
    measured.missing["rq"] = "rq is not installed"
    measured.rounds["bgapp"].append({"finished": 20})
    table = report.table(measured.row, measured.rounds, measured.missing)
    assert "| bgapp | 20 |" in table
    assert "- rq: not measured, because rq is not installed" in table
    assert "<svg" in plot.drawn({"kill": measured.rounds})


def test_an_interrupted_job_counts_as_run_again_when_it_starts_after_the_kill() -> None:
    before = [Line("S", 1, 0.0, 1), Line("E", 1, 1.0, 1), Line("S", 2, 1.0, 1), Line("S", 3, 1.0, 2)]
    after = [Line("S", 2, 3.0, 3), Line("E", 2, 4.0, 3)]
    numbers = kill.found(before, before + after, shown=1)
    assert (numbers["finished"], numbers["interrupted"], numbers["of them run again"]) == (2, 2, 1)
    assert numbers["shown as running, not running"] == 1


@pytest.mark.process
def test_all_jobs_finish_after_every_process_was_killed_at_once() -> None:
    site = Site(SYSTEMS["bgapp"], environment={"BGAPP_RETRY_BACKOFF": "0.1 fixed"})
    numbers = kill.Blow(jobs=6, seconds=0.5, after=0.75, watched=60.0, early=True).deal(site)
    assert numbers["finished"] == 6
    assert numbers["of them run again"] == numbers["interrupted"]
