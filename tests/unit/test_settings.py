"""The settings: where they are found, who wins, what is refused and how, and that the pages tell the truth."""

from __future__ import annotations

import dataclasses
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bgapp.errors import ConfigurationError
from bgapp.settings import SETTINGS, Backoff, Settings, load

ROOT = Path(__file__).resolve().parents[2]
DERIVED = {"sources", "warnings"}  # the fields of Settings that are no settings


def read(
    instance: Path,
    *,
    code: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    env_file: str | None = None,
    config_py: str | None = None,
    app: Mapping[str, Any] | None = None,
) -> Settings:
    """Load the settings from these places and no other."""
    instance.mkdir(exist_ok=True)
    if env_file is not None:
        (instance.parent / ".env").write_text(env_file)
    if config_py is not None:
        (instance / "config.py").write_text(config_py)
    dotenv = instance.parent / ".env"
    return load(instance, overrides=code, config=app, environ=environ or {}, dotenv=dotenv)


@pytest.fixture
def instance(tmp_path: Path) -> Path:
    return tmp_path / "instance"


def refusal(instance: Path, **places: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        read(instance, **places)
    return str(caught.value)


# --- defaults ---------------------------------------------------------------------------------------------------


def test_a_first_start_needs_no_setting(instance: Path) -> None:
    settings = load(instance, environ={})
    assert settings.app == "wsgi:app"
    assert settings.instance == instance
    assert settings.log_dir == instance / "logs"
    assert settings.database_file == instance / "bgapp.sqlite"
    assert settings.retry_attempts == 3
    assert settings.retry_backoff == Backoff(15.0, fixed=False)
    assert 2 <= settings.max_running <= 256
    assert (settings.tick, settings.kill_grace, settings.runner_idle) == (1.0, 10.0, 60.0)
    assert (settings.timeout, settings.version, settings.max_queued) == (None, None, None)
    assert (settings.log_format, settings.sqlite_sync, settings.start_method) == ("text", "full", "auto")
    assert (settings.inline, settings.read_only, settings.allow_registration) == (False, False, False)
    assert (settings.allowed_jobs, settings.secret_keys) == ((), ())
    assert (settings.output_head_bytes, settings.output_tail_bytes) == (65536, 1048576)
    assert settings.warnings == ()
    assert set(settings.sources.values()) == {"default"}
    assert not instance.exists()


def test_every_setting_has_one_field_and_every_field_one_setting() -> None:
    fields = [field.name for field in dataclasses.fields(Settings) if field.name not in DERIVED]
    assert fields == [setting.attribute for setting in SETTINGS]


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_every_default_is_allowed_by_its_own_check(setting: Any) -> None:
    if setting.default not in (None, ()):
        assert setting.parse(setting.default) == setting.default
        assert setting.read(setting.default_text) == setting.default


def test_settings_are_frozen_and_can_be_handed_to_another_process(instance: Path) -> None:
    settings = load(instance, environ={})
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.tick = 2.0  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(settings)) == settings  # noqa: S301 # its own bytes


