"""An attempt's temporary folder: private, empty, short to name, gone afterwards, and never somebody else's."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from bgapp import scratch, system
from bgapp.node import Node
from bgapp.system import ProcessIdentity

posix = pytest.mark.skipif(not hasattr(os, "getuid"), reason="owners and modes are POSIX's")
RUNNER, OTHER = ProcessIdentity(4711, 123_456_789), ProcessIdentity(4712, 123_456_789)


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The system's temporary folder, as far as this test is concerned: any user may write there."""
    folder = tmp_path / "t"
    folder.mkdir()
    folder.chmod(0o1777)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node.join(tmp_path / "instance")


def test_each_attempt_of_a_runner_finds_its_folder_empty(shared: Path, node: Node) -> None:
    first, second = Path(scratch.make(node, RUNNER)), Path(scratch.make(node, OTHER))
    assert first != second
    assert first.is_relative_to(shared)
    (first / "deep" / "deeper").mkdir(parents=True)
    (first / "deep" / "file").write_text("x")
    (first / "link").symlink_to(second)
    (second / "file").write_text("x")
    scratch.clear(node, RUNNER)
    assert not first.exists()
    assert Path(scratch.make(node, RUNNER)) == first
    assert list(first.iterdir()) == []
    (first / "file").write_text("left by an attempt whose runner could not clear up")
    scratch.make(node, RUNNER)
    assert list(first.iterdir()) == []
    assert (second / "file").exists()


def test_a_folder_that_stayed_empty_is_kept_for_the_next_attempt(shared: Path, node: Node) -> None:
    folder = Path(scratch.make(node, RUNNER))
    before = folder.stat().st_ino
    scratch.clear(node, RUNNER)
    assert Path(scratch.make(node, RUNNER)).stat().st_ino == before
    scratch.remove(node, RUNNER)
    assert not folder.exists()
    scratch.remove(node, RUNNER)  # again: nothing is there, and that is well


@posix
def test_a_folder_is_private_whatever_the_umask(shared: Path, node: Node) -> None:
    mask = os.umask(0)
    try:
        folder = Path(scratch.make(node, RUNNER))
    finally:
        os.umask(mask)
    assert [one.stat().st_mode & 0o777 for one in (folder, folder.parent, folder.parent.parent)] == [0o700] * 3


def test_a_socket_in_it_has_room_for_its_name(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/tmp")
    folder = scratch.make(node, ProcessIdentity(4_194_304, 10**12))
    try:
        assert len(f"{folder}/pymp-abcdefgh/listener-abcdefgh") < 104
    finally:
        scratch.remove_all(node)


@posix
@pytest.mark.parametrize("what", ["closed folder in it", "closed", "open to all", "a link", "a file", "gone"])
def test_whatever_a_job_did_to_its_folder_the_next_one_finds_it_new(shared: Path, node: Node, what: str) -> None:
    folder, elsewhere = Path(scratch.make(node, RUNNER)), shared / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").write_text("x")
    if what == "closed folder in it":
        (folder / "closed").mkdir()
        (folder / "closed" / "file").write_text("x")
        (folder / "closed").chmod(0)
    elif what in ("closed", "open to all"):
        folder.chmod(0 if what == "closed" else 0o777)
    else:
        folder.rmdir()
        if what == "a link":
            folder.symlink_to(elsewhere)
        elif what == "a file":
            folder.write_text("x")
    scratch.clear(node, RUNNER)
    scratch.make(node, RUNNER)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert not folder.is_symlink()
    assert list(folder.iterdir()) == []
    assert (elsewhere / "kept").exists()


@posix
@pytest.mark.parametrize("squat", ["file", "link", "open folder", "link in it"])
def test_where_somebody_else_took_the_place_the_instance_folder_serves(
    shared: Path, node: Node, tmp_path: Path, squat: str
) -> None:
    place, elsewhere = shared / f"bgapp-{os.getuid()}", tmp_path / "elsewhere"
    elsewhere.mkdir()
    if squat == "file":
        place.write_text("mine")
    elif squat == "link":
        place.symlink_to(elsewhere)
    else:
        place.mkdir(0o700)
        if squat == "open folder":
            place.chmod(0o777)
        else:
            (place / node.id[: scratch.NODE_LETTERS]).symlink_to(elsewhere)
    folder = Path(scratch.make(node, RUNNER))
    assert folder.is_relative_to(node.folder)
    scratch.remove(node, RUNNER)
    assert not folder.exists()
    assert list(elsewhere.iterdir()) == []


@posix
@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root gives folders away")
def test_a_folder_of_another_user_is_not_used(shared: Path, node: Node) -> None:
    place = shared / f"bgapp-{os.getuid()}"
    place.mkdir(0o700)
    os.chown(place, 12345, 12345)
    assert Path(scratch.make(node, RUNNER)).is_relative_to(node.folder)


def test_without_any_place_the_job_runs_all_the_same(shared: Path, node: Node) -> None:
    (shared / f"bgapp-{os.getuid() if hasattr(os, 'getuid') else os.environ.get('USERNAME', 'user')}").write_text("")
    (node.folder / "tmp").write_text("")
    assert scratch.make(node, RUNNER) == ""
    scratch.clear(node, RUNNER)
    scratch.remove_of_dead(node, [])


def test_what_dead_runners_left_goes_once_their_attempts_are_settled(shared: Path, node: Node) -> None:
    me = system.identify(os.getpid())
    assert me is not None
    folders = [Path(scratch.make(node, runner)) for runner in (me, RUNNER, OTHER)]
    scratch.remove_of_dead(node, [OTHER])
    assert [folder.exists() for folder in folders] == [True, False, True]
    scratch.remove_of_dead(node, [])
    assert [folder.exists() for folder in folders] == [True, False, False]


def test_a_dead_node_leaves_nothing(shared: Path, node: Node) -> None:
    folder = Path(scratch.make(node, RUNNER))
    scratch.remove_all(node)
    assert not folder.parent.exists()
