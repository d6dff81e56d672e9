"""The folders that bgapp writes in: made private, or refused where others could write or SQLite would break.

What a system cannot tell (owner and mode on Windows, mounts outside Linux) is not checked there.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from bgapp.errors import ConfigurationError

if TYPE_CHECKING:
    from bgapp.settings import Settings

PRIVATE = 0o700
WRITABLE_BY_ALL = 0o002
MOUNTS = Path("/proc/mounts")

# Where two machines, or Windows and its Linux subsystem, see one file without shared memory or dependable locks.
NETWORK_FILE_SYSTEMS = frozenset(
    "nfs nfs4 cifs smbfs smb3 afs coda ncpfs ceph lustre glusterfs beegfs gfs2 ocfs2 davfs drvfs".split()
    + "fuse.sshfs fuse.glusterfs fuse.ceph fuse.davfs2 fuse.rclone fuse.s3fs fuse.gcsfuse".split()
)


def prepare_folders(settings: Settings, *, mounts: Path = MOUNTS) -> None:
    """Create the instance folder, the log folder and the SQLite file's folder, for this user alone.

    Raises ConfigurationError where one of them cannot be used safely, or SQLite would stand on a network file
    system (`mounts` lists what is mounted).
    """
    file = settings.database_file
    if file is not None:
        refuse_network(file, mounts)
    make_private(settings.instance, "instance folder", "set BGAPP_INSTANCE to another folder")
    make_private(settings.log_dir, "log folder", "set BGAPP_LOG_DIR to another folder")
    if file is not None:
        make_private(file.parent, "folder of the SQLite file", "set BGAPP_DATABASE_URL to another place")
        if file.exists() and not file.is_file():
            raise ConfigurationError(f"BGAPP_DATABASE_URL: {file} is not a file: name the SQLite file itself")


def make_private(folder: Path, what: str, advice: str) -> None:
    """Create `folder` and its missing parents for this user alone, or check the one that is there.

    `what` names the folder in messages, `advice` says what else may be done. Raises ConfigurationError where it
    cannot be made, is no folder, is a link of another user, may be written by everyone or not by us.
    """
    try:
        _refuse_foreign_link(folder, what, advice)
        _make(folder)
        if is_open_to_all(folder):
            # A shared folder such as /tmp carries the sticky bit and has to stay as it is.
            close = "" if folder.stat().st_mode & stat.S_ISVTX else f"chmod o-w {folder}, or "
            raise ConfigurationError(
                f"the {what} {folder} may be written by every user of this machine: {close}{advice}"
            )
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigurationError(f"the {what} {folder} cannot be made or used ({reason}): {advice}") from error
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise ConfigurationError(f"the {what} {folder} cannot be written by this user: change its owner, or {advice}")


def is_open_to_all(path: Path) -> bool:
    """Return whether every user of the machine may write `path`; never on systems without owners. Raises OSError."""
    return hasattr(os, "geteuid") and bool(path.stat().st_mode & WRITABLE_BY_ALL)


def _make(folder: Path) -> None:
    """Create `folder` with its parents; two processes may do it at once. `makedirs` would leave parents open."""
    if folder.is_dir():
        return
    _make(folder.parent)
    try:
        folder.mkdir(PRIVATE)
    except FileExistsError:
        if not folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder)) from None


def _refuse_foreign_link(folder: Path, what: str, advice: str) -> None:
    effective_user = getattr(os, "geteuid", None)
    if effective_user is None or not folder.is_symlink():
        return
    owner = folder.lstat().st_uid
    if owner not in (0, effective_user()):
        raise ConfigurationError(
            f"the {what} {folder} is a link that belongs to another user (number {owner}), who could lead it"
            f" elsewhere: make the link yourself, or {advice}"
        )


def refuse_network(file: PurePath, mounts: Path = MOUNTS) -> None:
    """Raise ConfigurationError where `file`, an SQLite database, would stand on a network file system.

    Its write-ahead log needs memory that all processes share, which such file systems do not give.
    """
    kind = _network_kind(file, mounts)
    if kind is not None:
        raise ConfigurationError(
            f"the SQLite file {file} would stand on a network file system ({kind}), where SQLite loses data:"
            " set BGAPP_DATABASE_URL to a PostgreSQL database, or BGAPP_INSTANCE to a folder on a local disk"
        )


def _network_kind(file: PurePath, mounts: Path) -> str | None:
    if file.drive.startswith("\\\\"):
        return "a Windows share"
    try:
        text = mounts.read_text("utf-8", "surrogateescape")
    except OSError:
        return None
    real = Path(os.path.realpath(file))
    best, found = -1, ""
    for line in text.split("\n"):
        device, point, kind, options = (*line.split(" "), "", "", "")[:4]
        folder = Path(_unescaped(point))
        # A later mount on the same folder hides the earlier one, so equal depth wins too.
        if point and len(folder.parts) >= best and real.is_relative_to(folder):
            best, found = len(folder.parts), "drvfs" if "drvfs" in (device + options) else kind
    return found if found in NETWORK_FILE_SYSTEMS else None


def _unescaped(point: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), point)
