"""docs/commands.md and the commands say the same."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click

from bgapp import cli
from bgapp.cli import checks, errors
from bgapp.queries import as_json
from tests import factories
from tests.conftest import ROOT
from tests.site import Site

PAGE = (ROOT / "docs" / "commands.md").read_text("utf-8")
SECTIONS = {
    title.strip("`"): text
    for title, _, text in (part.partition("\n") for part in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:])
}


def commands() -> Iterator[tuple[str, click.Command]]:
    """Yield every command by its whole name."""
    for command in cli.COMMANDS:
        if isinstance(command, click.Group):
            yield from ((f"{command.name} {name}", one) for name, one in command.commands.items())
        else:
            yield str(command.name), command


def first_cells(text: str) -> list[str]:
    """Return the first column of the section's tables, without their heads."""
    rows = [line for line in text.splitlines() if line.startswith("|")]
    return [row.split("|")[1].strip().strip("`") for row in rows if "---" not in row and not row.startswith("| Option")]


def test_every_command_has_its_section_with_every_option() -> None:
    for name, command in commands():
        told = [cell for cell in first_cells(SECTIONS[name]) if cell.startswith("--")]
        options = [one for one in command.params if isinstance(one, click.Option)]
        real = [
            one.opts[0] if one.is_flag else f"{one.opts[0]} {one.metavar or str(one.name).upper()}" for one in options
        ]
        assert told == real, name
        assert all(one.help for one in options), f"{name}: an option without help"
        assert command.help, f"{name}: no help"
        assert command.short_help, f"{name}: no line for the list of commands"


def test_every_section_about_a_command_is_about_a_real_one() -> None:
    names = {name for name, _ in commands()}
    titles = re.findall(r"^## `(.+)`$", PAGE, flags=re.MULTILINE)
    assert set(titles) == names
    contents = PAGE.partition("\n## ")[0]
    assert [name for name in names if f"[`{name}`](#{name.replace(' ', '-')})" not in contents] == []


def test_every_exit_code_is_told() -> None:
    codes = [errors.NOT_COMPLETED, errors.REFUSED, errors.UNUSABLE, errors.INTERRUPTED, errors.CLOSED_PIPE]
    assert [cell for cell in first_cells(SECTIONS["Exit codes"]) if cell.isdigit()] == [
        str(code) for code in (0, *codes)
    ]


def test_every_check_of_the_doctor_is_told(site: Site) -> None:
    made = {check.name for check in checks.Doctor(site.runtime).run()} | {"host", "user", "nodes"}
    assert {cell for cell in first_cells(SECTIONS["doctor"]) if not cell.startswith("--")} - {"Check"} == made


def test_every_key_of_the_json_is_told(site: Site) -> None:
    with site.runtime.database.write() as connection:
        factories.add_node(connection)
    factories.add(site.runtime.database)
    factories.settle(site.runtime.database, factories.claim(site.runtime.database), factories.COMPLETED)
    job = as_json(factories.row(site.runtime.database, 1), factories.attempts(site.runtime.database, 1))
    told = SECTIONS["The JSON of a job"]
    rows = dict(line.split(" | ", 1) for line in told.splitlines() if line.startswith("| `"))
    keys = [key for cell in rows for key in re.findall(r"`(\w+)`", cell)]
    assert set(keys) == set(job)
    assert set(re.findall(r"`([a-z_]+)`", rows["| `attempts`"])) >= set(job["attempts"][0])
