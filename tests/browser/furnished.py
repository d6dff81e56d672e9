"""An installation with a job in every state, as rows and files: the same at every start, and no process runs."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, insert

from bgapp import attemptlog, clock
from bgapp.models import FINAL, Reason, Status
from bgapp.node import Node
from bgapp.runtime import Runtime
from bgapp.statements import ATTEMPTS, JOBS
from tests.factories import NODE, TOKEN, new_job

ALLOWED = {
    "tests.browser.shopjobs.Catalogue": ["refresh", "refresh_slowly"],
    "tests.browser.shopjobs.Reports": ["build"],
    "tests.browser.shopjobs.Invoices": ["send"],
    "tests.browser.shopjobs.Everything": ["take"],
}

TRACEBACK = """Traceback (most recent call last):
  File "/srv/shop/shop/invoices.py", line 88, in send
    receipt = self.gateway.deliver(letter)
              ^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  File "/srv/shop/shop/gateway.py", line 41, in deliver
    answer = self.session.post(self.url, data=letter.pdf(), timeout=self.patience_in_seconds_before_we_give_up)
             ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  File "/usr/lib/python3.13/socket.py", line 719, in readinto
    return self._sock.recv_into(b)
           ~~~~~~~~~~~~~~~~~~~~^^^
ConnectionResetError: [Errno 104] Connection reset by peer
"""


def second(count: float) -> timedelta:
    return timedelta(seconds=count)


class Furniture:
    """Puts jobs into one runtime's tables; every `add` makes the newest."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.now = clock.now().replace(microsecond=0)
        self.named: dict[str, int] = {}

    def add(
        self,
        what: str,
        status: Status,
        params: Mapping[str, Any] | None = None,
        *,
        age: float,
        took: float = 1.0,
        tries: int = 1,
        wait: float = 0.4,
        error: str | None = None,
        reason: Reason | None = None,
        name: str | None = None,
        output: str = "",
        **columns: Any,
    ) -> int:
        """Add a job that was asked for `age` seconds ago, and its attempts, each of which took `took` seconds."""
        key, _, method = what.rpartition(".")
        created = self.now - second(age)
        values = {
            **new_job(job_class=key, method=method, params=json.dumps(params or {}), created_at=created).row(),
            "run_at": created,
            "status": status,
            "attempt": tries,
            "attempt_limit": 1 + max(3, tries),
            "created_by": "ada",
            "error": error,
            "reason": reason,
        }
        start, spans = created + second(wait), []
        for number in range(1, tries + 1):
            spans.append((number, start, start + second(took)))
            start += second(took + 15 * 2 ** (number - 1))
        if status is Status.RUNNING:
            values |= {
                "token": TOKEN,
                "lease_until": self.now + second(30),
                "node": NODE,
                "runner_pid": 4242,
                "pid": 4250,
            }
        if spans:
            values["started_at"] = spans[-1][1]
        if status in FINAL:
            values["finished_at"] = spans[-1][2] if spans else created + second(5)
        with self.runtime.database.write() as connection:
            job_id: int = connection.execute(insert(JOBS).values(values | columns).returning(JOBS.c.id)).scalar_one()
            for number, began, ended in spans:
                is_last = number == tries
                self._attempt(
                    connection, job_id, number, began, ended, status if is_last else Status.FAILED, error, reason
                )
        if spans:
            self.write(job_id, tries, output)
        if name is not None:
            self.named[name] = job_id
        return job_id

    def _attempt(
        self,
        connection: Connection,
        job_id: int,
        number: int,
        began: datetime,
        ended: datetime,
        status: Status,
        error: str | None,
        reason: Reason | None,
    ) -> None:
        # A waiting or retrying job's last attempt has failed.
        status = Status.FAILED if status in (Status.SCHEDULED, Status.PENDING) else status
        failed, running = status is Status.FAILED, status is Status.RUNNING
        lost = reason in (Reason.LOST, Reason.POISON)
        values = {
            "job_id": job_id,
            "number": number,
            "status": status,
            "reason": None
            if status is Status.COMPLETED or running
            else Reason.LOST
            if lost
            else reason or Reason.ERROR,
            "node": NODE,
            "runner_pid": 4242,
            "pid": None if running else 4250 + number,
            "started_at": began,
            "finished_at": None if running else ended,
            "exit_code": None if running or lost else 1 if failed else 0,
            "signal": "SIGKILL" if lost and not running else None,
            "cpu_seconds": None if running else round((ended - began).total_seconds() * 0.6, 2),
            "peak_memory_bytes": None if running else 41_300_000 + number * 777_000,
            "error": error if failed else None,
            "traceback": TRACEBACK if failed and not lost else None,
        }
        connection.execute(insert(ATTEMPTS).values(values))

    def write(self, job_id: int, attempt: int, text: str) -> None:
        """Write an attempt's output."""
        path = attemptlog.path(self.runtime.settings.log_dir, job_id, attempt)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.write_text(text, encoding="utf-8")


