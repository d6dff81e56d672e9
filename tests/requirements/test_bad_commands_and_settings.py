"""Bad commands, B17 to B20, and bad settings, B33 to B36, from outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from bgapp import create_app, queries, run_background_job
from bgapp.errors import ConfigurationError
from bgapp.runtime import of
from tests.conftest import ROOT
from tests.requirements.support import SHOP, accepted, ask, flask, python, rows
from tests.site import Site
from tests.waiting import wait_for

# Commands ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ["Till", "where", "--params-file", "/etc/passwd"],
        ["Till", "where", "--retrys", "3"],
        ["Till", "where", "-x"],
        ["Till", "where", "--retries"],
        ["Till", "where", "--kwargs"],
        ["Till"],
        [],
        ["Till", "keep", "word", "--kwargs", '{"words": []}'],
    ],
    ids=" ".join,
)
def test_b17_wrong_usage_of_run_job_is_told_with_exit_code_2(quiet: Site, words: list[str]) -> None:
    before = rows(quiet)
    done = quiet.app.test_cli_runner().invoke(args=["run-job", *words])
    assert done.exit_code == 2, done.output
    assert done.output.strip()
    assert "Traceback" not in done.output
    assert rows(quiet) == before


@pytest.mark.parametrize(
    "words", [["show", "one"], ["show"], ["cancel"], ["list", "--status", "success"], ["log", "-1"]]
)
def test_b17_wrong_usage_of_jobs_is_told_with_exit_code_2(quiet: Site, words: list[str]) -> None:
    done = quiet.app.test_cli_runner().invoke(args=["jobs", *words])
    assert done.exit_code == 2, done.output
    assert "Traceback" not in done.output


def test_b17_an_at_sign_or_a_dash_is_text_and_no_file(quiet: Site) -> None:
    words = ["run-job", "Till", "keep", "@/etc/passwd", "-", "file:///etc/passwd", "--json"]
    done = quiet.app.test_cli_runner().invoke(args=words, input="from standard input")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["params"] == {"words": ["@/etc/passwd", "-", "file:///etc/passwd"]}


ODD = ["-x", "--retries", "--", "a\nb", "'\"$HOME`", "\U0001f680", "", " ", "%s", "-5"]


def test_b18_odd_words_pass_after_two_dashes(quiet: Site) -> None:
    job = accepted(flask(quiet, "run-job", "--json", "Till", "keep", "--", *ODD))
    assert job["params"] == {"words": ODD}


@pytest.mark.parametrize("number", ["-5", "-0.5"])
def test_b18_a_bare_negative_number_is_a_parameter(quiet: Site, number: str) -> None:
    done = quiet.app.test_cli_runner().invoke(args=["run-job", "Till", "keep", number, "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["params"] == {"words": [number]}


@pytest.mark.parametrize("module", ["flask", "bgapp.runner"])
def test_b18_bytes_that_are_no_utf8_are_refused(quiet: Site, module: str) -> None:
    before = rows(quiet)
    start = [b"--app", b"wsgi", b"run-job"] if module == "flask" else []
    command = [os.fsencode(sys.executable), b"-m", module.encode(), *start, b"Till", b"keep", b"\xff\xfe"]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **quiet.environment}, capture_output=True, check=False, timeout=60
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.strip()
    assert b"Traceback" not in done.stderr
    assert rows(quiet) == before


@pytest.mark.parametrize(
    "words",
    [["-m", "flask", "--app", "wsgi", "jobs", "list"], ["-m", "bgapp.runner", "Work", "talk", "x" * 99, "3000"]],
    ids=["jobs-list", "runner"],
)
def test_b19_a_closed_pipe_ends_a_command_quietly(quiet: Site, words: list[str]) -> None:
    ask(quiet, "Till", "where", delay=900)
    reading, writing = os.pipe()
    os.close(reading)
    done = python(quiet, *words, capture_output=False, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert done.returncode == 141, done.stderr
    assert "Traceback" not in done.stderr


def test_b19_a_closed_pipe_does_not_leave_the_scripts_job_running(quiet: Site) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    python(quiet, "-m", "bgapp.runner", "Work", "talk", "x" * 99, capture_output=False, stdout=writing)
    os.close(writing)
    with quiet.runtime.database.read() as connection:
        [newest] = queries.jobs(connection, limit=1)
    assert newest.method == "talk"
    assert queries.is_final(newest.status), "its process is gone, so its row must not say that it runs"


@pytest.mark.parametrize("how", ["command", "script"])
def test_b19_ctrl_c_while_a_job_runs_is_130_without_a_traceback(
    living: Site, quiet: Site, tmp_path: Path, how: str
) -> None:
    witness = str(tmp_path / "witness")
    site = living if how == "command" else quiet
    call = ["Work", "note", witness, "30"]
    words = (
        ["flask", "--app", "wsgi", "run-job", *call, "--wait", "--json"]
        if how == "command"
        else ["bgapp.runner", *call]
    )
    process = site.run_python("-m", *words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_for(lambda: Path(witness).exists() or process.poll() is not None, "the job to start")
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert b"Traceback" not in errors + output
    job = int(Path(witness).read_text().split()[1])
    if how == "command":
        assert site.job(job)["status"] == "running", "only the waiting ends"
        site.app.test_cli_runner().invoke(args=["jobs", "cancel", str(job)])
    assert site.wait(job)["status"] == "cancelled"


def test_b19_no_home_a_c_locale_and_a_folder_that_cannot_be_written(quiet: Site, tmp_path: Path) -> None:
    folder = tmp_path / "read-only"
    folder.mkdir(mode=0o500)
    environment = {**os.environ, **quiet.environment, "PYTHONPATH": str(ROOT), "LC_ALL": "C", "PYTHONUTF8": "0"}
    environment.update(PYTHONCOERCECLOCALE="0", PYTHONIOENCODING="")
    environment.pop("HOME", None)
    words = ["-m", "flask", "--app", str(ROOT / "wsgi.py")]
    word = "grüße \U0001f680"
    made = subprocess.run(
        [sys.executable, *words, "run-job", "Till", "keep", "--kwargs", json.dumps({"words": [word]}), "--json"],
        cwd=folder, env=environment, capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    job = json.loads(made.stdout.decode("utf-8"))
    assert job["params"] == {"words": [word]}
    seen = subprocess.run(
        [sys.executable, *words, "jobs", "show", str(job["id"])],
        cwd=folder, env=environment, capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    assert seen.returncode == 0, seen.stderr
    assert "grüße" in seen.stdout.decode("utf-8") or "gr\\u00fc" in seen.stdout.decode("utf-8")


ANOTHER_USER = """
    import os, sys
    from wsgi import app
    app.test_cli_runner().invoke(args=["run-job", "SampleJob", "process", "x"])  # everything is imported now
    if hasattr(os, "setuid") and os.getuid() == 0:
        os.setuid(65534)
    os.environ["BGAPP_INSTANCE"] = sys.argv[1]
    from flask.cli import ScriptInfo, FlaskGroup
    from bgapp import create_app
    group = FlaskGroup(create_app=create_app)
    group.main(["run-job", "SampleJob", "process", "x"], prog_name="flask")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="modes of files say nothing on Windows")
