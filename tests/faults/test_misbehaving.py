"""Whatever a job's code does, its attempt is told truly, other jobs go on, and nothing of it is left."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bgapp import handle, system
from bgapp.errors import BadParameters, MethodNotAllowed
from bgapp.handle import JobHandle
from tests.faults.conftest import FAULTS_ALLOWED, UGLY
from tests.site import Site
from tests.waiting import wait_for

pytestmark = pytest.mark.process

needs_namespaces = pytest.mark.skipif(
    shutil.which("unshare") is None or not hasattr(os, "geteuid") or os.geteuid() != 0,
    reason="needs root and unshare, to make a PID namespace in which a job may kill everyone",
)


def ask(site: Site, method: str, *params: Any, job_class: str = "Ugly", **options: Any) -> JobHandle:
    return site.enqueue(method, *params, job_class=job_class, **options)


def run_beside(site: Site, *jobs: JobHandle) -> list[dict[str, Any]]:
    """Return the ended jobs, once a job beside them has completed too and nothing of theirs is left."""
    neighbour = site.enqueue("add", 1, 2)
    found = [site.wait(job) for job in jobs]
    assert site.wait(neighbour)["result"] == 3
    for job in found:
        nothing_is_left(site, job)
    return found


def nothing_is_left(site: Site, job: dict[str, Any]) -> None:
    node = site.node
    assert node is not None
    for attempt in job["attempts"]:
        pid = attempt["pid"]
        mark = f"{node.id}:{job['id']}:{attempt['number']}:"
        assert [one for one in living() if is_of(one, pid, mark)] == []
    wait_for(lambda: not zombies(site), "no zombie")


def living() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and system.identify(int(name))]


def is_of(pid: int, session: int | None, mark: str) -> bool:
    """Return whether a process is, or descends from, an attempt's: by session, or by what its environment carries."""
    try:
        return os.getsid(pid) == session or mark.encode() in Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False


def zombies(site: Site) -> list[str]:
    """Return the dead processes that one of this installation's has not collected."""
    found = []
    for pid in site.processes():
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        except OSError:
            continue
        found += [child for child in children if not system.identify(int(child)) and Path(f"/proc/{child}").exists()]
    return found


def endings(jobs: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(job["status"], job["reason"], job["result"]) for job in jobs]


def test_b40_a_result_that_is_no_json_leaves_the_job_completed_without_it(shared_site: Site, tmp_path: Path) -> None:
    kinds = ("set", "object", "nan", "bytes", "generator", "ring", "lone surrogate")
    jobs = [ask(shared_site, "give", kind, str(tmp_path / "seen")) for kind in kinds]
    assert endings(run_beside(shared_site, *jobs)) == [("completed", None, None)] * len(kinds)
    assert not (tmp_path / "seen").exists(), "nobody asks a result how it looks"
    for job in jobs:
        assert "the result was not kept" in shared_site.output(job)


def test_b41_a_result_of_300_megabytes_costs_the_runner_nothing(shared_site: Site) -> None:
    run_beside(shared_site)
    before = max(peak(runner.pid) for runner in shared_site.runners())
    job = ask(shared_site, "give_long", "x", 300_000_000)
    assert endings(run_beside(shared_site, job)) == [("completed", None, None)]
    assert max(peak(runner.pid) for runner in shared_site.runners()) < before + 20_000_000


def peak(pid: int) -> int:
    """Return a process's peak of resident memory in bytes, 0 for one that is gone."""
    try:
        return int(re.findall(r"VmHWM:\s*(\d+)", Path(f"/proc/{pid}/status").read_text())[0]) * 1024
    except (OSError, IndexError):
        return 0


@pytest.mark.parametrize("letter", ["x", '"', "é", "\N{ROCKET}", "\x1f"])
def test_b41_a_result_that_is_just_small_enough_arrives_whatever_its_letters(shared_site: Site, letter: str) -> None:
    count = 200_000 // max(len(json.dumps(letter, ensure_ascii=False).encode()) - 2, 1)
    (found,) = run_beside(shared_site, ask(shared_site, "give_long", letter, count))
    assert (found["status"], found["result"]) == ("completed", letter * count)


