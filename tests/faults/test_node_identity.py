"""Who a node is: copies of its folder prove nothing about it, and of two that say they are it one is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from bgapp import controls, queries, rescue, stop, system
from bgapp import node as nodes
from bgapp.database import Database
from bgapp.errors import NodeClash
from bgapp.maintenance import Maintenance
from bgapp.models import Node as NodeRow
from bgapp.models import Status
from bgapp.node import Node
from bgapp.runtime import Runtime
from tests import factories as make
from tests.site import Site
from tests.waiting import wait_for

HOUR = timedelta(hours=1)


@pytest.fixture
def join() -> Iterator[Callable[[Path], Node]]:
    """Join an instance's node, until the test's end."""
    with ExitStack() as joined:

        def one(instance: Path) -> Node:
            node = Node.join(instance)
            joined.callback(node._membership.release)
            return node

        yield one


Join = Callable[[Path], Node]


def written(node: Node) -> dict[str, str]:
    return dict(json.loads((node.folder / nodes.IDENTITY).read_text()))


def rewrite(node: Node, **facts: str | None) -> None:
    """Change what a node wrote of itself; None takes a fact away."""
    changed = {name: value for name, value in (written(node) | facts).items() if value is not None}
    (node.folder / nodes.IDENTITY).write_text(json.dumps(changed))


# Copies --------------------------------------------------------------------------------------------------------


def test_f36_a_copied_instance_folder_gets_a_node_of_its_own_and_loses_the_copy(join: Join, tmp_path: Path) -> None:
    node = join(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    copy = Node(tmp_path / "two" / nodes.FOLDER / node.id)
    assert copy.is_dead()
    assert (copy.is_copy(), copy.is_here(), copy.lock_proves(one_machine=True)) == (True, False, False)
    here = join(tmp_path / "two")
    assert here.id != node.id
    assert [one.id for one in nodes.each(tmp_path / "two")] == [here.id]
    assert join(tmp_path / "one").id == node.id


def test_f36_a_moved_instance_folder_keeps_its_node(join: Join, tmp_path: Path) -> None:
    node = join(tmp_path / "one")
    (tmp_path / "one").rename(tmp_path / "two")
    assert join(tmp_path / "two").id == node.id


def test_f36_a_copy_whose_lock_is_held_is_left_alone(join: Join, tmp_path: Path) -> None:
    node = join(tmp_path)
    rewrite(node, folder="1:1")
    assert node.is_copy()
    assert join(tmp_path).id != node.id
    assert node.folder.is_dir()


def test_f36_a_node_of_an_earlier_release_is_known_and_completed(join: Join, tmp_path: Path) -> None:
    node = join(tmp_path)
    rewrite(node, folder=None, hostname=None)
    assert (node.is_here(), node.is_copy()) == (True, False)
    assert join(tmp_path).id == node.id
    assert written(node)["folder"] == nodes.folder_id(node.folder)


@pytest.mark.parametrize("one_machine", [True, False])
def test_f36_a_lock_of_an_earlier_boot_proves_a_death_only_where_one_machine_has_the_database(
    join: Join, tmp_path: Path, one_machine: bool
) -> None:
    """Of several machines, one may be a clone of another that lives on."""
    node = join(tmp_path)
    assert node.lock_proves(one_machine=one_machine)
    rewrite(node, boot_id="an earlier one")
    assert node.lock_proves(one_machine=one_machine) == one_machine


@pytest.fixture
def other(runtime: Runtime) -> Node:
    """A node's folder beside ours, whose lock nobody holds."""
    folder = runtime.node.folder.with_name("b" * 16)
    shutil.copytree(runtime.node.folder, folder)
    found = Node(folder)
    rewrite(found, folder=nodes.folder_id(folder))
    return found


def runs_on(database: Database, node: Node, lease: timedelta) -> int:
    """Add a job that runs on a node, with that much of its lease left."""
    with database.write() as connection:
        make.add_node(connection, node.id)
        lease_until = database.clock(connection) + lease
        return make.insert_job(connection, Status.RUNNING, node=node.id, lease_until=lease_until)


def test_f36_a_free_lock_beside_ours_settles_its_jobs(runtime: Runtime, other: Node) -> None:
    runs_on(runtime.database, other, HOUR)
    assert rescue.rescue(runtime.database, runtime.node)


def test_f36_a_copys_free_lock_settles_nothing_while_the_lease_lasts(runtime: Runtime, other: Node) -> None:
    rewrite(other, folder="1:1")
    runs_on(runtime.database, other, HOUR)
    assert rescue.rescue(runtime.database, runtime.node) == []


