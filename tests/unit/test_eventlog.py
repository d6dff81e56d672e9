from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import bgapp
from bgapp.eventlog import ERRORS_NAME, MAIN_NAME, EventLog, Line

posix = pytest.mark.skipif(os.name == "nt", reason="a POSIX matter")
NOON = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


def line(title: str = "Job running", **changes: Any) -> Line:
    facts: dict[str, Any] = {
        "job_class": "shop.jobs.ReportJob",
        "method": "build",
        "params": {"month": "2026-10"},
        "at": NOON,
        "job": 12,
        "attempt": 1,
    }
    return Line(title=title, **(facts | changes))


def lines(file: Path) -> list[str]:
    text = file.read_text(encoding="utf-8")
    assert text.endswith("\n")
    return text.split("\n")[:-1]


def jobs(file: Path) -> list[str]:
    return [found.rpartition("Job: ")[2] for found in lines(file)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "logs"


@pytest.fixture
def main(folder: Path) -> Path:
    return folder / MAIN_NAME


@pytest.fixture
def errors(folder: Path) -> Path:
    return folder / ERRORS_NAME


@pytest.fixture
def log(folder: Path) -> Iterator[EventLog]:
    with contextlib.closing(EventLog(folder, "text")) as log:
        yield log


@contextlib.contextmanager
def full_disk(limit: int) -> Iterator[None]:
    """Let no file of this process grow beyond `limit` bytes, as a quota or a full disk would."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_each_line_is_appended_with_its_newline(log: EventLog, main: Path) -> None:
    log.write(line())
    log.write(line("Job completed successfully"))
    assert [found.split(" | ")[0] for found in lines(main)] == ["Job running", "Job completed successfully"]


def test_an_event_that_is_no_error_is_only_in_the_main_file(log: EventLog, errors: Path) -> None:
    log.write(line())
    assert not errors.exists()


@pytest.mark.parametrize("title", ["Job failed", "Job lost"])
def test_an_error_is_in_both_files(log: EventLog, main: Path, errors: Path, title: str) -> None:
    log.write(line(title, error="ValueError: no"))
    assert main.read_bytes() == errors.read_bytes() != b""


def test_an_error_that_is_retried_is_in_both_files(log: EventLog, main: Path, errors: Path) -> None:
    log.write(line("Job retry scheduled", error="ValueError: no", level="error"))
    assert main.read_bytes() == errors.read_bytes() != b""


def test_a_refusal_is_only_in_the_errors_file(log: EventLog, main: Path, errors: Path) -> None:
    log.write(line("Job rejected", job=None, attempt=None, error="not in the allow-list"))
    assert lines(errors)[0].startswith("Job rejected | Class: shop.jobs.ReportJob")
    assert not main.exists()


def test_the_json_format_has_one_object_a_line(folder: Path, main: Path) -> None:
    log = EventLog(folder, "json", ("card",))
    log.write(line(params={"card": "4111"}))
    log.write(line("Job lost"))
    assert [json.loads(found)["event"] for found in lines(main)] == ["Job running", "Job lost"]
    assert json.loads(lines(main)[0])["params"] == {"card": "***"}


@posix
def test_files_and_folder_are_private_under_any_umask(tmp_path: Path) -> None:
    umask = os.umask(0)
    try:
        EventLog(tmp_path / "deep" / "logs", "text").write(line("Job failed"))
    finally:
        os.umask(umask)
    for file in (MAIN_NAME, ERRORS_NAME):
        assert stat.S_IMODE((tmp_path / "deep" / "logs" / file).stat().st_mode) == 0o600
    for folder in ("deep", "deep/logs"):
        assert stat.S_IMODE((tmp_path / folder).stat().st_mode) == 0o700


@posix
def test_a_renamed_file_is_left_and_a_new_one_begun(log: EventLog, main: Path) -> None:
    log.write(line(job=1))
    main.rename(main.with_suffix(".1"))
    log.write(line(job=2, attempt=None))
    assert jobs(main) == ["2"]
    assert len(lines(main.with_suffix(".1"))) == 1


@posix
def test_a_removed_folder_is_made_again(log: EventLog, main: Path) -> None:
    log.write(line())
    main.unlink()
    main.parent.rmdir()
    log.write(line(job=2, attempt=None))
    assert jobs(main) == ["2"]


@posix
def test_a_symbolic_link_is_refused_and_told_once(
    log: EventLog, main: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    main.parent.mkdir(0o700)
    main.symlink_to(victim)
    for _ in range(3):
        log.write(line())
    assert victim.read_text() == "mine"
    assert log.dropped == 3
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert str(main) in told


@posix
def test_a_link_that_takes_the_place_of_an_open_file_is_refused(log: EventLog, main: Path, tmp_path: Path) -> None:
    log.write(line())
    main.unlink()
    main.symlink_to(tmp_path / "victim")
    log.write(line())
    assert log.dropped == 1
    assert not (tmp_path / "victim").exists()


@posix
@pytest.mark.parametrize("kind", ["folder", "fifo"])
def test_what_is_no_file_is_refused_until_it_goes(log: EventLog, main: Path, kind: str) -> None:
    main.parent.mkdir(0o700)
    main.mkdir() if kind == "folder" else os.mkfifo(main)
    log.write(line())
    assert log.dropped == 1
    main.rmdir() if kind == "folder" else main.unlink()
    log.write(line())
    assert log.dropped == 0
    assert len(lines(main)) == 2


@posix
def test_a_full_disk_costs_lines_that_are_counted_and_told_when_it_has_room(log: EventLog, main: Path) -> None:
    log.write(line(job=1, attempt=None))
    size = main.stat().st_size
    with full_disk(size):
        for _ in range(3):
            log.write(line(job=2, attempt=None))
        assert log.dropped == 3
    log.write(line(job=3, attempt=None))
    first, told, last = lines(main)
    assert first.endswith("Job: 1")
    assert told.startswith("Log lines dropped | Count: 3 | Timestamp: ")
    assert last.endswith("Job: 3")
    assert log.dropped == 0


@posix
def test_a_line_that_a_full_disk_cut_off_stands_alone(log: EventLog, main: Path) -> None:
    log.write(line(job=1, attempt=None))
    with full_disk(main.stat().st_size + 20):
        log.write(line(job=2, attempt=None))
    log.write(line(job=3, attempt=None))
    first, cut, told, last = lines(main)
    assert cut == lines(main)[0][:20]
    assert (first[-1], last[-1]) == ("1", "3")
    assert "Count: 1" in told


@posix
def test_a_line_that_a_crash_cut_off_stands_alone(folder: Path, main: Path) -> None:
    folder.mkdir(0o700)
    main.write_text("Job runn")
    EventLog(folder, "text").write(line(job=1, attempt=None))
    assert lines(main)[0] == "Job runn"
    assert lines(main)[1].endswith("Job: 1")


@posix
def test_closing_tells_of_dropped_lines(log: EventLog, main: Path) -> None:
    log.write(line())
    with full_disk(main.stat().st_size):
        log.write(line())
    log.close()
    assert "Count: 1" in lines(main)[-1]


@posix
def test_each_file_counts_its_own_drops(log: EventLog, main: Path, errors: Path) -> None:
    main.parent.mkdir(0o700)
    errors.mkdir()
    log.write(line("Job failed"))
    errors.rmdir()
    log.write(line("Job failed"))
    assert len(lines(main)) == 2
    assert [found.split(" | ")[0] for found in lines(errors)] == ["Log lines dropped", "Job failed"]


@posix
def test_nothing_is_raised_where_nothing_works_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(sys, "stderr", None)
    log = EventLog(tmp_path / "file" / "logs", "text")
    log.write(line("Job failed"))
    assert log.dropped == 2
    log.close()


@posix
def test_a_number_that_came_to_mean_another_file_is_not_written_to(log: EventLog, main: Path, tmp_path: Path) -> None:
    log.write(line())
    before = set(os.listdir("/dev/fd"))
    ours = next(int(name) for name in before if _names(int(name), main))
    os.close(ours)
    with (tmp_path / "database").open("wb") as other:
        assert other.fileno() == ours
        log.write(line())
        log.close()
        other.write(b"still open")
    assert (tmp_path / "database").read_bytes() == b"still open"
    assert len(lines(main)) == 2


def _names(descriptor: int, file: Path) -> bool:
    with contextlib.suppress(OSError):
        return os.path.samestat(os.fstat(descriptor), file.stat())
    return False


@posix
def test_a_closed_log_keeps_no_descriptor(log: EventLog, main: Path) -> None:
    log.write(line())
    log.close()
    assert not any(_names(int(name), main) for name in os.listdir("/dev/fd"))
    log.write(line())
    assert len(lines(main)) == 2


def _drop_in_fork(log: EventLog) -> None:
    sys.exit(log.dropped)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_does_not_report_its_parents_dropped_lines(log: EventLog, main: Path) -> None:
    main.parent.mkdir(0o700)
    main.mkdir()
    log.write(line())
    process = multiprocessing.get_context("fork").Process(target=_drop_in_fork, args=(log,))
    process.start()
    process.join(30)
    assert process.exitcode == 0
    assert log.dropped == 1


def test_threads_write_whole_lines_while_the_file_is_renamed(log: EventLog, folder: Path, main: Path) -> None:
    threads = [threading.Thread(target=_write_many, args=(log, name, 200)) for name in range(4)]
    for thread in threads:
        thread.start()
    turn = 0
    while any(thread.is_alive() for thread in threads):
        turn += 1
        with contextlib.suppress(OSError):
            main.rename(folder / f"{MAIN_NAME}.{turn}")
        threads[0].join(0.002)
    assert _all_jobs(folder) == sorted(f"{name}-{number}" for name in range(4) for number in range(200))


def _write_many(log: EventLog, name: int, count: int) -> None:
    for number in range(count):
        log.write(line("Job failed", params={"n": f"{name}-{number}", "filler": "x" * (number % 7 * 200)}))


def _all_jobs(folder: Path) -> list[str]:
    """Return the `n` of each line of the main file and of what it was renamed to; every line must be whole."""
    found = []
    for file in folder.glob(f"{MAIN_NAME}*"):
        for text in lines(file):
            title, *fields = text.split(" | ")
            assert (title, len(fields)) == ("Job failed", 6)
            found.append(json.loads(fields[2].removeprefix("Parameters: "))["n"])
    return sorted(found)


PROGRAM = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[3:]
from test_eventlog import EventLog, _write_many
log = EventLog(Path(sys.argv[1]), "text")
_write_many(log, int(sys.argv[2]), 500)
sys.exit(min(log.dropped, 1))
"""


@posix
def test_processes_lose_and_tear_no_line_while_the_file_is_renamed(folder: Path, main: Path) -> None:
    paths = [str(Path(__file__).parent), str(Path(bgapp.__file__).parents[1])]
    processes = [subprocess.Popen([sys.executable, "-c", PROGRAM, str(folder), str(name), *paths]) for name in range(8)]
    turn = 0
    while any(process.poll() is None for process in processes):
        turn += 1
        with contextlib.suppress(OSError):
            main.rename(folder / f"{MAIN_NAME}.{turn}")
        with contextlib.suppress(subprocess.TimeoutExpired):
            processes[0].wait(0.005)
    assert [process.returncode for process in processes] == [0] * 8
    assert _all_jobs(folder) == sorted(f"{name}-{number}" for name in range(8) for number in range(500))