def test_b20_another_user_is_refused_by_the_modes_of_files_in_clear_words(quiet: Site, tmp_path: Path) -> None:
    other = tmp_path / "other"
    accepted(flask(quiet, "run-job", "SampleJob", "process", "x", "--json", env={"BGAPP_INSTANCE": str(other)}))
    other.chmod(0o000)
    done = python(quiet, "-c", textwrap.dedent(ANOTHER_USER), str(other), env={"BGAPP_INSTANCE": str(tmp_path / "own")})
    other.chmod(0o700)
    assert done.returncode == 4, done.stderr
    assert "ermission denied" in done.stderr
    assert str(other) in done.stderr
    assert "locked" not in done.stderr
    assert "Traceback" not in done.stderr


# Settings ----------------------------------------------------------------------------------------------------------

BAD_VALUES = {
    "BGAPP_TICK": ["0", "-1", "61", "1e1", "one", "", "nan", "1 s", "٣"],
    "BGAPP_RETRY_ATTEMPTS": ["-1", "101", "1.5", "yes", "9" * 30],
    "BGAPP_RETRY_BACKOFF": ["-1", "3601", "5 minutes", "5 fixed 5"],
    "BGAPP_MAX_RUNNING": ["0", "257", "2.0", "many"],
    "BGAPP_KILL_GRACE": ["-1", "3601"],
    "BGAPP_TIMEOUT": ["0", "-5", "31536001"],
    "BGAPP_LOG_FORMAT": ["yaml", "te xt"],
    "BGAPP_INLINE": ["maybe", "2", "ja"],
    "BGAPP_SQLITE_SYNC": ["on"],
    "BGAPP_APP": ["wsgi.py", "a b:c", "os.system('x')"],
    "BGAPP_DATABASE_URL": ["mysql://localhost/x", "sqlite://", "sqlite:///:memory:", "not a url"],
    "BGAPP_ALLOWED_JOBS": [
        "[",
        "5",
        '"Till"',
        '{"a.B": []}',
        '{"a.B": ["_x"]}',
        '{"B": ["x"]}',
        '{"a.B": 1, "a.B": 2}',
    ],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD_VALUES.items() for value in values])
