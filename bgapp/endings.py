"""How attempts end, in words for whoever reads them at night: what died of what, what follows, and what to do.

The error of an attempt is made from these words when it is judged; the rest is made when a job is shown, on its page
and by `jobs show` alike.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from bgapp.models import Reason, Status

# What happened to a process that a signal ended, and what that usually means.
SIGNALS = {
    "SIGKILL": ("was killed (SIGKILL)", "by a person, by another program, or by the kernel for lack of memory"),
    "SIGTERM": (
        "was ended by a SIGTERM that bgapp did not send",
        "machine or service stopped, or a person did it",
    ),
    "SIGINT": ("was interrupted (SIGINT)", "by Ctrl-C or by another program"),
    "SIGHUP": ("was ended by SIGHUP", "by a person or by another program"),
    "SIGSEGV": ("crashed (SIGSEGV)", "compiled code touched memory that it must not"),
    "SIGBUS": ("crashed (SIGBUS)", "compiled code touched memory that is not there"),
    "SIGFPE": ("crashed (SIGFPE)", "compiled code divided by zero"),
    "SIGILL": ("crashed (SIGILL)", "compiled code is not made for this processor"),
    "SIGABRT": ("was aborted (SIGABRT)", "compiled code gave up"),
    "SIGXCPU": ("was ended by the kernel (SIGXCPU)", "a limit of CPU seconds, set outside bgapp, was passed"),
    "SIGXFSZ": ("was ended by the kernel (SIGXFSZ)", "a limit on the size of files, set outside bgapp, was passed"),
    "SIGALRM": ("was ended by SIGALRM", "an alarm that the job set itself"),
    "SIGPIPE": ("was ended by SIGPIPE", "it wrote to a program that had ended"),
}
KILLED_BY_SOMEONE = "a person or another program did it, and not the kernel for lack of memory"
OUT_OF_MEMORY = "was killed by the kernel for lack of memory (SIGKILL)"

_ADVICE = {
    Reason.ERROR: "Read the traceback and mend the cause",
    Reason.TIMEOUT: "See in its output what it waited for, or give it a longer time limit",
    Reason.LOST: "Find out who ended it: its output, the runner's log and the kernel's messages may say",
    Reason.POISON: "It seems to kill whatever runs it: mend that first",
    Reason.NOT_ALLOWED: "Name class and method in BGAPP_ALLOWED_JOBS, if it should run",
    Reason.NO_RESULT: "Look for os._exit in the job's code, and at the end of its output",
    Reason.NOT_STARTED: "See that this machine has memory and processes to spare",
    Reason.LIMIT: "Make it use less, or raise the limit in the allow-list",
    Reason.EXPIRED: "Ask for it anew if it is still wanted",
}
_CRASHES = ("SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGABRT")


def ended_by(signal: str, out_of_memory: bool | None, entered: bool | None) -> str:
    """Return what became of a process that was ended by a signal that bgapp did not send.

    `out_of_memory`: what the kernel counts, None if nothing. `entered`: whether the method was.
    """
    happened, cause = SIGNALS.get(signal, (f"was ended by {signal}", ""))
    if signal == "SIGKILL" and out_of_memory is not None:
        happened, cause = (OUT_OF_MEMORY, "") if out_of_memory else (happened, KILLED_BY_SOMEONE)
    return f"the process {happened}{when(entered)}{': ' if cause else ''}{cause}"


def when(entered: bool | None) -> str:
    """Return whether effects are possible, to go on with a sentence; empty where nobody knows."""
    if entered is None:
        return ""
    return " while the method ran, so it may have had effects" if entered else " before the method was entered"


def process_end(attempt: Any) -> str:
    """Return how an attempt's process ended; empty for one that ended as it should, that lives, or that nobody saw."""
    if attempt.signal is not None:
        return str(attempt.signal)
    if attempt.exit_code is None or (attempt.exit_code == 0 and attempt.status == Status.COMPLETED):
        return ""
    return f"exit code {attempt.exit_code}"


def sequel(job: Any, attempt: Any, retry: str = "") -> str:
    """Return what followed or follows from an attempt that did not complete, and what to do, in a sentence or two.

    Empty where it completed or still runs. `job` and `attempt` are rows of the tables. `retry` is what to do to have
    the job run once more, where that is clear from the place.
    """
    retry = retry or f"`jobs retry {job.id}`, or Retry on its page"
    if attempt.finished_at is None or attempt.status == Status.COMPLETED:
        return ""
    if attempt.number < job.attempt:
        return f"Attempt {attempt.number + 1} followed."
    if job.status in (Status.SCHEDULED, Status.PENDING):
        return _tried_again(job, attempt)
    if job.status == Status.CANCELLED:
        return f"It is not tried again by itself. To run it once more: {retry}."
    if job.status != Status.FAILED:
        return ""
    again = "It is not tried again"
    if job.attempt >= job.attempt_limit and job.reason != Reason.POISON:
        again += ": no retry was asked for" if job.retries == 0 else ": no retry is left"
    return f"{again}. {_advice(job.reason, attempt)}. Then {retry}."


def _tried_again(job: Any, attempt: Any) -> str:
    place = f"attempt {attempt.number + 1} of {job.attempt_limit}"
    free = " This used no retry." if attempt.reason == Reason.NOT_STARTED else ""
    if job.status == Status.PENDING:
        return f"It is tried again as soon as a runner is free: {place}.{free}"
    return f"It is tried again at {_moment(job.run_at)}: {place}.{free}"


def _advice(reason: str | None, attempt: Any) -> str:
    if attempt.signal in _CRASHES and reason in (Reason.LOST, Reason.POISON):
        return "The stack of the crash is at the end of its output: mend or replace the compiled code"
    if reason == Reason.LOST and OUT_OF_MEMORY in (attempt.error or ""):
        return "Give the machine or its container more memory, or the job less to do at once"
    return _ADVICE.get(Reason(reason), "Read its error") if reason in set(Reason) else "Read its error"


def _moment(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
