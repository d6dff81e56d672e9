"""The sample jobs, called as plain classes: what they do, and that trying again doubles nothing."""

from __future__ import annotations

import ast
import inspect
import json
import os
import re
import subprocess
import sys
import textwrap
import typing
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Table, func, select

from bgapp.jobs import demo_tables
from bgapp.jobs.samples import JobService, SampleJob

# Three of the modules need `bgapp.current_job`.
csv_import = pytest.importorskip("bgapp.jobs.csv_import", exc_type=ImportError)
folder_scan = pytest.importorskip("bgapp.jobs.folder_scan", exc_type=ImportError)
users = pytest.importorskip("bgapp.jobs.users", exc_type=ImportError)

ROOT = Path(__file__).resolve().parents[2]
METHODS = [
    (JobService, "execute"),
    (SampleJob, "process"),
    (SampleJob, "execute"),
    (folder_scan.FolderScan, "scan"),
    (csv_import.CsvImport, "load"),
    (users.UserSeeder, "seed"),
]


@dataclass
class RunningJob:
    """Stands in for the job that a runner would have set: same attributes, and it remembers its progress."""

    id: int = 7
    attempt: int = 1
    retries: int = 3
    idempotency_key: str = "job-7"
    reports: list[tuple[float | None, str | None]] = field(default_factory=list)

    def progress(self, fraction: float | None = None, message: str | None = None) -> None:
        self.reports.append((fraction, message))


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> RunningJob:
    """Run the sample jobs as attempts at job 7."""
    running = RunningJob()
    for module in (csv_import, folder_scan, users):
        monkeypatch.setattr(module, "current_job", running)
    return running


def make_app(database: Path) -> Flask:
    app = Flask("host")
    app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{database}"
    SQLAlchemy(app)
    return app


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SQLAlchemy]:
    """Enter an application's context, with a fresh database file."""
    app = make_app(tmp_path / "host.sqlite")
    with app.app_context():
        database: SQLAlchemy = app.extensions["sqlalchemy"]
        yield database
        database.session.remove()
        database.engine.dispose()


def count(database: SQLAlchemy, table: Table) -> int:
    return database.session.execute(select(func.count()).select_from(table)).scalar_one()


def people_file(folder: Path, rows: int) -> Path:
    path = folder / "people.csv"
    lines = ["email,name,born", *(f"p{number}@example.com,Person {number},1990-12-31" for number in range(rows))]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def products_file(folder: Path, text: str | bytes) -> str:
    path = folder / "products.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return str(path)


# Every sample


@pytest.mark.parametrize(("job_class", "method"), METHODS)
def test_a_sample_can_be_made_into_a_form(job_class: type, method: str) -> None:
    instance = job_class()
    function = getattr(instance, method)
    hints = typing.get_type_hints(function)
    documented = inspect.getdoc(function) or ""
    assert (inspect.getdoc(job_class) or "").endswith(".")
    assert documented.splitlines()[0].endswith(".")
    assert hints["return"] == dict[str, Any]
    for name in inspect.signature(function).parameters:
        assert hints[name] in (str, int)
        assert re.search(rf"^{name}: .+\.", documented, re.MULTILINE | re.DOTALL)


def test_the_smallest_samples_return_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert JobService().execute("Hello", "World") == {"first": "Hello", "second": "World"}
    assert SampleJob().execute("Hello, Background Job!") == {"message": "Hello, Background Job!"}
    assert SampleJob().process("two words") == {"processed": True, "characters": 9, "words": 2}
    assert capsys.readouterr().out == "Hello World\nHello, Background Job!\n"


def test_job_service_needs_both_parameters() -> None:
    with pytest.raises(TypeError, match="missing a required argument: 'second'"):
        inspect.signature(JobService().execute).bind("Test")


# FolderScan


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "docs" / "old").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "top.TXT").write_bytes(b"x" * 5)
    (root / "docs" / "a.txt").write_bytes(b"x" * 10)
    (root / "docs" / "old" / "b.bin").write_bytes(b"x" * 30)
    (root / "docs" / "old" / "Makefile").write_bytes(b"")
    return root


