"""The shape of the code: who may import whom, who may write what, and what nobody may do."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGE = ROOT / "bgapp"
LONGEST = 400  # lines of a module

# Each module stands on one floor. It may import modules of its own floor and of those that its floor names; a new
# module must be given its place here. `x.*` stands for everything in a package.
FLOORS: dict[str, tuple[str, str]] = {
    "ground": (
        "",
        "errors clock limits models handover failpoints context signals masking jsontext assets folders backoff "
        "databaseurl settings settingfiles settingtable settingvalues system.*",
    ),
    # No database, no files, no processes.
    "rules": (
        "ground",
        "allowlist allowlistsetting methods hints options parameters retry endings outcome records newjob invoke "
        "generation logline accountmodels passwords",
    ),
    # What is kept: the database's tables, and the instance folder's files.
    "store": (
        "ground rules",
        "database databasefile sqlitelibrary postgres repeat schema migrations.* statements lifecycle queries controls "
        "node spool wake stop eventlog attemptlog attemptwriter scratch secretkey accounts logins invitations throttle "
        "signin",
    ),
    # What an app process and a runner both need.
    "shared": ("ground rules store", "runtime rescue handle operate"),
    "app": (
        "ground rules store shared",
        "hostsession inline enqueue dispatch launcher maintenance scheduler",
    ),
    "runner": ("ground rules store shared", "runner.*"),
    "web": ("ground rules store shared app", "web.*"),
    "top": (
        "ground rules store shared app runner web",
        "__init__ __main__ bootstrap extension mounting hostmigrations app standalone cli.* jobs.* testing.*",
    ),
}

# Who may ask on which system it runs, beside `system` itself: what starts before anything is installed.
ASKS_FOR_THE_SYSTEM = {"__main__", "bootstrap"}
# Who speaks to a person on a terminal. Job code prints into its log.
PRINTS = tuple(
    "__main__ bootstrap standalone failpoints cli. jobs. runner.__main__ runner.host runner.direct testing.chaos "
    "testing.soak".split()
)
PRINTS_INTO_THE_JOBS_LOG = ("runner.child", "testing.witness")


def name_of(path: Path) -> str:
    """Return a module's name without `bgapp.`; a package's is that of its folder, `__init__` for bgapp itself."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


@cache
def tree(name: str) -> ast.Module:
    return ast.parse(MODULES[name].read_text(encoding="utf-8"))


def floors_of(name: str) -> list[str]:
    """Return the floors that claim a module."""

    def claims(pattern: str) -> bool:
        return name == pattern or (pattern.endswith(".*") and f"{name}.".startswith(pattern[:-1]))

    return [floor for floor, (_, patterns) in FLOORS.items() if any(map(claims, patterns.split()))]


def is_for_types(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def statements(nodes: list[ast.stmt], *, deep: bool) -> Iterator[ast.AST]:
    """Yield what runs: all of it, or only what runs when the module is imported. Never what is there for types."""
    for node in nodes:
        if is_for_types(node):
            yield from statements(node.orelse, deep=deep)  # type: ignore[attr-defined] # an If, as just asked
            continue
        if not deep and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        yield node
        inner = [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt | ast.ExceptHandler)]
        yield from statements(inner, deep=deep)  # type: ignore[arg-type] # handlers hold statements too


def imports(name: str, *, deep: bool = True) -> set[str]:
    """Return all that a module imports, by full name."""
    found: set[str] = set()
    for node in statements(tree(name).body, deep=deep):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} imports by dots"
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def own_imports(name: str, *, deep: bool = True) -> set[str]:
    """Return the modules of bgapp that a module imports, without `bgapp.`."""
    found = set()
    for full in imports(name, deep=deep):
        if full != "bgapp" and not full.startswith("bgapp."):
            continue
        rest = full.removeprefix("bgapp").removeprefix(".")
        while rest and rest not in MODULES:
            rest = rest.rpartition(".")[0]
        found.add(rest or "__init__")
    return found - {name}


def test_every_module_stands_on_one_floor() -> None:
    misplaced = {name: floors_of(name) for name in MODULES if len(floors_of(name)) != 1}
    assert misplaced == {}, "give each new module its one place in FLOORS"


