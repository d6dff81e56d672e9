"""`runners`: which processes run jobs here, and asking them to stop; `scheduler`: the clock alone."""

from __future__ import annotations

import signal
import sys
import time
from dataclasses import dataclass
from typing import Any

import click
from flask import current_app
from sqlalchemy import Row

from bgapp import clock, queries, stop, system
from bgapp import runtime as runtimes
from bgapp.cli import presence, show
from bgapp.cli.errors import INTERRUPTED, Command
from bgapp.cli.show import CLEAR
from bgapp.node import Node, hostname
from bgapp.runtime import Runtime
from bgapp.system import ProcessIdentity

PAUSE = 0.05  # seconds between two looks
HOST_PATIENCE = 5.0  # seconds in which a host that is asked to end does so
SETTLE = 0.1  # seconds
LOOK_AT_LEAD = 0.5  # seconds


@click.group("runners", short_help="See and stop the processes that run jobs.")
def runners() -> None:
    """See and stop the processes that run jobs."""


@runners.command("list", cls=Command, short_help="List the nodes and their runners.")
@click.option("--json", "as_json", is_flag=True, help="Print an array of nodes as JSON.")
def list_runners(as_json: bool) -> None:
    """List the nodes of this instance: who leads, the runner host, and each runner with its job.

    Of nodes on other machines that share the database, what it tells: host name, leader, and running jobs.
    """
    runtime = runtimes.current()
    found = [_node_json(runtime, node) for node in presence.living(runtime.settings.instance)]
    others = presence.elsewhere(runtime)
    if as_json:
        click.echo(show.as_json(found + [_elsewhere_json(one) for one in others]))
        return
    _print_here(found)
    for one in others:
        leads = (
            "an application process leads"
            if one.lives
            else f"silent for {show.seconds(one.silent_for.total_seconds())}"
        )
        click.echo(f"node {one.node} on {show.line(one.hostname)}: {leads}")
        rows = [(f"  {row.runner_pid}", _job_words(_job_json(row))) for row in one.running]
        click.echo(show.table(("  RUNNER", "JOB"), rows) if rows else "  no running jobs")


def _print_here(found: list[dict[str, Any]]) -> None:
    if not any(one["leader"] or one["host"] or one["runners"] for one in found):
        click.echo(f"No runners, and no application process runs here (start one: {presence.how_to_start()}).")
        return
    for one in found:
        host = f"runner host {one['host']['pid']}" if one["host"] else "no runner host"
        leads = "an application process leads" if one["leader"] else "no application process leads"
        click.echo(f"node {one['node']}: {leads}, {host}")
        rows = [(str(runner["slot"]), str(runner["pid"]), _job_words(runner["job"])) for runner in one["runners"]]
        click.echo(
            show.table(("  SLOT", "PID", "JOB"), [(f"  {slot}", *rest) for slot, *rest in rows])
            if rows
            else "  no runners"
        )


def _job_words(job: dict[str, Any] | None) -> str:
    if job is None:
        return "idle"
    return f"{job['id']} {show.cut(job['class'] + '.' + job['method'])}, attempt {job['attempt']}"


def _elsewhere_json(one: presence.Elsewhere) -> dict[str, Any]:
    return {
        "node": one.node,
        "hostname": one.hostname,
        "leader": one.lives,
        "host": None,
        "runners": [{"slot": None, "pid": row.runner_pid, "job": _job_json(row)} for row in one.running],
    }


def _job_json(row: Row[Any]) -> dict[str, Any]:
    return {
        "id": row.id,
        "class": row.job_class,
        "method": row.method,
        "attempt": row.attempt,
        "started_at": clock.iso(row.started_at),
    }


def _node_json(runtime: Runtime, node: Node) -> dict[str, Any]:
    host = node.host()
    return {
        "node": node.id,
        "hostname": hostname(),
        "leader": node.has_leader(),
        "host": None if host is None else {"pid": host[0].pid, "generation": host[1]},
        "runners": [{"slot": slot, "pid": process.pid, "job": job} for slot, process, job in _runners(runtime, node)],
    }


def _runners(runtime: Runtime, node: Node) -> list[tuple[int, ProcessIdentity, dict[str, Any] | None]]:
    """Return each runner's slot, process and job."""
    with runtime.database.read() as connection:
        rows = queries.running(connection, node.id)
    jobs = {(row.runner_pid, row.runner_ticks): _job_json(row) for row in rows}
    found = node.runners(runtime.settings.max_running)
    return [(slot, process, jobs.get((process.pid, process.ticks))) for slot, process in found]


