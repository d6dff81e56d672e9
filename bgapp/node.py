"""This node: its folder in the instance, its random id, its locks and its wake-up channels.

A node is one (instance folder, PID namespace). Every process of it holds `lock` shared; as long as anyone does,
the node lives, and the kernel frees the lock however its holders end. A namespace's number alone proves nothing,
because the kernel gives it out again; with the boot's id and a held lock it does.

A copied instance folder has copies of nodes in it, and nobody holds their locks. Such a copy is told by its folder,
which is not the one that the node wrote down, and proves nothing about the node.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bgapp import clock, system
from bgapp.errors import ConfigurationError

FOLDER = "nodes"
IDENTITY = "node.json"
REFUSAL = "refused"


class Slot:
    """The right to be a runner on this node, held as an OS lock; `number` names it."""

    def __init__(self, number: int, lock: system.FileLock) -> None:
        self.number = number
        self._lock = lock

    def release(self) -> None:
        self._lock.release()


class Node:
    """One node's files. Made by `join`, or by `find` for a process that only wants to wake it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.id = folder.name
        self._membership = system.FileLock(folder / "lock")

    @classmethod
    def join(cls, instance: Path) -> Node:
        """Become a process of this node, making it where it does not exist; the lock is held until the end.

        Raises ConfigurationError where the instance folder cannot be written.
        """
        nodes = instance / FOLDER
        try:
            nodes.mkdir(parents=True, exist_ok=True, mode=0o700)
            with one_at_a_time(nodes):
                remove_copies(instance)
                node = cls._own(nodes) or cls._create(nodes)
                node.take_membership()
        except OSError as error:
            raise ConfigurationError(f"the instance folder {instance} cannot be used: {error.strerror}") from error
        return node

    @classmethod
    def _own(cls, nodes: Path) -> Node | None:
        node = next((node for node in each(nodes.parent) if node.is_here()), None)
        if node is not None and FOLDER_ID not in (node.identity() or {}):  # written by an earlier release
            _write(node.folder / IDENTITY, _identity(node.folder))
        return node

    @classmethod
    def _create(cls, nodes: Path) -> Node:
        node = cls(nodes / secrets.token_hex(8))
        node.folder.mkdir(mode=0o700)
        (node.folder / "entries").mkdir(mode=0o700)
        (node.folder / "wake").mkdir(mode=0o700)
        _write(node.folder / IDENTITY, _identity(node.folder))
        return node

    def take_membership(self) -> None:
        """Hold the node's lock in this process too; a forked process does this for itself."""
        while not self._membership.held and not self._membership.try_shared():
            time.sleep(0.001)  # another process looks at this moment whether the node is dead

    def identity(self) -> dict[str, str] | None:
        """Return boot id, PID namespace, host name and folder as written down, the last two not by earlier releases;
        None where the file is missing or broken."""
        try:
            found = json.loads((self.folder / IDENTITY).read_text())
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def is_here(self) -> bool:
        """Return whether the pids of this node mean something to this process."""
        found = self.identity() or {}
        here = (system.boot_id(), system.pid_namespace())
        return not self.is_copy() and (found.get("boot_id"), found.get("pid_namespace")) == here

    def is_copy(self) -> bool:
        """Return whether this folder was copied with an instance folder: the node itself is elsewhere."""
        found = self.identity() or {}
        try:
            return found.get(FOLDER_ID) not in (None, folder_id(self.folder))
        except FileNotFoundError:
            return False

    def lock_proves(self, *, one_machine: bool) -> bool:
        """Return whether a free lock here proves that no process of the node lives.

        `one_machine`: whether only one machine can use the database at all. Else it must be this boot's: a cloned
        virtual machine looks exactly like an earlier boot of its original, which may live on.
        """
        if not self.folder.is_dir() or self.is_copy():
            return False
        return one_machine or (self.identity() or {}).get("boot_id") == system.boot_id()

    def is_dead(self) -> bool:
        """Return whether no process holds the lock in this folder; `lock_proves` tells what that means."""
        probe = system.FileLock(self.folder / "lock")
        try:
            free = probe.try_exclusive()
        except FileNotFoundError:
            return True
        probe.release()
        return free

    def remove(self) -> None:
        """Forget a dead node's files."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def refuse(self, why: str | None) -> None:
        """Write down why this node's leader does nothing, for people who ask; None takes it back."""
        if why is not None:
            _write(self.folder / REFUSAL, why)
        else:
            (self.folder / REFUSAL).unlink(missing_ok=True)

    def refusal(self) -> str | None:
        """Return why this node's leader does nothing, None where it works."""
        with contextlib.suppress(OSError, ValueError):
            return str(json.loads((self.folder / REFUSAL).read_text()))
        return None

    # Locks ---------------------------------------------------------------------------------------------------

    def leader_lock(self) -> system.FileLock:
        """Return the lock of the one app process that leads here."""
        return system.FileLock(self.folder / "leader.lock")

    def host_lock(self) -> system.FileLock:
        """Return the lock of the runner host."""
        return system.FileLock(self.folder / "host.lock")

    def leaving_lock(self) -> system.FileLock:
        """Return the lock under which a runner makes sure that it is not the last one before it leaves."""
        return system.FileLock(self.folder / "leaving.lock")

    def _slot_lock(self, number: int) -> system.FileLock:
        return system.FileLock(self.folder / f"slot-{number}.lock")

    def take_slot(self, limit: int) -> Slot | None:
        """Take a free slot out of `limit`; None where all are held."""
        for number in range(limit):
            lock = self._slot_lock(number)
            if lock.try_exclusive():
                return Slot(number, lock)
        return None

    def held_slots(self, limit: int) -> list[int]:
        """Return the numbers of the slots that runners hold."""
        return [number for number in range(limit) if is_held(self._slot_lock(number))]

    def write_runner(self, number: int, process: system.ProcessIdentity) -> None:
        """Write which process holds a slot, for people who ask; the lock alone is what counts."""
        _write(self.folder / f"slot-{number}.json", [process.pid, process.ticks])

    def write_host(self, process: system.ProcessIdentity | None, generation: str) -> None:
        """Write which process is the runner host and which generation of the code it loaded."""
        if process is not None:
            _write(self.folder / "host.json", [process.pid, process.ticks, generation])
            self.touch_host()

    def touch_host(self) -> None:
        """For the host: say that it serves. The file's time is monotonic, since a wall clock may be set meanwhile."""
        with contextlib.suppress(OSError):
            os.utime(self.folder / "host.json", (clock.monotonic(), clock.monotonic()))

    def host_silent_for(self) -> float:
        """Return for how many seconds the host has not said that it serves."""
        try:
            return max(0.0, clock.monotonic() - (self.folder / "host.json").stat().st_mtime)
        except OSError:
            return 0.0

    def host(self) -> tuple[system.ProcessIdentity, str] | None:
        """Return the living runner host and its generation, None where there is none."""
        with contextlib.suppress(OSError, ValueError):
            pid, ticks, generation = json.loads((self.folder / "host.json").read_text())
            process = system.ProcessIdentity(pid, ticks)
            return (process, generation) if system.is_alive(process) else None
        return None

    def runners(self, limit: int) -> list[tuple[int, system.ProcessIdentity]]:
        """Return the slots that are held and the processes that hold them."""
        found = []
        for number in self.held_slots(limit):
            with contextlib.suppress(OSError, ValueError):
                pid, ticks = json.loads((self.folder / f"slot-{number}.json").read_text())
                found.append((number, system.ProcessIdentity(pid, ticks)))
        return found

    # Wake-up channels ----------------------------------------------------------------------------------------

    def channel(self, name: str) -> Path:
        """Return the path of a wake-up channel: `leader`, `host`, `runner-N`, or `idle-N` while it is idle."""
        return self.folder / "wake" / name

    def has_leader(self) -> bool:
        """Return whether an app process leads this node."""
        return is_held(self.leader_lock())

    def has_host(self) -> bool:
        """Return whether a runner host lives."""
        return is_held(self.host_lock())

    # Attempts' entry files -----------------------------------------------------------------------------------

    def entry_path(self, job_id: int, attempt: int) -> Path:
        """Return the file in which an attempt's process writes who it is, and that it entered the method."""
        return self.folder / "entries" / f"{job_id}-{attempt}"

    def entries(self) -> list[tuple[int, int]]:
        """Return the (job id, attempt) of every entry file; what somebody else left there is passed over."""
        try:
            names = os.listdir(self.folder / "entries")
        except FileNotFoundError:
            return []
        parts = (name.split("-") for name in names)
        return [(int(one[0]), int(one[1])) for one in parts if len(one) == 2 and all(map(str.isdecimal, one))]

    @property
    def outcomes(self) -> Path:
        """The folder of outcomes that the database could not take yet."""
        return self.folder / "outcomes"

    def outcome_path(self, job_id: int, attempt: int) -> Path:
        """Return the file in which an attempt's outcome waits."""
        return self.outcomes / f"{job_id}-{attempt}.json"

    def death_path(self, process: system.ProcessIdentity) -> Path:
        """Return the file in which the host writes how one of its runners died."""
        return self.folder / "deaths" / f"{process.pid}-{process.ticks}"


