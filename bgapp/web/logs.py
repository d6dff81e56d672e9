"""What an attempt wrote: the last of it on a page, its growing end in small pieces, and all of it to download.

The file is named by numbers from the database alone; no text of a request comes near a path.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flask import Response, abort, make_response, render_template, request
from sqlalchemy import Row

from bgapp import attemptlog, queries
from bgapp.attemptlog import Chunk
from bgapp.errors import UnknownJob
from bgapp.models import FINAL
from bgapp.runtime import Runtime, current
from bgapp.web import pages
from bgapp.web.filters import shown

NOTHING_KEPT = "It wrote nothing, or what it wrote is not kept on this machine."
SHOWN = 128 * 1024  # bytes of an attempt's output on a page, and in one piece of its growing end
PIECE = 1024 * 1024  # bytes read at a time for a download
LARGEST_NUMBER = 2**31 - 1


@dataclass(frozen=True)
class Pane:
    """The end of one attempt's output, and where to ask for more."""

    job: int
    attempt: int  # 0: there is none yet
    text: str
    start: int  # bytes of output before what is shown
    next: int  # where the following piece begins
    goes_on: bool  # more may come
    follows: bool  # a later attempt takes the place of this one
    trouble: str = ""


def page(job_id: int) -> Any:
    """Show the end of one attempt's output on a page of its own."""
    runtime = current()
    row, tries = _load(runtime, job_id)
    number = _number("attempt")
    chosen = _attempt(tries, number)
    if number is not None and chosen is None:
        abort(404, f"Job {job_id} has no attempt {number}.")
    pane = newest(runtime, row, tries) if number is None else _pane(runtime, row, chosen, follows=False)
    return pages.render("logs/page.html", job=row, tries=tries, pane=pane, attempt=chosen)


def tail(job_id: int) -> Response:
    """Return what was written since, with the place to ask next; 204 where nothing was."""
    runtime = current()
    row, tries = _load(runtime, job_id)
    number, start, follows = _number("attempt") or 0, _number("from") or 0, request.args.get("follow") == "1"
    last = tries[-1].number if tries else 0
    if follows and last > number:
        # The next attempt began: its pane takes the place of the whole one.
        answer = make_response(render_template("bgapp/logs/_pane.html", pane=newest(runtime, row, tries)))
        answer.headers["HX-Retarget"], answer.headers["HX-Reswap"] = "#log-pane", "outerHTML"
        return answer
    chosen = _attempt(tries, number)
    pane = _pane(runtime, row, chosen, follows=follows, start=start)
    if pane.goes_on and not pane.text and not pane.trouble:
        return Response(status=204)
    return make_response(render_template("bgapp/logs/_tail.html", pane=pane))


def download(job_id: int) -> Response:
    """Return all that is kept of an attempt's output, as a file."""
    runtime = current()
    _, tries = _load(runtime, job_id)
    number = _number("attempt")
    chosen = _attempt(tries, number)
    path = attemptlog.path(runtime.settings.log_dir, job_id, chosen.number) if chosen is not None else None
    if chosen is None or path is None or not path.is_file():
        abort(404, "There is no log of this attempt: it was removed, or the attempt ran on another machine.")
    name = f"job-{job_id}-attempt-{chosen.number}.log"
    answer = Response(_whole(path), mimetype="text/plain")
    answer.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return answer


def newest(runtime: Runtime, row: Row[Any], tries: Sequence[Row[Any]]) -> Pane:
    """Return the pane of a job's newest attempt, which gives way to a later one."""
    return _pane(runtime, row, tries[-1] if tries else None, follows=True)


def _pane(
    runtime: Runtime, row: Row[Any], attempt: Row[Any] | None, *, follows: bool, start: int | None = None
) -> Pane:
    is_final = row.status in FINAL
    if attempt is None:
        return Pane(row.id, 0, "", 0, 0, goes_on=not is_final, follows=True)
    # Looked at first: what was written before an attempt's end is in the file once its end is in the database.
    ended = attempt.finished_at is not None
    path = attemptlog.path(runtime.settings.log_dir, row.id, attempt.number)
    try:
        chunk = _chunk(path, start)
    except OSError as error:
        trouble = f"The log cannot be read: {shown(error.strerror or error, 200)}."
        return Pane(row.id, attempt.number, "", 0, start or 0, goes_on=not ended, follows=follows, trouble=trouble)
    data, offset = chunk.data, chunk.next_offset
    if data.endswith(b"\r") and not (ended and offset >= chunk.end):
        data, offset = data[:-1], offset - 1  # a newline may follow it, and the two are one
    if start is not None and chunk.offset > start:
        data = _gap(chunk.offset - start) + data
    trouble = "" if not ended or start is not None or path.is_file() else NOTHING_KEPT
    goes_on = not ended or offset < chunk.end or (follows and not is_final)
    return Pane(row.id, attempt.number, attemptlog.visible(data), chunk.offset, offset, goes_on, follows, trouble)


def _chunk(path: Path, start: int | None) -> Chunk:
    """Return the end of the output, or what follows `start`; where that is far behind, the end all the same."""
    if start is None:
        return attemptlog.tail(path, SHOWN)
    chunk = attemptlog.read(path, start, SHOWN)
    return attemptlog.tail(path, SHOWN) if chunk.end - start > 2 * SHOWN else chunk


def _gap(count: int) -> bytes:
    """Return the line that stands for output which came faster than it could be shown."""
    return f"\n--- {count} bytes are passed over here: download the log to read them ---\n".encode()


def _whole(path: Path) -> Iterator[bytes]:
    offset = 0
    while True:
        chunk = attemptlog.read(path, offset, PIECE)
        is_last = not chunk.data or chunk.next_offset >= chunk.end
        # A newline may follow a carriage return at the piece's end, and the two are one.
        held = int(not is_last and chunk.data.endswith(b"\r") and len(chunk.data) > 1)
        yield attemptlog.visible(chunk.data[: len(chunk.data) - held]).encode()
        if is_last:
            return
        offset = chunk.next_offset - held


def _load(runtime: Runtime, job_id: int) -> tuple[Row[Any], Sequence[Row[Any]]]:
    with runtime.database.read() as connection:
        row = queries.job(connection, job_id)
        if row is None:
            raise UnknownJob(job_id)
        return row, queries.attempts(connection, job_id)


def _attempt(tries: Sequence[Row[Any]], number: int | None) -> Row[Any] | None:
    """Return one attempt, the newest where none is named; None where there is no such one."""
    if number is None:
        return tries[-1] if tries else None
    return next((one for one in tries if one.number == number), None)


def _number(name: str) -> int | None:
    given = request.args.get(name)
    if given is None:
        return None
    if not (given.isascii() and given.isdigit() and len(given) < 17):
        abort(422, f"{name} must be a whole number.")
    return min(int(given), 2**53)
