"""The systems that are measured, and one of them at work in a place of its own."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bench import servers
from bench.place import NotMeasured, Place, wait_for

CONCURRENCY = 2


@dataclass(frozen=True)
class System:
    """A system as it is started. `workers` are the command lines that a service manager would keep alive; in them
    `{n}` stands for the concurrency. `in_app` systems have no way in from another process: their command takes the
    number of jobs and their seconds."""

    peer: str
    says: str
    workers: tuple[str, ...]
    package: str = ""
    server: str = ""
    one_worker_each: bool = False
    in_app: bool = False
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def is_bgapp(self) -> bool:
        return self.peer == "bgapp"


SERVE = ("-m flask --app bench.peers.bgapp run --port 0",)
CELERY = ("-m celery -A bench.peers.celery worker --concurrency {n} --loglevel ERROR",)
RQ = ("-m rq.cli worker --url {url} --quiet",)
HUEY = ("-m huey.bin.huey_consumer bench.peers.huey.huey --workers {n} --worker-type process --quiet",)
DRAMATIQ = ("-m dramatiq bench.peers.dramatiq --processes {n} --threads 1",)
PROCRASTINATE = ("-m procrastinate --app bench.peers.procrastinate.app worker --concurrency {n}",)

SYSTEMS = {
    "bgapp": System("bgapp", "SQLite, synced; a process a job", SERVE),
    "bgapp-reuse": System(
        "bgapp", "SQLite, synced; a process runs 1000 jobs", SERVE, environment={"BENCH_REUSE": "1000"}
    ),
    "bgapp-postgres": System("bgapp", "PostgreSQL, synced; a process a job", SERVE, server="postgres"),
    "process": System(
        "process", "no store; a fresh interpreter a job", ("-m bench.peers.process {jobs}",), in_app=True
    ),
    "process-flask": System(
        "process",
        "no store; a fresh interpreter a job, which imports Flask and Flask-SQLAlchemy",
        ("-m bench.peers.process {jobs}",),
        in_app=True,
        environment={"BENCH_LOADS": "flask flask_sqlalchemy"},
    ),
    "apscheduler": System(
        "apscheduler", "SQLite; its process pool", ("-m bench.peers.apscheduler {jobs}",), in_app=True
    ),
    "rq": System("rq", "Redis; a process a job", RQ, "rq", "redis", one_worker_each=True),
    "celery": System("celery", "Redis; prefork", CELERY, "celery", "redis"),
    "huey": System("huey", "Redis; processes", HUEY, "huey", "redis"),
    "dramatiq": System("dramatiq", "Redis; processes", DRAMATIQ, "dramatiq", "redis"),
    "procrastinate": System("procrastinate", "PostgreSQL, synced; threads", PROCRASTINATE, "procrastinate", "postgres"),
    "rq-synced": System("rq", "Redis, synced; a process a job", RQ, "rq", "redis-synced", one_worker_each=True),
    "celery-synced": System("celery", "Redis, synced; prefork", CELERY, "celery", "redis-synced"),
    "huey-synced": System("huey", "Redis, synced; processes", HUEY, "huey", "redis-synced"),
    "dramatiq-synced": System("dramatiq", "Redis, synced; processes", DRAMATIQ, "dramatiq", "redis-synced"),
}


_postgres: list[servers.Postgres] = []
_starting = threading.Lock()


def postgres() -> servers.Postgres:
    """Return the PostgreSQL server of this run, started when it is first needed. Raises NotMeasured."""
    with _starting:
        if not _postgres:
            _postgres.append(servers.Postgres())
        return _postgres[0]


def end_servers() -> None:
    """End what `postgres` started, if anything did."""
    while _postgres:
        _postgres.pop().end()


class Site:
    """One system in a place of its own: its server, its workers, its callers."""

    def __init__(
        self, system: System, concurrency: int = CONCURRENCY, environment: Mapping[str, str] | None = None
    ) -> None:
        """Start the server and make tables; no worker yet. Raises NotMeasured."""
        if system.package and importlib.util.find_spec(system.package) is None:
            raise NotMeasured(f"{system.package} is not installed")
        self.system = system
        self.concurrency = concurrency
        self.place = Place()
        try:
            self._url = self._serve()
            self.place.environment |= self._settings() | system.environment | dict(environment or {})
            if system.peer == "procrastinate":
                self.client("prepare")
        except BaseException:
            self.end()
            raise

    def _serve(self) -> str:
        if self.system.server == "postgres":
            return postgres().database()
        if self.system.server:
            return servers.redis(self.place, synced=self.system.server == "redis-synced")
        return ""

    def _settings(self) -> dict[str, str]:
        settings = {"BENCH_URL": self._url, "BENCH_CONCURRENCY": str(self.concurrency)}
        if self.system.is_bgapp:
            instance = self.place.folder / "instance"
            instance.mkdir(mode=0o700, exist_ok=True)
            settings |= {"BGAPP_INSTANCE": str(instance), "BGAPP_MAX_RUNNING": str(self.concurrency)}
            if self._url:
                settings["BGAPP_DATABASE_URL"] = self._url
        return settings

    def start(self, jobs: int = 0, seconds: float = 0.0) -> None:
        """Start the workers; `jobs` and `seconds` go to a system that takes its jobs with its start."""
        for line in self.system.workers:
            words = line.format(n=self.concurrency, url=self._url, jobs=f"{jobs} {seconds}").split()
            for _ in range(self.concurrency if self.system.one_worker_each else 1):
                self.place.start(words)

    def client(self, verb: str, *words: float) -> Any:
        """Do something as a caller, in another process; return what it found."""
        return json.loads(self.place.call(["-m", "bench.client", self.system.peer, verb, *map(str, words)]))

    def warm(self) -> None:
        """Have every worker at work once, so that what they load at first is loaded; then clear the witness.

        It rests a moment after that, so that those who wait do wait.
        """
        count = 4 * self.concurrency
        self.client("enqueue", count, 0.05)
        self.wait_ended(count)
        wait_for(lambda: self.place.count("E") == self.place.count("S"), "the end of the first jobs")
        self.place.witness.unlink()

    def wait_ended(self, count: int, seconds: float = 120.0) -> None:
        """Wait until so many jobs have ended."""
        wait_for(lambda: self.place.count("E") >= count, f"{count} jobs to end", seconds)

    def end(self) -> None:
        self.place.end()


def why_missing(system: System) -> str | None:
    """Return why a system cannot be measured at all here, None where it can."""
    if system.package and importlib.util.find_spec(system.package) is None:
        return f"{system.package} is not installed"
    if system.server.startswith("redis") and shutil.which("redis-server") is None:
        return "there is no redis-server on this machine"
    if os.name != "posix" or not os.path.exists("/proc/self/environ"):
        return "the bench finds and kills processes by /proc, which only Linux has"
    return None