def is_held(lock: system.FileLock) -> bool:
    """Return whether another process holds `lock` exclusively."""
    try:
        if not lock.try_shared():
            return True
    except FileNotFoundError:  # the node's folder is gone
        return False
    lock.release()
    return False


def each(instance: Path) -> Iterator[Node]:
    """Yield every node that left files in this instance folder."""
    try:
        names = sorted(os.listdir(instance / FOLDER))
    except FileNotFoundError:
        return
    for name in names:
        if (instance / FOLDER / name).is_dir():
            yield Node(instance / FOLDER / name)


def hostname() -> str:
    """Return the machine's name, as the node's row shows it."""
    return socket.gethostname()


def _write(path: Path, facts: object) -> None:
    """Write a small file whole, readable by its owner alone: another process may read it at any moment."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = system.open_private(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.write(descriptor, json.dumps(facts).encode())
    os.close(descriptor)
    fresh.replace(path)


FOLDER_ID = "folder"


def folder_id(folder: Path) -> str:
    """Return a text by which a folder differs from its copies. Raises FileNotFoundError."""
    found = os.stat(folder)
    return f"{found.st_dev}:{found.st_ino}"


def _identity(folder: Path) -> dict[str, str]:
    return {
        "boot_id": system.boot_id(),
        "pid_namespace": system.pid_namespace(),
        "hostname": hostname(),
        FOLDER_ID: folder_id(folder),
    }


def remove_copies(instance: Path) -> None:
    """Remove what was copied into this instance folder of nodes that are elsewhere."""
    for node in each(instance):
        if node.is_copy() and node.is_dead():  # whoever holds its lock knows better
            node.remove()


@contextmanager
def one_at_a_time(nodes: Path) -> Iterator[None]:
    """Keep other processes from making or removing nodes meanwhile."""
    lock = system.FileLock(nodes / ".lock")
    lock.wait_exclusive()
    try:
        yield
    finally:
        lock.release()
