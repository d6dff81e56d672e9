"""Every point of a job's path: the process that is there is killed, others are, all are; each promise is kept.

`python3 tests -m long tests/faults/test_failpoints.py` kills each process, and all, at every point with 0 and 2
retries; the usual suite kills the process at each point, and all of them at some.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from bgapp import failpoints
from tests.conftest import ROOT
from tests.faults.grid import KINDS, Blows, check, nothing_is_left
from tests.waiting import wait_for

pytestmark = pytest.mark.process

# Points that a job passes in a living installation, in their order.
PATH = (
    "claim claimed fork forked identity enter entered returned reported ended outcome settle settled logged"
).split()
OTHERWHERE = {"insert", "inserted", "launch", "spool", "spooled", "rescue", "rescued", "migrate", "migrated"}
SELF = "the process there"


@pytest.fixture
def blows(make_blows: Callable[..., Blows]) -> Blows:
    """An installation that runs, with failpoints."""
    made = make_blows()
    made.site.start_app()
    return made


def test_every_point_is_tried_somewhere_in_this_file() -> None:
    assert {*PATH, *OTHERWHERE} == set(failpoints.POINTS)


def blow_at(blows: Blows, point: str, kinds: tuple[str, ...], retries: int) -> None:
    """Let one job come to a point, kill there, and see what becomes of the job."""
    site = blows.site
    blows.arm(point, "hold")
    # So long that a blow at any point but the last ones falls while it runs; yet it ends by itself.
    job = site.note(0.05, retries=retries)
    pid = blows.wait_taken(point)
    if kinds == (SELF,):
        blows.strike_one(pid)
    else:
        blows.strike(kinds)
    blows.release(point)
    if "app" in kinds:
        site.start_app()
    check(site, job, site.wait(job))
    nothing_is_left(site)


@pytest.mark.parametrize("point", PATH)
def test_killed_there(blows: Blows, point: str) -> None:
    blow_at(blows, point, (SELF,), 2 * (PATH.index(point) % 2))
    if point in ("claimed", "entered", "settle"):
        blow_at(blows, point, KINDS, 2)


@pytest.mark.long
@pytest.mark.parametrize("retries", [0, 2])
@pytest.mark.parametrize("kinds", [(SELF,), *((kind,) for kind in KINDS), KINDS], ids="-".join)
@pytest.mark.parametrize("point", PATH)
def test_each_process_and_all_killed_at_each_point(
    blows: Blows, point: str, kinds: tuple[str, ...], retries: int
) -> None:
    blow_at(blows, point, kinds, retries)


ENQUEUE = """
import json, sys
from bgapp import create_app, run_background_job
with create_app().app_context():
    job = run_background_job("Work", "note", {"path": sys.argv[1]})
    print(job.id, flush=True)
"""


@pytest.mark.parametrize(("point", "stored"), [("insert", False), ("inserted", True)])
def test_a_caller_killed_while_it_enqueues_leaves_a_whole_job_or_none(blows: Blows, point: str, stored: bool) -> None:
    site = blows.site
    blows.arm(point, "kill")
    caller = site.run_python("-c", ENQUEUE, str(site.witness), stdout=subprocess.PIPE)
    answer, _ = caller.communicate()
    assert (caller.returncode, answer) == (-9, b""), "nothing was acknowledged"
    if stored:
        assert site.wait(1)["status"] == "completed"
    later = site.note()
    assert site.wait(later)["status"] == "completed"
    assert len(site.witnessed()) == (4 if stored else 2)


def test_an_app_killed_while_it_launches_the_host_is_followed_by_one_that_does(
    make_blows: Callable[..., Blows],
) -> None:
    blows = make_blows()
    blows.arm("launch", "kill")
    app = blows.site.start_app(wait=False)
    app.wait()
    job = blows.site.note()
    blows.site.start_app()
    assert blows.site.wait(job)["status"] == "completed"


@pytest.mark.parametrize("point", ["rescue", "rescued"])
def test_a_rescuer_killed_in_its_rescue_is_followed_by_one_that_does(blows: Blows, point: str) -> None:
    site = blows.site
    job = site.note(30.0, retries=0)
    site.wait_entered(job)
    blows.arm(point, "kill")
    blows.strike(["runner"])
    blows.wait_taken(point)
    if point == "rescued":
        assert site.wait(job)["reason"] == "lost"
    site.start_app()
    found = site.wait(job)
    assert (found["status"], found["reason"], len(found["attempts"])) == ("failed", "lost", 1)
    assert len(site.starts(job.id)) == 1


UPGRADE = "from bgapp import create_app; from bgapp.runtime import of; of(create_app()).ready()"


@pytest.mark.parametrize("point", ["migrate", "migrated"])
def test_an_upgrade_killed_half_way_is_done_by_the_next(make_blows: Callable[..., Blows], point: str) -> None:
    blows = make_blows()
    site = blows.site
    site.runtime.database.dispose()
    for file in site.instance.glob("bgapp.sqlite*"):
        file.unlink()
    blows.arm(point, "kill")
    assert site.run_python("-c", UPGRADE).wait() == -9
    assert site.run_python("-c", UPGRADE).wait() == 0
    site.start_app()
    assert site.wait(site.note())["status"] == "completed"


def test_the_points_are_listed_in_test_mode_only() -> None:
    listing = [sys.executable, "-m", "bgapp.failpoints"]
    refused = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True)
    assert refused.returncode == 2
    assert "_BGAPP_TESTING=1" in refused.stderr
    listed = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, env={"_BGAPP_TESTING": "1"})
    assert [line.split()[0] for line in listed.stdout.splitlines()] == list(failpoints.POINTS)


def test_points_do_nothing_without_test_mode(make_blows: Callable[..., Blows]) -> None:
    blows = make_blows()
    del blows.site.environment["_BGAPP_TESTING"]
    blows.arm("claimed", "kill")
    blows.site.start_app()
    assert blows.site.wait(blows.site.note())["status"] == "completed"
    assert failpoints.taken_by(blows.folder, "claimed") is None


def test_a_host_that_hangs_is_replaced(make_blows: Callable[..., Blows]) -> None:
    blows = make_blows(max_running=2)
    site = blows.site
    site.start_app()
    wait_for(site.host, "a host")
    host = site.host()
    blows.strike(["host"], signal.SIGSTOP)
    wait_for(lambda: site.host() not in (None, host), "another host", 60)
    assert site.wait(site.note())["status"] == "completed"
