"""The folders that bgapp writes in: private when made, refused when unsafe."""

from __future__ import annotations

import os
import stat
from pathlib import Path, PureWindowsPath

import pytest

from bgapp import folders
from bgapp.errors import ConfigurationError
from bgapp.folders import make_private, prepare_folders
from bgapp.settings import load

has_owners = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="the system has no owners of files")
is_root = getattr(os, "geteuid", lambda: 1)() == 0

MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
server:/home /home nfs4 rw,vers=4.2 0 0
/dev/sdb1 /home/local ext4 rw 0 0
//nas/share /mnt/my\\040share cifs rw 0 0
me@host: /mnt/ssh fuse.sshfs rw 0 0
C:\\134 /mnt/c 9p rw,aname=drvfs;path=C:\\ 0 0
none /sandbox 9p rw,trans=fd 0 0
/dev/sdc1 /over ext4 rw 0 0
server:/over /over nfs rw 0 0

"""


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def make(folder: Path) -> None:
    make_private(folder, "log folder", "set BGAPP_LOG_DIR to another folder")


def mounts(folder: Path, text: str = MOUNTS) -> Path:
    path = folder / "mounts"
    path.write_text(text)
    return path


@has_owners
def test_missing_folders_are_made_for_the_user_alone(tmp_path: Path) -> None:
    make(tmp_path / "a" / "b" / "c")
    assert [mode(tmp_path / name) for name in ("a", "a/b", "a/b/c")] == [0o700] * 3


@has_owners
def test_a_folder_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    make(tmp_path)
    assert mode(tmp_path) == 0o755


@has_owners
def test_a_folder_that_everyone_may_write_is_refused_with_the_remedy(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(ConfigurationError) as caught:
        make(tmp_path)
    assert f"chmod o-w {tmp_path}" in str(caught.value)
    assert "BGAPP_LOG_DIR" in str(caught.value)


@has_owners
def test_nobody_is_told_to_change_the_mode_of_a_shared_folder_like_tmp(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    with pytest.raises(ConfigurationError, match="every user") as caught:
        make(tmp_path)
    assert "chmod" not in str(caught.value)


@has_owners
def test_a_link_of_ones_own_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    make(tmp_path / "link")


@has_owners
def test_a_link_to_a_folder_that_everyone_may_write_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real").chmod(0o777)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(ConfigurationError, match="every user"):
        make(tmp_path / "link")


@pytest.mark.skipif(not is_root, reason="only root can give a link to another user")
def test_a_link_of_another_user_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    os.chown(tmp_path / "link", 54321, 54321, follow_symlinks=False)
    with pytest.raises(ConfigurationError, match="belongs to another user"):
        make(tmp_path / "link")


@has_owners
def test_a_link_to_nothing_and_a_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    (tmp_path / "file").touch()
    for path in (tmp_path / "link", tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ConfigurationError, match="Not a directory"):
            make(path)


@pytest.mark.skipif(is_root or not hasattr(os, "geteuid"), reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(0o500)
    with pytest.raises(ConfigurationError, match="cannot be written by this user"):
        make(tmp_path / "closed")
    with pytest.raises(ConfigurationError, match="Permission denied"):
        make(tmp_path / "closed" / "below")


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("/home/me/jobs.sqlite", "nfs4"),
        ("/mnt/my share/jobs.sqlite", "cifs"),
        ("/mnt/ssh/a/b/jobs.sqlite", "fuse.sshfs"),
        ("/mnt/c/Users/me/jobs.sqlite", "drvfs"),
        ("/over/jobs.sqlite", "nfs"),
    ],
)
@pytest.mark.skipif(os.sep != "/", reason="mounts are read where paths are POSIX paths")
def test_sqlite_on_a_network_file_system_is_refused(tmp_path: Path, place: str, kind: str) -> None:
    with pytest.raises(ConfigurationError, match=f"\\({kind}\\).* PostgreSQL"):
        folders.refuse_network(Path(place), mounts(tmp_path))


@pytest.mark.parametrize("place", ["/home/local/a", "/home2/a", "/sandbox/a", "/srv/a", "/mnt/cc/a"])
def test_sqlite_on_a_local_file_system_is_fine(tmp_path: Path, place: str) -> None:
    folders.refuse_network(Path(place), mounts(tmp_path))


def test_without_a_list_of_mounts_nothing_is_refused(tmp_path: Path) -> None:
    folders.refuse_network(tmp_path / "jobs.sqlite", tmp_path / "none")


def test_sqlite_on_a_windows_share_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="a Windows share"):
        folders.refuse_network(PureWindowsPath(r"\\server\share\jobs.sqlite"))
    folders.refuse_network(PureWindowsPath(r"C:\jobs.sqlite"))


@has_owners
def test_a_link_that_leads_to_a_network_file_system_is_seen(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/home/me")
    with pytest.raises(ConfigurationError, match="nfs4"):
        folders.refuse_network(tmp_path / "link" / "jobs.sqlite", mounts(tmp_path))


def test_preparing_makes_the_instance_folder_the_logs_and_the_place_of_the_database(tmp_path: Path) -> None:
    overrides = {"BGAPP_DATABASE_URL": "sqlite:///data/jobs.sqlite", "BGAPP_LOG_DIR": "../logs"}
    settings = load(tmp_path / "deep" / "instance", overrides=overrides, environ={})
    assert not (tmp_path / "deep").exists()
    for _ in range(2):
        prepare_folders(settings)
    for name in ("deep/instance", "deep/instance/data", "deep/logs"):
        assert (tmp_path / name).is_dir()


def test_preparing_looks_at_the_mounts_for_sqlite_only(tmp_path: Path) -> None:
    everything = mounts(tmp_path, "server:/ / nfs4 rw 0 0\n")
    with pytest.raises(ConfigurationError, match="network file system"):
        prepare_folders(load(tmp_path / "one", environ={}), mounts=everything)
    assert not (tmp_path / "one").exists()
    server = {"BGAPP_DATABASE_URL": "postgresql://db.example/shop"}
    prepare_folders(load(tmp_path / "two", overrides=server, environ={}), mounts=everything)


def test_a_folder_in_the_place_of_the_database_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bgapp.sqlite").mkdir()
    with pytest.raises(ConfigurationError, match="is not a file"):
        prepare_folders(load(tmp_path, environ={}))
