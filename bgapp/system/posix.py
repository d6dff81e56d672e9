"""System calls on Linux and macOS: locks, wake-ups, process identity, process trees.

macOS has neither a parent-death signal nor a subreaper; what replaces them there is written and has not been run.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bgapp.system import ProcessIdentity

LINUX = sys.platform == "linux"
CAN_FORK = LINUX  # macOS frameworks break in forked children; there the child is spawned
DIES_WITH_PARENT = LINUX
PR_SET_PDEATHSIG, PR_SET_NAME, PR_SET_CHILD_SUBREAPER = 1, 15, 36

# Locks and mailboxes belong to the process that opened them: a fork that kept them would hold a lock for its
# parent's sake after the parent died, or swallow its wake-ups.
_own_descriptors: dict[int, object] = {}  # by number, whose it is: a fork may get the number for something else


def _close_in_fork() -> None:
    for descriptor in _own_descriptors:
        with contextlib.suppress(OSError):
            os.close(descriptor)
    _own_descriptors.clear()


os.register_at_fork(after_in_child=_close_in_fork)


def private_umask() -> None:
    """Make every file this process creates readable by its owner alone."""
    os.umask(0o077)


def open_private(path: Path, flags: int) -> int:
    """Open `path` with mode 0600, never through a symbolic link; return the descriptor."""
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def sync_folder(path: Path) -> None:
    """Have the disk know which files a folder holds: after a rename, that its file will be found there."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class FileLock:
    """A lock that the kernel frees when its process ends; no fork and no started program inherits it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    @property
    def held(self) -> bool:
        return self._descriptor is not None and _own_descriptors.get(self._descriptor) is self

    def try_exclusive(self) -> bool:
        """Take the lock for this process alone, without waiting; return whether it was free."""
        return self._try(fcntl.LOCK_EX | fcntl.LOCK_NB)

    def try_shared(self) -> bool:
        """Take the lock together with other sharers, without waiting."""
        return self._try(fcntl.LOCK_SH | fcntl.LOCK_NB)

    def wait_exclusive(self) -> None:
        """Take the lock, waiting for as long as another process holds it."""
        self._try(fcntl.LOCK_EX)

    def _try(self, operation: int) -> bool:
        if self.held:
            raise RuntimeError(f"{self.path} is locked by this object already")
        descriptor = open_private(self.path, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(descriptor, operation)
        except BlockingIOError:
            os.close(descriptor)
            return False
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        _own_descriptors[descriptor] = self
        return True

    def release(self) -> None:
        """Free the lock; nothing happens where it is not held."""
        if self.held and self._descriptor is not None:
            del _own_descriptors[self._descriptor]
            os.close(self._descriptor)
        self._descriptor = None


class Mailbox:
    """The receiving end of a wake-up channel: a FIFO that counts the bytes posted to it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with contextlib.suppress(FileExistsError):
            os.mkfifo(path, 0o600)
        # Opened for writing as well, so that a writer that leaves never makes it readable for ever.
        self._descriptor = open_private(path, os.O_RDWR | os.O_NONBLOCK)
        _own_descriptors[self._descriptor] = self

    def fileno(self) -> int:
        return self._descriptor

    def drain(self) -> int:
        """Take every waiting wake-up and return how many there were."""
        with contextlib.suppress(BlockingIOError):
            return len(os.read(self._descriptor, 4096))
        return 0

    def close(self) -> None:
        if _own_descriptors.get(self._descriptor) is self:
            del _own_descriptors[self._descriptor]
            os.close(self._descriptor)


