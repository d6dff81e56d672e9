"""SQLite under strangers: locks, readers without an end, copies of the living file, crashes of everything at once."""

from __future__ import annotations

import json
import logging
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import event, select, text, update

from bgapp import BackgroundJobs, clock, schema, start_clock
from bgapp.accounts import LOGINS
from bgapp.cli.checks import WARNING, Doctor
from bgapp.database import CHECKPOINT_AT, Database
from bgapp.databasefile import KEPT_LOG, LARGE_LOG
from bgapp.errors import DatabaseBusy
from bgapp.runtime import of
from bgapp.scheduler import stop_clock
from bgapp.statements import JOBS
from tests import factories as make
from tests.conftest import ROOT
from tests.faults.strangers import Server, database_file, flask, holding
from tests.site import Site
from tests.waiting import wait_for

MIB = 1024 * 1024


def stored(database: Database) -> set[int]:
    with database.read() as connection:
        return set(connection.execute(select(JOBS.c.id)).scalars())


def check(site: Site) -> str:
    with site.runtime.database.read() as connection:
        return str(connection.execute(text("PRAGMA quick_check")).scalar())


BUSY = "! another process is writing to the database and did not finish in time: try again"


def acknowledged(*files: Path) -> list[int]:
    """Return the ids that askers were given; whoever was refused, on a machine that is very slow, was told in words."""
    lines = [line for file in files if file.exists() for line in file.read_text().splitlines()]
    assert {line for line in lines if line.startswith("!")} <= {BUSY}
    return [int(line) for line in lines if line != BUSY]


# Locks ---------------------------------------------------------------------------------------------------------


def test_f37_f38_a_stranger_who_locks_the_database_delays_outcomes_and_gets_people_words(
    patient_site: Site, tmp_path: Path
) -> None:
    site = patient_site
    server = Server(site)
    wait_for(lambda: server.get("health/ready")[0] == 200, "a server that is ready")
    waiting = site.enqueue("echo", 1, delay=3600)
    running = site.enqueue("until", str(site.witness), str(tmp_path / "go"), job_class="Patient")
    site.wait_entered(running)
    cancel = f"jobs/{waiting.id}/cancel"
    token = server.token(cancel)
    with site.runtime.database.write() as connection:  # each page would note that this login is in use
        connection.execute(update(LOGINS).values(seen_at=clock.now() - timedelta(minutes=2)))
    with holding(database_file(site), "BEGIN EXCLUSIVE"), ThreadPoolExecutor() as others:
        posted = others.submit(server.post, cancel, token)
        commanded = others.submit(flask, site, "jobs", "cancel", str(waiting.id))
        with pytest.raises(DatabaseBusy, match="another process is writing to the database.*try again"):
            site.note()
        for page in ("", "jobs", f"jobs/{running.id}", "jobs/new", "health/live"):
            assert server.get(page)[0] == 200, page
        assert server.get("health/ready")[:2] == (503, "not ok\n")
        status, page, headers = posted.result()
        assert (status, int(headers["Retry-After"]) > 0) == (503, True)
        assert "Another program keeps writing to the database" in page
        code, said = commanded.result()
        assert (code, said.count("\n")) == (4, 1)
        for words in (page, said):
            assert "locked" not in words
            assert "Traceback" not in words
        (tmp_path / "go").touch()
        wait_for(lambda: site.ends(running.id), "the job to end under the lock")
        assert site.job(running)["status"] == "running"
    found = site.wait(running)
    assert (found["status"], found["attempt"]) == ("completed", 1)
    assert site.job(waiting)["status"] == "scheduled"
    assert "Job lost" not in site.log()
    wait_for(lambda: server.get("health/ready")[0] == 200, "the server to be ready again")
    assert server.post(cancel, token)[0] == 200
    assert site.job(waiting)["status"] == "cancelled"


@pytest.mark.long
def test_f39_q8_many_writers_and_a_strangers_lock_surface_no_raw_error_and_lose_no_job(
    site: Site, tmp_path: Path
) -> None:
    files = [tmp_path / f"acknowledged{number}" for number in range(6)]
    askers = [site.run_python("-m", "tests.faults.asker", str(file), "60") for file in files]
    while any(process.poll() is None for process in askers):
        with holding(database_file(site), "BEGIN EXCLUSIVE"):
            pass
    assert [process.returncode for process in askers] == [0] * 6
    ids = acknowledged(*files)
    assert len(ids) > 300
    assert (len(ids), set(ids)) == (len(set(ids)), stored(site.runtime.database))