def test_the_environment_of_the_process_is_read_when_none_is_given(
    instance: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BGAPP_TICK", "7")
    assert load(instance).tick == 7.0


# --- who wins ---------------------------------------------------------------------------------------------------


def test_the_first_place_that_gives_a_setting_wins(instance: Path) -> None:
    env_path, config_path = str(instance.parent / ".env"), str(instance / "config.py")
    places: dict[str, Any] = {
        "app": {"BGAPP_TICK": 5},
        "config_py": "BGAPP_TICK = 4",
        "env_file": "BGAPP_TICK=3",
        "environ": {"BGAPP_TICK": "2"},
        "code": {"BGAPP_TICK": 1},
    }
    winners = ["app.config", config_path, env_path, "environment", "overrides"]
    for count, (value, source) in enumerate(zip((5.0, 4.0, 3.0, 2.0, 1.0), winners, strict=True), start=1):
        settings = read(instance, **dict(list(places.items())[:count]))
        assert (settings.tick, settings.sources["BGAPP_TICK"]) == (value, source)


def test_each_setting_is_looked_for_by_itself(instance: Path) -> None:
    settings = read(instance, environ={"BGAPP_TICK": "2"}, config_py="BGAPP_TICK = 3\nBGAPP_KILL_GRACE = 4")
    assert (settings.tick, settings.kill_grace) == (2.0, 4.0)


def test_a_bad_value_that_is_overridden_does_no_harm(instance: Path) -> None:
    assert read(instance, environ={"BGAPP_TICK": "2"}, config_py="BGAPP_TICK = 'never'").tick == 2.0


def test_keys_of_others_are_ignored(instance: Path) -> None:
    others = {"SECRET_KEY": "s", "TICK": 3, "MAX_RUNNING": "x"}
    settings = read(instance, app=others, code=others, environ={"TICK": "x"})
    assert settings.warnings == ()


def test_what_flask_loaded_from_the_env_file_is_told_as_of_that_file(instance: Path) -> None:
    env_path = instance.parent / ".env"
    settings = read(instance, environ={"BGAPP_TICK": "3"}, env_file="BGAPP_TICK=3")
    assert settings.sources["BGAPP_TICK"] == str(env_path)
    message = refusal(instance, environ={"BGAPP_TICK": "0"}, env_file="\nBGAPP_TICK=0")
    assert message.startswith(f"{env_path}, line 2: BGAPP_TICK is '0'")


# --- values -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("APP", "shop:create_app()", "shop:create_app()"),
        ("RETRY_ATTEMPTS", " 5 ", 5),
        ("RETRY_ATTEMPTS", "0", 0),
        ("RETRY_ATTEMPTS", "100", 100),
        ("RETRY_BACKOFF", "5 fixed", Backoff(5.0, fixed=True)),
        ("MAX_RUNNING", "1", 1),
        ("MAX_RUNNING", "256", 256),
        ("TICK", "0.1", 0.1),
        ("TICK", "60", 60.0),
        ("KILL_GRACE", "0", 0.0),
        ("KILL_GRACE", "3600", 3600.0),
        ("TIMEOUT", "0.5", 0.5),
        ("TIMEOUT", "none", None),
        ("RUNNER_IDLE", "1", 1.0),
        ("RUNNER_IDLE", "86400", 86400.0),
        ("VERSION", " 2026-11 ", "2026-11"),
        ("LOG_FORMAT", "JSON", "json"),
        ("SQLITE_SYNC", "off", "off"),
        ("INLINE", "yes", True),
        ("READ_ONLY", "on", True),
        ("ALLOW_REGISTRATION", "1", True),
        ("MAX_QUEUED", "1", 1),
        ("MAX_QUEUED", "none", None),
        ("START_METHOD", "spawn", "spawn"),
        ("ALLOWED_JOBS", '{"a.B": ["c"]}', {"a.B": ["c"]}),
        ("SECRET_KEYS", "pin, IBAN", ("pin", "iban")),
        ("OUTPUT_HEAD_BYTES", "1024", 1024),
        ("OUTPUT_TAIL_BYTES", "67108864", 67108864),
    ],
)
def test_text_is_read_as_each_setting_says(instance: Path, name: str, text: str, value: object) -> None:
    settings = read(instance, environ={f"BGAPP_{name}": text})
    assert getattr(settings, name.lower()) == value
    assert settings.sources[f"BGAPP_{name}"] == "environment"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("APP", "wsgi:"),
        ("RETRY_ATTEMPTS", "101"),
        ("RETRY_ATTEMPTS", "-1"),
        ("RETRY_ATTEMPTS", "1.5"),
        ("RETRY_BACKOFF", "3601"),
        ("RETRY_BACKOFF", "5 slowly"),
        ("MAX_RUNNING", "0"),
        ("MAX_RUNNING", "257"),
        ("TICK", "0.09"),
        ("TICK", "61"),
        ("TICK", "nan"),
        ("KILL_GRACE", "-1"),
        ("KILL_GRACE", "9" * 5000),
        ("TIMEOUT", "0"),
        ("TIMEOUT", "31536001"),
        ("RUNNER_IDLE", "0"),
        ("VERSION", "a\x1b[31mb"),
        ("LOG_FORMAT", "xml"),
        ("LOG_DIR", "a\tb"),
        ("SQLITE_SYNC", "extra"),
        ("INLINE", "maybe"),
        ("MAX_QUEUED", "0"),
        ("START_METHOD", "forkserver"),
        ("ALLOWED_JOBS", "a.B"),
        ("SECRET_KEYS", "a"),
        ("OUTPUT_HEAD_BYTES", "1023"),
        ("OUTPUT_TAIL_BYTES", "67108865"),
        ("DATABASE_URL", "mysql://h/db"),
    ],
)
def test_a_bad_value_is_refused_with_place_name_and_range(instance: Path, name: str, value: str) -> None:
    message = refusal(instance, environ={f"BGAPP_{name}": value})
    allowed = next(setting.allowed for setting in SETTINGS if setting.name == name)
    assert message.startswith(f"environment: BGAPP_{name} is ")
    assert f"it must be {allowed}" in message
    assert len(message) < 400
    assert message.isprintable()


