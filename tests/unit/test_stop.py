from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bgapp import stop, system
from bgapp.node import Node


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    found = Node.join(tmp_path)
    yield found
    found._membership.release()


def test_nothing_was_asked_of_a_fresh_node(node: Node) -> None:
    assert stop.stop_asked(node, 0.0) is None


@pytest.mark.parametrize(("now", "word"), [(False, "after"), (True, "now")])
def test_a_stop_is_asked_of_the_runners_that_run(node: Node, now: bool, word: str) -> None:
    started = time.monotonic() - 10
    stop.ask_to_stop(node, now=now)
    assert stop.stop_asked(node, started) == word


def test_runners_that_start_later_go_on(node: Node) -> None:
    stop.ask_to_stop(node, now=True)
    asked = os.stat(node.folder / stop.FILE).st_mtime
    assert stop.stop_asked(node, asked + 0.001) is None
    assert stop.stop_asked(node, asked - 0.001) == "now"


def test_the_last_word_counts(node: Node) -> None:
    stop.ask_to_stop(node, now=False)
    stop.ask_to_stop(node, now=True)
    assert stop.stop_asked(node, 0.0) == "now"


def test_asking_leaves_one_private_file_and_nothing_half_written(node: Node) -> None:
    stop.ask_to_stop(node, now=True)
    found = [path for path in node.folder.iterdir() if path.name.startswith(stop.FILE)]
    assert [path.name for path in found] == [stop.FILE]
    assert found[0].stat().st_mode & 0o077 == 0


def test_asking_wakes_the_runners(node: Node) -> None:
    box = system.Mailbox(node.channel("runner-0"))
    stop.ask_to_stop(node, now=False)
    assert box.drain() == 1
    box.close()


def test_a_node_that_is_gone_asks_nothing(node: Node) -> None:
    stop.ask_to_stop(node, now=True)
    node.remove()
    assert stop.stop_asked(node, 0.0) is None
