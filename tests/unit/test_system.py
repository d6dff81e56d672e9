"""The system calls that differ: locks, wake-ups, identities, process trees; with real files and real processes."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bgapp import system
from bgapp.system import FileLock, Mailbox, ProcessIdentity
from tests.conftest import ROOT
from tests.waiting import wait_for

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(sys.platform == "win32", reason="the Windows half has tests of its own, under Wine"),
]
linux = pytest.mark.skipif(sys.platform != "linux", reason="what Linux alone can do")

Start = Callable[..., subprocess.Popen[str]]
SLEEP = "import time; print('up', flush=True); time.sleep(600)"


@pytest.fixture
def start() -> Iterator[Start]:
    """Start Python programs that say "up"; all of them are killed at the end."""
    made: list[subprocess.Popen[str]] = []

    def run(code: str = SLEEP, *words: str, **options: Any) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", code, *words],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            **options,
        )
        made.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        return process

    yield run
    for process in made:
        process.kill()
        process.communicate()


def python(code: str, *words: str) -> str:
    """Run a program to its end and return what it printed; it must not fail."""
    done = subprocess.run([sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def identity(process: subprocess.Popen[str]) -> ProcessIdentity:
    found = system.identify(process.pid)
    assert found is not None
    return found


# Locks ---------------------------------------------------------------------------------------------------------


def test_one_alone_holds_a_lock(tmp_path: Path) -> None:
    first, second = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert first.try_exclusive()
    assert (first.held, second.held) == (True, False)
    assert not second.try_exclusive()
    assert not second.try_shared()
    first.release()
    assert not first.held
    assert second.try_exclusive()
    second.release()


def test_sharers_hold_a_lock_together_and_keep_others_out(tmp_path: Path) -> None:
    locks = [FileLock(tmp_path / "lock") for _ in range(3)]
    assert locks[0].try_shared()
    assert locks[1].try_shared()
    assert not locks[2].try_exclusive()
    locks[0].release()
    assert not locks[2].try_exclusive()
    locks[1].release()
    assert locks[2].try_exclusive()
    locks[2].release()


def test_a_lock_is_not_taken_twice_by_one_object_and_may_be_freed_twice(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "lock")
    lock.release()
    assert lock.try_exclusive()
    with pytest.raises(RuntimeError, match="locked by this object already"):
        lock.try_shared()
    lock.release()
    lock.release()


def test_a_lock_in_a_folder_that_is_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        FileLock(tmp_path / "gone" / "lock").try_exclusive()


def test_a_link_in_a_locks_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="symbolic link"):
        FileLock(tmp_path / "lock").try_exclusive()
    assert not (tmp_path / "victim").exists()


HOLD = """
import sys, time
from pathlib import Path
from bgapp.system import FileLock
lock = FileLock(Path(sys.argv[1]))
assert lock.try_exclusive()
print("up", flush=True)
time.sleep(600)
"""


def test_a_lock_is_free_once_its_process_is_killed(tmp_path: Path, start: Start) -> None:
    process = start(HOLD, str(tmp_path / "lock"))
    lock = FileLock(tmp_path / "lock")
    assert not lock.try_exclusive()
    process.kill()
    process.wait()
    lock.wait_exclusive()
    lock.release()


INHERIT = """
import os, subprocess, sys
from pathlib import Path
from bgapp.system import FileLock, Mailbox
folder = Path(sys.argv[1])
lock, box = FileLock(folder / "lock"), Mailbox(folder / "box")
assert lock.try_exclusive()
sleep = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]
program = subprocess.Popen(sleep, stdout=subprocess.PIPE, close_fds=False)
program.stdout.readline()
pid = os.fork()
if pid == 0:
    print("up", flush=True)
    os.execv(sys.executable, sleep)
print(program.pid, pid, flush=True)
os._exit(0)
"""


def test_neither_a_fork_nor_a_started_program_inherits_a_lock_or_a_mailbox(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", INHERIT, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    lines = {process.stdout.readline() for _ in range(2)} - {"up\n"}
    left = [int(pid) for pid in lines.pop().split()]
    process.wait()
    try:
        assert all(system.identify(pid) for pid in left)
        lock = FileLock(tmp_path / "lock")
        assert lock.try_exclusive(), "the lock died with its process, although its children live"
        lock.release()
        assert not system.post(tmp_path / "box"), "and nobody reads the mailbox"
    finally:
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        process.stdout.close()


FORKED = """
import os, sys
from pathlib import Path
from bgapp.system import FileLock, Mailbox
folder = Path(sys.argv[1])
old, box = FileLock(folder / "old"), Mailbox(folder / "box")
assert old.try_exclusive()
if (pid := os.fork()) == 0:
    # The child's first new files get the numbers that the parent's had.
    new, other = FileLock(folder / "new"), FileLock(folder / "other")
    assert new.try_exclusive() and other.try_exclusive()
    assert not old.held, "the parent's lock is not the child's"
    old.release()
    box.close()
    for lock in (new, other):
        assert lock.held and not FileLock(lock.path).try_exclusive(), f"{lock.path.name} was closed by its neighbour"
    os._exit(0)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def test_what_a_parent_held_does_not_pass_for_what_its_fork_opened(tmp_path: Path) -> None:
    python(FORKED, str(tmp_path))