@pytest.mark.parametrize("value", [None, "", "  "])
@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_empty_means_the_default_where_there_may_be_none_and_is_refused_elsewhere(
    instance: Path, setting: Any, value: object
) -> None:
    given = {setting.key: value}
    if setting.default in (None, ()):
        default = load(instance, environ={})
        assert getattr(read(instance, code=given), setting.attribute) == getattr(default, setting.attribute)
    else:
        assert "give a value" in refusal(instance, code=given)


def test_an_empty_value_wins_over_the_places_below(instance: Path) -> None:
    settings = read(instance, environ={"BGAPP_TIMEOUT": ""}, config_py="BGAPP_TIMEOUT = 60")
    assert (settings.timeout, settings.sources["BGAPP_TIMEOUT"]) == (None, "environment")


def test_a_name_without_a_value_in_the_env_file_is_empty(instance: Path) -> None:
    assert read(instance, env_file="BGAPP_TIMEOUT").timeout is None
    assert ".env, line 1: BGAPP_TICK is None" in refusal(instance, env_file="BGAPP_TICK")


def test_python_values_need_no_text(instance: Path) -> None:
    jobs = {Path: ["exists"]}
    settings = read(instance, app={"BGAPP_INLINE": True, "BGAPP_TICK": 2, "BGAPP_ALLOWED_JOBS": jobs})
    assert (settings.inline, settings.tick) == (True, 2.0)
    assert settings.allowed_jobs is jobs


def test_all_bad_values_are_told_at_once_each_with_its_line(instance: Path) -> None:
    message = refusal(
        instance,
        environ={"BGAPP_READ_ONLY": "maybe"},
        env_file="# mine\nBGAPP_TICK=0\n",
        config_py="\n\nBGAPP_KILL_GRACE = -1\n",
        app={"BGAPP_LOG_FORMAT": 3},
    )
    assert message.startswith("4 settings cannot be used:\n- ")
    assert f"{instance.parent / '.env'}, line 2: BGAPP_TICK is '0'; it must be seconds from 0.1 to 60" in message
    assert f"{instance / 'config.py'}, line 3: BGAPP_KILL_GRACE is -1; it must be seconds from 0 to 3600" in message
    assert "environment: BGAPP_READ_ONLY is 'maybe'; it must be yes or no" in message
    assert "app.config: BGAPP_LOG_FORMAT is 3; it must be text or json" in message


def test_a_broken_file_stops_the_start(instance: Path) -> None:
    assert "config.py, line 1: this is not Python" in refusal(instance, config_py="BGAPP_TICK: = 1")
    assert ".env, line 1: this cannot be read" in refusal(instance, env_file="BGAPP_TICK='1")


