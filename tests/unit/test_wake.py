from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bgapp import system, wake
from bgapp.node import Node


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    found = Node.join(tmp_path)
    yield found
    found._membership.release()


@pytest.fixture
def listen(node: Node) -> Iterator[dict[str, system.Mailbox]]:
    """Mailboxes of a leader, a host, three runners, and two of these while they are idle."""
    names = ("leader", "host", "runner-0", "runner-1", "runner-2", "idle-1", "idle-2")
    boxes = {name: system.Mailbox(node.channel(name)) for name in names}
    yield boxes
    for box in boxes.values():
        box.close()


def heard(boxes: dict[str, system.Mailbox]) -> dict[str, int]:
    return {name: count for name, box in boxes.items() if (count := box.drain())}


def test_nobody_hears_where_there_is_no_node(tmp_path: Path) -> None:
    assert not wake.wake_for_work(tmp_path)
    wake.wake_runners(tmp_path)


def test_nobody_hears_on_a_node_where_nobody_listens(node: Node, tmp_path: Path) -> None:
    system.Mailbox(node.channel("leader")).close()  # its file is still there
    assert not wake.wake_for_work(tmp_path)


def test_work_wakes_the_leader_and_one_idle_runner(listen: dict[str, system.Mailbox], tmp_path: Path) -> None:
    assert wake.wake_for_work(tmp_path)
    assert heard(listen) == {"leader": 1, "idle-1": 1}


def test_an_idle_runner_alone_is_enough_to_be_heard(node: Node, tmp_path: Path) -> None:
    idle = system.Mailbox(node.channel("idle-0"))
    assert wake.wake_for_work(tmp_path)
    assert idle.drain() == 1
    idle.close()


@pytest.mark.parametrize(
    ("most", "names"), [(0, []), (1, ["idle-1"]), (2, ["idle-1", "idle-2"]), (9, ["idle-1", "idle-2"])]
)
def test_so_many_idle_runners_are_woken(
    node: Node, listen: dict[str, system.Mailbox], most: int, names: list[str]
) -> None:
    assert wake.wake_idle(node, most) == len(names)
    assert list(heard(listen)) == names


def test_a_runner_that_left_its_channel_behind_is_passed_over(node: Node, listen: dict[str, system.Mailbox]) -> None:
    listen["idle-1"].close()
    assert wake.wake_idle(node, 1) == 1
    assert listen["idle-2"].drain() == 1
    del listen["idle-1"]


def test_a_request_wakes_every_runner_busy_or_idle(listen: dict[str, system.Mailbox], tmp_path: Path) -> None:
    wake.wake_runners(tmp_path)
    assert heard(listen) == {"runner-0": 1, "runner-1": 1, "runner-2": 1}


def test_every_node_of_the_instance_is_woken(node: Node, listen: dict[str, system.Mailbox], tmp_path: Path) -> None:
    (node.folder.parent / "other" / "wake").mkdir(parents=True)
    other = Node(node.folder.parent / "other")
    box = system.Mailbox(other.channel("leader"))
    assert wake.wake_for_work(tmp_path)
    assert (box.drain(), listen["leader"].drain()) == (1, 1)
    box.close()