def test_scan_counts_a_tree(folder: Path) -> None:
    assert folder_scan.FolderScan().scan(str(folder), largest=2) == {
        "folder": str(folder),
        "files": 4,
        "bytes": 45,
        "folders": 3,
        "links": 0,
        "unreadable": 0,
        "types": {
            ".bin": {"files": 1, "bytes": 30},
            ".txt": {"files": 2, "bytes": 15},
            "(none)": {"files": 1, "bytes": 0},
        },
        "largest": [
            {"path": os.path.join("docs", "old", "b.bin"), "bytes": 30},
            {"path": os.path.join("docs", "a.txt"), "bytes": 10},
        ],
    }


def test_scan_prints_and_reports_each_top_level_folder(
    folder: Path, job: RunningJob, capsys: pytest.CaptureFixture[str]
) -> None:
    folder_scan.FolderScan().scan(str(folder))
    assert capsys.readouterr().out == "'docs': 3 files, 40 bytes\n'empty': 0 files, 0 bytes\n"
    assert job.reports == [(0.5, "4 files"), (1.0, "4 files")]


def test_scan_counts_links_and_follows_none(folder: Path) -> None:
    try:
        (folder / "docs" / "loop").symlink_to(folder, target_is_directory=True)
        (folder / "docs" / "file").symlink_to(folder / "top.TXT")
        (folder / "docs" / "nowhere").symlink_to(folder / "missing")
    except OSError as error:  # Windows asks for a privilege
        pytest.skip(f"no links can be made here: {error}")
    found = folder_scan.FolderScan().scan(str(folder))
    assert (found["links"], found["files"], found["bytes"]) == (3, 4, 45)


def test_scan_counts_folders_it_cannot_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Modes do not stop root, who runs many a test suite: so the operating system's refusal is played.
    scandir = os.scandir

    def refuse_old(path: str) -> Any:
        if path.endswith("old"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse_old)
    found = folder_scan.FolderScan().scan(str(folder))
    assert (found["unreadable"], found["files"], found["folders"]) == (1, 2, 3)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")
def test_scan_passes_over_what_is_no_file(folder: Path) -> None:
    os.mkfifo(folder / "docs" / "pipe")
    found = folder_scan.FolderScan().scan(str(folder))
    assert (found["files"], found["unreadable"]) == (4, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="file names are text on this system")
def test_scan_returns_names_that_are_not_utf8_as_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd = os.fsencode(folder) + b"/\xff\n.\xfe"
    os.mkdir(odd)
    with open(odd + b"/\xff.\xfe", "wb") as file:
        file.write(b"x" * 99)
    found = folder_scan.FolderScan().scan(str(folder), largest=1)
    assert found["largest"][0]["bytes"] == 99
    json.dumps(found, ensure_ascii=False).encode()
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_scan_gathers_rare_types(tmp_path: Path) -> None:
    for number in range(60):
        (tmp_path / f"file.t{number:02}").write_bytes(b"x" * (60 - number))
    types = folder_scan.FolderScan().scan(str(tmp_path), largest=0)["types"]
    assert len(types) == 51
    assert types["(other)"] == {"files": 10, "bytes": 55}


@pytest.mark.parametrize("largest", [-1, 101])
def test_scan_refuses_a_silly_number(folder: Path, largest: int) -> None:
    with pytest.raises(ValueError, match="largest must be 0 to 100"):
        folder_scan.FolderScan().scan(str(folder), largest)


@pytest.mark.parametrize("name", ["missing", "top.TXT", "\0"])
def test_scan_refuses_what_is_no_folder(folder: Path, name: str) -> None:
    with pytest.raises(NotADirectoryError, match="is not a folder"):
        folder_scan.FolderScan().scan(f"{folder}/{name}")


# CsvImport


def test_import_fills_the_table(database: SQLAlchemy, tmp_path: Path) -> None:
    report = csv_import.CsvImport().load(str(people_file(tmp_path, 5)), batch=2)
    assert report == {"table": "people", "imported": 5, "duplicates": 0, "bad": 0, "bad_rows": []}
    row = database.session.execute(select(demo_tables.people).order_by("line")).first()
    assert row is not None
    assert (row.email, row.name, str(row.born), row.line) == ("p0@example.com", "Person 0", "1990-12-31", 2)


def test_import_reports_progress_by_bytes(database: SQLAlchemy, tmp_path: Path, job: RunningJob) -> None:
    csv_import.CsvImport().load(str(people_file(tmp_path, 2000)), batch=500)
    fractions = [fraction for fraction, _ in job.reports if fraction is not None]
    assert len(fractions) == 4
    assert fractions == sorted(fractions)
    assert 0 < fractions[0] < 0.5
    assert fractions[-1] == 1
    assert job.reports[-1][1] == "2000 imported, 0 duplicates, 0 bad"