# --- secrets ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "mysql://u:hunter22@h/db",
        "postgresql://u:hunter22@h:99x/db",
        "postgresql://u:hunt@hunter22@h/db",
        "postgresql+psycopg2://h/db?password=hunter22",
        "u:hunter22@h/db",
        "hunter22",
    ],
)
def test_a_refused_address_does_not_tell_its_password(instance: Path, url: str) -> None:
    with pytest.raises(ConfigurationError, match="BGAPP_DATABASE_URL is ") as caught:
        read(instance, environ={"BGAPP_DATABASE_URL": url})
    assert "hunter22" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_an_address_in_the_wrong_setting_does_not_tell_its_password_either(instance: Path) -> None:
    assert "hunter22" not in refusal(instance, environ={"BGAPP_APP": "postgresql://u:hunter22@h/db"})


def test_neither_rows_nor_repr_tell_the_password(instance: Path) -> None:
    settings = read(instance, environ={"BGAPP_DATABASE_URL": "postgres://u:hunter22@h/db"})
    assert settings.database_url == "postgresql+psycopg://u:hunter22@h/db"
    assert "hunter22" not in repr(settings)
    assert ("BGAPP_DATABASE_URL", "postgresql+psycopg://u:***@h/db", "environment") in settings.as_rows()


def test_rows_show_every_setting_in_words(instance: Path) -> None:
    settings = read(
        instance,
        environ={"BGAPP_TIMEOUT": "0.5", "BGAPP_SECRET_KEYS": "pin,iban", "BGAPP_INLINE": "1"},
        config_py="BGAPP_ALLOWED_JOBS = {'a.B': ['c']}",
    )
    rows = {name: (value, source) for name, value, source in settings.as_rows()}
    assert list(rows) == [setting.key for setting in SETTINGS]
    assert rows["BGAPP_TIMEOUT"] == ("0.5", "environment")
    assert rows["BGAPP_SECRET_KEYS"] == ("pin, iban", "environment")
    assert rows["BGAPP_INLINE"] == ("yes", "environment")
    assert rows["BGAPP_ALLOWED_JOBS"] == ("{'a.B': ['c']}", str(instance / "config.py"))
    assert rows["BGAPP_RETRY_BACKOFF"] == ("15 doubling", "default")
    assert rows["BGAPP_MAX_QUEUED"] == ("none", "default")
    assert rows["BGAPP_DATABASE_URL"] == (f"sqlite:///{instance / 'bgapp.sqlite'}", "default")


# --- folders ----------------------------------------------------------------------------------------------------


def test_paths_start_in_the_instance_folder(instance: Path) -> None:
    settings = read(instance, environ={"BGAPP_LOG_DIR": "my logs/x", "BGAPP_DATABASE_URL": "sqlite:///data/j.sqlite"})
    assert settings.log_dir == instance / "my logs" / "x"
    assert settings.database_file == instance / "data" / "j.sqlite"


def test_absolute_paths_stay(instance: Path, tmp_path: Path) -> None:
    assert read(instance, environ={"BGAPP_LOG_DIR": str(tmp_path / "l")}).log_dir == tmp_path / "l"


def test_the_instance_folder_given_may_be_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load(Path("instance"), environ={}).instance == tmp_path / "instance"


@pytest.mark.parametrize("place", ["code", "environ", "env_file", "app"])
def test_the_instance_folder_may_be_moved_and_its_config_is_the_one_read(instance: Path, place: str) -> None:
    other = instance.parent / "other"
    other.mkdir()
    (other / "config.py").write_text("BGAPP_TICK = 9")
    given: Any = "BGAPP_INSTANCE=other" if place == "env_file" else {"BGAPP_INSTANCE": "other"}
    settings = read(instance, config_py="BGAPP_TICK = 8", **{place: given})
    assert settings.instance == other
    assert settings.tick == 9.0
    assert settings.log_dir == other / "logs"


def test_the_instance_folder_cannot_be_moved_from_within(instance: Path) -> None:
    message = refusal(instance, config_py="\nBGAPP_INSTANCE = '/srv'")
    assert f"{instance / 'config.py'}, line 2: BGAPP_INSTANCE cannot stand in" in message


