"""How every command ends: errors, Ctrl-C and a closed pipe become an exit code and one line, never a traceback."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Any

import click
from click.exceptions import Exit
from flask import current_app
from flask.cli import ScriptInfo

from bgapp import runtime as runtimes
from bgapp.cli import show, words
from bgapp.errors import BgappError, ConfigurationError, DatabaseUnavailable, JobRejected

NOT_COMPLETED = 1  # the job did not complete, an id is unknown, or a status does not allow the action
REFUSED = 2  # the job was refused, or the command was used wrongly; click's own code for the latter
UNUSABLE = 4  # the configuration, the database or a file cannot be used
INTERRUPTED = 130  # Ctrl-C
CLOSED_PIPE = 141  # whoever read the output is gone


class NotCompleted(click.ClickException):
    """What was asked for could not be done to this job."""

    exit_code = NOT_COMPLETED


class Refused(click.ClickException):
    """The job was refused."""

    exit_code = REFUSED


class Unusable(click.ClickException):
    """The configuration, the database or a file cannot be used."""

    exit_code = UNUSABLE


class Command(click.Command):
    """A command inside the application's context, its folders and tables made ready, its errors told in words.

    With `ready=False` it sees to the folders and tables itself.
    """

    def __init__(self, *arguments: Any, ready: bool = True, **attributes: Any) -> None:
        super().__init__(*arguments, **attributes)
        self._ready = ready

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Read the command's words. Raises click's errors."""
        _speak_utf8()
        with told():
            return super().make_context(info_name, words.decoded(args), parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. Raises click's errors and Exit."""
        with told(as_json=bool(ctx.params.get("as_json"))):
            if not current_app:
                ctx.with_resource(ctx.ensure_object(ScriptInfo).load_app().app_context())
            if self._ready:
                runtimes.current().ready()
            return super().invoke(ctx)


@contextlib.contextmanager
def told(*, as_json: bool = False) -> Iterator[None]:
    """Turn what a command may meet into its exit code; with `as_json` a refusal is printed as JSON."""
    try:
        with _in_words(as_json):
            yield
    except BrokenPipeError:
        _drop_output(sys.stdout, sys.stderr)
        raise Exit(CLOSED_PIPE) from None
    except KeyboardInterrupt:
        raise Exit(INTERRUPTED) from None


@contextlib.contextmanager
def _in_words(as_json: bool) -> Iterator[None]:
    try:
        yield
    except JobRejected as refusal:
        if not as_json:
            raise Refused(show.line(str(refusal))) from refusal
        click.echo(show.as_json(refusal.as_dict()))
        raise Exit(REFUSED) from refusal
    except (ConfigurationError, DatabaseUnavailable) as error:
        raise Unusable(str(error)) from error
    except BgappError as error:
        raise NotCompleted(str(error)) from error
    except BrokenPipeError:
        raise
    except OSError as error:  # a file of another user, a full disk: words for it are what a person needs
        if error.filename is None:
            _drop_output(sys.stdout)  # what is still to be written there would fail once more at the very end
        place = f"{error.filename}: " if error.filename else ""
        raise Unusable(f"{place}{error.strerror or error}") from error


def _speak_utf8() -> None:
    """Write UTF-8 whatever the locale says, and never fail for a character."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def _drop_output(*streams: Any) -> None:
    """Lead outputs nowhere, so that the interpreter's last flush has nobody to fail at."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in streams:
        with contextlib.suppress(OSError, ValueError, AttributeError):  # None, or without a descriptor
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