def test_importing_a_file_again_adds_nothing(database: SQLAlchemy, tmp_path: Path) -> None:
    path = str(people_file(tmp_path, 3))
    csv_import.CsvImport().load(path)
    again = csv_import.CsvImport().load(path)
    assert (again["imported"], again["duplicates"]) == (0, 3)
    assert count(database, demo_tables.people) == 3


def test_import_tells_duplicates_inside_a_file(database: SQLAlchemy, tmp_path: Path) -> None:
    path = products_file(tmp_path, "sku,name\nA,first\nB,other\nA,second\n")
    report = csv_import.CsvImport().load(path, "products")
    assert (report["imported"], report["duplicates"]) == (2, 1)
    names = database.session.execute(select(demo_tables.products.c.name)).scalars()
    assert set(names) == {"first", "other"}


KILLED_IMPORT = """
    import os, sys
    from flask import Flask
    from flask_sqlalchemy import SQLAlchemy
    from bgapp.jobs import csv_import

    class Job:
        idempotency_key = "job-7"
        batches = 0

        def progress(self, fraction=None, message=None):
            self.batches += 1
            if self.batches == 3:
                os._exit(9)

    app = Flask("host")
    app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite:///" + sys.argv[1]
    SQLAlchemy(app)
    csv_import.current_job = Job()
    with app.app_context():
        csv_import.CsvImport().load(sys.argv[2], batch=100)
"""


def test_a_retry_after_a_kill_doubles_and_loses_nothing(database: SQLAlchemy, tmp_path: Path, job: RunningJob) -> None:
    path = people_file(tmp_path, 1000)
    with path.open("a", encoding="utf-8") as file:
        file.write("p0@example.com,Twice,\nlast@example.com,,\n")
    command = [sys.executable, "-c", textwrap.dedent(KILLED_IMPORT), str(tmp_path / "host.sqlite"), str(path)]
    killed = subprocess.run(command, cwd=ROOT, check=False, timeout=60)
    assert killed.returncode == 9
    assert count(database, demo_tables.people) == 300
    database.session.rollback()
    report = csv_import.CsvImport().load(str(path), batch=100)
    assert (report["imported"], report["duplicates"], report["bad"]) == (1000, 1, 1)
    assert count(database, demo_tables.people) == 1000


