"""A job that imports a CSV file in short transactions, and imports no line twice however often it is tried."""

from __future__ import annotations

import csv
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from io import TextIOWrapper
from itertools import islice
from typing import Any

from sqlalchemy import Column, Date, Integer, String, Table, func, select
from sqlalchemy.orm import Session, scoped_session

from bgapp import current_job
from bgapp.errors import shown
from bgapp.jobs import demo_tables

# The only tables a name can mean: text from a parameter chooses among these and never reaches SQL.
TABLES = {"people": demo_tables.people, "products": demo_tables.products}
OWN_COLUMNS = ("id", "imported_by", "line")  # filled here, never from the file
MAX_BATCH = 10_000
MAX_INTEGER = 2**31 - 1
BAD_ROWS_RETURNED = 20


class CsvImport:
    """Imports CSV files into the demo tables of the application's database."""

    def load(self, path: str, table: str = "people", batch: int = 500) -> dict[str, Any]:
        """Import a CSV file (UTF-8, commas, a header line).

        path: the file, on the machine that runs the job.
        table: `people` (email, name, born) or `products` (sku, name, price_cents).
        batch: how many rows to write and commit at a time, 1 to 10000.

        A row whose email or sku is in the table already counts as a duplicate and changes nothing. A bad row is
        printed with its line number and passed over; the first 20 are in the result as well.
        Raises ValueError if a parameter or the header is wrong, OSError if the file cannot be read.
        """
        target = _target(table)
        if not 1 <= batch <= MAX_BATCH:
            raise ValueError(f"batch must be 1 to {MAX_BATCH}, not {shown(batch)}")
        if not os.path.isfile(path):
            raise FileNotFoundError(f"{shown(path)} is not a file on this machine: give the path of a CSV file")
        # The import key is this and the line number, unique together in the table. Every attempt at a job has the
        # same idempotency key, so after a kill the retry reads the file from its start, and the lines that earlier
        # attempts committed are passed over by the database: none is doubled, none is left out.
        imported_by = current_job.idempotency_key if current_job else uuid.uuid4().hex
        session = demo_tables.open_session(target)
        report = Report(table)
        size = os.path.getsize(path)
        # surrogateescape: a byte that is not UTF-8 costs its row, not the whole import.
        with open(path, "rb") as raw, TextIOWrapper(raw, "utf-8-sig", "surrogateescape", newline="") as text:
            rows = _good_rows(text, target, report)
            while chunk := list(islice(rows, batch)):
                imported = _store(session, target, chunk, imported_by)
                report.imported += imported
                report.duplicates += len(chunk) - imported
                current_job.progress(min(1.0, raw.tell() / size), report.summary())
        print(report.summary())
        return report.as_dict()


@dataclass
class Report:
    """What became of the rows. Imported are the rows of this job, whichever of its attempts wrote them."""

    table: str
    imported: int = 0
    duplicates: int = 0
    bad: int = 0
    bad_rows: list[dict[str, Any]] = field(default_factory=list)

    def add_bad(self, line: int, error: Exception) -> None:
        """Count the row that begins on `line`, and print what is wrong with it."""
        self.bad += 1
        print(f"line {line}: {error}")
        if len(self.bad_rows) < BAD_ROWS_RETURNED:
            self.bad_rows.append({"line": line, "error": str(error)})

    def summary(self) -> str:
        """Return the counts as one line."""
        return f"{self.imported} imported, {self.duplicates} duplicates, {self.bad} bad"

    def as_dict(self) -> dict[str, Any]:
        """Return the counts and the first bad rows as JSON values."""
        return {
            "table": self.table,
            "imported": self.imported,
            "duplicates": self.duplicates,
            "bad": self.bad,
            "bad_rows": self.bad_rows,
        }


def _target(name: str) -> Table:
    if name not in TABLES:
        raise ValueError(f"there is no table {shown(name)} to import into: it must be one of {', '.join(TABLES)}")
    return TABLES[name]


def _store(session: scoped_session[Session], table: Table, chunk: list[dict[str, Any]], imported_by: str) -> int:
    """Write one batch in one transaction; return how many of its lines are in the table as this job's."""
    # Written first and counted after: on SQLite a transaction that begins by reading can lose its turn to write.
    demo_tables.insert_new(session, table, [{**row, "imported_by": imported_by} for row in chunk])
    lines = [row["line"] for row in chunk]
    count = select(func.count()).where(table.c.imported_by == imported_by, table.c.line.in_(lines))
    imported = session.execute(count).scalar_one()
    # Committed before the next row is read: the transaction lasts as long as the write, not as long as the file.
    session.commit()
    return imported


def _good_rows(text: Iterator[str], table: Table, report: Report) -> Iterator[dict[str, Any]]:
    """Yield the file's rows as values for `table`, with the line each begins on; report the bad ones."""
    reader = csv.reader(text, strict=True)
    columns = _header_columns(reader, table)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader, None)
            if cells is None:
                return
            row = _row(columns, cells) if cells else None
        except (csv.Error, ValueError) as error:
            report.add_bad(line, error)
            continue
        if row is not None:
            yield {**row, "line": line}


def _header_columns(reader: Iterator[list[str]], table: Table) -> list[Column[Any]]:
    """Return the table's columns in the order of the header line."""
    wanted = {column.name: column for column in table.columns if column.name not in OWN_COLUMNS}
    try:
        header = [name.strip().lower() for name in next(reader, [])]
    except csv.Error as error:
        raise ValueError(f"the first line is not a CSV header: {error}") from error
    missing = [name for name, column in wanted.items() if not column.nullable and name not in header]
    unknown = [name for name in header if name not in wanted]
    if missing or unknown or len(set(header)) < len(header):
        raise ValueError(
            f"the header line must name each of these columns at most once: {', '.join(wanted)}; "
            f"it lacks {', '.join(missing) or 'none'}; unknown are {shown(unknown) if unknown else 'none'}"
        )
    return [wanted[name] for name in header]


def _row(columns: list[Column[Any]], cells: list[str]) -> dict[str, Any]:
    if len(cells) != len(columns):
        raise ValueError(f"{len(cells)} cells where the header has {len(columns)}")
    return {column.name: _value(column, cell.strip()) for column, cell in zip(columns, cells, strict=True)}


def _value(column: Column[Any], text: str) -> str | int | date | None:
    """Return a cell as a value that the column can hold on every database."""
    if not text:
        if column.nullable:
            return None
        raise ValueError(f"{column.name} is empty")
    if isinstance(column.type, Date):
        return _date(column.name, text)
    if isinstance(column.type, Integer):
        if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= MAX_INTEGER):
            raise ValueError(f"{column.name} must be a whole number from 0 to {MAX_INTEGER}, not {shown(text)}")
        return int(text)
    if isinstance(column.type, String) and column.type.length is not None and len(text) > column.type.length:
        raise ValueError(f"{column.name} is {len(text)} characters long, at most {column.type.length} fit")
    # The stand-ins that surrogateescape put for wrong bytes, and NUL, which PostgreSQL cannot store.
    if any(character == "\0" or "\udc80" <= character <= "\udcff" for character in text):
        raise ValueError(f"{column.name} is not UTF-8 text: {shown(text)}")
    return text


def _date(name: str, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{name} must be a date such as 1990-12-31, not {shown(text)}") from None
