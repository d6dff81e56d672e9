"""One fact outweighs another in a fixed order; every row here is one combination a runner may see."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bgapp.limits import Limits
from bgapp.models import Reason, Status
from bgapp.outcome import Facts, Frame, Outcome, judge
from bgapp.system import Ended

CLEAN = Ended(0, None, 1.0, 1024)
EXITED = Ended(3, None, 1.0, 1024)
KILLED = Ended(None, "SIGKILL", 1.0, 1024)
ENDED_BY_USER = Ended(None, "SIGUSR1", 1.0, 1024)
RESULT = Frame("result", result="7")
ERROR = Frame("error", error="ValueError: no", traceback="Traceback ...")
REFUSED = Frame("refused", error="MethodNotAllowed: gone")


@pytest.mark.parametrize("ended", [CLEAN, EXITED, KILLED, None], ids=["clean", "exit 3", "killed", "unseen"])
def test_a_result_completes_however_the_process_then_ended(ended: Ended | None) -> None:
    assert judge(Facts(ended, RESULT, pid=9)) == Outcome(Status.COMPLETED, result="7", pid=9, ended=ended)


@pytest.mark.parametrize("stop", [Reason.CANCELLED, Reason.TIMEOUT, Reason.LOST])
def test_a_result_that_was_read_before_the_stop_was_sent_stands(stop: Reason) -> None:
    found = judge(Facts(KILLED, RESULT, stopped_for=stop, frame_before_stop=True))
    assert (found.status, found.reason) == (Status.COMPLETED, None)


@pytest.mark.parametrize("stop", [Reason.CANCELLED, Reason.TIMEOUT, Reason.LOST])
@pytest.mark.parametrize("frame", [RESULT, ERROR, REFUSED, None])
def test_a_stop_outweighs_what_came_after_it(stop: Reason, frame: Frame | None) -> None:
    found = judge(Facts(KILLED, frame, stopped_for=stop, timeout=2.0, pid=9))
    assert found.reason is stop
    assert found.status is (Status.CANCELLED if stop is Reason.CANCELLED else Status.FAILED)
    assert (found.result, found.pid, found.ended) == (None, 9, KILLED)


def test_an_error_is_kept_with_its_traceback_and_may_be_retried() -> None:
    found = judge(Facts(CLEAN, ERROR))
    assert (found.status, found.reason, found.may_retry) == (Status.FAILED, Reason.ERROR, True)
    assert (found.error, found.traceback) == ("ValueError: no", "Traceback ...")


def test_a_refusal_in_the_child_is_final() -> None:
    found = judge(Facts(CLEAN, REFUSED))
    assert (found.status, found.reason, found.may_retry) == (Status.FAILED, Reason.NOT_ALLOWED, False)
    assert found.error == "MethodNotAllowed: gone"


@pytest.mark.parametrize(("ended", "code"), [(CLEAN, 0), (EXITED, 3)])
def test_an_end_without_a_report_is_no_result_whatever_the_exit_code(ended: Ended, code: int) -> None:
    found = judge(Facts(ended))
    assert (found.status, found.reason, found.may_retry) == (Status.FAILED, Reason.NO_RESULT, True)
    assert f"exit code {code}" in str(found.error)


@pytest.mark.parametrize(
    ("signal", "words"),
    [
        ("SIGKILL", "lack of memory"),
        ("SIGTERM", "bgapp did not send"),
        ("SIGSEGV", "crashed"),
        ("SIGBUS", "crashed"),
        ("SIGABRT", "aborted"),
        ("SIGXCPU", "CPU seconds"),
        ("SIG62", "ended by SIG62"),
    ],
)
def test_a_signal_that_was_not_ours_is_a_loss_and_is_explained(signal: str, words: str) -> None:
    found = judge(Facts(Ended(None, signal, None, None)))
    assert (found.status, found.reason) == (Status.FAILED, Reason.LOST)
    assert signal in str(found.error)
    assert words in str(found.error)


def test_an_end_that_nobody_saw_is_a_loss() -> None:
    assert judge(Facts(None)).reason is Reason.LOST


@pytest.mark.parametrize(
    ("killed", "words"), [(False, "it was ended"), (True, "did not end when asked and was killed")]
)
def test_how_a_stop_went_is_told(killed: bool, words: str) -> None:
    assert words in str(judge(Facts(KILLED, stopped_for=Reason.CANCELLED, killed=killed)).error)
    timed_out = str(judge(Facts(KILLED, stopped_for=Reason.TIMEOUT, killed=killed, timeout=1.5)).error)
    assert words in timed_out
    assert "the time limit of 1.5 s passed" in timed_out


def test_a_process_that_could_not_be_made_outweighs_everything() -> None:
    found = judge(Facts(None, RESULT, stopped_for=Reason.CANCELLED, not_created="Resource temporarily unavailable"))
    assert (found.status, found.reason, found.not_started) == (Status.FAILED, Reason.NOT_STARTED, True)
    assert "Resource temporarily unavailable" in str(found.error)


def test_only_a_start_that_failed_is_not_started() -> None:
    assert not judge(Facts(CLEAN)).not_started
    assert not judge(Facts(CLEAN, RESULT)).not_started


# Limits ----------------------------------------------------------------------------------------------------------

CPU = Limits(cpu=60)
MEMORY = Limits(memory=200 * 2**20)
STARVED = Frame("error", error="MemoryError", traceback="Traceback ...", cause="memory")


@pytest.mark.parametrize(
    ("ended", "limits", "reason"),
    [
        (Ended(None, "SIGXCPU", 60.1, None), CPU, Reason.LIMIT),
        (Ended(None, "SIGKILL", 62.1, None), CPU, Reason.LIMIT),
        (Ended(None, "SIGKILL", 3.0, None), CPU, Reason.LOST),
        (Ended(None, "SIGXCPU", 60.1, None), Limits(), Reason.LOST),
        (Ended(None, "SIGSEGV", 99.0, None), CPU, Reason.LOST),
    ],
)
def test_the_cpu_limit_is_judged_by_signal_and_seconds(ended: Ended, limits: Limits, reason: Reason) -> None:
    found = judge(Facts(ended, limits=limits, entered=True))
    assert (found.reason, found.may_retry) == (reason, True)
    if reason is Reason.LIMIT:
        assert str(found.error).startswith(
            f"the limit of 60 s of CPU was passed (it used {ended.cpu_seconds:.1f} s) while"
        )


def test_a_method_that_got_no_more_memory_passed_its_limit_where_it_had_one() -> None:
    ended = Ended(0, None, 1.0, 245 * 2**20)
    found = judge(Facts(ended, STARVED, limits=MEMORY))
    assert (found.status, found.reason, found.traceback) == (Status.FAILED, Reason.LIMIT, "Traceback ...")
    assert found.error == (
        "the memory limit of 200 MiB was passed; the process's peak, application included, was 245 MiB (MemoryError)"
    )
    assert judge(Facts(ended, STARVED)).reason is Reason.ERROR
    assert judge(Facts(ended, replace(STARVED, cause=None), limits=MEMORY)).reason is Reason.ERROR


@pytest.mark.parametrize(
    ("known", "words"),
    [
        (
            True,
            "killed by the kernel for lack of memory (SIGKILL); the process's peak, application included, was 1 KiB",
        ),
        (False, "a person or another program did it, and not the kernel for lack of memory"),
        (None, "or by the kernel for lack of memory"),
    ],
)
def test_a_kill_is_blamed_on_the_kernel_only_where_it_says_so(known: bool | None, words: str) -> None:
    found = judge(Facts(KILLED, out_of_memory=known))
    assert found.reason is Reason.LOST
    assert words in str(found.error)


@pytest.mark.parametrize(
    "facts", [Facts(ENDED_BY_USER), Facts(CLEAN), Facts(KILLED, stopped_for=Reason.TIMEOUT, timeout=2.0)]
)
def test_whether_effects_are_possible_is_told(facts: Facts) -> None:
    assert str(judge(replace(facts, entered=True)).error).endswith(" while the method ran, so it may have had effects")
    assert str(judge(replace(facts, entered=False)).error).endswith(" before the method was entered")
