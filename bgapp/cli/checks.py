"""What `doctor` looks at: each check returns a sentence on how it stands, and what to do where it stands badly."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sqlalchemy import text

from bgapp import queries, schema, system
from bgapp.cli import presence
from bgapp.cli.probe import Report, probe
from bgapp.cli.show import MIB, seconds, size
from bgapp.databasefile import LARGE_LOG
from bgapp.errors import BgappError
from bgapp.eventlog import ERRORS_NAME, MAIN_NAME
from bgapp.runtime import Runtime
from bgapp.settings import DEFAULT
from bgapp.sqlitelibrary import REMEDY, sqlite_library, weakness

OK, WARNING, PROBLEM = "ok", "warning", "problem"
LEAST_FREE = 200 * MIB


@dataclass(frozen=True)
class Check:
    """How one thing stands."""

    name: str
    status: str
    text: str
    advice: str = ""

    def as_dict(self) -> dict[str, str]:
        """Return it as `doctor --json` prints it."""
        return asdict(self)


class Doctor:
    """The checks of one application, each of which yields what it found."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._settings = runtime.settings

    @cached_property
    def _report(self) -> Report:
        return probe(self._settings.app)

    def run(self) -> Iterator[Check]:
        """Yield every check. What one of them meets does not keep the next from running."""
        checks: tuple[tuple[str, Callable[[], Iterator[Check]]], ...] = (
            ("settings", self._check_settings),
            ("tables", self._check_tables),
            ("database", self._check_library),
            ("log", self._check_log),
            ("folders", self._check_modes),
            ("disk", self._check_disk),
            ("clock", self._check_clock),
            ("nodes", self._check_nodes),
            ("application", self._check_application),
            ("allow-list", self._check_allowlist),
            ("forking", self._check_forking),
            ("user", self._check_user),
        )
        for name, check in checks:
            try:
                yield from check()
            except BgappError as error:
                yield Check(name, PROBLEM, str(error))
            except OSError as error:
                place = f"{error.filename}: " if error.filename else ""
                yield Check(name, PROBLEM, f"{place}{error.strerror or error}")

    def _check_settings(self) -> Iterator[Check]:
        for warning in self._settings.warnings:
            yield Check("settings", WARNING, warning)
        given = sum(source != DEFAULT for _, _, source in self._settings.as_rows())
        yield Check("settings", OK, f"{given} given, all others have their defaults")

    def _check_tables(self) -> Iterator[Check]:
        self._runtime.ready()
        found = schema.version(self._runtime.database)
        yield Check("tables", OK, f"{self._runtime.database!r} answers; its tables are at version {found}")

    def _check_library(self) -> Iterator[Check]:
        if not self._runtime.database.is_sqlite:
            with self._runtime.database.read() as connection:
                version = connection.execute(text("SHOW server_version")).scalar_one()
            yield Check("database", OK, f"PostgreSQL {version}")
            return
        library = self._runtime.dbapi or sqlite_library()
        weak = weakness(library)
        if weak is None:
            yield Check("database", OK, f"SQLite {library.sqlite_version} ({library.__name__})")
        else:
            yield Check("database", WARNING, weak, REMEDY)

    def _check_log(self) -> Iterator[Check]:
        file = self._runtime.database.file
        if file is None:
            return
        length = file.log_size()
        if length <= LARGE_LOG:
            yield Check("log", OK, f"the write-ahead log of the database holds {size(length)}")
            return
        told = f"the write-ahead log {file.log} has grown to {size(length)}: somebody reads the database without an end"
        yield Check("log", WARNING, told, "end the program or job that holds a transaction open")

    def _check_modes(self) -> Iterator[Check]:
        file, logs = self._settings.database_file, self._settings.log_dir
        folders = [self._settings.instance, logs, *([file.parent] if file else [])]
        places = dict.fromkeys([*folders, *([file] if file else []), logs / MAIN_NAME, logs / ERRORS_NAME])
        open_ones = [place for place in places if _is_open(place)]
        for place in open_ones:
            mode = f"{stat.S_IMODE(place.stat().st_mode):o}"
            advice = f"chmod go= {place}"
            yield Check("folders", WARNING, f"{place} has mode {mode}: other users can see what jobs are given", advice)
        if not open_ones:
            yield Check("folders", OK, f"{', '.join(map(str, dict.fromkeys(folders)))}: for this user alone")

    def _check_disk(self) -> Iterator[Check]:
        for folder in dict.fromkeys((self._settings.instance, self._settings.log_dir)):
            free = shutil.disk_usage(folder).free
            if free < LEAST_FREE:
                yield Check("disk", WARNING, f"{size(free)} are free for {folder}", "make room before writes fail")
                return
        yield Check("disk", OK, f"{size(free)} are free")

    def _check_clock(self) -> Iterator[Check]:
        leading = [node for node in presence.living(self._settings.instance) if node.has_leader()]
        with self._runtime.database.read() as connection:
            now = self._runtime.database.clock(connection)
            seen = {row.id: now - row.seen_at for row in queries.nodes(connection)}
            waiting = queries.due(connection, 1)
        if not leading and presence.has_leader(self._runtime):
            yield Check("clock", OK, "an application process on another machine leads")
            return
        if not leading:
            what = "jobs are due and wait" if waiting else "jobs would wait"
            told = f"no application process leads: {what} until one starts"
            yield Check("clock", PROBLEM if waiting else WARNING, told, presence.how_to_start())
            return
        for node in leading:
            silent = seen.get(node.id)
            if silent is not None and silent > presence.SILENT:
                told = (
                    f"the process that leads node {node.id} has not been heard of for {seconds(silent.total_seconds())}"
                )
                yield Check("clock", PROBLEM, told, "see that process's errors, then restart it")
            else:
                yield Check("clock", OK, f"an application process leads node {node.id}")
            if node.has_host():
                yield Check("host", OK, f"a runner host serves node {node.id}")
            else:
                advice = f"see {self._settings.log_dir / 'runner.log'}"
                yield Check("host", WARNING, f"node {node.id} has no runner host at this moment", advice)

    def _check_nodes(self) -> Iterator[Check]:
        for node in presence.living(self._settings.instance):
            refusal = node.refusal()
            if refusal is not None:
                yield Check("nodes", PROBLEM, refusal)
        for one in presence.elsewhere(self._runtime):
            where, jobs = f"node {one.node} on {one.hostname}", f"{len(one.running)} running jobs"
            if one.lives:
                yield Check("nodes", OK, f"{where} shares the database, with {jobs}")
                continue
            silent = seconds(one.silent_for.total_seconds())
            told = f"{where} has not been heard of for {silent}, with {jobs}"
            yield Check("nodes", WARNING, told, "they run again elsewhere once their lease has ended")

    def _check_application(self) -> Iterator[Check]:
        app, report = self._settings.app, self._report
        if report.error is not None:
            yield Check("application", PROBLEM, f"{app}: {report.error}", "set BGAPP_APP to the application")
        elif report.instance != str(self._settings.instance):
            told = f"{app} uses the instance folder {report.instance}, this one {self._settings.instance}"
            yield Check("application", PROBLEM, told, "set BGAPP_APP to the application that asks for the jobs")
        else:
            yield Check("application", OK, f"runners can load {app}")

    def _check_allowlist(self) -> Iterator[Check]:
        keys = self._runtime.allowlist.keys()
        if not keys:
            yield Check("allow-list", WARNING, "no class may run", "name one in BGAPP_ALLOWED_JOBS")
        elif self._report.error is not None:
            yield Check("allow-list", WARNING, "not checked, since the application cannot be loaded")
        for problem in self._report.problems:
            yield Check("allow-list", PROBLEM, problem, "mend it, or take it out of BGAPP_ALLOWED_JOBS")
        if keys and self._report.error is None and not self._report.problems:
            yield Check(
                "allow-list",
                OK,
                f"{len(keys)} classes can be imported" if len(keys) > 1 else f"{keys[0]} can be imported",
            )

    def _check_forking(self) -> Iterator[Check]:
        report, method = self._report, self._settings.start_method
        if report.error is not None:
            return
        if method == "spawn" or not system.CAN_FORK:
            yield Check("forking", OK, "not needed: each child is started as a new process")
            return
        culprits = [f"importing {key} starts a thread" for key in report.threaded]
        if report.threads > 1:
            culprits.insert(0, f"importing the application {self._settings.app} starts a thread")
        for culprit in culprits:
            if method == "fork":
                told = f"{culprit}, and BGAPP_START_METHOD=fork forks all the same: children may hang"
                yield Check("forking", PROBLEM, told, "start the thread on first use, or set BGAPP_START_METHOD=auto")
            else:
                told = f"{culprit}: children are started as new processes, which takes longer"
                yield Check("forking", WARNING, told, "start the thread on first use and not at import")
        if not culprits:
            yield Check("forking", OK, "importing starts no threads: children are forked")

    def _check_user(self) -> Iterator[Check]:
        if getattr(os, "geteuid", lambda: None)() == 0:
            told = "this runs as root, and so would every job"
            yield Check("user", WARNING, told, "run the application as a user of its own")


def _is_open(place: Path) -> bool:
    """Return whether users other than the owner may see what is there; never on systems without owners."""
    return hasattr(os, "geteuid") and place.exists() and bool(stat.S_IMODE(place.stat().st_mode) & 0o077)


def worst(checks: list[Check]) -> str:
    """Return the worst status among checks."""
    found: set[Any] = {check.status for check in checks}
    return PROBLEM if PROBLEM in found else WARNING if WARNING in found else OK
