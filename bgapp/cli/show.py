"""What commands print: JSON, and text for people. Nothing in it can move a cursor or turn the reading direction."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from sqlalchemy import Row

from bgapp import attemptlog, endings, queries
from bgapp.logline import UNSEEN

LONGEST_CELL = 60  # characters
COLOURS = {
    "completed": "green",
    "failed": "red",
    "running": "cyan",
    "ok": "green",
    "warning": "yellow",
    "problem": "red",
}
CLEAR = "\r\x1b[K"  # empties the line on which progress is shown
MIB = 1024 * 1024

_UNSEEN = re.compile(f"[{UNSEEN}]")


def as_json(value: object) -> str:
    """Return `value` as JSON over several lines; what a terminal would not show stands as an escape."""
    text = json.dumps(value, ensure_ascii=False, indent=2)
    return (
        text if text.isascii() and "\x7f" not in text else _UNSEEN.sub(lambda match: json.dumps(match[0])[1:-1], text)
    )


def line(text: str) -> str:
    """Return any text as one that is safe on a terminal and stays on its line."""
    return attemptlog.visible(text.encode(errors="backslashreplace")).replace("\n", "\\n")


def moment(at: datetime) -> str:
    """Return a time to the second, in UTC."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def seconds(value: float) -> str:
    """Return a duration in the unit that fits it."""
    if value < 60:
        return f"{value:.2f} s"
    whole = round(value)
    days, hours, minutes = whole // 86400, whole // 3600 % 24, whole // 60 % 60
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {whole % 60} s"


def size(count: int) -> str:
    """Return a number of bytes in MiB or GiB."""
    return f"{count / MIB:.1f} MiB" if count < 1024 * MIB else f"{count / MIB / 1024:.1f} GiB"


def status(word: str) -> str:
    """Return a word of status in its colour."""
    return click.style(word, fg=COLOURS.get(word))


def cut(text: str, most: int = LONGEST_CELL) -> str:
    """Return a text for a table's cell."""
    text = line(text)
    return text if len(text) <= most else text[: most - 1] + "…"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows below their heads, columns aligned; colours do not count as width."""
    lines = [list(heads), *map(list, rows)]
    widths = [max(len(click.unstyle(cells[place])) for cells in lines) for place in range(len(heads))]
    return "\n".join(
        "  ".join(
            cell + " " * (width - len(click.unstyle(cell))) for cell, width in zip(cells, widths, strict=True)
        ).rstrip()
        for cells in lines
    )


def standing(row: Row[Any]) -> str:
    """Return where a job stands, in a few words: `job 12 is running`."""
    if row.status == "scheduled":
        retry = " again" if row.attempt else ""
        return f"job {row.id} is scheduled to run{retry} at {moment(row.run_at)}"
    return f"job {row.id} is {row.status}{'' if row.reason in (None, row.status) else f' ({row.reason})'}"


def progress(row: Row[Any]) -> str:
    """Return where a job stands, with what it says of its progress."""
    words = standing(row)
    if row.status == "running":
        words += f", attempt {row.attempt}"
        told = queries.stored(row.progress)
        if isinstance(told, Mapping):
            fraction, message = told.get("fraction"), told.get("message")
            words += f", {fraction:.0%}" if isinstance(fraction, int | float) else ""
            words += f": {cut(str(message))}" if message else ""
    return words


def job(row: Row[Any], tries: Sequence[Row[Any]], log_dir: Path, secret_keys: tuple[str, ...]) -> str:
    """Return a job and its attempts in words."""
    params = json.dumps(queries.shown_params(row, secret_keys), ensure_ascii=False)
    lines = [
        f"job {row.id}: {line(row.job_class)}.{line(row.method)}",
        f"  status      {status(row.status)}{'' if row.reason in (None, row.status) else f' ({row.reason})'}",
        f"  parameters  {line(params)}",
        f"  options     {_options(row)}",
        f"  created     {moment(row.created_at)}{f' by {line(row.created_by)}' if row.created_by else ''}",
    ]
    if row.status == "scheduled":
        lines.append(f"  runs at     {moment(row.run_at)}")
    if row.cancelled_by is not None or row.cancel_requested_at is not None:
        asked = "to be cancelled" if row.status == "running" else "cancelled"
        lines.append(f"  {asked} by {line(row.cancelled_by or 'someone')}")
    if row.error is not None:
        lines.append(f"  error       {line(row.error)}")
    if row.status == "completed":
        lines.append(f"  result      {line(json.dumps(queries.stored(row.result), ensure_ascii=False))}")
    if row.retry_of is not None:
        lines.append(f"  copy of     job {row.retry_of}")
    for one in tries:
        lines += _attempt(row, one, log_dir, newest=one is tries[-1])
    return "\n".join(lines)


def _options(row: Row[Any]) -> str:
    words = [f"priority {row.priority}", f"queue {row.queue}", f"{row.retries} retries"]
    words.append(f"backoff {row.backoff:g} s {'fixed' if row.backoff_fixed else 'doubling'}")
    words.append("no time limit" if row.timeout is None else f"time limit {row.timeout:g} s")
    if row.unique_key is not None:
        words.append(f"unique key {line(row.unique_key)}")
    return ", ".join(words)


def _attempt(job: Row[Any], row: Row[Any], log_dir: Path, *, newest: bool) -> list[str]:
    lines = [f"attempt {row.number}: {_story(row)}"]
    used = [f"{row.cpu_seconds:.2f} s of CPU"] if row.cpu_seconds is not None else []
    used += [f"at most {size(row.peak_memory_bytes)} of memory"] if row.peak_memory_bytes is not None else []
    if used:
        lines.append(f"  used   {', '.join(used)}")
    if row.error is not None:
        lines.append(f"  error  {line(row.error)}")
    if next_step := endings.sequel(job, row):
        lines.append(f"  next   {next_step}")
    if row.traceback is not None and newest:
        shown = attemptlog.visible(row.traceback.encode(errors="backslashreplace"))
        lines += [f"    {one}" for one in shown.splitlines()]
    lines.append(f"  log    {attemptlog.path(log_dir, row.job_id, row.number)}")
    return lines


def _story(row: Row[Any]) -> str:
    """Return when an attempt began, how long it took and how it ended, as a sentence."""
    process = f" in process {row.pid}" if row.pid is not None else ""
    began = f"began {moment(row.started_at)}{process}"
    if row.finished_at is None:
        return f"{began} and is running"
    took = seconds(max(0.0, (row.finished_at - row.started_at).total_seconds()))
    reason = "" if row.reason in (None, row.status) else f" ({row.reason})"
    ended = endings.process_end(row)
    how = f", {'ended by ' if row.signal else ''}{ended}" if ended else ""
    return f"{began}, took {took}, {row.status}{reason}{how}"
