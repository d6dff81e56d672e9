from __future__ import annotations

import json
import os
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bgapp.cli.probe import probe
from bgapp.node import Node
from bgapp.sqlitelibrary import is_fixed
from tests import factories
from tests.commands.conftest import Flask, Invoke
from tests.site import Site
from tests.waiting import wait_for

pytestmark = pytest.mark.process


@pytest.fixture(autouse=True)
def _environment(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The doctor loads the application anew, in a process that must find the same installation."""
    for name, value in site.environment.items():
        monkeypatch.setenv(name, value)


def examined(result: Any) -> tuple[dict[str, Any], dict[str, list[dict[str, str]]]]:
    """Return what `doctor --json` said, and its checks by name."""
    said = json.loads(result.stdout)
    by_name: dict[str, list[dict[str, str]]] = {}
    for check in said["checks"]:
        assert set(check) == {"name", "status", "text", "advice"}
        assert check["advice"] or check["status"] != "warning" or check["name"] in ("settings", "allow-list")
        by_name.setdefault(check["name"], []).append(check)
    return said, by_name


def lead(site: Site) -> Any:
    """Lead the node as an app process does that has just ticked."""
    node = Node.join(site.instance)
    lock = node.leader_lock()
    assert lock.try_exclusive()
    assert node.host_lock().try_exclusive()
    factories.say_alive(site.runtime.database, node)
    return lock


def test_a_sound_installation_has_no_problem(site: Site, invoke: Invoke) -> None:
    lock = lead(site)
    result = invoke("doctor", "--json")
    said, checks = examined(result)
    assert result.exit_code == 0
    assert said["status"] in ("ok", "warning")
    for name in ("settings", "tables", "folders", "disk", "clock", "application", "allow-list", "forking"):
        assert [check["status"] for check in checks[name]] == ["ok"], checks[name]
    assert {"name": "BGAPP_TICK", "value": "0.2", "source": "environment"} in said["settings"]
    lock.release()


def test_people_get_a_line_for_each_setting_and_each_check(invoke: Invoke) -> None:
    lines = invoke("doctor").stdout.splitlines()
    assert any(line.split() == ["BGAPP_TICK", "0.2", "environment"] for line in lines)
    assert [line.split()[:2] for line in lines if "tables:" in line] == [["ok", "tables:"]]
    [clock] = [line for line in lines if "clock:" in line]
    assert clock.startswith("warning  clock: no application process leads")
    assert " -> flask " in clock


def test_a_missing_clock_is_a_problem_once_jobs_are_due(site: Site, invoke: Invoke) -> None:
    assert examined(invoke("doctor", "--json"))[1]["clock"][0]["status"] == "warning"
    site.enqueue("add", 1, 2)
    result = invoke("doctor", "--json")
    said, checks = examined(result)
    assert (result.exit_code, said["status"], checks["clock"][0]["status"]) == (1, "problem", "problem")
    assert "jobs are due and wait" in checks["clock"][0]["text"]


def test_a_clock_that_went_silent_is_a_problem(site: Site, invoke: Invoke) -> None:
    node = Node.join(site.instance)
    lock = node.leader_lock()
    assert lock.try_exclusive()
    with site.runtime.database.write() as connection:
        factories.add_node(connection, node.id)  # heard of at a fixed time, which is not now
        connection.exec_driver_sql("UPDATE bgapp_nodes SET seen_at = '2020-01-01 00:00:00.000000'")
    checks = examined(invoke("doctor", "--json"))[1]
    assert checks["clock"][0]["status"] == "problem"
    assert "has not been heard of" in checks["clock"][0]["text"]
    assert checks["host"][0]["status"] == "warning"
    assert "runner.log" in checks["host"][0]["advice"]
    lock.release()


def test_a_setting_that_is_none_is_a_warning(flask: Flask) -> None:
    checks = examined(flask("doctor", "--json", env={"BGAPP_MAX_RUNING": "3"}))[1]
    assert "did you mean BGAPP_MAX_RUNNING?" in checks["settings"][0]["text"]


def test_a_database_that_does_not_answer_is_a_problem_among_others(flask: Flask) -> None:
    done = flask("doctor", "--json", env={"BGAPP_DATABASE_URL": "postgresql://me:canary@127.0.0.1:1/none"})
    _, checks = examined(done)
    assert done.returncode == 1
    assert "canary" not in done.stdout + done.stderr
    assert checks["tables"][0]["status"] == checks["clock"][0]["status"] == "problem"
    assert checks["application"][0]["status"] == "ok", "the others are still made"


def test_what_others_may_read_is_a_warning_with_the_remedy(site: Site, invoke: Invoke) -> None:
    site.instance.chmod(0o750)
    (site.instance / "bgapp.sqlite").chmod(0o644)
    checks = examined(invoke("doctor", "--json"))[1]
    assert [(check["status"], check["advice"]) for check in checks["folders"]] == [
        ("warning", f"chmod go= {site.instance}"),
        ("warning", f"chmod go= {site.instance / 'bgapp.sqlite'}"),
    ]
    assert "mode 750" in checks["folders"][0]["text"]


def test_a_folder_that_everyone_may_write_is_a_problem(site: Site, invoke: Invoke) -> None:
    (site.instance / "logs").chmod(0o777)
    site.runtime._ready_in = None
    result = invoke("doctor", "--json")
    assert result.exit_code == 1
    assert "may be written by every user" in examined(result)[1]["tables"][0]["text"]


def test_a_class_that_cannot_be_imported_is_a_problem(make_site: Callable[..., Site], monkeypatch: Any) -> None:
    site = make_site(allowed_jobs='{"tests.jobcode.Nothing": ["run"], "tests.jobcode.Work": ["nothing"]}')
    for name, value in site.environment.items():
        monkeypatch.setenv(name, value)
    result = site.app.test_cli_runner().invoke(args=["doctor", "--json"])
    found = examined(result)[1]["allow-list"]
    assert result.exit_code == 1
    assert [check["status"] for check in found] == ["problem", "problem"]
    assert "tests.jobcode.Nothing" in found[0]["text"]
    assert "'nothing'" in found[1]["text"]


def test_an_empty_allow_list_is_a_warning(flask: Flask) -> None:
    checks = examined(flask("doctor", "--json", env={"BGAPP_ALLOWED_JOBS": "[]"}))[1]
    assert (checks["allow-list"][0]["status"], checks["allow-list"][0]["text"]) == ("warning", "no class may run")


THREADED = """
    import threading

    threading.Thread(target=threading.Event().wait, daemon=True).start()


    class Job:
        def run(self) -> None: ...
"""


@pytest.mark.parametrize(("method", "status"), [("auto", "warning"), ("fork", "problem"), ("spawn", "ok")])
def test_an_import_that_starts_a_thread_is_named(flask: Flask, tmp_path: Path, method: str, status: str) -> None:
    (tmp_path / "threaded.py").write_text(textwrap.dedent(THREADED))
    environment = {
        "BGAPP_ALLOWED_JOBS": '{"tests.jobcode.Work": ["add"], "threaded.Job": ["run"]}',
        "BGAPP_START_METHOD": method,
        "PYTHONPATH": str(tmp_path),
    }
    [check] = examined(flask("doctor", "--json", env=environment))[1]["forking"]
    assert check["status"] == status
    assert ("importing threaded.Job starts a thread" in check["text"]) is (status != "ok")


def test_an_application_that_starts_a_thread_is_named(flask: Flask) -> None:
    [check] = examined(flask("doctor", "--json", env={"BGAPP_APP": "tests.threadedapp"}))[1]["forking"]
    assert check["status"] == "warning"
    assert "importing the application tests.threadedapp" in check["text"]


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (None, "cannot be loaded"),
        ("raise RuntimeError('out of order')", "RuntimeError: out of order"),
        ("import os; os._exit(3)", "ended the process (exit code 3)"),
        ("print('{}'); import sys; sys.exit(0)", "ended the process (exit code 0)"),
        ("from flask import Flask; app = Flask('other')", "has no bgapp"),
    ],
    ids=["missing", "raises", "exits", "leaves", "other"],
)
def test_an_application_that_runners_cannot_load_is_a_problem(
    flask: Flask, tmp_path: Path, code: str | None, says: str
) -> None:
    if code is not None:
        (tmp_path / "lame.py").write_text(code + "\n")
    done = flask("doctor", "--json", env={"BGAPP_APP": "lame:app", "PYTHONPATH": str(tmp_path)})
    _, checks = examined(done)
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert says in checks["application"][0]["text"]
    assert "BGAPP_APP" in checks["application"][0]["advice"]
    assert checks["allow-list"][0]["text"].startswith("not checked")
    assert "forking" not in checks


def test_an_application_with_another_instance_folder_is_a_problem(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BGAPP_INSTANCE", str(tmp_path / "elsewhere"))
    [check] = examined(invoke("doctor", "--json"))[1]["application"]
    assert check["status"] == "problem"
    assert str(tmp_path / "elsewhere") in check["text"]
    assert not (tmp_path / "elsewhere").exists(), "looking makes nothing"


def test_what_an_application_prints_does_not_spoil_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import os\nprint('hello')\nos.write(1, b'hello')\nfrom wsgi import app\n"
    (tmp_path / "chatty.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    report = probe("chatty:app")
    assert (report.error, report.threads, report.problems) == (None, 1, [])


@pytest.mark.parametrize(
    ("version", "fixed"),
    [
        ((3, 40, 1), False),
        ((3, 44, 6), True),
        ((3, 44, 5), False),
        ((3, 45, 0), False),
        ((3, 50, 7), True),
        ((3, 51, 2), False),
        ((3, 51, 3), True),
        ((3, 53, 4), True),
        ((4, 0, 0), True),
    ],
)
def test_which_sqlite_libraries_keep_every_commit(version: tuple[int, ...], fixed: bool) -> None:
    assert is_fixed(version) is fixed


def test_the_warning_about_root(invoke: Invoke) -> None:
    checks = examined(invoke("doctor", "--json"))[1]
    is_root = getattr(os, "geteuid", lambda: None)() == 0
    assert [check["status"] for check in checks.get("user", [])] == (["warning"] if is_root else [])


def test_a_living_installation_is_sound(site: Site, invoke: Invoke) -> None:
    site.start_app()
    site.enqueue("add", 1, 2)
    wait_for(lambda: site.host() is not None, "the host")
    wait_for(lambda: invoke("doctor", "--json").exit_code == 0, "the doctor to be content")
    checks = examined(invoke("doctor", "--json"))[1]
    assert checks["clock"][0]["status"] == checks["host"][0]["status"] == "ok"
