from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bgapp import node as nodes
from bgapp import system
from bgapp.errors import ConfigurationError
from bgapp.node import Node
from bgapp.system import FileLock, ProcessIdentity
from tests.conftest import ROOT
from tests.factories import this_process
from tests.waiting import wait_for


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    found = Node.join(tmp_path)
    yield found
    found._membership.release()


def test_processes_of_one_instance_join_the_same_node(node: Node, tmp_path: Path) -> None:
    again = Node.join(tmp_path)
    assert (again.id, again.folder) == (node.id, node.folder)
    assert [one.id for one in nodes.each(tmp_path)] == [node.id]
    again._membership.release()


def test_each_instance_has_nodes_of_its_own(node: Node, tmp_path: Path) -> None:
    other = Node.join(tmp_path / "other")
    assert other.id != node.id
    other._membership.release()


def test_many_that_join_at_once_join_one_node(tmp_path: Path) -> None:
    joined: list[Node] = []
    threads = [threading.Thread(target=lambda: joined.append(Node.join(tmp_path))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({node.id for node in joined}) == 1
    for node in joined:
        node._membership.release()


@pytest.mark.parametrize("change", [{"boot_id": "earlier"}, {"pid_namespace": "1"}])
def test_another_boot_or_namespace_is_another_node(node: Node, tmp_path: Path, change: dict[str, str]) -> None:
    identity = node.identity()
    assert identity is not None
    (node.folder / nodes.IDENTITY).write_text(json.dumps(identity | change))
    here = Node.join(tmp_path)
    assert here.id != node.id
    here._membership.release()


@pytest.mark.parametrize("text", ["", "{broken", "[1]", "5", None])
def test_a_node_whose_identity_cannot_be_read_is_nobodys(node: Node, tmp_path: Path, text: str | None) -> None:
    file = node.folder / nodes.IDENTITY
    file.unlink() if text is None else file.write_text(text)
    assert node.identity() is None
    here = Node.join(tmp_path)
    assert here.id != node.id
    here._membership.release()


def test_a_node_lives_as_long_as_any_of_its_processes(node: Node, tmp_path: Path) -> None:
    again = Node.join(tmp_path)
    probe = Node(node.folder)
    node._membership.release()
    assert not probe.is_dead()
    again._membership.release()
    assert probe.is_dead()
    node.take_membership()
    assert not probe.is_dead()


@pytest.mark.process
def test_a_node_is_dead_once_its_processes_are_killed(tmp_path: Path) -> None:
    code = "import sys,time; from pathlib import Path; from bgapp.node import Node; n = Node.join(Path(sys.argv[1])); "
    process = subprocess.Popen(
        [sys.executable, "-c", code + "print(n.id, flush=True); time.sleep(600)", str(tmp_path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    found = Node(tmp_path / nodes.FOLDER / process.stdout.readline().strip())
    assert not found.is_dead()
    process.kill()
    process.communicate()
    wait_for(found.is_dead, "the node's end")
    back = Node.join(tmp_path)
    assert back.id == found.id, "same machine, same boot, same namespace: the same node again"
    back._membership.release()


def test_whoever_joins_while_another_looks_whether_the_node_is_dead_is_a_member_all_the_same(tmp_path: Path) -> None:
    """`is_dead` holds the lock for a moment; a process that joins then must not go on without it."""
    Node.join(tmp_path)._membership.release()
    (found,) = nodes.each(tmp_path)
    probe = FileLock(found.folder / "lock")
    assert probe.try_exclusive()
    joined: list[Node] = []
    joining = threading.Thread(target=lambda: joined.append(Node.join(tmp_path)))
    joining.start()
    joining.join(0.1)
    probe.release()
    joining.join()
    assert not Node(found.folder).is_dead()
    joined[0]._membership.release()


def test_a_dead_node_is_removed_with_all_its_files(node: Node, tmp_path: Path) -> None:
    node.entry_path(1, 1).write_text("x")
    node._membership.release()
    node.remove()
    assert node.is_dead()
    assert not node.folder.exists()
    node.remove()
    assert list(nodes.each(tmp_path)) == []


def test_an_instance_without_nodes_has_none(tmp_path: Path) -> None:
    assert list(nodes.each(tmp_path)) == []
    (tmp_path / nodes.FOLDER).mkdir()
    (tmp_path / nodes.FOLDER / "stray").write_text("a file, not a node")
    assert list(nodes.each(tmp_path)) == []


def test_an_instance_that_cannot_be_a_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"the instance folder .*file cannot be used: "):
        Node.join(tmp_path / "file")


def test_everything_of_a_node_is_private(node: Node) -> None:
    node.write_runner(0, this_process())
    node.write_host(this_process(), "g")
    slot = node.take_slot(1)
    assert slot is not None
    found = [node.folder.parent, node.folder, *node.folder.rglob("*")]
    assert [path for path in found if path.stat().st_mode & 0o077] == []
    slot.release()


# Slots ---------------------------------------------------------------------------------------------------------


def test_slots_are_taken_up_to_the_limit_and_given_back(node: Node) -> None:
    slots = [node.take_slot(2), node.take_slot(2)]
    assert [slot.number for slot in slots if slot] == [0, 1]
    assert node.take_slot(2) is None
    assert node.held_slots(2) == [0, 1]
    assert slots[0] is not None
    slots[0].release()
    assert node.held_slots(2) == [1]
    again = node.take_slot(2)
    assert again is not None
    assert again.number == 0


def test_a_lower_limit_leaves_held_slots_alone_and_gives_no_more(node: Node) -> None:
    slots = [node.take_slot(3) for _ in range(3)]
    assert all(slots)
    assert node.take_slot(1) is None
    assert node.take_slot(0) is None


def test_looking_at_slots_takes_none(node: Node) -> None:
    assert node.held_slots(3) == []
    assert node.take_slot(1) is not None


def test_runners_are_told_by_their_slots(node: Node) -> None:
    slot = node.take_slot(2)
    assert slot is not None
    assert node.runners(2) == []
    node.write_runner(0, ProcessIdentity(5, 6))
    node.write_runner(1, ProcessIdentity(7, 8))
    assert node.runners(2) == [(0, ProcessIdentity(5, 6))], "nobody holds the other slot any more"
    (node.folder / "slot-0.json").write_text("{broken")
    assert node.runners(2) == []


# Leader and host -----------------------------------------------------------------------------------------------


def test_leader_and_host_are_told_by_their_locks(node: Node) -> None:
    assert (node.has_leader(), node.has_host()) == (False, False)
    leader, host = node.leader_lock(), node.host_lock()
    assert leader.try_exclusive()
    assert (node.has_leader(), node.has_host()) == (True, False)
    assert host.try_exclusive()
    leader.release()
    assert (node.has_leader(), node.has_host()) == (False, True)
    host.release()


def test_nobody_leads_a_node_that_is_gone(node: Node) -> None:
    node.remove()
    assert (node.has_leader(), node.has_host(), node.held_slots(2)) == (False, False, [])


def test_the_host_is_known_while_it_lives(node: Node) -> None:
    assert node.host() is None
    node.write_host(None, "g")
    assert node.host() is None
    me = this_process()
    node.write_host(me, "g2")
    assert node.host() == (me, "g2")
    node.write_host(ProcessIdentity(me.pid, me.ticks - 1), "g2")
    assert node.host() is None, "its pid has been given to another"
    (node.folder / "host.json").write_text("[1]")
    assert node.host() is None


def test_channels_and_entries_have_folders(node: Node) -> None:
    box = system.Mailbox(node.channel("runner-0"))
    assert system.post(node.channel("runner-0"))
    box.close()
    node.entry_path(3, 2).write_text("")
    assert [path.name for path in (node.folder / "entries").iterdir()] == ["3-2"]


def test_a_name_of_this_machine_is_there() -> None:
    assert nodes.hostname()


@pytest.mark.process
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
def test_a_forked_process_becomes_a_member_for_itself(node: Node) -> None:
    code = """
import os, sys
from pathlib import Path
from bgapp.node import Node
node = Node.join(Path(sys.argv[1]))
if os.fork() == 0:
    other = node.leaving_lock()
    assert other.try_exclusive()
    node.take_membership()
    print(os.getpid(), flush=True)
    sys.stdin.readline()
os._exit(0)
"""
    instance = node.folder.parent.parent / "forked"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(instance)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    child = int(process.stdout.readline())
    process.wait()
    (found,) = nodes.each(instance)
    assert system.identify(child)
    assert not found.is_dead(), "the parent is gone, its fork is a member"
    process.communicate()
    wait_for(found.is_dead, "the fork's end")
    assert os.path.isdir(found.folder)


def test_a_file_that_is_no_entry_is_passed_over(node: Node) -> None:
    """Every tick of the leader reads this folder: what somebody left there must not stop it."""
    for name in ("12-1", "notes", "12-1.swp", "12-", "-1", "1-2-3"):
        (node.folder / "entries" / name).touch()
    assert node.entries() == [(12, 1)]