@dataclass(frozen=True)
class Asked:
    """A runner that was asked to leave."""

    node: Node
    process: ProcessIdentity


@runners.command("stop", cls=Command, short_help="Have the runners leave.")
@click.option("--now", is_flag=True, help="End running jobs too; they are lost, and retried if retries are left.")
def stop_runners(now: bool) -> None:
    """Have the runners and their host leave; jobs that run finish first, unless --now is given."""
    runtime = runtimes.current()
    living = presence.living(runtime.settings.instance)
    asked: list[Asked] = []
    for node in living:
        _end_host(node)
        found = node.runners(runtime.settings.max_running)  # later ones are not asked, and not waited for
        stop.ask_to_stop(node, now=now)
        if node.is_here():
            asked += [Asked(node, process) for _, process in found]
        else:
            click.echo(f"The runners of node {node.id} are in another container: asked, and not waited for.", err=True)
    if not asked:
        click.echo("No runners.")
    else:
        _wait_until_left(runtime, asked, now=now)
        click.echo(f"{_count(len(asked), 'runner')} left.")
    if presence.has_leader(runtime):
        click.echo("An application process still leads: it starts new runners. Stop that first to have none.", err=True)


def _end_host(node: Node) -> None:
    """End the runner host before its runners, so that it forks no further ones."""
    found = node.host()
    if found is None:
        return
    system.terminate(found[0])
    deadline = clock.monotonic() + HOST_PATIENCE
    while system.is_alive(found[0]) and clock.monotonic() < deadline:
        time.sleep(PAUSE)


def _wait_until_left(runtime: Runtime, asked: list[Asked], *, now: bool) -> None:
    """Say what was asked, and wait until it is done."""
    terminal = sys.stderr is not None and sys.stderr.isatty()
    said = 0
    try:
        busy = len(_jobs_of(runtime, asked))
        how = "" if not busy else " Running jobs are ended." if now else " Running jobs finish first; --now ends them."
        click.echo(f"{_count(len(asked), 'runner')} asked to leave, {_count(busy, 'job')} running.{how}", err=True)
        while left := [one for one in asked if system.is_alive(one.process)]:
            if terminal and said != (said := len(left)):
                click.echo(CLEAR + _left_words(runtime, left), nl=False, err=True)
            time.sleep(PAUSE)
    except KeyboardInterrupt:
        click.echo(f"{CLEAR if said else ''}The runners still leave when their jobs have ended.", err=True)
        raise
    if said:
        click.echo(CLEAR, nl=False, err=True)


def _left_words(runtime: Runtime, left: list[Asked]) -> str:
    jobs = _jobs_of(runtime, left)
    what = f", jobs {', '.join(map(str, jobs))}" if jobs else ""
    return f"waiting for {_count(len(left), 'runner')}{what}"


def _jobs_of(runtime: Runtime, asked: list[Asked]) -> list[int]:
    """Return the ids of the jobs that these runners run."""
    processes = {one.process for one in asked}
    nodes = {one.node.id: one.node for one in asked}.values()
    return [job["id"] for node in nodes for _, process, job in _runners(runtime, node) if job and process in processes]


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


@click.command("scheduler", cls=Command, short_help="Run the clock alone, in the foreground.")
def scheduler_command() -> None:
    """Start due jobs as an application process does, but serve nothing; until Ctrl-C. Running jobs run on."""
    from bgapp import scheduler  # APScheduler with it: no other command needs that

    app = current_app._get_current_object()  # type: ignore[attr-defined] # LocalProxy
    signal.signal(signal.SIGTERM, _end_quietly)
    scheduler.start_clock(app)
    try:
        said = None
        scheduler.wait_for_leader(app, HOST_PATIENCE)
        time.sleep(SETTLE)  # the lock is taken a moment before this process's clock knows that it leads
        while True:
            found = scheduler.clock_of(app)
            leads = found is not None and found.leads
            if leads != said:
                said = leads
                node = runtimes.current().node.id
                click.echo(
                    f"This process leads node {node}: it starts due jobs. Ctrl-C stops it; running jobs run on."
                    if leads
                    else f"Another process leads node {node}: this one stands by. Ctrl-C stops it."
                )
            time.sleep(LOOK_AT_LEAD)
    except KeyboardInterrupt:
        raise click.exceptions.Exit(INTERRUPTED) from None
    finally:
        scheduler.stop_clock(app)


def _end_quietly(*_: object) -> None:
    raise click.exceptions.Exit(0)