@pytest.mark.parametrize("copied", [True, False])
def test_f36_forgetting_a_copy_leaves_its_originals_row(runtime: Runtime, other: Node, copied: bool) -> None:
    if copied:
        rewrite(other, folder="1:1")
    with runtime.database.write() as connection:
        make.add_node(connection, other.id)
    assert rescue.forget_dead_nodes(runtime.database, runtime.node) == ([] if copied else [other.id])
    assert not other.folder.exists()


def test_f36_a_dead_nodes_files_stay_while_a_job_of_it_is_to_be_settled(runtime: Runtime, other: Node) -> None:
    rewrite(other, boot_id="an earlier one")
    runs_on(runtime.database, other, HOUR)
    assert rescue.forget_dead_nodes(runtime.database, runtime.node) == []
    assert other.folder.exists()


# Clashes -------------------------------------------------------------------------------------------------------


@pytest.fixture
def leader(runtime: Runtime) -> Maintenance:
    """The passes of this node's leader."""
    return Maintenance(runtime, runtime.node, "g1")


def change_row(runtime: Runtime, **values: object) -> None:
    """Write to our node's row what another leader would, a second ago."""
    with runtime.database.write() as connection:
        seen = runtime.database.clock(connection) - timedelta(seconds=1)
        chosen = update(NodeRow).where(NodeRow.id == runtime.node.id)
        connection.execute(chosen.values({"seen_at": seen, **values}))


def test_f36_a_second_start_of_a_node_that_is_alive_elsewhere_is_refused(runtime: Runtime, leader: Maintenance) -> None:
    make.say_alive(runtime.database, runtime.node, "g1")
    change_row(runtime, boot_id="another", hostname="elsewhere")
    job = runs_on(runtime.database, Node(runtime.node.folder.with_name("gone")), -HOUR)
    with pytest.raises(NodeClash, match=r"in use twice: on elsewhere \(boot another.*delete this folder") as told:
        leader.run()
    assert system.boot_id() in str(told.value)
    assert make.row(runtime.database, job).status == "running", "the refused one rescues nothing"
    assert stop.stop_asked(runtime.node, 0.0) == "after", "its runners claim nothing more"
    assert runtime.node.refusal() == str(told.value)


def test_f36_a_clash_ends_once_the_other_is_not_heard_of(runtime: Runtime, leader: Maintenance) -> None:
    make.say_alive(runtime.database, runtime.node, "g1")
    change_row(runtime, boot_id="another")
    with pytest.raises(NodeClash):
        leader.run()
    change_row(runtime, seen_at=make.NOW)
    leader.run()
    assert runtime.node.refusal() is None


def test_f36_a_leader_notices_that_another_writes_as_its_node(runtime: Runtime, leader: Maintenance) -> None:
    """A machine that was cloned while it ran is the same in everything but what it writes."""
    leader.run()
    leader._alive_at = 0.0
    leader.run()
    change_row(runtime)
    leader._alive_at = 0.0
    with pytest.raises(NodeClash):
        leader.run()


def test_f36_the_next_leader_of_the_node_is_no_clash(runtime: Runtime, leader: Maintenance) -> None:
    leader.run()
    Maintenance(runtime, runtime.node, "g2").run()


# Nodes of other machines ---------------------------------------------------------------------------------------


def test_f33_rows_of_nodes_long_silent_are_forgotten_unless_a_job_runs_there(ready: Database) -> None:
    with ready.write() as connection:
        for name in ("silent", "busy", "heard"):
            make.add_node(connection, name)
        make.insert_job(connection, Status.RUNNING, node="busy")
        now = ready.clock(connection)
        connection.execute(update(NodeRow).where(NodeRow.id == "heard").values(seen_at=now - HOUR))
        controls.forget_silent_nodes(connection, now - 24 * HOUR)
        left = {row.id for row in queries.nodes(connection)}
    assert {"busy", "heard"} <= left
    assert "silent" not in left


@pytest.fixture
def ready(database: Database) -> Database:
    return database


@pytest.mark.process
@pytest.mark.postgres
@pytest.mark.long
def test_f36_a_copied_installation_takes_nothing_from_its_living_original(
    make_site: Callable[..., Site], postgres_database: str
) -> None:
    original, copy = (make_site(database_url=postgres_database) for _ in range(2))
    original.start_app()
    job = original.note(4.0)
    original.wait_entered(job)
    shutil.copytree(original.instance / nodes.FOLDER, copy.instance / nodes.FOLDER, ignore=lambda *_: {"wake"})
    assert original.node is not None
    copied = copy.instance / nodes.FOLDER / original.node.id
    copy.start_app(wait=False)
    wait_for(lambda: not copied.exists(), "the copy's removal")
    wait_for(lambda: copy.node and copy.node.has_leader(), "the copy's own node to be led")
    found = original.wait(job)
    assert (found["status"], found["attempt"], found["node"]) == ("completed", 1, original.node.id)
    assert copy.wait(copy.note())["status"] == "completed"
