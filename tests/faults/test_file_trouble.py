"""The SQLite file goes away, is replaced, is damaged, or its disk is full."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bgapp import schema
from bgapp.database import Database
from bgapp.errors import DatabaseUnavailable
from tests import factories as make
from tests.conftest import ROOT
from tests.faults.strangers import Server, database_file
from tests.site import Site
from tests.waiting import wait_for

PAGE = 4096


@pytest.fixture
def file(tmp_path: Path, migrated_sqlite: Path) -> Path:
    """A sound database file."""
    return Path(shutil.copy(migrated_sqlite, tmp_path / "jobs.sqlite"))


@pytest.fixture
def open_database(file: Path) -> Iterator[Database]:
    """That file as an application has it open, which takes another file of this release in its place."""
    database = Database(f"sqlite:///{file}", wait=0.5, accept=schema.require)
    make.add(database)
    yield database
    database.dispose()


def refused(database: Database) -> str:
    """Return what is said when neither reading nor writing works."""
    with pytest.raises(DatabaseUnavailable) as writing:
        make.add(database)
    with pytest.raises(DatabaseUnavailable) as reading:
        make.rows(database)
    assert str(reading.value) == str(writing.value)
    return str(writing.value)


def put_away(file: Path) -> Path:
    """Move a database away with its log, as whoever restores a backup should."""
    there = file.parent / "away"
    there.mkdir(exist_ok=True)
    for name in (file.name, f"{file.name}-wal", f"{file.name}-shm"):
        if (file.parent / name).exists():
            (file.parent / name).rename(there / name)
    return there


def put_back(file: Path) -> None:
    for path in (file.parent / "away").iterdir():
        path.rename(file.parent / path.name)


# At the start --------------------------------------------------------------------------------------------------


def zero_first_page(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.write(bytes(PAGE))


def cut_in_the_middle(file: Path) -> None:
    os.truncate(file, 3 * PAGE)


def make_it_a_letter(file: Path) -> None:
    file.write_text("Dear reader, " * 1000)


def empty_it_beside_its_log(file: Path) -> None:
    Path(f"{file}-wal").write_bytes(b"what was committed last")
    os.truncate(file, 0)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (zero_first_page, "is damaged (file is not a database)"),
        (cut_in_the_middle, "is damaged (database disk image is malformed)"),
        (make_it_a_letter, "is damaged (file is not a database)"),
        (empty_it_beside_its_log, "was emptied: put a backup in its place"),
    ],
)
def test_f42_a_damaged_file_is_told_and_left_as_it_is(file: Path, damage: Callable[[Path], None], words: str) -> None:
    damage(file)
    before = file.read_bytes()
    database = Database(f"sqlite:///{file}", wait=0.5)
    with pytest.raises(DatabaseUnavailable) as told:
        schema.upgrade(database)
        make.add(database)
    database.dispose()
    assert words in str(told.value)
    assert file.read_bytes() == before


def test_f42_a_file_that_may_not_be_read_ends_a_command_with_4_and_a_line(site: Site) -> None:
    file = database_file(site)
    site.runtime.database.dispose()
    file.chmod(0o000)
    words = [sys.executable, "-m", "flask", "--app", "wsgi", "jobs", "list"]
    if os.geteuid() == 0:  # who may read everything, unless that right is taken away
        if shutil.which("setpriv") is None:
            pytest.skip("root needs setpriv to give up the right to read every file")
        words = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", *words]
    environment = {**os.environ, **site.environment}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    file.chmod(0o600)
    assert (done.returncode, done.stderr.count("\n")) == (4, 1), done.stderr
    assert "cannot be opened for writing" in done.stderr


# In a running application --------------------------------------------------------------------------------------


def test_f42_a_file_that_goes_away_is_neither_written_to_nor_made_anew(open_database: Database, file: Path) -> None:
    put_away(file)
    assert f"the database file {file} is gone; bgapp does not make a new one while it runs" in refused(open_database)
    with pytest.raises(DatabaseUnavailable, match="is gone"):
        schema.upgrade(open_database)
    assert not file.exists()
    put_back(file)
    make.add(open_database)
    assert len(make.rows(open_database)) == 2


def test_f42_a_commit_into_a_file_that_went_away_meanwhile_is_not_acknowledged(
    open_database: Database, file: Path, migrated_sqlite: Path
) -> None:
    with pytest.raises(DatabaseUnavailable, match="is gone"), open_database.write() as connection:
        make.insert_job(connection)
        put_away(file)
    shutil.copy(migrated_sqlite, file)
    make.add(open_database)
    with (
        pytest.raises(DatabaseUnavailable, match="was replaced.*what was written last may not be in it"),
        open_database.write() as connection,
    ):
        make.insert_job(connection)
        put_away(file)
        shutil.copy(migrated_sqlite, file)


def test_f42_another_file_of_this_release_is_used_from_then_on(
    open_database: Database, file: Path, migrated_sqlite: Path
) -> None:
    put_away(file)
    shutil.copy(migrated_sqlite, file)
    assert make.rows(open_database) == []
    make.add(open_database)
    other = Database(f"sqlite:///{file}")
    assert len(make.rows(other)) == 1
    other.dispose()


@pytest.mark.parametrize("what", ["without tables", "of another release", "no database"])
def test_f42_another_file_that_does_not_fit_is_refused_and_left_alone(
    open_database: Database, file: Path, migrated_sqlite: Path, what: str
) -> None:
    put_away(file)
    if what == "of another release":
        shutil.copy(migrated_sqlite, file)
        other = Database(f"sqlite:///{file}")
        with other.write() as connection:
            connection.exec_driver_sql(f"UPDATE {schema.VERSION_TABLE} SET version_num = '9999'")
        other.dispose()
    else:
        file.write_text("" if what == "without tables" else "Dear reader, " * 1000)
    before = file.read_bytes()
    assert "was emptied" in (said := refused(open_database)) or "was replaced by another: it is not used" in said
    assert file.read_bytes() == before
    file.unlink()
    put_back(file)
    assert len(make.rows(open_database)) == 1


def test_f42_another_file_beside_the_log_of_the_old_one_is_refused(
    open_database: Database, file: Path, migrated_sqlite: Path
) -> None:
    """SQLite would read the new file through the old one's log."""
    shutil.copy(migrated_sqlite, file.parent / "new")
    (file.parent / "new").rename(file)
    assert f"the log {file.name}-wal beside it is still that of the old one" in refused(open_database)


