"""System calls on Windows: the same names as `posix`, by Win32 through ctypes.

Never `os.kill(pid, 0)` and never console signals here: both have been seen to end the process they were to test
or to ask. Trees are ended through job objects; wake-ups are counted by named semaphores.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import msvcrt
import os
import socket
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from ctypes import wintypes
from pathlib import Path

from bgapp.limits import Limits
from bgapp.system import Ended, ProcessIdentity

CAN_FORK = False
DIES_WITH_PARENT = False

kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)  # type: ignore[attr-defined] # only on Windows
for _name in ("CreateSemaphoreW", "OpenSemaphoreW", "CreateJobObjectW", "OpenProcess", "GetCurrentProcess"):
    getattr(kernel32, _name).restype = wintypes.HANDLE

LOCKFILE_FAIL_IMMEDIATELY, LOCKFILE_EXCLUSIVE_LOCK = 1, 2
SEMAPHORE_MODIFY_STATE, WAIT_OBJECT_0, INFINITE = 2, 0, 0xFFFFFFFF
PROCESS_TERMINATE = 0x0001
JOB_KILL_ON_CLOSE, EXTENDED_LIMITS, ACCOUNTING = 0x2000, 9, 8
JOB_PROCESS_TIME, JOB_PROCESS_MEMORY = 0x2, 0x100
STATUS_QUOTA_EXCEEDED = 0xC0000044  # what a process ends with whose time the job object ended
MOST_WAKE_UPS = 4096


class _Overlapped(ctypes.Structure):
    _fields_ = [
        ("internal", ctypes.c_void_p),
        ("internal_high", ctypes.c_void_p),
        ("offset", wintypes.DWORD),
        ("offset_high", wintypes.DWORD),
        ("event", wintypes.HANDLE),
    ]


class _ExtendedLimits(ctypes.Structure):
    """JOBOBJECT_EXTENDED_LIMIT_INFORMATION with its two inner structures laid flat."""

    _fields_ = [
        ("process_time", ctypes.c_int64),
        ("job_time", ctypes.c_int64),
        ("flags", wintypes.DWORD),
        ("minimum_set", ctypes.c_size_t),
        ("maximum_set", ctypes.c_size_t),
        ("process_limit", wintypes.DWORD),
        ("affinity", ctypes.c_size_t),
        ("priority", wintypes.DWORD),
        ("scheduling", wintypes.DWORD),
        ("io", ctypes.c_uint64 * 6),
        ("process_memory", ctypes.c_size_t),
        ("job_memory", ctypes.c_size_t),
        ("peak_process_memory", ctypes.c_size_t),
        ("peak_job_memory", ctypes.c_size_t),
    ]


class _Accounting(ctypes.Structure):
    """JOBOBJECT_BASIC_ACCOUNTING_INFORMATION; times in units of 100 ns."""

    _fields_ = [
        ("user", ctypes.c_int64),
        ("kernel", ctypes.c_int64),
        ("period_user", ctypes.c_int64),
        ("period_kernel", ctypes.c_int64),
        ("faults", wintypes.DWORD),
        ("processes", wintypes.DWORD),
        ("active", wintypes.DWORD),
        ("terminated", wintypes.DWORD),
    ]


def private_umask() -> None:
    """Nothing to do: files in the instance folder take its access list."""


def open_private(path: Path, flags: int) -> int:
    """Open `path` in binary mode, not handed to started programs; return the descriptor."""
    return os.open(path, flags | os.O_BINARY | os.O_NOINHERIT, 0o600)  # type: ignore[attr-defined] # only on Windows


def sync_folder(path: Path) -> None:
    """Do nothing: Windows has no way to sync a folder, and its journal keeps a rename whole."""


class FileLock:
    """A lock that the kernel frees when its process ends."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    @property
    def held(self) -> bool:
        return self._descriptor is not None

    def try_exclusive(self) -> bool:
        """Take the lock for this process alone, without waiting; return whether it was free."""
        return self._try(LOCKFILE_FAIL_IMMEDIATELY | LOCKFILE_EXCLUSIVE_LOCK)

    def try_shared(self) -> bool:
        """Take the lock together with other sharers, without waiting."""
        return self._try(LOCKFILE_FAIL_IMMEDIATELY)

    def wait_exclusive(self) -> None:
        """Take the lock, waiting for as long as another process holds it."""
        self._try(LOCKFILE_EXCLUSIVE_LOCK)

    def _try(self, flags: int) -> bool:
        if self.held:
            raise RuntimeError(f"{self.path} is locked by this object already")
        descriptor = open_private(self.path, os.O_RDWR | os.O_CREAT)
        handle = wintypes.HANDLE(msvcrt.get_osfhandle(descriptor))  # type: ignore[attr-defined] # only on Windows
        # Far past the end, so that a locked file's text can still be read by others.
        region = _Overlapped(offset=0, offset_high=0x7FFFFFFF)
        if not kernel32.LockFileEx(handle, flags, 0, 1, 0, ctypes.byref(region)):
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Free the lock; nothing happens where it is not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = None


