"""docs/requirements.md is held to the tests: every requirement has a row, every test that it names exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.conftest import ROOT

PAGE = ROOT / "docs" / "requirements.md"
LATER = "next issue: pages"
FOLDER = Path(__file__).parent


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the table under a heading."""
    section = PAGE.read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def existing_tests() -> dict[str, str]:
    """Return every test of this folder and the file that it stands in."""
    found = {}
    for file in sorted(FOLDER.glob("test_*.py")):
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                assert node.name not in found, f"{node.name} is there twice"
                found[node.name] = file.name
    return found


def named(text: str) -> list[str]:
    return re.findall(r"`(test_\w+)`", text)


def test_every_requirement_is_in_the_table_once_and_in_order() -> None:
    assert [cells[0] for cells in rows("The requirements")] == [f"S{number}" for number in range(1, 48)]


@pytest.mark.parametrize("number", range(1, 48))
def test_a_requirement_is_told_met_and_tested(number: int) -> None:
    cells = rows("The requirements")[number - 1]
    assert len(cells) == 4, cells
    _, wanted, met, tests = cells
    assert len(wanted) > 15
    assert len(met) > 15
    assert named(tests) or LATER in tests
    for name in named(tests):
        assert name in existing_tests(), f"S{number} names {name}, which does not exist"
        assert re.search(rf"_s{number}_", name), f"{name} is not named for S{number}"


def test_every_test_that_is_named_for_a_requirement_is_in_its_row() -> None:
    table = {cells[0]: named(cells[3]) for cells in rows("The requirements")}
    missing = [
        (f"S{number}", name)
        for name in existing_tests()
        for number in re.findall(r"_s(\d+)(?=_)", name)
        if name not in table[f"S{number}"]
    ]
    assert missing == []


def test_every_contradiction_is_settled_by_an_existing_test() -> None:
    settled = rows("Where the seeds contradict each other")
    assert len(settled) >= 9
    for cells in settled:
        assert len(cells) == 3, cells
        assert named(cells[2]), cells
        assert set(named(cells[2])) <= set(existing_tests()), cells


def test_every_bad_input_is_tested_by_its_number() -> None:
    wanted = {*range(1, 21), *range(33, 37), 57, 58}
    found = {int(number) for name in existing_tests() for number in re.findall(r"_b(\d+)(?=_)", name)}
    assert found == wanted
