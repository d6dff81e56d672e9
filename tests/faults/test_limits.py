"""Limits of an attempt: what the kernel enforces, what is told of it, and who is blamed for lack of memory."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bgapp import system
from bgapp.handle import JobHandle
from tests.faults.conftest import UGLY
from tests.requirements.support import build
from tests.site import Site
from tests.special import NEEDS

pytestmark = pytest.mark.process

GROUP_NEEDED = "needs a memory control group (version 1) that can be written"
GROUPS = Path("/sys/fs/cgroup/memory")  # of version 1, which lets a group be made anywhere

Make = Callable[..., Site]


LIMITED = {
    UGLY: {
        "methods": {
            "burn": {"cpu": 1},
            "grow": {"memory": "64 MiB"},
            "open_files": {"open_files": 40},
            "niceness": {"nice": 7},
            "write_megabytes": {"output": "8 KiB"},
        }
    },
    "tests.jobcode.Work": ["kill_self"],
}


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A living installation whose methods have limits."""
    folder: Path = tmp_path_factory.mktemp("limits") / "instance"
    site = build(folder, allowed_jobs=json.dumps(LIMITED), retry_attempts=0)
    site.start_app()
    yield site
    site.end()


def ask(site: Site, method: str, *params: Any, **options: Any) -> JobHandle:
    return site.enqueue(method, *params, job_class=UGLY, **options)


@pytest.mark.parametrize(("handles_it", "signal"), [(False, "SIGXCPU"), (True, "SIGKILL")])
def test_the_kernel_ends_an_attempt_at_its_cpu_limit_also_one_that_handles_the_signal(
    limited: Site, handles_it: bool, signal: str
) -> None:
    found = limited.wait(ask(limited, "burn", handles_it, retries=int(not handles_it)))
    assert (found["reason"], found["attempt"]) == ("limit", 1 if handles_it else 2), "it uses a retry"
    assert {attempt["signal"] for attempt in found["attempts"]} == {signal}
    assert found["attempts"][0]["cpu_seconds"] >= 1
    assert "the limit of 1 s of CPU was passed" in found["error"]
    assert "while the method ran, so it may have had effects" in found["error"]


def test_an_attempt_gets_no_more_memory_than_its_limit_and_tells_limit_and_peak(limited: Site) -> None:
    within, beyond = ask(limited, "grow", 40), ask(limited, "grow", 400)
    assert limited.wait(within)["result"] == 40 * 1_048_576
    found = limited.wait(beyond)
    assert found["reason"] == "limit"
    assert "the memory limit of 64 MiB was passed; the process's peak" in found["error"]
    assert found["attempts"][0]["peak_memory_bytes"] < 400 * 1_048_576
    assert "MemoryError" in found["attempts"][0]["traceback"]


def test_open_files_and_niceness_are_those_of_the_allow_list(limited: Site) -> None:
    files, nice = ask(limited, "open_files"), ask(limited, "niceness")
    assert limited.wait(files)["result"] == 40
    assert limited.wait(nice)["result"] == min(19, os.nice(0) + 7)


def test_output_beyond_its_limit_is_cut_counted_and_ends_nothing(limited: Site) -> None:
    job = ask(limited, "write_megabytes", 1)
    assert limited.wait(job)["status"] == "completed"
    (dropped,) = re.findall(r"--- (\d+) bytes left out here", limited.output(job))
    assert int(dropped) == 1_048_576 - 8192


def test_a_kill_that_the_kernel_did_not_count_is_somebody_elses(limited: Site) -> None:
    if system.oom_kills() is None:
        pytest.skip("needs a kernel that counts its kills for lack of memory")
    found = limited.wait(limited.enqueue("kill_self"))
    assert found["reason"] == "lost"
    assert "a person or another program did it, and not the kernel" in found["error"]


@pytest.mark.long
def test_limits_hold_for_spawned_children_and_count_from_the_loaded_application(make_site: Make) -> None:
    site = make_site(allowed_jobs=json.dumps(LIMITED), retry_attempts=0, start_method="spawn", max_running=1)
    site.start_app()
    found = site.wait(ask(site, "grow", 400))
    assert found["reason"] == "limit"
    loaded = 30 * 1_048_576  # more than an interpreter without the application takes
    assert found["attempts"][0]["peak_memory_bytes"] > 60 * 1_048_576 + loaded


@pytest.fixture
def memory_group(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A memory control group of its own, with room for a runner and little more."""
    own = re.findall(r":memory:(.*)", Path("/proc/self/cgroup").read_text()) if GROUPS.is_dir() else []
    group = GROUPS / own[0].lstrip("/") / f"bgapp-test-{os.getpid()}" if own else GROUPS / "none"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(160 << 20))
    except OSError:
        pytest.skip(f"{GROUP_NEEDED}: root on such a machine")
    request.node.user_properties.append((NEEDS, GROUP_NEEDED))
    yield group
    group.rmdir()


def test_a_kill_by_the_kernel_for_lack_of_memory_is_told_as_one(make_site: Make, memory_group: Path) -> None:
    site = make_site(allowed_jobs=json.dumps({UGLY: ["grow"]}))

    def join() -> None:
        (memory_group / "cgroup.procs").write_text(str(os.getpid()))

    runner = site.run_python("-m", "bgapp.runner", UGLY, "grow", "4000", preexec_fn=join)
    assert runner.wait(60) == 1
    found = site.wait(1)
    assert (found["reason"], found["attempts"][0]["signal"]) == ("lost", "SIGKILL")
    assert "killed by the kernel for lack of memory (SIGKILL) while the method ran, so" in found["error"]
    assert "; the process's peak" in found["error"]