def post(path: Path, count: int = 1) -> bool:
    """Wake whoever reads the mailbox at `path`; return False where nobody does."""
    try:
        descriptor = open_private(path, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:  # ENXIO: nobody reads; ENOENT: nobody ever did
        return False
    try:
        if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            return False
        os.write(descriptor, b"." * count)
    except BlockingIOError:  # full of wake-ups already: it will wake
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def readable(descriptor: int) -> int:
    """Return what a selector can wait on for `descriptor`; here the descriptor itself."""
    return descriptor


def boot_id() -> str:
    """Return a text that changes with each boot of the machine."""
    if LINUX:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return subprocess.run(
        ["/usr/sbin/sysctl", "-n", "kern.bootsessionuuid"], capture_output=True, text=True, check=True
    ).stdout.strip()


def pid_namespace() -> str:
    """Return the number of this process's PID namespace, within which a pid means something."""
    return str(os.stat("/proc/self/ns/pid").st_ino) if LINUX else "0"


def stat_fields(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat from the state on (proc(5): field 3 is index 0), None where gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            text = file.read(4096).decode()
    except (OSError, UnicodeDecodeError):
        return None
    return text[text.rindex(")") + 2 :].split()


def identify(pid: int) -> ProcessIdentity | None:
    """Return the identity of a living process; None where there is none or only a zombie is left."""
    if LINUX:
        fields = stat_fields(pid)
        return None if fields is None or fields[0] in "ZX" else ProcessIdentity(pid, int(fields[19]))
    import psutil

    try:
        process = psutil.Process(pid)
        gone = process.status() == psutil.STATUS_ZOMBIE
        return None if gone else ProcessIdentity(pid, int(process.create_time() * 1_000_000))
    except psutil.Error:
        return None


def is_alive(process: ProcessIdentity) -> bool:
    """Return whether exactly this process lives, and not merely one that was given its pid."""
    return identify(process.pid) == process


def terminate(process: ProcessIdentity, number: int = signal.SIGTERM) -> bool:
    """Signal exactly this process; return False where it is gone."""
    try:
        handle = os.pidfd_open(process.pid) if LINUX else None
    except OSError:
        return False
    try:
        if not is_alive(process):  # read after the handle was opened: the handle can mean no other now
            return False
        if handle is None:
            os.kill(process.pid, number)
        else:
            signal.pidfd_send_signal(handle, number)
    except (ProcessLookupError, PermissionError):
        return False
    finally:
        if handle is not None:
            os.close(handle)
    return True


_libc = ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, value: object) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option}) failed")


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent dies; end at once if that has happened already."""
    if not LINUX:
        return
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent dies, so that waiting proves that none is left."""
    if LINUX:
        _prctl(PR_SET_CHILD_SUBREAPER, 1)


def set_name(text: str) -> None:
    """Show `text` (15 bytes of it) as this process's name in ps and top."""
    if LINUX:
        _prctl(PR_SET_NAME, text.encode()[:15])


def thread_count() -> int:
    """Return how many threads this process has, native ones included where that can be known."""
    if LINUX:
        return len(os.listdir("/proc/self/task"))
    import psutil

    count: int = psutil.Process().num_threads()
    return count


def processes() -> Iterator[int]:
    """Yield the pid of every process."""
    if LINUX:
        yield from (int(name) for name in os.listdir("/proc") if name.isdigit())
    else:
        import psutil

        yield from psutil.pids()


def _belongs(pid: int, session: int | None, marker: bytes) -> bool:
    """Return whether a process is of that session or carries the marker in the environment it was started with."""
    try:
        if session is not None and os.getsid(pid) == session:
            return True
        if LINUX:
            return marker in Path(f"/proc/{pid}/environ").read_bytes()
        import psutil

        return marker in repr(psutil.Process(pid).environ()).encode()
    except Exception:  # of another user, or gone meanwhile: either way not ours to end (psutil has its own errors)
        return False


def sweep(session: int | None, marker: str, number: int = signal.SIGKILL) -> list[ProcessIdentity]:
    """Signal every process of `session` or with `marker` in its environment; return those that lived."""
    found = []
    for pid in processes():
        process = identify(pid) if pid != os.getpid() and _belongs(pid, session, marker.encode()) else None
        if process is not None and terminate(process, number):
            found.append(process)
    return found


def spawn_detached(
    argv: Sequence[str], *, environment: Mapping[str, str], folder: Path, errors: Path
) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own, so that it outlives this one; its errors go to a file."""
    descriptor = open_private(errors, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        return subprocess.Popen(
            argv,
            env=dict(environment),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            start_new_session=True,
        )
    finally:
        os.close(descriptor)


def inherited_frame_fd(text: str) -> int:
    """Return the descriptor of the frame pipe that `SpawnedTree` handed to a spawned child."""
    descriptor = int(text)
    os.set_inheritable(descriptor, False)
    return descriptor
