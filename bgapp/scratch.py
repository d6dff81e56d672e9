"""The temporary folder of an attempt: empty when it begins, emptied when it has ended.

A runner has one, and each of its attempts gets it as new: making and removing a folder for every job would cost more
than all else that is written for it. It stands in the system's own temporary folder, which may be quicker than the
instance folder's disk, and under a short name: the path of a Unix socket in it may have 107 bytes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Collection

from bgapp import system
from bgapp.node import Node
from bgapp.system import ProcessIdentity

PRIVATE = 0o700
NODE_LETTERS = 8  # of a node's id: enough to tell those of one user and machine apart


def make(node: Node, runner: ProcessIdentity) -> str:
    """Return the path of a runner's folder, which is there, its own, and empty.

    The path is empty where no folder can be made, which is no reason not to run the job.
    """
    for place in _places(node):
        with contextlib.suppress(OSError):
            path = os.path.join(place, _name(runner))
            if not _is_as_new(path):
                _remove(path)
                _make(place, path)
            return path
    return ""


def clear(node: Node, runner: ProcessIdentity) -> None:
    """Remove what an attempt left in its runner's folder. Nothing of the attempt may live any more."""
    for place in _places(node):
        path = os.path.join(place, _name(runner))
        if not _is_as_new(path):
            _remove(path)


def remove(node: Node, runner: ProcessIdentity) -> None:
    """Remove the folder of a runner that leaves."""
    for place in _places(node):
        _remove(os.path.join(place, _name(runner)))


def remove_of_dead(node: Node, unsettled: Collection[ProcessIdentity]) -> None:
    """Remove the folders of this node's dead runners, but for those whose attempt is not settled yet."""
    for place in _places(node):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            for name in os.listdir(place):
                runner = _runner(name)
                if runner is None or not (runner in unsettled or system.is_alive(runner)):
                    _remove(os.path.join(place, name))


def remove_all(node: Node) -> None:
    """Remove what a dead node's runners left behind."""
    for place in _places(node):
        _remove(place)


def _places(node: Node) -> list[str]:
    """Return where the folders of a node's runners are: the usual place, and the one for when that is taken."""
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
    own = os.path.join(node.folder, "tmp")
    try:
        return [os.path.join(tempfile.gettempdir(), f"bgapp-{user}", node.id[:NODE_LETTERS]), own]
    except FileNotFoundError:  # this machine has no temporary folder that can be written
        return [own]


def _name(runner: ProcessIdentity) -> str:
    return f"{runner.pid:x}-{runner.ticks:x}"


def _runner(name: str) -> ProcessIdentity | None:
    pid, _, ticks = name.partition("-")
    try:
        return ProcessIdentity(int(pid, 16), int(ticks, 16))
    except ValueError:
        return None


def _is_as_new(path: str) -> bool:
    """Return whether the folder is there, private and empty; a job may have done anything to it."""
    try:
        return _is_private(path) and not os.listdir(path)
    except OSError:
        return False


def _make(place: str, path: str) -> None:
    """Make a folder and those above it. Raises PermissionError where one of these is somebody else's.

    Once both are ours alone, nobody else can put anything in the place of what is in the second.
    """
    for one in (os.path.dirname(place), place):
        with contextlib.suppress(FileExistsError):
            os.mkdir(one, PRIVATE)
        if not _is_private(one):
            raise PermissionError(f"{one} is not a folder of this user alone")
    os.mkdir(path, PRIVATE)


def _is_private(folder: str) -> bool:
    """Return whether this is a folder, no link, that this user alone may use. Raises FileNotFoundError."""
    found = os.lstat(folder)
    if not stat.S_ISDIR(found.st_mode) or not hasattr(os, "getuid"):  # Windows has neither owners nor such modes
        return stat.S_ISDIR(found.st_mode)
    return found.st_uid == os.getuid() and stat.S_IMODE(found.st_mode) == PRIVATE


def _remove(path: str) -> None:
    """Remove a folder and all that is in it, also what may not be written. Links are not followed."""
    if not os.path.lexists(path):
        return
    with contextlib.suppress(OSError):
        os.unlink(path)  # a job put a file or a link in its place
        return
    shutil.rmtree(path, ignore_errors=True)
    if os.path.lexists(path):
        for place, folders, _ in os.walk(path):
            for one in (place, *(os.path.join(place, name) for name in folders)):
                with contextlib.suppress(OSError):
                    if not os.path.islink(one):
                        os.chmod(one, PRIVATE)
        shutil.rmtree(path, ignore_errors=True)