def test_b42_of_much_output_both_ends_are_kept_and_the_rest_is_counted(shared_site: Site) -> None:
    before = len(shared_site.log())
    job = ask(shared_site, "write_megabytes", 32)
    run_beside(shared_site, job)
    settings = shared_site.runtime.settings
    output = shared_site.output(job)
    dropped = int(re.findall(r"--- (\d+) bytes left out here", output)[0])
    assert dropped == 32 * 1_048_576 - settings.output_head_bytes - settings.output_tail_bytes
    assert len(shared_site.log()) < before + 10_000


def test_f61_a_flood_of_output_keeps_neither_renewals_nor_a_cancel_from_their_time(shared_site: Site) -> None:
    job = ask(shared_site, "flood")
    shared_site.wait(job, "running")
    first = lease(shared_site, job.id)
    wait_for(lambda: lease(shared_site, job.id) > first, "a renewal")
    handle.cancel(shared_site.runtime, job.id, "tester")
    assert [job["status"] for job in run_beside(shared_site, job)] == ["cancelled"]


def lease(site: Site, job_id: int) -> Any:
    from bgapp import queries

    with site.runtime.database.read() as connection:
        row = queries.job(connection, job_id)
    assert row is not None
    return row.lease_until


def test_b43_binary_junk_is_stored_and_shown_without_acting_on_a_terminal(shared_site: Site) -> None:
    job = ask(shared_site, "write_junk")
    assert [found["status"] for found in run_beside(shared_site, job)] == ["completed"]
    shown = shared_site.app.test_cli_runner().invoke(args=["jobs", "log", str(job.id)])
    assert shown.exit_code == 0, shown.output
    assert "owned" in shown.output
    assert not {"\x1b", "\0", "\r", "\u202e"} & set(shown.output)


