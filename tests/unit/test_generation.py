from __future__ import annotations

import os
import sys
import sysconfig
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from bgapp import settings as settings_module
from bgapp.allowlist import AllowList
from bgapp.generation import generation
from bgapp.settings import Settings

NOBODY = AllowList.from_setting(None)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_module.load(tmp_path, environ={})


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A loaded module of the project, newer than all others."""
    file = tmp_path / "shopcode.py"
    file.write_text("")
    os.utime(file, (2e9, 2e9))
    found = ModuleType("shopcode")
    found.__file__ = str(file)
    monkeypatch.setitem(sys.modules, "shopcode", found)
    return found


def test_the_same_code_has_the_same_generation(settings: Settings) -> None:
    assert generation(settings, NOBODY) == generation(settings, NOBODY)
    assert 8 <= len(generation(settings, NOBODY)) <= 64


def test_a_version_that_is_set_is_the_generation(settings: Settings, module: ModuleType) -> None:
    assert generation(replace(settings, version="2026.11"), NOBODY) == "2026.11"
    assert len(generation(replace(settings, version="x" * 500), NOBODY)) == 64


@pytest.mark.parametrize(
    "change",
    [
        {"kill_grace": 99.0},
        {"secret_keys": ("iban",)},
        {"database_url": "postgresql+psycopg://ann:one@host/jobs"},
        {"max_running": 17},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_setting_is_another_generation(settings: Settings, change: dict[str, object]) -> None:
    assert generation(replace(settings, **change), NOBODY) != generation(settings, NOBODY)  # type: ignore[arg-type]


def test_a_changed_password_is_another_generation_and_cannot_be_read_from_it(settings: Settings) -> None:
    one, two = (
        generation(replace(settings, database_url=f"postgresql+psycopg://ann:{word}@host/jobs"), NOBODY)
        for word in ("one", "two")
    )
    assert one != two
    assert "one" not in one


def test_another_allow_list_is_another_generation_in_whatever_shape(settings: Settings) -> None:
    listed = AllowList.from_setting({"tests.jobcode.Work": ["add"]})
    assert generation(settings, listed) != generation(settings, NOBODY)
    same = AllowList.from_setting({"tests.jobcode.Work": {"methods": {"add": {}}}})
    assert generation(settings, listed) == generation(settings, same)


def test_newer_source_of_the_project_is_another_generation(settings: Settings, module: ModuleType) -> None:
    before = generation(settings, NOBODY)
    os.utime(str(module.__file__), (2e9 + 1, 2e9 + 1))
    assert generation(settings, NOBODY) != before


def test_source_that_was_deleted_since_stops_nothing(settings: Settings, module: ModuleType) -> None:
    Path(str(module.__file__)).unlink()
    assert generation(settings, NOBODY)


@pytest.mark.parametrize("file", [None, 5, "/nowhere/at/all.py", "compiled.so"])
def test_modules_without_source_stop_nothing(settings: Settings, module: ModuleType, file: object) -> None:
    module.__file__ = file  # type: ignore[assignment] # a module may say anything of itself
    assert generation(settings, NOBODY)


def test_installed_packages_do_not_count(settings: Settings, module: ModuleType) -> None:
    before = generation(settings, NOBODY)
    installed = ModuleType("installed")
    installed.__file__ = str(Path(sysconfig.get_path("purelib")) / "nothing_here.py")
    sys.modules["installed"] = installed
    try:
        assert generation(settings, NOBODY) == before
    finally:
        del sys.modules["installed"]