def test_f42_a_file_that_was_emptied_is_refused(open_database: Database, file: Path) -> None:
    os.truncate(file, 0)
    assert "was emptied: put a backup in its place" in refused(open_database)


def test_f42_a_served_application_answers_503_while_its_file_is_away_and_recovers(site: Site) -> None:
    server = Server(site)
    wait_for(lambda: server.get("health/ready")[0] == 200, "a server that is ready")
    assert site.wait(site.note())["status"] == "completed"
    file = database_file(site)
    away = put_away(file)
    wait_for(lambda: server.get("health/ready")[0] == 503, "health to notice")
    status, page, headers = server.get("jobs")
    assert (status, "Retry-After" in headers) == (503, True)
    assert "bgapp cannot work just now" in page
    assert str(file) not in page
    assert server.get("health/live")[0] == 200
    with pytest.raises(DatabaseUnavailable, match="is gone"):
        site.note()
    said = site.instance / "processes.log"
    wait_for(lambda: said.read_text().count("is gone; bgapp does not make a new one") >= 3, "the clock to try again")
    assert server.process.poll() is None
    assert not file.exists()
    assert away.exists()
    put_back(file)
    wait_for(lambda: server.get("health/ready")[0] == 200, "the server to recover")
    assert server.get("jobs")[0] == 200
    assert site.wait(site.note())["status"] == "completed"


# A full disk ---------------------------------------------------------------------------------------------------


def has_mounts() -> bool:
    words = ["unshare", "-m", "sh", "-c", "mount -t tmpfs -o size=1m tmpfs /mnt"]
    return shutil.which("unshare") is not None and subprocess.run(words, capture_output=True).returncode == 0


@pytest.mark.skipif(not has_mounts(), reason="needs a mount namespace with a tmpfs of its own, so root")
@pytest.mark.long
def test_f41_f51_full_disks() -> None:
    """The tests of full_disk.py, in a namespace where they may mount."""
    words = [
        "unshare",
        "-m",
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "tests/faults/full_disk.py",
    ]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:]