def test_b33_and_b34_a_bad_value_stops_the_start_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv("BGAPP_INSTANCE", str(tmp_path / "instance"))
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as caught:
        create_app()
    assert name in str(caught.value)
    assert len(str(caught.value)) < 600
    assert not (tmp_path / "instance").exists(), "nothing is made before everything is checked"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"BGAPP_TICK=1\nBGAPP_TICK=2\n", "line 2: BGAPP_TICK was given in line 1 too"),
        (b"\n\nBGAPP_TICK=zero\n", "line 3: BGAPP_TICK is 'zero'"),
        (b"BGAPP_TICK='1\nX=2\n", "line 1: this cannot be read"),
        (b"BGAPP_TICK=\x00\x01", "binary"),
        (b"BGAPP_TICK=\xff", "not UTF-8"),
        (b"\xef\xbb\xbfBGAPP_TICK=0\r\n", "line 1: BGAPP_TICK is '0'"),
    ],
    ids=["twice", "wrong", "open-quote", "binary", "latin-1", "bom-and-crlf"],
)
def test_b33_a_dotenv_file_is_told_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, says: str
) -> None:
    (tmp_path / ".env").write_bytes(content)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BGAPP_INSTANCE", str(tmp_path / "instance"))
    with pytest.raises(ConfigurationError) as caught:
        create_app()
    assert str(tmp_path / ".env") in str(caught.value)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("BGAPP_TICK = 0", "line 1: BGAPP_TICK is 0"),
        ("x = 1\nBGAPP_TICK = '1 s'", "line 2: BGAPP_TICK is '1 s'"),
        ("BGAPP_TICK = ", "line 1: this is not Python"),
        ("\nraise RuntimeError('no')", "line 2: the file raised RuntimeError: no"),
        ("\timport os", "line 1: this is not Python"),
        ("BGAPP_INSTANCE = '/srv'", "cannot stand in the instance folder's own file"),
        ("BGAPP_ALLOWED_JOBS = {'a.B': {'methods': {'c': {'retrys': 1}}}}", "did you mean 'retries'?"),
        (None, "this must be a file"),
    ],
    ids=["zero", "text", "unfinished", "raises", "tab", "instance", "allow-list", "folder"],
)
def test_b33_instance_config_py_is_told_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, says: str
) -> None:
    file = tmp_path / "instance" / "config.py"
    file.parent.mkdir(mode=0o700)
    file.mkdir() if content is None else file.write_text(content)
    monkeypatch.setenv("BGAPP_INSTANCE", str(file.parent))
    with pytest.raises(ConfigurationError) as caught:
        create_app()
    assert says in str(caught.value)
    assert str(file) in str(caught.value) or "BGAPP_ALLOWED_JOBS" in str(caught.value)


def test_b33_an_empty_file_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    instance = tmp_path / "instance"
    instance.mkdir(mode=0o700)
    (instance / "config.py").write_text("")
    (tmp_path / ".env").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BGAPP_INSTANCE", str(instance))
    assert of(create_app()).settings.tick == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BGAPP_TICK", "zero"),
        ("BGAPP_DATABASE_URL", "postgresql://me:canary-pw@127.0.0.1:1/none"),
        ("BGAPP_LOG_DIR", "/dev/null/x"),
    ],
    ids=["value", "database", "folder"],
)
@pytest.mark.parametrize("way", ["command", "script"])
def test_b33_a_start_that_cannot_be_is_exit_code_4_in_clear_words(quiet: Site, name: str, value: str, way: str) -> None:
    words = ["flask", "--app", "wsgi", "jobs", "stats"] if way == "command" else ["bgapp.runner", "Till", "where"]
    done = python(quiet, "-m", *words, env={name: value})
    assert done.returncode == 4, (done.returncode, done.stderr[-600:])
    assert done.stderr.strip()
    assert "Traceback" not in done.stderr
    assert "canary-pw" not in done.stderr
    assert done.stdout == ""


def test_b34_values_of_the_environment_are_stripped_and_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"INSTANCE": str(tmp_path / "i"), "TICK": " 5 ", "INLINE": "Yes", "TIMEOUT": ""}.items():
        monkeypatch.setenv(f"BGAPP_{name}", value)
    settings = of(create_app()).settings
    assert (settings.tick, settings.inline, settings.timeout) == (5.0, True, None)