def _channel_name(path: Path) -> str:
    return "Local\\bgapp-" + hashlib.sha256(str(path).lower().encode()).hexdigest()[:32]


class Mailbox:
    """The receiving end of a wake-up channel: a named semaphore, watched by a thread that feeds a socket."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._semaphore = wintypes.HANDLE(kernel32.CreateSemaphoreW(None, 0, MOST_WAKE_UPS, _channel_name(path)))
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._open = True
        threading.Thread(target=self._watch, daemon=True, name="bgapp-mailbox").start()

    def _watch(self) -> None:
        while kernel32.WaitForSingleObject(self._semaphore, INFINITE) == WAIT_OBJECT_0 and self._open:
            with contextlib.suppress(OSError):
                self._writer.send(b".")

    def fileno(self) -> int:
        return self._reader.fileno()

    def drain(self) -> int:
        """Take every waiting wake-up and return how many there were."""
        with contextlib.suppress(BlockingIOError):
            return len(self._reader.recv(4096))
        return 0

    def close(self) -> None:
        if self._open:
            self._open = False
            kernel32.ReleaseSemaphore(self._semaphore, 1, None)
            kernel32.CloseHandle(self._semaphore)
            self._reader.close()
            self._writer.close()


def post(path: Path, count: int = 1) -> bool:
    """Wake whoever reads the mailbox at `path`; return False where nobody does."""
    handle = kernel32.OpenSemaphoreW(SEMAPHORE_MODIFY_STATE, False, _channel_name(path))
    if not handle:
        return False
    kernel32.ReleaseSemaphore(wintypes.HANDLE(handle), count, None)
    kernel32.CloseHandle(wintypes.HANDLE(handle))
    return True


def readable(descriptor: int) -> int:
    """Return a socket's descriptor that carries what the pipe gives: a selector here knows only sockets."""
    reader, writer = socket.socketpair()

    def pump() -> None:
        with contextlib.suppress(OSError):
            while data := os.read(descriptor, 65536):
                writer.sendall(data)
        writer.close()
        os.close(descriptor)

    threading.Thread(target=pump, daemon=True, name="bgapp-pump").start()
    return reader.detach()


def boot_id() -> str:
    """Return a text that changes with each boot of the machine: the moment of booting, to ten seconds."""
    import psutil

    return f"boot-{round(psutil.boot_time() / 10)}"


def pid_namespace() -> str:
    """Return the only PID namespace there is."""
    return "0"


def identify(pid: int) -> ProcessIdentity | None:
    """Return the identity of a living process, None where there is none."""
    import psutil

    try:
        return ProcessIdentity(pid, int(psutil.Process(pid).create_time() * 1_000_000))
    except psutil.Error:
        return None


def is_alive(process: ProcessIdentity) -> bool:
    """Return whether exactly this process lives, and not merely one that was given its pid."""
    return identify(process.pid) == process


def terminate(process: ProcessIdentity, number: int = 15) -> bool:
    """End exactly this process; return False where it is gone. Windows has no gentler way."""
    handle = wintypes.HANDLE(kernel32.OpenProcess(PROCESS_TERMINATE, False, process.pid))
    if not handle:
        return False
    try:
        return is_alive(process) and bool(kernel32.TerminateProcess(handle, 1))
    finally:
        kernel32.CloseHandle(handle)


def die_with_parent(parent: int) -> None:
    """Nothing to do: the runner's job object ends its children with it."""


def limit_process(limits: Limits, *, may_go_on: bool = False) -> None:
    """Hold this process, and what it starts, to `cpu` and `memory`, by a job object inside its runner's.

    To be called once the application is loaded: both count from what is used by then. Open files and niceness are
    not limited here. Whether it `may_go_on` with another job makes no difference: no process here does.
    """
    if limits.cpu is None and limits.memory is None:
        return
    import psutil

    rules = _ExtendedLimits()
    if limits.cpu is not None:
        rules.flags |= JOB_PROCESS_TIME
        rules.process_time = int((time.process_time() + limits.cpu) * 10_000_000)
    if limits.memory is not None:
        rules.flags |= JOB_PROCESS_MEMORY
        rules.process_memory = psutil.Process().memory_info().private + limits.memory
    job = wintypes.HANDLE(kernel32.CreateJobObjectW(None, None))
    kernel32.SetInformationJobObject(job, EXTENDED_LIMITS, ctypes.byref(rules), ctypes.sizeof(rules))
    kernel32.AssignProcessToJobObject(job, wintypes.HANDLE(kernel32.GetCurrentProcess()))