def test_import_passes_over_bad_rows(database: SQLAlchemy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (
        b"\xef\xbb\xbfSKU, Name,price_cents\r\n"
        b"A,apple,100\r\n"
        b"B,,100\r\n"
        b"\r\n"
        b'C,"over\r\ntwo lines",\r\n'
        b"D,dear,-1\r\n"
        b"E,\xff\xfe,1\r\n"
        b"F,nul\x00,1\r\n"
        b"G\r\n"
        b'H,"wrong"quote,1\r\n'
        b"I," + b"x" * 201 + b",1\r\n"
        b"J,last,2147483647\r\n"
        b"K,huge,2147483648\r\n"
        b'L,"never closed,1\r\n'
    )
    report = csv_import.CsvImport().load(products_file(tmp_path, text), "products")
    assert [row["line"] for row in report["bad_rows"]] == [3, 7, 8, 9, 10, 11, 12, 14, 15]
    assert (report["imported"], report["bad"]) == (3, 9)
    assert report["bad_rows"][0]["error"] == "name is empty"
    stored = database.session.execute(select(demo_tables.products).order_by("line")).all()
    assert [(row.sku, row.name, row.price_cents) for row in stored] == [
        ("A", "apple", 100),
        ("C", "over\r\ntwo lines", None),
        ("J", "last", 2147483647),
    ]
    json.dumps(report, ensure_ascii=False).encode()
    assert "line 3: name is empty\n" in capsys.readouterr().out


def test_import_returns_only_the_first_bad_rows(database: SQLAlchemy, tmp_path: Path) -> None:
    report = csv_import.CsvImport().load(products_file(tmp_path, "sku,name\n" + "A,\n" * 50), "products")
    assert (report["bad"], len(report["bad_rows"])) == (50, 20)


@pytest.mark.parametrize("born", ["31.12.1990", "1990-02-30", "soon"])
def test_import_wants_dates(database: SQLAlchemy, tmp_path: Path, born: str) -> None:
    path = tmp_path / "people.csv"
    path.write_text(f"email,name,born\na@example.com,A,{born}\n", encoding="utf-8")
    [bad] = csv_import.CsvImport().load(str(path))["bad_rows"]
    assert bad == {"line": 2, "error": f"born must be a date such as 1990-12-31, not '{born}'"}


@pytest.mark.parametrize(
    ("header", "complaint"),
    [
        ("", "lacks sku, name"),
        ("sku\n", "lacks name"),
        ("sku,name,colour\n", r"unknown are \['colour'\]"),
        ("sku,name,line\n", r"unknown are \['line'\]"),
        ("sku;name\n", "lacks sku, name"),
        ("sku,name,name\n", "at most once"),
        ('sku,"name\n', "not a CSV header"),
    ],
)
def test_import_checks_the_header(database: SQLAlchemy, tmp_path: Path, header: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        csv_import.CsvImport().load(products_file(tmp_path, header), "products")


@pytest.mark.parametrize("table", ["demo_people", "People", "people; DROP TABLE demo_people", "", "bgapp_jobs"])
def test_import_knows_only_its_own_tables(database: SQLAlchemy, tmp_path: Path, table: str) -> None:
    with pytest.raises(ValueError, match="must be one of people, products"):
        csv_import.CsvImport().load(str(people_file(tmp_path, 1)), table)


@pytest.mark.parametrize("batch", [0, 10_001])
def test_import_refuses_a_silly_batch(database: SQLAlchemy, tmp_path: Path, batch: int) -> None:
    with pytest.raises(ValueError, match="batch must be 1 to 10000"):
        csv_import.CsvImport().load(str(people_file(tmp_path, 1)), batch=batch)


@pytest.mark.parametrize("name", ["missing.csv", ".", "\0"])
def test_import_refuses_what_is_no_file(database: SQLAlchemy, tmp_path: Path, name: str) -> None:
    with pytest.raises(FileNotFoundError, match="is not a file"):
        csv_import.CsvImport().load(f"{tmp_path}/{name}")


# UserSeeder


def test_seeding_twice_in_one_job_adds_once(database: SQLAlchemy, job: RunningJob) -> None:
    first = users.UserSeeder().seed(1200)
    assert first == {"users": 1200, "first": "demo-7-1", "last": "demo-7-1200"}
    assert [fraction for fraction, _ in job.reports] == [500 / 1200, 1000 / 1200, 1.0]
    job.attempt = 2
    assert users.UserSeeder().seed(1200) == first
    assert count(database, demo_tables.users) == 1200


def test_a_retry_seeds_only_what_is_left(database: SQLAlchemy, job: RunningJob) -> None:
    users.UserSeeder().seed(500)  # as much as an attempt that was killed after its first batch
    users.UserSeeder().seed(1200)
    assert count(database, demo_tables.users) == 1200


def test_another_job_seeds_users_of_its_own(database: SQLAlchemy, job: RunningJob) -> None:
    users.UserSeeder().seed(3)
    job.id = 8
    users.UserSeeder().seed(3)
    assert count(database, demo_tables.users) == 6


@pytest.mark.parametrize("number", [0, -1, 100_001])
def test_seeding_refuses_a_silly_number(database: SQLAlchemy, number: int) -> None:
    with pytest.raises(ValueError, match="count must be 1 to 100000"):
        users.UserSeeder().seed(number)


# The tables


def test_a_table_that_appears_meanwhile_is_no_error(database: SQLAlchemy, monkeypatch: pytest.MonkeyPatch) -> None:
    demo_tables.open_session(demo_tables.users)
    create_all = demo_tables.metadata.create_all
    looks = iter([False])

    def look_too_early(*arguments: Any, **options: Any) -> None:
        options["checkfirst"] = next(looks, True)
        create_all(*arguments, **options)

    monkeypatch.setattr(demo_tables.metadata, "create_all", look_too_early)
    assert demo_tables.open_session(demo_tables.users) is database.session


def test_the_tables_stay_out_of_the_hosts_metadata(database: SQLAlchemy) -> None:
    users.UserSeeder().seed(1)
    assert all(name.startswith("demo_") for name in demo_tables.metadata.tables)
    assert not database.metadata.tables


# The page


def test_the_examples_in_the_documentation_are_python() -> None:
    page = (ROOT / "docs" / "defining-jobs.md").read_text(encoding="utf-8")
    examples = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert examples
    for example in examples:
        ast.parse(example)
