"""`doctor`: say of everything that must be right whether it is, and what to do where it is not."""

from __future__ import annotations

import click

from bgapp import runtime as runtimes
from bgapp.cli import show
from bgapp.cli.errors import NOT_COMPLETED, Command


@click.command("doctor", cls=Command, ready=False, short_help="Check the installation.")
@click.option("--json", "as_json", is_flag=True, help="Print settings and checks as a JSON object.")
def doctor(as_json: bool) -> None:
    """Check settings, database, folders, clock, application and allow-list; exit with 1 where there is a problem."""
    from bgapp.cli import checks  # here, as no other command pays for what it needs

    runtime = runtimes.current()
    rows = runtime.settings.as_rows()
    found = []
    if not as_json:
        click.echo(show.table(("SETTING", "VALUE", "FROM"), [tuple(map(show.line, row)) for row in rows]) + "\n")
    for check in checks.Doctor(runtime).run():
        found.append(check)
        if not as_json:
            advice = f" -> {show.line(check.advice)}" if check.advice else ""
            mark = show.status(check.status) + " " * (7 - len(check.status))
            click.echo(f"{mark}  {check.name}: {show.line(check.text)}{advice}")
    worst = checks.worst(found)
    if as_json:
        settings = [dict(zip(("name", "value", "source"), row, strict=True)) for row in rows]
        told = {"status": worst, "checks": [check.as_dict() for check in found], "settings": settings}
        click.echo(show.as_json(told))
    if worst == checks.PROBLEM:
        raise click.exceptions.Exit(NOT_COMPLETED)
