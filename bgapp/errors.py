"""The family of errors: every refusal and failure that bgapp raises on purpose.

Messages are written for people: what was wrong, with which value, what to do. A value is shown at most
80 characters long, so that a hostile or huge one cannot flood a terminal, a page or a log.
"""

from __future__ import annotations

import click

SHOWN_CHARACTERS = 80


def shown(value: object) -> str:
    """Return `value` as it may stand in a message: `repr`, cut to 80 characters, never raising."""
    try:
        text = repr(value)
    except Exception as error:  # a caller's own __repr__ may do anything
        text = f"<{type(value).__name__} whose repr raised {type(error).__name__}>"
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"


class BgappError(Exception):
    """Anything bgapp raises on purpose."""


class _ToldByCommands(BgappError, click.ClickException):
    """An error that any `flask` command, of the application too, tells in one line: without its traceback."""

    exit_code = 4

    def __init__(self, message: str) -> None:
        click.ClickException.__init__(self, message)


class ConfigurationError(_ToldByCommands):
    """A setting, the allow-list or the instance folder cannot be used. Commands exit with code 4."""


class NodeClash(BgappError):
    """Another leader says that it is this node: the machine or its instance folder was copied."""


class DatabaseUnavailable(_ToldByCommands):
    """The database cannot be reached, opened or written. Commands exit with code 4."""


class DatabaseBusy(DatabaseUnavailable):
    """Another process holds the database's write lock. Nothing was written; trying again is right."""


class DatabaseAway(DatabaseUnavailable):
    """The database server cannot be reached now: it restarts, is cut off, or has no connection left."""


class CommitUnknown(DatabaseUnavailable):
    """The connection broke during COMMIT and the database could not be asked: nobody knows whether it happened."""


class SchemaMismatch(DatabaseUnavailable):
    """The database's tables are of another bgapp release than this process."""


class UnknownJob(BgappError):
    """No job has this id."""

    def __init__(self, job_id: object) -> None:
        super().__init__(f"there is no job {shown(job_id)}")
        self.job_id = job_id


class WrongState(BgappError):
    """The job is not in a status that allows the action; nothing was changed."""

    def __init__(self, job_id: int, status: str, action: str) -> None:
        super().__init__(f"job {job_id} is {status}: it cannot be {action}")
        self.job_id = job_id
        self.status = status


class Fenced(BgappError):
    """A runner's write named an attempt and token that the job no longer has: the attempt is not its own."""


class JobRejected(BgappError):
    """A job was refused before anything was stored.

    `kind` names the refusal in logs and JSON, `argument` the argument at fault.
    """

    kind = "rejected"

    def __init__(self, message: str, argument: str) -> None:
        super().__init__(message)
        self.argument = argument

    def as_dict(self) -> dict[str, str]:
        """Return the refusal as the commands print it with `--json`."""
        return {"error": str(self), "kind": self.kind, "argument": self.argument}


class ClassNotAllowed(JobRejected):
    """The class is not in the allow-list, whether it exists or not."""

    kind = "class_not_allowed"


class ClassUnknown(JobRejected):
    """The class is in the allow-list, but importing it failed."""

    kind = "class_unknown"


class MethodUnknown(JobRejected):
    """The class is allowed and has no attribute of this name."""

    kind = "method_unknown"


class MethodNotAllowed(JobRejected):
    """The class has this method, and the allow-list does not name it."""

    kind = "method_not_allowed"


class BadParameters(JobRejected):
    """The parameters do not fit the method's signature and type hints, or are not JSON values."""

    kind = "bad_parameters"


class BadOption(JobRejected):
    """An option (retries, delay, priority, queue, timeout, backoff, unique_key) is out of its range."""

    kind = "bad_option"


class QueueFull(JobRejected):
    """As many jobs wait as `MAX_QUEUED` allows."""

    kind = "queue_full"