# The write-ahead log -------------------------------------------------------------------------------------------


@pytest.mark.long
def test_f40_a_reader_without_an_end_is_told_and_the_log_shrinks_after_it(site: Site) -> None:
    file = database_file(site)
    site.start_app()
    log = Path(f"{file}-wal")
    grow = f"INSERT INTO junk SELECT zeroblob({MIB}) FROM (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 "
    with holding(file, "CREATE TABLE junk (x)", "BEGIN", "SELECT * FROM junk"):
        with holding(file, f"{grow} FROM n WHERE i < 66) SELECT i FROM n)"):
            pass
        assert log.stat().st_size > LARGE_LOG
        found = [check for check in Doctor(site.runtime)._check_log() if check.status == WARNING]
        assert "has grown to 6" in found[0].text
        said = site.instance / "processes.log"
        wait_for(lambda: "write-ahead log holds 6" in said.read_text(), "the leader's warning")
        assert site.wait(site.note())["status"] == "completed"
    wait_for(lambda: log.stat().st_size <= KEPT_LOG, "the log to shrink")
    assert check(site) == "ok"


@pytest.fixture
def weak_library() -> ModuleType:
    """Python's own SQLite module, which says of itself that it is one of those that can lose commits."""
    module = ModuleType("weak")
    module.__dict__.update({**sqlite3.__dict__, "__name__": "weak"})
    module.sqlite_version, module.sqlite_version_info = "3.40.1", (3, 40, 1)  # type: ignore[attr-defined]
    return module


def test_f43_with_a_library_that_can_lose_commits_only_bgapp_checkpoints_and_holds_the_write_lock(
    tmp_path: Path, weak_library: ModuleType
) -> None:
    database = Database(f"sqlite:///{tmp_path / 'jobs.sqlite'}", dbapi=weak_library)
    assert database.file is not None
    database.file.make()
    seen: list[tuple[int, str]] = []

    @event.listens_for(database.engine, "connect")
    def trace(connection: Any, _record: object) -> None:
        connection.set_trace_callback(lambda statement: seen.append((id(connection), statement)))

    schema.upgrade(database)
    lengths = []
    with database.read() as connection:
        assert connection.exec_driver_sql("PRAGMA wal_autocheckpoint").scalar() == 0
    other = Database(database.url, wait=0.0, dbapi=weak_library)
    for _ in range(20):
        with database.write() as connection:
            make.insert_job(connection, params=json.dumps(["x" * MIB]))
        lengths.append(database.file.log_size())
    assert max(lengths) < CHECKPOINT_AT + 2 * MIB
    checkpoints = [place for place, (_, told) in enumerate(seen) if told == "PRAGMA wal_checkpoint(PASSIVE)"]
    assert checkpoints
    for place in checkpoints:
        holder = next(who for who, told in reversed(seen[:place]) if told == "BEGIN IMMEDIATE")
        assert holder != seen[place][0], "another connection copies"
        ends = [told for who, told in seen[place:] if who == holder and told in ("COMMIT", "ROLLBACK")]
        begun = [
            told for who, told in seen[:place] if who == holder and told in ("COMMIT", "ROLLBACK", "BEGIN IMMEDIATE")
        ]
        assert (begun[-1], bool(ends)) == ("BEGIN IMMEDIATE", True), "and this one holds the write lock meanwhile"
    assert len(make.rows(other)) == 20
    with other.read() as connection:
        assert connection.exec_driver_sql("PRAGMA quick_check").scalar() == "ok"
    for one in (database, other):
        one.dispose()


