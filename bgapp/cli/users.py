"""`users`: make, list, change, disable and invite users of the stand-alone application."""

from __future__ import annotations

import getpass
import sys
from typing import Any

import click

from bgapp import accounts, clock, invitations, passwords, throttle
from bgapp import runtime as runtimes
from bgapp.accountmodels import AccountRefused, Role
from bgapp.accounts import User
from bgapp.cli import show
from bgapp.cli.errors import Command, Refused

ROLES = click.Choice([role.value for role in Role])
LONGEST_INPUT = 4096  # bytes; more than any password may have

name = click.argument("name", metavar="NAME")


class UsersCommand(Command):
    """A command whose refusal of a value it was given counts as wrong usage."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. Raises click's errors and Exit."""
        try:
            return super().invoke(ctx)
        except click.ClickException as error:
            cause = error.__cause__
            if isinstance(cause, AccountRefused) and cause.field is not None:
                raise Refused(error.message) from cause
            raise


@click.group("users", short_help="See and change who may log in.")
def users() -> None:
    """See and change who may log in. Where bgapp is mounted in an application, that one knows its users itself."""


@users.command("create", cls=UsersCommand, short_help="Make a user.")
@name
@click.option("--role", type=ROLES, required=True, help="viewer sees; operator also runs; admin also manages.")
def create(name: str, role: str) -> None:
    """Make a user. The password is asked for, or is the first line of standard input."""
    name = accounts.checked_name(name)
    database = runtimes.current().database
    with database.read() as connection:
        if accounts.find(connection, name) is not None:
            raise accounts.name_is_taken(name)
    password_hash = _new_password(name)
    with database.write() as connection:
        user = accounts.create_user(connection, name, role, database.clock(connection), password_hash)
        admins = accounts.count_admins(connection)
    click.echo(f"{show.line(user.name)} may log in, as {user.role}")
    if not admins:
        click.echo("There is no admin yet, and the set-up code no longer works: make one by --role admin.", err=True)


@users.command("list", cls=UsersCommand, short_help="List users.")
@click.option("--json", "as_json", is_flag=True, help="Print an array of users as JSON.")
def list_users(as_json: bool) -> None:
    """List users by name."""
    with runtimes.current().database.read() as connection:
        found = accounts.list_users(connection)
    if as_json:
        click.echo(show.as_json([_json(user) for user in found]))
    elif not found:
        click.echo("No users. `users create NAME --role admin` makes the first one.")
    else:
        heads = ("NAME", "ROLE", "STATE", "LAST SEEN", "CREATED")
        click.echo(show.table(heads, [_cells(user) for user in found]))


@users.command("passwd", cls=UsersCommand, short_help="Give a user a new password.")
@name
def passwd(name: str) -> None:
    """Give a user a new password, which ends their logins. It is asked for, or is the first line of standard input."""
    database = runtimes.current().database
    with database.read() as connection:
        user = accounts.required(connection, name)
    password_hash = _new_password(user.name)
    with database.write() as connection:
        accounts.set_password(connection, user.id, password_hash)
        throttle.forgive(connection, user.name)
    click.echo(f"{show.line(user.name)} has a new password, their logins are ended")


@users.command("role", cls=UsersCommand, short_help="Give a user another role.")
@name
@click.argument("role", metavar="ROLE", type=ROLES)
def role_command(name: str, role: str) -> None:
    """Give a user another role (viewer, operator, admin), which ends their logins."""
    database = runtimes.current().database
    with database.write() as connection:
        user = accounts.set_role(connection, accounts.required(connection, name).id, role)
    click.echo(f"{show.line(user.name)} is {user.role}")


@users.command("disable", cls=UsersCommand, short_help="Shut a user out.")
@name
def disable(name: str) -> None:
    """Shut a user out at once: logins end, none can begin."""
    database = runtimes.current().database
    with database.write() as connection:
        user = accounts.required(connection, name)
        accounts.disable(connection, user.id, database.clock(connection))
    click.echo(f"{show.line(user.name)} is disabled")


@users.command("enable", cls=UsersCommand, short_help="Let a disabled user log in again.")
@name
def enable(name: str) -> None:
    """Let a disabled user log in again, with the password they had."""
    database = runtimes.current().database
    with database.write() as connection:
        user = accounts.required(connection, name)
        accounts.enable(connection, user.id)
    click.echo(f"{show.line(user.name)} may log in again")


@users.command("invite", cls=UsersCommand, short_help="Make an invitation.")
@click.option("--role", type=ROLES, required=True, help="What whoever accepts it becomes.")
def invite(role: str) -> None:
    """Make an invitation that works once. Prints the path of its link, to be sent after the dashboard's address."""
    database = runtimes.current().database
    with database.write() as connection:
        now = database.clock(connection)
        code = invitations.invite(connection, role, None, now)
    click.echo(f"/invitation/{code}")
    click.echo(f"It makes one {role} and is valid until {show.moment(now + invitations.LASTS)}.", err=True)


def _new_password(name: str) -> str:
    """Ask for a new password and return its hash. Raises AccountRefused (password)."""
    password = _typed() if sys.stdin is not None and sys.stdin.isatty() else _piped()
    passwords.check(password, name)
    return passwords.hashed(password)


def _typed() -> str:
    # Not click's prompt, which makes Ctrl-C an exit code of its own.
    try:
        password = getpass.getpass("Password: ")
        again = getpass.getpass("The same again: ")
    except EOFError:
        raise AccountRefused("no password was typed", "password") from None
    if password != again:
        raise AccountRefused("the two passwords differ: nothing was changed", "password")
    return password


def _piped() -> str:
    line = b"" if sys.stdin is None else sys.stdin.buffer.readline(LONGEST_INPUT)
    try:
        password = line.removesuffix(b"\n").removesuffix(b"\r").decode()
    except UnicodeDecodeError:
        raise AccountRefused("the password on standard input is not UTF-8 text", "password") from None
    if not password:
        raise AccountRefused("standard input holds no password: give it as its first line", "password")
    return password


def _cells(user: User) -> tuple[str, ...]:
    seen = "never" if user.last_seen_at is None else show.moment(user.last_seen_at)
    return show.cut(user.name), user.role.value, _state(user), seen, show.moment(user.created_at)


def _state(user: User) -> str:
    if user.is_disabled:
        return "disabled"
    return "active" if user.has_password else "no password"


def _json(user: User) -> dict[str, Any]:
    return {
        "id": user.id,
        "name": user.name,
        "role": user.role.value,
        "state": _state(user),
        "created_at": clock.iso(user.created_at),
        "disabled_at": clock.iso(user.disabled_at),
        "last_seen_at": clock.iso(user.last_seen_at),
    }