def furnish(runtime: Runtime) -> Furniture:
    """Fill an empty installation with a busy morning."""
    runtime.ready()
    made, dice = Furniture(runtime), random.Random(7)
    for number in range(80):
        kind = ("sales", "stock", "returns")[number % 3]
        took = round(min(dice.lognormvariate(1.0, 2.2), 3000.0), 2)
        made.add(
            "shop.reports.Reports.build" if number % 4 else "shop.catalogue.Catalogue.refresh",
            Status.FAILED if number in (9, 22, 41, 67) else Status.CANCELLED if number == 30 else Status.COMPLETED,
            {"month": "2026-10-01", "kind": kind} if number % 4 else {},
            age=11400 - number * 130,
            took=took,
            error="TimeoutError: the price list of Norden AB did not answer within 30 s"
            if number in (9, 22, 41, 67)
            else None,
            result=json.dumps({"pages": 12, "kind": kind}),
            queue="default" if number % 5 else "slow",
            created_by="command" if number % 7 else "ada",
        )
    _named(made)
    return made


def _named(made: Furniture) -> None:
    """Add one job for each state that a page shows in its own way."""
    reset = "ConnectionResetError: [Errno 104] Connection reset by peer"
    made.add(
        "shop.invoices.Invoices.send",
        Status.FAILED,
        {"number": 20817, "channel": "email"},
        age=640,
        took=4.2,
        tries=4,
        error=reset,
        reason=Reason.ERROR,
        name="failed",
        output="invoice 20817 by email\nconnecting to the gateway …\n",
    )
    made.add(
        "shop.images.Thumbnails.make",
        Status.FAILED,
        {"folder": "/srv/shop/media/2026/11"},
        age=560,
        took=66,
        tries=3,
        error="the process was killed (SIGKILL) while the method ran, so it may have had effects: by a person,"
        " by another program, or by the kernel for lack of memory"
        " (3 attempts in a row were lost: not tried again)",
        reason=Reason.POISON,
        name="lost",
        output="".join(f"{n:>4} images done\n" for n in range(0, 900, 100)),
    )
    made.add(
        "shop.reports.Reports.build",
        Status.COMPLETED,
        {"month": "2026-10-01", "kind": "sales", "copies": 2, "draft": False, "password": "hunter2"},
        age=300,
        took=31.2,
        tries=2,
        name="completed",
        result=json.dumps(
            {"month": "2026-10", "kind": "sales", "pages": 24, "files": ["sales-2026-10.pdf", "sales-2026-10.csv"]}
        ),
        output="building sales for 2026-10\n412 orders, 38 returns\nwrote sales-2026-10.pdf (24 pages)\n",
        secret_params='["password"]',
        created_by="grace",
        queue="slow",
        priority=10,
    )
    made.add(
        "shop.reports.Reports.build",
        Status.CANCELLED,
        {"month": "2026-11-01"},
        age=240,
        tries=0,
        cancelled_by="ada",
        name="cancelled",
    )
    made.add(
        "shop.catalogue.Catalogue.refresh",
        Status.SCHEDULED,
        {},
        age=90,
        tries=1,
        took=30,
        error="TimeoutError: no answer within 30 s",
        reason=Reason.ERROR,
        run_at=made.now + second(3600),
        name="retrying",
        output="asking Norden AB …\n",
    )
    made.add(
        "shop.reports.Reports.build",
        Status.SCHEDULED,
        {"month": "2026-11-01"},
        age=80,
        tries=0,
        run_at=made.now + second(86400 * 2),
        name="scheduled",
    )
    output = "".join(
        f"2026-11-22 12:{n // 60:02}:{n % 60:02} order {52000 + n}: checked, {n % 7} lines\n" for n in range(400)
    )
    made.add(
        "shop.orders.Orders.check",
        Status.RUNNING,
        {"since": "2026-11-21", "warehouse": "Göteborg"},
        age=75,
        wait=0.3,
        name="running",
        progress=json.dumps({"fraction": 0.64, "message": "order 52 400 of 53 120"}),
        output=output,
        timeout=600.0,
    )
    made.add(
        "shop.search.Index.rebuild",
        Status.RUNNING,
        {"shard": 3},
        age=19,
        wait=0.2,
        tries=1,
        name="silent",
        progress=json.dumps({"fraction": None, "message": "reading"}),
    )
    made.add(
        "shop.mail.Newsletter.send",
        Status.RUNNING,
        {"issue": "2026-47"},
        age=44,
        wait=0.2,
        name="stopping",
        cancel_requested_at=made.now - second(3),
        cancelled_by="ada",
        progress=json.dumps({"fraction": 0.12, "message": "1 204 of 10 000"}),
    )
    made.add("shop.mail.Newsletter.send", Status.PENDING, {"issue": "2026-48"}, age=12, tries=0, name="pending")
    made.add("shop.invoices.Invoices.send", Status.PENDING, {"number": 20911}, age=4, tries=0, priority=20)


def lead(runtime: Runtime, runners: int = 3) -> list[Any]:
    """Hold the locks by which pages see that a clock ticks and runners are up; keep what is returned."""
    node = Node.join(runtime.settings.instance)
    leader = node.leader_lock()
    assert leader.try_exclusive()
    return [node, leader, *(node.take_slot(runtime.settings.max_running) for _ in range(runners))]