# Mailboxes -----------------------------------------------------------------------------------------------------


def test_wake_ups_are_counted_and_taken_once(tmp_path: Path) -> None:
    box = Mailbox(tmp_path / "box")
    assert box.drain() == 0
    assert system.post(box.path)
    assert system.post(box.path, 3)
    assert (box.drain(), box.drain()) == (4, 0)
    box.close()
    box.close()


def test_nobody_is_woken_where_nobody_reads(tmp_path: Path) -> None:
    assert not system.post(tmp_path / "never")
    box = Mailbox(tmp_path / "box")
    box.close()
    assert not system.post(box.path)
    assert not (tmp_path / "never").exists()


def test_a_mailbox_is_readable_while_a_wake_up_waits(tmp_path: Path) -> None:
    box = Mailbox(tmp_path / "box")
    with selectors.DefaultSelector() as selector:
        selector.register(system.readable(box.fileno()), selectors.EVENT_READ)
        assert selector.select(0) == []
        system.post(box.path)
        assert len(selector.select(0)) == 1
        box.drain()
        assert selector.select(0) == []
    box.close()


def test_a_full_mailbox_takes_more_wake_ups_without_waiting(tmp_path: Path) -> None:
    box = Mailbox(tmp_path / "box")
    for _ in range(40):
        assert system.post(box.path, 4096)
    assert box.drain() == 4096
    box.close()


def test_a_plain_file_in_a_mailboxs_place_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert not system.post(tmp_path / "file")
    assert not system.post(tmp_path / "link")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_mailbox_is_private_and_is_opened_again_by_the_next(tmp_path: Path) -> None:
    Mailbox(tmp_path / "box").close()
    box = Mailbox(tmp_path / "box")
    assert box.path.stat().st_mode & 0o077 == 0
    assert system.post(box.path)
    assert box.drain() == 1
    box.close()


def test_private_files_are_made_for_their_owner_alone_and_never_through_a_link(tmp_path: Path) -> None:
    os.close(system.open_private(tmp_path / "file", os.O_WRONLY | os.O_CREAT))
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600
    (tmp_path / "link").symlink_to(tmp_path / "file")
    with pytest.raises(OSError, match="symbolic link"):
        system.open_private(tmp_path / "link", os.O_WRONLY)


# Identities ----------------------------------------------------------------------------------------------------


def test_this_process_knows_itself() -> None:
    me = system.identify(os.getpid())
    assert me is not None
    assert me.pid == os.getpid()
    assert me == system.identify(os.getpid())
    assert system.is_alive(me)


def test_a_process_is_told_from_another_with_its_pid(start: Start) -> None:
    process = start()
    real = identity(process)
    stranger = ProcessIdentity(real.pid, real.ticks - 1)
    assert not system.is_alive(stranger)
    assert not system.terminate(stranger, signal.SIGKILL)
    assert system.is_alive(real), "a stranger's signal never reached it"
    assert system.terminate(real, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not system.is_alive(real)
    assert not system.terminate(real)
    assert system.identify(real.pid) != real


def test_a_zombie_is_not_alive(start: Start) -> None:
    process = start()
    known = identity(process)
    os.kill(process.pid, signal.SIGKILL)
    wait_for(lambda: os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG), "its end")
    assert system.identify(process.pid) is None
    assert not system.is_alive(known)


@pytest.mark.parametrize("pid", [2**22 + 1, 2**31 - 1])
def test_a_pid_that_nobody_has_is_nobody(pid: int) -> None:
    assert system.identify(pid) is None
    assert not system.terminate(ProcessIdentity(pid, 1))


@linux
def test_a_name_with_brackets_and_newlines_hides_nothing(start: Start) -> None:
    named = "from bgapp import system\nsystem.set_name(') S 1 (\\n')\n" + SLEEP
    assert identity(start(named)).ticks > 1


def test_boot_and_namespace_are_the_same_in_every_process() -> None:
    code = "from bgapp import system; print(system.boot_id(), system.pid_namespace())"
    assert python(code) == f"{system.boot_id()} {system.pid_namespace()}"
    assert len(system.boot_id()) >= 8