def test_b44_closed_descriptors_lose_output_or_the_result_and_nothing_else(shared_site: Site, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    jobs = run_beside(
        shared_site,
        ask(shared_site, "close_standard", False),
        ask(shared_site, "close_standard", True),
        ask(shared_site, "close_all", str(kept)),
    )
    assert endings(jobs) == [("completed", None, "returned"), ("failed", "error", None), ("failed", "no_result", None)]
    assert kept.read_bytes() == b"", "what was the result's descriptor is a file of the job's own by now"


def test_b45_an_error_is_told_whatever_it_is_made_of(shared_site: Site) -> None:
    kinds = {
        "huge": "ValueError: ('hhh",
        "ring": "ValueError: [[...]]",
        "unspeakable": "Unspeakable (its message cannot be shown: SystemExit)",
        "group": "ExceptionGroup: several (2 sub-exceptions)",
        "chain": "ValueError: link ",
        "from C": "TypeError: sequence item 0",
        "letters": "ValueError: \N{ROCKET}\N{ROCKET}",
        "surrogate": "ValueError: a\\ud800b",
        "nul": "ValueError: a\\x00b",
    }
    jobs = run_beside(shared_site, *(ask(shared_site, "fail", kind) for kind in kinds))
    assert endings(jobs) == [("failed", "error", None)] * len(kinds)
    for job, words in zip(jobs, kinds.values(), strict=True):
        assert job["error"].startswith(words)
        assert len(job["error"]) <= 32 * 1024
        assert "Ugly" in job["attempts"][0]["traceback"] or "jobcode.py" in job["attempts"][0]["traceback"]


def test_b46_leaving_by_an_exception_is_a_failure_whatever_its_kind(shared_site: Site) -> None:
    kinds = ("BaseException", "KeyboardInterrupt", "GeneratorExit", "SystemExit 0", "SystemExit x", "CancelledError")
    jobs = run_beside(shared_site, *(ask(shared_site, "leave", kind) for kind in kinds))
    assert endings(jobs) == [("failed", "error", None)] * len(kinds)
    assert [job["error"].partition(":")[0] for job in jobs] == [kind.partition(" ")[0] for kind in kinds]


def test_b47_each_way_to_end_without_a_report_is_told_with_its_cause(shared_site: Site) -> None:
    jobs = [ask(shared_site, "die", how) for how in ("exit 0", "exit 7", "abort", "segfault")]
    found = run_beside(shared_site, *jobs)
    assert [job["reason"] for job in found] == ["no_result", "no_result", "lost", "lost"]
    for job, words in zip(found, ("exit code 0", "exit code 7", "(SIGABRT)", "(SIGSEGV)"), strict=True):
        assert words in job["error"]
        assert "while the method ran, so it may have had effects" in job["error"]
    assert "Segmentation fault" in shared_site.output(jobs[3])
    assert "in die" in shared_site.output(jobs[3])


def test_b48_a_recursion_without_end_is_an_error_or_a_crash(shared_site: Site) -> None:
    usual, deep = run_beside(shared_site, ask(shared_site, "recurse", False), ask(shared_site, "recurse", True))
    assert usual["error"].startswith("RecursionError")
    assert (deep["reason"], deep["attempts"][0]["signal"]) in (("lost", "SIGSEGV"), ("error", None))


def test_b49_a_method_that_returns_in_two_processes_has_one_result(shared_site: Site) -> None:
    job = ask(shared_site, "fork_and_return")
    assert endings(run_beside(shared_site, job)) == [("completed", None, "parent")]
    assert len(shared_site.job(job)["attempts"]) == 1


def test_b50_what_a_method_leaves_running_holds_its_process_for_five_seconds_at_most(shared_site: Site) -> None:
    jobs = [
        ask(shared_site, "keep_thread", False),
        ask(shared_site, "keep_thread", True),
        ask(shared_site, "hang_at_exit"),
        ask(shared_site, "keep_pool"),
    ]
    assert endings(run_beside(shared_site, *jobs)) == [("completed", None, "returned")] * len(jobs)
    for job in (jobs[0], jobs[2]):
        assert "was killed" in shared_site.output(job)


def test_b51_what_a_job_changes_ends_with_its_process(shared_site: Site) -> None:
    before, wild = run_beside(shared_site, ask(shared_site, "surroundings"), ask(shared_site, "change_everything"))
    assert wild["result"] != before["result"]
    after = [job["result"] for job in run_beside(shared_site, *(ask(shared_site, "surroundings") for _ in range(4)))]
    assert after == [before["result"]] * 4


def test_b52_signals_blocked_and_sessions_changed_do_not_save_a_job_from_its_time_limit(
    shared_site: Site, tmp_path: Path
) -> None:
    path = tmp_path / "helper"
    (found,) = run_beside(shared_site, ask(shared_site, "resist", str(path), timeout=2))
    assert (found["reason"], found["attempts"][0]["signal"]) == ("timeout", "SIGKILL")
    assert "did not end when asked and was killed" in found["error"]
    assert system.identify(int(path.read_text())) is None


def test_b53_neither_the_interpreters_lock_nor_a_stop_saves_a_job_from_its_time_limit(shared_site: Site) -> None:
    jobs = run_beside(shared_site, *(ask(shared_site, how, timeout=1) for how in ("hold_lock", "spin", "stop_itself")))
    assert [job["reason"] for job in jobs] == ["timeout"] * 3
    assert [job["attempts"][0]["signal"] for job in jobs] == ["SIGKILL", "SIGTERM", "SIGTERM"]


def test_b54_a_job_that_kills_what_runs_it_is_lost_and_in_the_end_poison(shared_site: Site) -> None:
    parent = ask(shared_site, "kill", "parent", retries=5, backoff="0.05 fixed")
    poison, group = run_beside(shared_site, parent, ask(shared_site, "kill", "group"))
    assert (poison["reason"], poison["attempt"]) == ("poison", 3)
    assert (group["reason"], group["attempts"][0]["signal"]) == ("lost", "SIGKILL")


@needs_namespaces
def test_b54_a_job_that_kills_everyone_it_can_is_lost_and_settled_by_the_next_who_comes(
    make_site: Callable[..., Site],
) -> None:
    site = make_site(allowed_jobs=json.dumps(FAULTS_ALLOWED))
    inside = "trap '' TERM; \"$@\"; exit 0"  # the namespace's first process, which no signal from inside ends
    words = [sys.executable, "-m", "bgapp.runner", UGLY, "kill", "everyone"]
    done = subprocess.run(
        ["unshare", "-pf", "--mount-proc", "--kill-child", "sh", "-c", inside, "sh", *words],
        cwd=Path(__file__).parent.parent.parent,
        env={**os.environ, **site.environment},
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    site.start_app()
    found = site.wait(1)
    assert (found["status"], found["reason"]) == ("failed", "lost")
    assert "while the method ran, so it may have had effects" in found["error"]
    assert site.wait(site.enqueue("add", 1, 2))["result"] == 3


def test_b55_standard_input_is_at_its_end(shared_site: Site) -> None:
    assert endings(run_beside(shared_site, ask(shared_site, "read_input"))) == [("completed", None, "")]


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("junk", "no_result"),
        ("huge", "no_result"),
        ("array", "no_result"),
        ("no json", "no_result"),
        ("surrogate", "error"),
        ("keys", None),
        ("progress", None),
    ],
)
def test_b56_junk_in_the_pipe_of_results_spoils_only_its_own_job(
    shared_site: Site, kind: str, reason: str | None
) -> None:
    job = ask(shared_site, "forge", kind)
    (found,) = run_beside(shared_site, job)
    assert (found["status"], found["reason"]) == ("failed" if reason else "completed", reason)
    assert shared_site.app.test_cli_runner().invoke(args=["jobs", "show", str(job.id)]).exit_code == 0


