"""The documentation is held to the code: nothing is undocumented, no link is dead, and the examples run."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import click
import pytest

import bgapp
from bgapp import cli, enqueue, errors, lifecycle, testing
from bgapp.handle import JobHandle
from bgapp.handover import IN_RUNNER
from bgapp.models import Reason, Status
from bgapp.settings import SETTINGS
from tests.conftest import ROOT

FOLDERS = ("*.md", "docs/**/*.md", "examples/**/*.md", "bench/*.md", "instance/README.md")
PAGES = sorted(page for folder in FOLDERS for page in ROOT.glob(folder))
FLASKS_OWN = {"run", "shell", "routes"}
OF_RUNNERS_ALONE = {"Fenced", "NodeClash"}  # errors that no caller ever sees


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def first_cells(page: str, heading: str) -> list[str]:
    """Return the first cell of each row of the tables under a heading."""
    section = section_of(page, heading)
    rows = [line.strip("|").split(" | ")[0].strip() for line in section.splitlines() if line.startswith("|")]
    return [cell for cell in rows if cell and not cell.startswith("---")]


def section_of(page: str, heading: str) -> str:
    _, found, rest = text_of(page).partition(f"\n## {heading}\n")
    assert found, f"{page} has no heading {heading!r}"
    return rest.partition("\n## ")[0]


def in_code(names: Iterable[str]) -> set[str]:
    return {f"`{name}`" for name in names}


def missing_in(cells: Iterable[str], names: Iterable[str]) -> set[str]:
    """Return the names that no cell has in code type."""
    words = set(re.findall(r"`\.?([\w.]+)", " ".join(cells)))
    return set(names) - words


# Nothing is undocumented ---------------------------------------------------------------------------------------------


def test_every_setting_has_a_row() -> None:
    assert first_cells("docs/configuration.md", "Every setting")[1:] == [f"`{setting.key}`" for setting in SETTINGS]


def test_every_status_has_a_row() -> None:
    assert set(first_cells("docs/retries-delays-priorities.md", "The six statuses")[1:]) == in_code(Status)


def test_every_reason_has_a_row_and_advice() -> None:
    assert set(first_cells("docs/retries-delays-priorities.md", "How an attempt ends")[1:]) == in_code(Reason)
    assert in_code(Reason) <= set(re.findall(r"`\w+`", section_of("docs/troubleshooting.md", "A job fails")))


def test_every_status_and_reason_is_among_the_states_and_edges() -> None:
    section = section_of("docs/architecture.md", "States and edges")
    assert in_code([*Status, *Reason]) <= set(re.findall(r"`\w+`", section))


def test_every_function_that_changes_a_status_is_among_the_edges() -> None:
    functions = dict(inspect.getmembers(lifecycle, inspect.isfunction))
    own = {name: one for name, one in functions.items() if one.__module__ == lifecycle.__name__ and name[0] != "_"}
    writes = [name for name, one in own.items() if re.search("Change|^None$", one.__annotations__["return"])]
    edges = [line.rpartition(" | ")[2] for line in section_of("docs/architecture.md", "States and edges").splitlines()]
    assert len(writes) > 5
    assert missing_in(edges, writes) == set()


def test_every_public_name_has_a_row() -> None:
    assert missing_in(first_cells("docs/helper.md", "Every public name"), bgapp.__all__) == set()


@pytest.mark.parametrize("name", bgapp.__all__)
def test_every_public_name_can_be_imported(name: str) -> None:
    assert getattr(bgapp, name) is not None


def test_every_argument_of_the_helper_has_a_row_in_its_order() -> None:
    arguments = inspect.signature(bgapp.run_background_job).parameters
    assert first_cells("docs/helper.md", "The arguments")[1:] == [f"`{name}`" for name in arguments]
    assert set(arguments) >= enqueue.OPTIONS


def test_everything_that_a_handle_has_is_documented() -> None:
    attributes = {name for name in vars(JobHandle) if not name.startswith("_")} | {"id", "created"}
    assert missing_in(first_cells("docs/helper.md", "What comes back"), attributes) == set()


def test_every_refusal_has_a_row_with_its_kind() -> None:
    refusals = errors.JobRejected.__subclasses__()
    section = section_of("docs/helper.md", "Refusals")
    assert {(one.__name__, one.kind) for one in refusals} == set(
        re.findall(r"^\| `(\w+)` \| `(\w+)` \|", section, re.MULTILINE)
    )
    assert (
        missing_in(first_cells("docs/troubleshooting.md", "A call is refused"), [one.__name__ for one in refusals])
        == set()
    )


def test_every_error_that_a_caller_can_meet_is_documented() -> None:
    found = {
        name
        for name, one in vars(errors).items()
        if inspect.isclass(one) and issubclass(one, errors.BgappError) and not name.startswith("_")
    }
    page = set(re.findall(r"`(?:bgapp\.errors\.)?(\w+)`", text_of("docs/helper.md")))
    assert found - OF_RUNNERS_ALONE <= page


def test_the_test_helpers_are_documented() -> None:
    section = section_of("docs/helper.md", "Testing")
    for name in testing.__all__:
        signature = f"{name}({', '.join(map(shown, inspect.signature(getattr(testing, name)).parameters.values()))})"
        assert f"- `{signature}`" in section


def shown(parameter: inspect.Parameter) -> str:
    return parameter.name if parameter.default is parameter.empty else f"{parameter.name}={parameter.default!r}"


def commands() -> Iterator[tuple[str, click.Command]]:
    """Yield every command, those in groups with the group's name before theirs."""
    for command in cli.COMMANDS:
        if isinstance(command, click.Group):
            yield from ((f"{command.name} {name}", one) for name, one in command.commands.items())
        else:
            yield str(command.name), command