def test_f43_a_host_whose_library_can_lose_commits_is_told_and_its_engine_leaves_checkpoints_to_bgapp(
    tmp_path: Path, weak_library: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    app = Flask("shop", instance_path=str(tmp_path / "instance"))
    app.config["SECRET_KEY"] = "a key of the host's own"
    app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{tmp_path / 'shop.sqlite'}"
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {"module": weak_library}
    app.config["BGAPP_ALLOWED_JOBS"] = ["tests.jobcode.Work"]
    db = SQLAlchemy(app)
    BackgroundJobs(app)
    runtime = of(app)
    assert runtime.dbapi is weak_library
    with caplog.at_level(logging.WARNING):
        start_clock(app, after=3600)
    stop_clock(app)
    assert "SQLite 3.40.1 (weak) can lose commits" in caplog.text
    (found,) = Doctor(runtime)._check_library()
    assert (found.status, "3.51.3" in found.advice) == (WARNING, True)
    with app.app_context():
        assert db.session.execute(text("PRAGMA wal_autocheckpoint")).scalar() == 0
        db.session.remove()
        db.engine.dispose()
    runtime.database.dispose()


# Copies --------------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_f44_copies_of_the_living_file_cost_no_acknowledged_job(patient_site: Site, tmp_path: Path) -> None:
    site = patient_site
    site.start_app()
    acks = tmp_path / "acknowledged"
    asker = site.run_python("-m", "tests.faults.asker", str(acks), "200")
    copies = [site.enqueue("copy", str(database_file(site)), 100, job_class="Copier") for _ in range(2)]
    work = [site.enqueue("echo", number) for number in range(40)]
    assert asker.wait() == 0
    for job in (*copies, *work):
        assert site.wait(job)["status"] == "completed"
    ids = acknowledged(acks)
    assert len(ids) > 150
    assert set(ids) <= stored(site.runtime.database)
    assert check(site) == "ok"


# Crashes -------------------------------------------------------------------------------------------------------


def can(*words: str) -> bool:
    """Return whether a tool is here and may do its work."""
    return (
        shutil.which(words[0]) is not None and subprocess.run(words, capture_output=True, check=False).returncode == 0
    )


@pytest.mark.skipif(not can("strace", "-o", "/dev/null", "true"), reason="needs strace and the right to trace")
def test_f32_q9_the_log_is_on_disk_before_a_job_is_acknowledged(site: Site, tmp_path: Path) -> None:
    trace, acks = tmp_path / "trace", tmp_path / "acknowledged"
    calls = "trace=write,pwrite64,fsync,fdatasync"
    words = ("strace", "-f", "-y", "-e", calls, "-o", str(trace))
    environment = {**site.environment, "PATH": "/usr/bin:/bin"}
    asker = [sys.executable, "-m", "tests.faults.asker", str(acks), "5"]
    subprocess.run([*words, *asker], cwd=ROOT, env=environment, check=True, capture_output=True)
    assert len(acknowledged(acks)) == 5
    kinds = []
    for line in trace.read_text().splitlines():
        found = re.search(r"(\w+)\(\d+<([^>]*)>", line)
        if found and found[2] == f"{database_file(site)}-wal":
            kinds.append("log" if found[1] == "pwrite64" else "sync")
        elif found and found[2] == str(acks):
            kinds.append("acknowledged")
    order = re.sub(r"(log )+", "log ", " ".join(kinds))
    assert order.endswith(" ".join(["log sync acknowledged"] * 4)), order


def are_long(files: list[Path]) -> bool:
    return sum(file.stat().st_size for file in files) > 120


@pytest.mark.skipif(not can("unshare", "-pf", "--kill-child", "true"), reason="needs a PID namespace, so root")
@pytest.mark.long
def test_q9_no_acknowledged_job_is_missing_after_everything_was_killed_at_once(site: Site, tmp_path: Path) -> None:
    count = 0
    for crash in range(3):
        files = [tmp_path / f"acknowledged{crash}-{number}" for number in range(3)]
        for file in files:
            file.touch()
        askers = "; ".join(f"{sys.executable} -m tests.faults.asker {file} 100000 &" for file in files)
        script = askers.replace("&;", "&") + " wait"
        environment = {**site.environment, "PATH": "/usr/bin:/bin"}
        words = ["unshare", "-pf", "--kill-child", "sh", "-c", script]
        process = subprocess.Popen(words, cwd=ROOT, env=environment)
        wait_for(partial(are_long, files), "jobs to be asked for")
        process.send_signal(signal.SIGKILL)
        process.wait()
        wait_for(lambda: not site.processes(), "the end of all")
        whole = [file.read_text().rpartition("\n")[0] for file in files]
        ids = {int(line) for one in whole for line in one.splitlines()}
        count += len(ids)
        site.runtime.database.dispose()
        assert ids <= stored(site.runtime.database)
        assert check(site) == "ok"
    assert count > 60