def test_b57_shapes_of_methods_are_run_or_refused_at_the_call(shared_site: Site) -> None:
    jobs = run_beside(
        shared_site,
        ask(shared_site, "later"),
        ask(shared_site, "of_class", 4),
    )
    assert endings(jobs) == [("completed", None, "later"), ("completed", None, 4)]
    with pytest.raises(MethodNotAllowed, match="cannot be made without arguments"):
        ask(shared_site, "run", job_class="NeedsArguments")
    with pytest.raises(MethodNotAllowed, match="cannot be a job"):
        ask(shared_site, "steps")
    with pytest.raises(BadParameters):
        ask(shared_site, "of_class", 1, 2, 3)


def test_b58_an_import_that_misbehaves_where_jobs_run_fails_its_own_jobs(shared_site: Site) -> None:
    names = ("raises", "leaves", "slow")
    jobs = [ask(shared_site, "run", job_class=f"tests.faults.imports.{name}.Job") for name in names]
    found = run_beside(shared_site, *jobs)
    assert endings(found) == [("failed", "error", None), ("failed", "error", None), ("completed", None, "ran")]
    assert found[0]["error"] == "RuntimeError: broken at import"
    assert found[1]["error"] == "SystemExit: left at import"


def test_b59_a_job_may_ask_for_many_others(shared_site: Site) -> None:
    (found,) = run_beside(shared_site, ask(shared_site, "ask_for_more", 100))
    assert len(set(found["result"])) == 100
    assert all(shared_site.wait(job)["status"] == "completed" for job in found["result"])


def is_as_new(folder: Path) -> bool:
    """Return whether nothing is left of an attempt; its runner keeps the folder for the next one."""
    return not folder.exists() or not list(folder.iterdir())


def test_b60_no_core_is_dumped_and_temporary_files_go_with_the_attempt(shared_site: Site) -> None:
    found, facts = run_beside(shared_site, ask(shared_site, "litter"), ask(shared_site, "surroundings"))
    assert facts["result"]["core"] == 0
    wait_for(lambda: is_as_new(Path(found["result"])), "the removal of the attempt's files")


def test_b60_temporary_files_go_also_where_the_runner_died(shared_site: Site, tmp_path: Path) -> None:
    told = tmp_path / "folder"
    job = ask(shared_site, "litter", str(told))
    wait_for(told.exists, "the job's files")
    wait_for(lambda: shared_site.job(job)["runner_pid"], "the runner")
    os.kill(shared_site.job(job)["runner_pid"], signal.SIGKILL)
    (found,) = run_beside(shared_site, job)
    assert found["reason"] == "lost"
    wait_for(lambda: not Path(told.read_text()).exists(), "the removal of the attempt's folder")
