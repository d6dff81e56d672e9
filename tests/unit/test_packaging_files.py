"""requirements.txt, the locks, pyproject.toml and the documentation name the same packages; the wheel has its files."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from bgapp import bootstrap

ROOT = Path(__file__).resolve().parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
RUN_TIME = [Requirement(line) for line in PROJECT["project"]["dependencies"]]
TESTS = [Requirement(line) for line in PROJECT["project"]["optional-dependencies"]["tests"]]
BENCH = [Requirement(line) for line in PROJECT["project"]["optional-dependencies"]["bench"]]
CHECKS = [Requirement(line) for line in PROJECT["dependency-groups"]["checks"]]


def pins() -> dict[str, Requirement]:
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {pin.name: pin for pin in found}


def locked(name: str) -> dict[str, str]:
    """Return the version of each package in a lock."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z0-9-]+)==([^ ]+) ", text, re.MULTILINE))


def version_of(pin: Requirement) -> str:
    (specifier,) = pin.specifier
    assert specifier.operator == "==", f"{pin} is not pinned"
    return specifier.version


def test_requirements_pin_every_direct_dependency_and_nothing_else() -> None:
    assert sorted(pins()) == sorted(requirement.name for requirement in RUN_TIME + TESTS)


@pytest.mark.parametrize("name", ["flask", "flask-sqlalchemy", "flask-login", "apscheduler", "pytest"])
def test_requirements_name_the_five_packages_that_the_project_stands_on(name: str) -> None:
    assert name in pins()


@pytest.mark.parametrize("requirement", RUN_TIME + TESTS, ids=lambda requirement: requirement.name)
def test_a_pin_is_in_the_range_of_pyproject_for_the_same_machines(requirement: Requirement) -> None:
    pin = pins()[requirement.name]
    assert requirement.specifier.contains(version_of(pin))
    assert str(pin.marker) == str(requirement.marker)
    assert pin.extras == requirement.extras


@pytest.mark.parametrize("requirement", RUN_TIME, ids=lambda requirement: requirement.name)
def test_a_run_time_pin_is_the_version_of_both_locks(requirement: Requirement) -> None:
    version = version_of(pins()[requirement.name])
    assert locked("requirements.lock")[requirement.name] == version
    assert locked("tests.lock")[requirement.name] == version


@pytest.mark.parametrize("requirement", TESTS, ids=lambda requirement: requirement.name)
def test_a_pin_of_the_tests_is_in_their_lock_only(requirement: Requirement) -> None:
    assert locked("tests.lock")[requirement.name] == version_of(pins()[requirement.name])
    assert requirement.name not in locked("requirements.lock")


@pytest.mark.parametrize("requirement", CHECKS, ids=lambda requirement: requirement.name)
def test_the_checks_are_locked_at_their_exact_versions(requirement: Requirement) -> None:
    assert locked("tests.lock")[requirement.name] == version_of(requirement)


@pytest.mark.parametrize("lock", ["tests.lock", "bench.lock"])
def test_tests_and_bench_run_with_the_versions_that_are_served(lock: str) -> None:
    assert locked("requirements.lock").items() <= locked(lock).items()


@pytest.mark.parametrize("requirement", BENCH, ids=lambda requirement: requirement.name)
def test_a_peer_is_locked_within_its_range_and_no_user_of_bgapp_gets_it(requirement: Requirement) -> None:
    assert requirement.specifier.contains(locked("bench.lock")[requirement.name])
    assert requirement.name not in locked("requirements.lock")


@pytest.mark.parametrize("name", ["requirements.lock", "tests.lock", "bench.lock"])
def test_a_lock_has_hashes_for_everything_and_says_nothing_about_a_machine(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    entries = [line for line in text.splitlines() if line[:1].isalnum()]
    hashed = re.findall(r"^[a-z0-9-]+==[^\n]+ \\\n    --hash=sha256:[0-9a-f]{64}", text, re.MULTILINE)
    assert len(entries) == len(hashed) == len(locked(name))
    assert not re.search(r"://|index-url|find-links|(^|\s)/\w", text)


@pytest.mark.parametrize("requirement", RUN_TIME + TESTS + BENCH + CHECKS, ids=lambda requirement: requirement.name)
def test_every_direct_dependency_has_its_reason_in_the_documentation(requirement: Requirement) -> None:
    tables = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8").partition("## Weighed")[0]
    assert re.search(rf"^\|[^|]*\b{re.escape(requirement.name)}\b", tables, re.MULTILINE | re.IGNORECASE)


def test_the_oldest_python_is_the_same_everywhere() -> None:
    major, minor = bootstrap.OLDEST_PYTHON
    assert PROJECT["project"]["requires-python"] == f">={major}.{minor}"
    assert PROJECT["tool"]["ruff"]["target-version"] == f"py{major}{minor}"
    assert PROJECT["tool"]["mypy"]["python_version"] == f"{major}.{minor}"
    for command in ("bgapp", "bench", "tests"):
        assert f"sys.version_info < ({major}, {minor})" in (ROOT / command / "__main__.py").read_text(encoding="utf-8")


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_git_ignores_what_a_running_bgapp_writes_but_not_the_instance_folders_readme(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    shutil.copy(ROOT / ".gitignore", tmp_path)
    paths = {
        "instance/bgapp.sqlite": True,
        "instance/logs/background_jobs.log": True,
        "instance/README.md": False,
        ".venv/bin/python": True,
        ".venv-tests/bin/python": True,
        ".venv.lock": True,
        ".env": True,
        ".env.example": False,
        "bgapp/instance.py": False,
        "requirements.lock": False,
    }
    command = ["git", "-C", str(tmp_path), "check-ignore", "--no-index", *paths]
    ignored = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert set(ignored) == {path for path, expected in paths.items() if expected}


@pytest.mark.process
def test_the_wheel_has_the_package_with_templates_and_static_files_and_nothing_else(tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="hatchling, of tests.lock, is not installed")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"bgapp"}
    for folder in ("templates", "static"):
        files = [path for path in (ROOT / folder).rglob("*") if path.is_file()]
        assert {f"bgapp/{path.relative_to(ROOT).as_posix()}" for path in files} <= names
    assert {"bgapp/__main__.py", "bgapp/py.typed"} <= names