def lift_memory_limit() -> None:
    """Nothing to do: what a method let go of is free again."""


def oom_kills() -> int | None:
    """Return None: Windows ends no process for lack of memory."""
    return None


def adopt_orphans() -> None:
    """Nothing to do: a job object holds every descendant."""


def set_name(text: str) -> None:
    """Nothing to do: a process is named by its program."""


def thread_count() -> int:
    """Return how many threads this process has."""
    return threading.active_count()


def sweep(session: int | None, marker: str, number: int = 9) -> list[ProcessIdentity]:
    """End every process that carries `marker` in its environment; return those that lived."""
    import psutil

    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and marker in process.environ().values():
                identity = identify(process.pid)
                if identity is not None and terminate(identity):
                    found.append(identity)
    return found


def spawn_detached(
    argv: Sequence[str], *, environment: Mapping[str, str], folder: Path, errors: Path
) -> subprocess.Popen[bytes]:
    """Start a program that outlives this one, without a console window; its errors go to a file."""
    flags = subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP  # type: ignore[attr-defined] # only on Windows
    breakaway = subprocess.CREATE_BREAKAWAY_FROM_JOB  # type: ignore[attr-defined] # only on Windows
    with open(errors, "ab") as stream:

        def start(creation: int) -> subprocess.Popen[bytes]:
            return subprocess.Popen(
                argv,
                env=dict(environment),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                creationflags=creation,
            )

        try:
            return start(flags | breakaway)
        except PermissionError:  # the parent's job object forbids leaving it: the program may then end with it
            stream.write(b"bgapp: cannot leave the parent's job object; jobs may end when the application ends\n")
            return start(flags)


def inherited_frame_fd(text: str) -> int:
    """Return a descriptor for the frame pipe's handle that `SpawnedTree` handed to a spawned child."""
    descriptor: int = msvcrt.open_osfhandle(int(text), os.O_WRONLY)  # type: ignore[attr-defined] # only on Windows
    return descriptor


class SpawnedTree:
    """A child started as a new program inside a job object, which holds everything it starts."""

    def __init__(self, argv: Sequence[str], environment: Mapping[str, str], stdin: int, output: int, frames: int):
        self._job = wintypes.HANDLE(kernel32.CreateJobObjectW(None, None))
        limits = _ExtendedLimits(flags=JOB_KILL_ON_CLOSE)
        kernel32.SetInformationJobObject(self._job, EXTENDED_LIMITS, ctypes.byref(limits), ctypes.sizeof(limits))
        handle = msvcrt.get_osfhandle(frames)  # type: ignore[attr-defined] # only on Windows
        os.set_handle_inheritable(handle, True)  # type: ignore[attr-defined] # only on Windows
        startup = subprocess.STARTUPINFO(lpAttributeList={"handle_list": [handle]})  # type: ignore[attr-defined] # only on Windows
        self._process = subprocess.Popen(
            [*argv, str(handle)],
            env=dict(environment),
            stdin=stdin,
            stdout=output,
            stderr=output,
            startupinfo=startup,
            close_fds=True,
            creationflags=subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP,  # type: ignore[attr-defined] # only on Windows
        )
        # The child waits for its orders on stdin, so it has started nothing before it is in the job object.
        kernel32.AssignProcessToJobObject(self._job, wintypes.HANDLE(int(self._process._handle)))  # type: ignore[attr-defined] # Popen offers no other way
        self.pid = self._process.pid

    def stop(self) -> None:
        """Nothing to send: closing the child's stdin asks it to end."""

    def kill(self) -> None:
        """End every process in the job object."""
        kernel32.TerminateJobObject(self._job, 9)

    def wait(self) -> None:
        """Wait for the child's end."""
        self._process.wait()

    def reap(self, marker: str, patience: float = 5.0) -> Ended:
        """End what the child left behind and collect its cost; call after `wait()`."""
        code = self._process.wait()
        usage, limits = _Accounting(), _ExtendedLimits()
        kernel32.QueryInformationJobObject(self._job, ACCOUNTING, ctypes.byref(usage), ctypes.sizeof(usage), None)
        kernel32.QueryInformationJobObject(
            self._job, EXTENDED_LIMITS, ctypes.byref(limits), ctypes.sizeof(limits), None
        )
        self.kill()
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            now = _Accounting()
            kernel32.QueryInformationJobObject(self._job, ACCOUNTING, ctypes.byref(now), ctypes.sizeof(now), None)
            if now.active == 0:
                break
            time.sleep(0.01)
        kernel32.CloseHandle(self._job)
        seconds = (usage.user + usage.kernel) / 10_000_000
        peak = limits.peak_process_memory or None
        if code == STATUS_QUOTA_EXCEEDED:
            return Ended(None, "SIGXCPU", seconds, peak)
        return Ended(code, None, seconds, peak)
