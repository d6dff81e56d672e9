"""What became of an attempt: the facts its runner saw, and the one place that judges them.

Pure: no clock, no database, no process is touched here.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass

from bgapp import endings
from bgapp.limits import NO_LIMITS, Limits, size
from bgapp.models import Reason, Status
from bgapp.system import Ended

FROM_OUTSIDE = ("SIGKILL", "SIGTERM")  # nothing that a job's own code fails with before its method begins
CUT = 32 * 1024  # characters of an error or a traceback that are kept
OUT_OF_MEMORY = "memory"  # the cause of an error frame whose method got no more memory


@dataclass(frozen=True)
class Frame:
    """What a child reported last: a result, an error it caught, or why it refused to begin."""

    kind: str  # "result", "error" or "refused"
    result: str | None = None  # JSON text, None where the method returned nothing that is JSON
    note: str | None = None  # why a result is missing
    error: str | None = None
    traceback: str | None = None
    cause: str | None = None  # OUT_OF_MEMORY


@dataclass(frozen=True)
class Facts:
    """What the runner saw of an attempt."""

    ended: Ended | None  # None: its end was not seen, because the forker was lost
    frame: Frame | None = None
    stopped_for: Reason | None = None  # CANCELLED, TIMEOUT, or LOST for a runner that was told to stop now
    frame_before_stop: bool = False  # the frame was read before the stop signal was sent
    killed: bool = False  # SIGKILL had to be sent
    not_created: str | None = None  # why no process could be made
    timeout: float | None = None  # seconds, the limit that applied
    lease_over: bool = False  # the database was away for too long, so that another node may take the job
    leftovers: int = 0  # processes that the method left behind and that were ended
    pid: int | None = None
    limits: Limits = NO_LIMITS
    entered: bool | None = None  # whether the method was entered; asked only where the frame does not say it
    out_of_memory: bool | None = None  # of a SIGKILL: whether the kernel counts one for lack of memory, None: unknown


@dataclass(frozen=True)
class Outcome:
    """How an attempt ends, ready to be written."""

    status: Status  # COMPLETED, FAILED or CANCELLED
    reason: Reason | None = None
    error: str | None = None
    traceback: str | None = None
    result: str | None = None
    pid: int | None = None
    ended: Ended | None = None
    may_retry: bool = True  # of a job that was not started: at once, and not after a wait

    @property
    def not_started(self) -> bool:
        return self.reason is Reason.NOT_STARTED


def judge(facts: Facts) -> Outcome:
    """Return what became of an attempt, in the order in which one fact outweighs another."""
    if facts.not_created is not None:
        error = f"the job's process could not be created: {facts.not_created}"
        return Outcome(Status.FAILED, Reason.NOT_STARTED, error, may_retry=False)
    frame, ended, pid = facts.frame, facts.ended, facts.pid
    if frame is not None and (facts.stopped_for is None or facts.frame_before_stop):
        return _from_frame(frame, facts)
    if facts.lease_over:
        error = "its runner could not reach the database for so long that another node may take the job: it was killed"
        return Outcome(Status.FAILED, Reason.LOST, error, pid=pid, ended=ended)
    if facts.stopped_for is not None:
        return _from_stop(facts)
    if ended is None:
        return Outcome(Status.FAILED, Reason.LOST, "its forker was lost, and the job's process with it", pid=pid)
    when = endings.when(facts.entered)
    if _cpu_limit_passed(facts.limits, ended):
        error = f"the limit of {facts.limits.cpu} s of CPU was passed (it used {ended.cpu_seconds or 0:.1f} s){when}"
        return Outcome(Status.FAILED, Reason.LIMIT, error, pid=pid, ended=ended)
    if ended.signal is not None:
        error = endings.ended_by(ended.signal, facts.out_of_memory, facts.entered) + _peak(facts, ended)
        outside = ended.signal in FROM_OUTSIDE and not facts.out_of_memory
        reason = Reason.NOT_STARTED if outside and facts.entered is False else Reason.LOST
        return Outcome(Status.FAILED, reason, error, pid=pid, ended=ended)
    if ended.exit_code is None:  # it is kept for its next job, and what it said of this one could not be read
        error = f"no result: what the process reported could not be read{when}"
        return Outcome(Status.FAILED, Reason.NO_RESULT, error, pid=pid, ended=ended)
    error = f"no result: the process ended by itself (exit code {ended.exit_code}){when}"
    return Outcome(Status.FAILED, Reason.NO_RESULT, error, pid=pid, ended=ended)


def _from_frame(frame: Frame, facts: Facts) -> Outcome:
    ended, pid = facts.ended, facts.pid
    if frame.kind == "result":
        return Outcome(Status.COMPLETED, result=frame.result, pid=pid, ended=ended)
    if frame.kind == "refused":
        return Outcome(Status.FAILED, Reason.NOT_ALLOWED, frame.error, pid=pid, ended=ended, may_retry=False)
    if frame.cause == OUT_OF_MEMORY and facts.limits.memory is not None:
        error = f"the memory limit of {size(facts.limits.memory)} was passed{_process_peak(ended)} ({frame.error})"
        return Outcome(Status.FAILED, Reason.LIMIT, error, frame.traceback, pid=pid, ended=ended)
    return Outcome(Status.FAILED, Reason.ERROR, frame.error, frame.traceback, pid=pid, ended=ended)


def _cpu_limit_passed(limits: Limits, ended: Ended) -> bool:
    """Return whether the kernel ended the process at its CPU limit; SIGKILL is for one that handles SIGXCPU."""
    if limits.cpu is None:
        return False
    return ended.signal == "SIGXCPU" or (ended.signal == "SIGKILL" and (ended.cpu_seconds or 0) >= limits.cpu)


def _process_peak(ended: Ended | None) -> str:
    peak = ended and ended.peak_memory_bytes
    return f"; the process's peak, application included, was {size(peak)}" if peak else ""


def _peak(facts: Facts, ended: Ended) -> str:
    """Return the peak where memory may be the reason: the kernel says so, or compiled code met the limit."""
    return _process_peak(ended) if facts.out_of_memory or facts.limits.memory is not None else ""


def _from_stop(facts: Facts) -> Outcome:
    how = "did not end when asked and was killed" if facts.killed else "was ended"
    when = endings.when(facts.entered)
    if facts.stopped_for is Reason.CANCELLED:
        error = f"cancelled; it {how}{when}"
        return Outcome(Status.CANCELLED, Reason.CANCELLED, error, pid=facts.pid, ended=facts.ended)
    if facts.stopped_for is Reason.TIMEOUT:
        error = f"the time limit of {facts.timeout:g} s passed; it {how}{when}"
        return Outcome(Status.FAILED, Reason.TIMEOUT, error, pid=facts.pid, ended=facts.ended)
    error = f"its runner was stopped; it {how}{when}"
    return Outcome(Status.FAILED, Reason.LOST, error, pid=facts.pid, ended=facts.ended)


def signal_words(number: int) -> str:
    """Return how a process ended that this signal ended."""
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"SIG{number}"
    return f"killed ({name})" if name == "SIGKILL" else f"ended by {name}"