@pytest.mark.parametrize(("name", "command"), list(commands()), ids=[name for name, _ in commands()])
def test_every_command_has_a_section_with_each_of_its_options(name: str, command: click.Command) -> None:
    section = section_of("docs/commands.md", f"`{name}`")
    for option in (one for one in command.params if isinstance(one, click.Option)):
        assert any(f"`{spelling}" in section for spelling in option.opts), f"{name} {option.opts} is undocumented"


# What the pages say exists -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_that_a_page_shows_exists(page: Path) -> None:
    known = {name for name, _ in commands()} | FLASKS_OWN
    groups = {name.partition(" ")[0] for name in known if " " in name}
    text = page.read_text(encoding="utf-8")
    for first, second in re.findall(r"\bflask --app [\w:.]+ (?:bgapp )?([a-z][\w-]*)(?: ([a-z]+))?", text):
        name = f"{first} {second}" if first in groups and second else first
        assert name in known | groups, f"{name_of(page)} shows `{name}`"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^()\s]+)\)", without_code(page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), f"{name_of(page)}: {target} does not exist"
        assert file.resolve().is_relative_to(ROOT), f"{name_of(page)}: {target} leads out of the project"
        if anchor:
            assert anchor in anchors(file.read_text(encoding="utf-8")), f"{name_of(page)}: {target} is no heading"


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(text: str) -> set[str]:
    """Return the anchors that the headings of a page get."""
    headings = re.findall(r"^#+ (.+)$", without_code(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_no_page_names_a_path_of_the_machine_that_wrote_it(page: Path) -> None:
    assert re.findall(r"/(?:work|root|home|tmp)/\w[\w/]*|[.]{2}/shared", page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("page", sorted(ROOT.glob("docs/*.md")), ids=name_of)
def test_every_page_is_in_the_index(page: Path) -> None:
    assert page.name == "README.md" or f"({page.name})" in text_of("docs/README.md")


# The examples --------------------------------------------------------------------------------------------------------


def blocks(text: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_python_example_compiles(page: Path) -> None:
    for number, block in enumerate(blocks(page.read_text(encoding="utf-8")), 1):
        compile(block, f"{name_of(page)}, example {number}", "exec")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_what_examples_import_from_bgapp_is_there(page: Path) -> None:
    examples = "".join(blocks(page.read_text(encoding="utf-8")))
    for module, names in re.findall(r"^ *from (bgapp[\w.]*) import ([\w, ]+)$", examples, re.MULTILINE):
        for name in names.split(", "):
            assert hasattr(importlib.import_module(module), name), f"{name_of(page)}: {module} has no {name}"


def unpack(page: str, folder: Path) -> None:
    """Write the examples of a page that begin with the name of a file."""
    for block in blocks(text_of(page)):
        if named := re.match(r"# ([\w/]+\.py)\n", block):
            path = folder / named[1]
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.write_text(block, encoding="utf-8")


def python(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    given = {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONIOENCODING": "utf-8", **environment}
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env={**os.environ, **given},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


@pytest.mark.process
def test_the_five_minutes_of_the_readme_work(tmp_path: Path) -> None:
    unpack("README.md", tmp_path)
    done = python(tmp_path, "-m", "bgapp.runner", "ReportJob", "total", "2026-10", BGAPP_APP="shop:app")
    assert done.returncode == 1, done.stderr
    assert "FileNotFoundError" in done.stderr
    (orders,) = re.findall(r"printf '(.*)' > orders.csv", text_of("README.md"))
    (tmp_path / "orders.csv").write_text(orders.replace("\\n", "\n"))
    done = python(tmp_path, "-m", "bgapp.runner", "ReportJob", "total", "2026-10", BGAPP_APP="shop:app")
    assert (done.returncode, done.stdout) == (0, "2026-10: 1200 cents\n2026-10: 850 cents\n"), done.stderr
    listed = python(tmp_path, "-m", "flask", "--app", "shop", "bgapp", "jobs", "list", "--json")
    found = json.loads(listed.stdout)
    assert [(job["status"], job["result"]) for job in found] == [("completed", {"cents": 2050}), ("failed", None)]
    view = "from shop import app; print(app.test_client().post('/reports/2026-10').text)"
    assert python(tmp_path, "-c", view, **{IN_RUNNER: "1"}).stdout == "Job 3 is pending.\n\n"


@pytest.mark.process
def test_the_application_factory_of_the_quickstart_works_with_its_own_test(tmp_path: Path) -> None:
    unpack("docs/quickstart.md", tmp_path)
    words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", "tests/test_reports.py"]
    done = python(tmp_path, *words, PYTHONPATH=os.pathsep.join([str(tmp_path), str(ROOT)]))
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


def test_every_fault_has_its_row_and_every_row_names_a_test_or_says_why_not() -> None:
    later = {"F28", "F29", "F30", "F49", "F50"}  # those of schedules
    wanted = {*(f"F{n}" for n in range(1, 63)), *(f"B{n}" for n in range(40, 61)), *(f"Q{n}" for n in range(1, 21))}
    rows = [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in section_of("docs/reliability.md", "Every fault and its test").splitlines()
        if re.match(r"\| [FBQ]\d", line)
    ]
    assert {row[0] for row in rows} == wanted - later
    assert [row[0] for row in rows if not re.search(r"\]\(\.\./tests/|`bench`|`tests/|not done, because", row[2])] == []