def test_no_place_is_kept_for_a_module_that_is_gone() -> None:
    named = [one for _, names in FLOORS.values() for one in names.split()]
    assert [one for one in named if one.removesuffix(".*") not in MODULES and one != "migrations.*"] == []


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_down(name: str) -> None:
    (floor,) = floors_of(name)
    allowed = {floor, *FLOORS[floor][0].split()}
    above = {other: floors_of(other)[0] for other in own_imports(name) if floors_of(other)[0] not in allowed}
    assert above == {}, f"bgapp.{name} stands on the floor {floor!r}"


def test_no_modules_import_each_other_in_a_ring() -> None:
    def is_package_of(package: str, module: str) -> bool:
        return module.startswith(f"{package}.")

    graph = {
        name: {other for other in own_imports(name, deep=False) if not is_package_of(other, name)} for name in MODULES
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a ring of imports: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize(
    ("package", "only"),
    [
        ("apscheduler", {"scheduler"}),
        ("alembic", {"schema", "migrations", "hostmigrations"}),
        ("pydantic", {"hints", "parameters", "web"}),
        ("waitress", {"standalone"}),
        ("psutil", {"system"}),
        ("ctypes", {"system"}),
        ("fcntl", {"system", "bootstrap", "testing"}),
        ("msvcrt", {"system", "bootstrap"}),
        ("click", {"cli", "extension", "errors", "testing"}),
        ("wtforms", {"web"}),
    ],
)
def test_a_library_has_its_place(package: str, only: set[str]) -> None:
    users = {name for name in MODULES if any(f"{one}.".startswith(f"{package}.") for one in imports(name))}
    assert {name for name in users if name not in only and name.split(".")[0] not in only} == set()


def test_nothing_that_works_needs_what_is_there_to_test_it() -> None:
    needed = {name: {one for one in own_imports(name) if one.split(".")[0] == "testing"} for name in MODULES}
    assert {name: found for name, found in needed.items() if found and name.split(".")[0] != "testing"} == {}


LOADED = """
import json, sys
import bgapp.runner.__main__, bgapp.runner.host, bgapp.runner.runner, bgapp.runner.child, bgapp.runner.direct
print(json.dumps(sorted(sys.modules)))
"""


@pytest.mark.process
def test_a_runner_loads_neither_the_clock_nor_the_web() -> None:
    """Each runner pays for what is loaded, in time and in memory."""
    done = subprocess.run([sys.executable, "-c", LOADED], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = json.loads(done.stdout)
    unwanted = (
        "apscheduler", "flask_login", "flask_wtf", "wtforms", "waitress", "alembic", "flask_sqlalchemy",
        "bgapp.scheduler", "bgapp.web", "bgapp.cli", "bgapp.enqueue", "bgapp.extension", "bgapp.app", "bgapp.accounts",
    )  # fmt: skip
    assert [name for name in loaded if f"{name}.".startswith(tuple(f"{one}." for one in unwanted))] == []
    assert "bgapp.runner.host" in loaded


@pytest.mark.process
def test_importing_the_package_loads_nothing_but_itself() -> None:
    code = "import json, sys, bgapp; print(json.dumps([n for n in sys.modules if n.split('.')[0] in sys.argv[1:]]))"
    words = ("bgapp", "flask", "sqlalchemy", "apscheduler", "pydantic")
    done = subprocess.run([sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == ["bgapp"]


# Who writes what -----------------------------------------------------------------------------------------------

JOB_TABLES = {"JOBS", "Job", "ATTEMPTS", "Attempt"}
WRITES = {"update", "insert", "delete"}
MAY_WRITE_JOBS = {"lifecycle", "statements"}


def writes_jobs(name: str) -> list[str]:
    """Return the places of a module that write jobs or attempts: by SQLAlchemy, or in SQL's own words."""
    found = []
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.Call):
            called = node.func
            verb = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            tables = {word.id for argument in node.args for word in ast.walk(argument) if isinstance(word, ast.Name)}
            if isinstance(called, ast.Attribute):
                tables |= {word.id for word in ast.walk(called.value) if isinstance(word, ast.Name)}
            if verb in WRITES and tables & JOB_TABLES:
                found.append(f"{name}:{node.lineno}: {ast.unparse(node)[:60]}")
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            words = " ".join(node.value.upper().split())
            if any(f"{verb} BGAPP_{table}" in words for verb in SQL for table in ("JOBS", "ATTEMPTS")):
                found.append(f"{name}:{node.lineno}: {node.value[:60]}")
    return found


SQL = ("UPDATE", "INSERT INTO", "DELETE FROM")


def test_jobs_and_attempts_are_written_by_the_lifecycle_alone() -> None:
    others = [name for name in MODULES if name not in MAY_WRITE_JOBS and not name.startswith("migrations.")]
    assert [place for name in others for place in writes_jobs(name)] == []
    assert writes_jobs("lifecycle"), "the search finds what it looks for"
    assert writes_jobs("statements")


def test_the_prepared_statements_are_used_by_the_lifecycle_alone() -> None:
    # Tables, and how to choose among them: nothing of it writes.
    shared = "JOBS ATTEMPTS PROMOTE_AT_ONCE SCHEDULED PENDING RUNNING is_status is_one_of best_pending next_scheduled"
    own = {f"bgapp.statements.{name}" for name in shared.split()}
    users = {name: imports(name) for name in MODULES if name not in MAY_WRITE_JOBS}
    taken = {name: {one for one in found if one.startswith("bgapp.statements")} - own for name, found in users.items()}
    assert {name: found for name, found in taken.items() if found} == {}


def test_queries_write_nothing() -> None:
    written = [
        ast.unparse(node)[:60]
        for node in ast.walk(tree("queries"))
        if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) in WRITES
    ]
    assert written == []


# What nobody does ----------------------------------------------------------------------------------------------

FORBIDDEN_IMPORTS = {"pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "yaml", "imp"}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "os.system", "os.popen", "__import__"}
# A person's own configuration file is Python, run as Flask runs one.
MAY_RUN_TEXT = {"settingfiles": {"exec", "compile"}}


@pytest.mark.parametrize("name", MODULES)
def test_nothing_is_unpickled_evaluated_or_given_to_a_shell(name: str) -> None:
    found = [one for one in imports(name) if one.split(".")[0] in FORBIDDEN_IMPORTS]
    for node in ast.walk(tree(name)):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        if called in FORBIDDEN_CALLS - MAY_RUN_TEXT.get(name, set()):
            found.append(f"line {node.lineno}: {called}")
        found += [
            f"line {node.lineno}: shell"
            for word in node.keywords
            if word.arg == "shell" and not (isinstance(word.value, ast.Constant) and word.value.value is False)
        ]
    assert found == []


@pytest.mark.parametrize("name", [name for name in MODULES if not name.startswith("system")])
def test_only_the_system_package_asks_which_system_it_is(name: str) -> None:
    if name in ASKS_FOR_THE_SYSTEM:
        return
    asked = {"sys.platform", "os.name", "platform.system", "platform.platform", "sys.getwindowsversion", "os.uname"}
    found = [
        f"line {node.lineno}: {ast.unparse(node)}"
        for node in ast.walk(tree(name))
        if isinstance(node, ast.Attribute) and ast.unparse(node) in asked
    ]
    found += [one for one in imports(name) if one in asked or one.split(".")[0] == "platform"]
    assert found == []


@pytest.mark.parametrize("name", MODULES)
def test_only_those_who_speak_to_a_person_print(name: str) -> None:
    if f"{name}.".startswith(tuple(f"{one.removesuffix('.')}." for one in (*PRINTS, *PRINTS_INTO_THE_JOBS_LOG))):
        return
    found = [
        node.lineno
        for node in ast.walk(tree(name))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert found == [], "use a logger, raise, or return"


# What every module has -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODULES)
def test_a_module_says_in_its_first_line_what_it_is_for(name: str) -> None:
    said = ast.get_docstring(tree(name)) or ""
    first = said.partition("\n")[0]
    assert len(first) >= 20, "its first docstring line says the module's one job"
    assert first[0].isupper() or first[0] == "`" or first.startswith("bgapp")
    assert said.partition("\n\n")[0].rstrip()[-1] in ".:;", "and is a sentence"


@pytest.mark.parametrize("name", MODULES)
def test_a_module_is_not_too_long_to_be_read(name: str) -> None:
    lines = len(MODULES[name].read_text(encoding="utf-8").splitlines())
    assert lines <= LONGEST, f"{lines} lines: split it by responsibility"