def test_b34_an_unknown_name_is_a_warning_with_the_nearest(quiet: Site) -> None:
    done = flask(quiet, "jobs", "stats", env={"BGAPP_MAX_RUNING": "5"})
    assert done.returncode == 0
    assert "BGAPP_MAX_RUNING is no setting" in done.stderr
    assert "did you mean BGAPP_MAX_RUNNING?" in done.stderr


def test_b34_a_password_in_an_address_is_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BGAPP_INSTANCE", str(tmp_path / "i"))
    for value in ("mysql://me:canary-pw@db/x", "postgresql://me:canary-pw@db:0/x", "postgresql://me:canary@pw@db/x"):
        monkeypatch.setenv("BGAPP_DATABASE_URL", value)
        with pytest.raises(ConfigurationError) as caught:
            create_app()
        assert "canary" not in str(caught.value)
    monkeypatch.setenv("BGAPP_DATABASE_URL", "postgresql://me:canary-pw@127.0.0.1:1/none")
    app = create_app()
    with app.app_context(), pytest.raises(Exception, match="database") as failed:
        run_background_job("SampleJob", "process", ["x"])
    assert "canary-pw" not in str(failed.value) + repr(of(app).settings) + repr(of(app).database)


def test_b35_no_key_or_password_is_shipped(make_app: Callable[..., Flask]) -> None:
    """Pages and their key come with the next issue; until then nothing may need or ship one."""
    shipped = [
        ROOT / ".env.example",
        ROOT / "wsgi.py",
        *(ROOT / "instance").glob("*.md"),
        *(ROOT / "bgapp").rglob("*.py"),
    ]
    for file in shipped:
        for line in file.read_text().splitlines():
            assert not line.replace(" ", "").startswith(("SECRET_KEY=", "#SECRET_KEY=")), f"{file}: {line}"
    key = make_app().secret_key
    assert key is None or len(key) >= 32


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    found = tmp_path / "folder"
    found.mkdir(mode=0o700)
    yield found
    found.chmod(0o700)


def start(**settings: Any) -> Flask:
    app = create_app({f"BGAPP_{name.upper()}": str(value) for name, value in settings.items()})
    try:
        of(app).ready()
    finally:
        of(app).database.dispose()
    return app


def test_b36_folders_are_made_for_this_user_alone(folder: Path) -> None:
    start(instance=folder / "a" / "b", log_dir="far/logs")
    for made in ("a", "a/b", "a/b/far", "a/b/far/logs"):
        assert (folder / made).stat().st_mode & 0o777 == 0o700


def test_b36_a_folder_that_everyone_may_write_is_refused(folder: Path) -> None:
    folder.chmod(0o777)
    for settings in ({"instance": folder}, {"instance": folder / "i", "log_dir": folder}):
        with pytest.raises(ConfigurationError, match=r"may be written by every user of this machine: chmod o-w"):
            start(**settings)
    with pytest.raises(ConfigurationError, match="set BGAPP_LOG_DIR to another folder"):
        start(instance=folder.parent / "i", log_dir=folder)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives links away")
def test_b36_a_link_of_another_user_is_refused(folder: Path) -> None:
    link = folder / "logs"
    (folder / "real").mkdir(mode=0o700)
    link.symlink_to(folder / "real")
    start(instance=folder)
    os.lchown(link, 65534, 65534)
    with pytest.raises(ConfigurationError, match="a link that belongs to another user"):
        start(instance=folder)


@pytest.mark.parametrize("what", ["file", "file-above"])
def test_b36_a_file_in_the_place_of_a_folder_is_refused(folder: Path, what: str) -> None:
    (folder / "file").write_text("")
    place = folder / "file" if what == "file" else folder / "file" / "logs"
    with pytest.raises(ConfigurationError, match="cannot be made or used"):
        start(instance=folder, log_dir=place)


def test_b36_a_refused_folder_refuses_the_call_and_loses_nothing(folder: Path) -> None:
    app = create_app({"BGAPP_INSTANCE": str(folder), "BGAPP_ALLOWED_JOBS": json.dumps({f"{SHOP}.Till": ["where"]})})
    folder.chmod(0o777)
    with app.app_context():
        with pytest.raises(ConfigurationError):
            run_background_job("Till", "where")
        assert not (folder / "bgapp.sqlite").exists()
        folder.chmod(0o700)
        assert run_background_job("Till", "where").id == 1
    of(app).database.dispose()
