"""The output of attempts on pages, in pieces while it grows, and as a file."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from bgapp.models import Status
from bgapp.runtime import Runtime
from bgapp.statements import ATTEMPTS, JOBS
from tests.factories import NOW
from tests.web.conftest import Browser
from tests.web.rows import LIVE, add, add_attempt, write_log


@pytest.fixture
def viewer(browser: Callable[..., Browser]) -> Browser:
    return browser("viewer")


def test_the_end_of_a_long_log_is_shown_and_all_of_it_is_downloaded(viewer: Browser, runtime: Runtime) -> None:
    job_id = add(runtime, Status.COMPLETED, attempt=1)
    add_attempt(runtime, job_id, status="completed", reason=None, exit_code=0)
    lines = [f"line {number:06}" for number in range(40_000)]
    write_log(runtime, job_id, "\n".join(lines).encode())
    html = viewer.get(f"/jobs/{job_id}/log").text
    assert "line 039999" in html
    assert "line 000000" not in html
    assert "of earlier output are not shown" in html
    assert len(html) < 160_000
    file = viewer.get(f"/jobs/{job_id}/log/download")
    assert file.text.splitlines() == lines
    assert file.mimetype == "text/plain"
    assert file.headers["Content-Disposition"] == f'attachment; filename="job-{job_id}-attempt-1.log"'
    assert file.headers["X-Content-Type-Options"] == "nosniff"


def test_a_download_shows_controls_and_never_sends_them(viewer: Browser, runtime: Runtime) -> None:
    job_id = add(runtime, Status.RUNNING)
    add_attempt(runtime, job_id, status="running", reason=None, finished_at=None, exit_code=None)
    write_log(runtime, job_id, b"<b>\x1b]0;title\x07 \xff\r\nnext\xe2\x80\xae")
    assert viewer.get(f"/jobs/{job_id}/log/download").text == "<b>\\x1b]0;title\\x07 \ufffd\nnext\\u202e"


def tail(browser: Browser, html: str) -> Any:
    """Ask for what the tail in a page or fragment asks for."""
    found = re.search(r'hx-get="([^"]+/log/tail[^"]*)"', html)
    assert found, "there is no tail to ask"
    return browser.get(found[1].replace("&amp;", "&"), headers=LIVE)


def test_the_tail_delivers_every_byte_once_and_stops_at_the_end(viewer: Browser, runtime: Runtime) -> None:
    job_id = add(runtime, Status.RUNNING)
    add_attempt(runtime, job_id, status="running", reason=None, finished_at=None, exit_code=None)
    page = viewer.get(f"/jobs/{job_id}").text
    assert "Nothing is written yet." in page
    assert tail(viewer, page).status_code == 204
    said, pieces = "", (b"one\n", b"half a \xc3", b"\xa4 character\r", b"\nand <two>\n")
    html = page
    for count in range(len(pieces)):
        write_log(runtime, job_id, b"".join(pieces[: count + 1]))
        answer = tail(viewer, html)
        html = answer.text or html
        said += answer.text.partition("<span")[0]
    assert said == "one\nhalf a ä character\nand &lt;two&gt;\n"
    assert tail(viewer, html).status_code == 204
    with runtime.database.write() as connection:
        connection.execute(ATTEMPTS.update().values(status="completed", finished_at=NOW))
        connection.execute(JOBS.update().values(status="completed", finished_at=NOW, token=None, lease_until=None))
    last = tail(viewer, html)
    assert last.status_code == 200
    assert "hx-get" not in last.text


def test_a_tail_that_is_far_behind_jumps_to_the_end_and_says_so(viewer: Browser, runtime: Runtime) -> None:
    job_id = add(runtime, Status.RUNNING)
    add_attempt(runtime, job_id, status="running", reason=None, finished_at=None, exit_code=None)
    html = viewer.get(f"/jobs/{job_id}").text
    write_log(runtime, job_id, b"x" * 99 + b"\n" + b"y" * 600_000 + b"\nthe end\n")
    answer = tail(viewer, html)
    assert "bytes are passed over here" in answer.text
    assert answer.text.partition("<span")[0].endswith("the end\n")
    assert len(answer.data) < 140_000


def test_the_next_attempts_pane_takes_the_place_of_the_last(viewer: Browser, runtime: Runtime) -> None:
    job_id = add(runtime, Status.SCHEDULED, attempt=1)
    add_attempt(runtime, job_id)
    write_log(runtime, job_id, b"the first\n")
    html = viewer.get(f"/jobs/{job_id}").text
    assert tail(viewer, html).status_code == 204
    add_attempt(runtime, job_id, 2, status="running", reason=None, finished_at=None, exit_code=None)
    write_log(runtime, job_id, b"the second\n", attempt=2)
    answer = tail(viewer, html)
    assert answer.headers["HX-Retarget"] == "#log-pane"
    assert "the second" in answer.text
    # Who chose an attempt stays with it.
    chosen = viewer.get(f"/jobs/{job_id}/log?attempt=1").text
    assert "the first" in chosen
    assert "hx-get" not in chosen


@pytest.mark.parametrize("query", ["attempt=x", "attempt=-1", "attempt=1.5", "attempt=../../etc/passwd", "attempt=%00"])
def test_an_attempt_that_is_no_number_is_refused(viewer: Browser, runtime: Runtime, query: str) -> None:
    job_id = add(runtime, Status.COMPLETED)
    for page in ("log", "log/tail", "log/download"):
        assert viewer.get(f"/jobs/{job_id}/{page}?{query}").status_code in (400, 422)
    assert viewer.get(f"/jobs/{job_id}/log?attempt=7").status_code == 404


def test_a_log_that_is_gone_is_said_to_be(viewer: Browser, runtime: Runtime) -> None:
    job_id = add(runtime, Status.COMPLETED, attempt=1)
    add_attempt(runtime, job_id, status="completed", reason=None)
    assert "It wrote nothing, or what it wrote is not kept on this machine." in viewer.get(f"/jobs/{job_id}/log").text
    assert viewer.get(f"/jobs/{job_id}/log/download").status_code == 404