# --- warnings ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("BGAPP_MAX_RUNING", "BGAPP_MAX_RUNNING"),
        ("BGAPP_RETRIES", "BGAPP_RETRY_ATTEMPTS"),
        ("BGAPP_DATABASE", "BGAPP_DATABASE_URL"),
        ("BGAPP_TIME_OUT", "BGAPP_TIMEOUT"),
        ("BGAPP_tick", "BGAPP_TICK"),
        ("bgapp_tick", "BGAPP_TICK"),
    ],
)
@pytest.mark.parametrize("place", ["code", "environ", "app"])
def test_an_unknown_name_is_a_warning_with_the_nearest_one(instance: Path, name: str, nearest: str, place: str) -> None:
    (warning,) = read(instance, **{place: {name: "secret"}}).warnings  # type: ignore[arg-type]
    assert f"{name} is no setting" in warning
    assert warning.endswith(f"did you mean {nearest}?")
    assert "secret" not in warning


def test_an_unknown_name_in_a_file_is_told_with_its_line(instance: Path) -> None:
    config_py = "bgapp_folder = 'a helper of the file itself'\nBGAPP_QQQQ = 1"
    settings = read(instance, config_py=config_py, env_file="\nBGAPP_TICKS=1")
    assert settings.warnings == (
        f"{instance.parent / '.env'}, line 2: BGAPP_TICKS is no setting and has no effect; did you mean BGAPP_TICK?",
        f"{instance / 'config.py'}, line 2: BGAPP_QQQQ is no setting and has no effect",
    )


def test_names_that_processes_of_bgapp_hand_on_are_no_settings(instance: Path) -> None:
    assert read(instance, environ={"_BGAPP_ATTEMPT": "x", "MY_BGAPP_TICK": "0"}).warnings == ()


# --- speed and pages --------------------------------------------------------------------------------------------


def test_importing_the_settings_imports_no_heavy_library() -> None:
    code = "import sys, bgapp.settings; print(sorted({name.split('.')[0] for name in sys.modules}))"
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True, env=environ, timeout=60).stdout
    assert "bgapp" in loaded
    for library in ("sqlalchemy", "dotenv", "flask"):
        assert library not in loaded


def documented() -> dict[str, list[str]]:
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    rows = (line.strip("|").split(" | ") for line in page.splitlines() if line.startswith("| `BGAPP_"))
    return {cells[0].strip(" `"): [cell.strip(" ") for cell in cells[1:]] for cells in rows}


def test_the_page_has_a_row_for_every_setting_and_no_other() -> None:
    assert list(documented()) == [setting.key for setting in SETTINGS]


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_the_row_tells_default_range_and_help(setting: Any) -> None:
    default, allowed, told = documented()[setting.key]
    assert default.strip("`") == setting.default_text
    assert (allowed, told) == (setting.allowed, setting.help)


def test_the_example_file_names_every_setting_with_its_help_and_default() -> None:
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    entries = [
        f"# {setting.help}\n# Allowed: {setting.allowed}. Default: {setting.default_text}.\n#{setting.key}="
        for setting in SETTINGS
    ]
    assert [entry for entry in entries if entry not in example] == []
    assert re.findall(r"^#(BGAPP_\w+)=", example, re.MULTILINE) == [setting.key for setting in SETTINGS]


def test_the_example_file_without_its_marks_gives_the_defaults(instance: Path) -> None:
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    settings = read(instance, env_file=re.sub(r"^#(BGAPP_)", r"\1", example, flags=re.MULTILINE))
    assert set(settings.sources.values()) == {str(instance.parent / ".env")}
    default = load(instance, environ={})
    for setting in SETTINGS:
        assert getattr(settings, setting.attribute) == getattr(default, setting.attribute)


def test_the_refusals_on_the_page_are_the_real_ones(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    message = refusal(tmp_path / "i", env_file="\n\nBGAPP_TICK=0", environ={"BGAPP_READ_ONLY": "maybe"})
    assert message.replace(str(tmp_path), "/srv/shop").replace("\\", "/") in page
    (warning,) = load(tmp_path / "i", environ={"BGAPP_MAX_RUNING": "1"}).warnings
    assert warning in page