def test_threads_are_counted() -> None:
    code = """
import threading, time
from bgapp import system
assert system.thread_count() == 1
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
print(system.thread_count())
"""
    assert python(code) == "2"


# Trees ---------------------------------------------------------------------------------------------------------


def test_a_sweep_ends_a_session_and_what_carries_the_marker_and_nothing_else(
    start: Start,
) -> None:
    marker = f"marker-{os.getpid()}-{time.monotonic_ns()}"
    in_session = start(start_new_session=True)
    marked = start(env={**os.environ, "MARK": marker}, start_new_session=True)
    other = start(start_new_session=True)
    wanted = {identity(in_session), identity(marked)}
    assert set(system.sweep(in_session.pid, marker)) == wanted
    assert (in_session.wait(), marked.wait()) == (-signal.SIGKILL, -signal.SIGKILL)
    assert system.sweep(in_session.pid, marker) == []
    assert system.is_alive(identity(other))


def test_a_sweep_spares_the_process_that_asks() -> None:
    code = """
import os
from bgapp import system
os.setsid()
print(system.sweep(os.getpid(), "no such marker"))
"""
    assert python(code) == "[]"


def test_a_detached_program_leads_its_own_session_and_writes_its_errors_to_a_file(tmp_path: Path) -> None:
    code = "import os, sys; print(os.getsid(0) == os.getpid(), os.getcwd()); sys.stderr.write('trouble')"
    process = system.spawn_detached(
        [sys.executable, "-c", code], environment=os.environ, folder=tmp_path, errors=tmp_path / "errors.log"
    )
    assert process.wait() == 0
    assert (tmp_path / "errors.log").read_text() == f"True {tmp_path}\ntrouble"
    assert (tmp_path / "errors.log").stat().st_mode & 0o077 == 0


@linux
def test_a_child_dies_with_its_parent_and_at_once_where_that_is_gone_already() -> None:
    code = """
import os, sys, time
from bgapp import system
parent = os.getpid()
if os.fork() == 0:
    system.die_with_parent(parent)
    print(os.getpid(), flush=True)
    time.sleep(600)
if (late := os.fork()) == 0:
    system.die_with_parent(parent + 1_000_000)
    os._exit(9)
assert os.waitpid(late, 0)[1] == 0
sys.stdin.readline()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    child = int(process.stdout.readline())
    assert system.identify(child)
    process.kill()
    process.communicate()
    wait_for(lambda: system.identify(child) is None, "the child to die with its parent")


@linux
def test_orphans_are_adopted_so_that_waiting_proves_that_none_is_left() -> None:
    code = """
import os, time
from bgapp import system
system.adopt_orphans()
if (middle := os.fork()) == 0:
    if os.fork() == 0:
        time.sleep(0.2)
        os._exit(7)
    os._exit(0)
os.waitpid(middle, 0)
pid, status = os.wait()
print(pid != middle, os.waitstatus_to_exitcode(status))
"""
    assert python(code) == "True 7"


ENDINGS = [("raise SystemExit(3)", 3, None), ("pass", 0, None), ("os.kill(os.getpid(), 9)", None, "SIGKILL")]


@pytest.mark.parametrize(("code", "exit_code", "name"), ENDINGS)
def test_how_a_process_ended_and_what_it_used(code: str, exit_code: int | None, name: str | None) -> None:
    from bgapp.system import posixtree

    process = subprocess.Popen([sys.executable, "-c", f"import os\nx = bytearray(30_000_000)\n{code}"])
    wait_for(lambda: posixtree.has_ended(process.pid), "its end")
    assert posixtree.has_ended(process.pid), "it is still unreaped"
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = 0
    ended = posixtree.ended_from(status, usage)
    assert (ended.exit_code, ended.signal) == (exit_code, name)
    assert ended.cpu_seconds is not None
    assert ended.peak_memory_bytes is not None
    assert 0 < ended.cpu_seconds < 60
    assert 30_000_000 < ended.peak_memory_bytes < 1_000_000_000


def test_a_signal_without_a_name_is_told_by_its_number() -> None:
    from bgapp.system import posixtree

    class Usage:
        ru_utime, ru_stime, ru_maxrss = 0.5, 0.25, 10

    ended = posixtree.ended_from(40, Usage())
    assert (ended.exit_code, ended.signal, ended.cpu_seconds) == (None, "SIG40", 0.75)


def test_a_stopped_group_is_woken_to_act_on_the_signal(start: Start) -> None:
    from bgapp.system import posixtree

    process = start(start_new_session=True)
    os.kill(process.pid, signal.SIGSTOP)
    posixtree.signal_group(process.pid, signal.SIGTERM)
    assert process.wait() == -signal.SIGTERM
    posixtree.signal_group(process.pid, signal.SIGTERM)
