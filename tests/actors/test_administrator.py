"""Other members, another leader and snapshots by hand, while a cluster works: in threads and simulated, whoever takes
turns; and once in processes, with a restart of everything."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from actors import Replicated, command
from actors.administrator import Administrator
from actors.calls import Call
from actors.cluster import Cluster
from actors.cluster_ports import ClusterClient
from actors.errors import (
    ActorumError,
    CallTimeout,
    ChangeUnderWay,
    MembersChanged,
    NameTaken,
    NoQuorum,
    NoSuchNode,
    NotCaughtUp,
    OutcomeUnknown,
    QuorumAtRisk,
    SnapshotFailed,
    TransferFailed,
    WrongArguments,
)
from actors.machines.counter import Counter
from actors.membership import Members
from actors.network import Faults
from actors.protocol import Administered
from actors.sim import SimCluster
from actors.spec import RuntimeName
from actors.storage.port import CorruptStorage
from raft_core import Settings

PATIENCE = 30.0

pytestmark = pytest.mark.timeout(90)


@pytest.fixture(params=[("threads", "actors"), ("threads", "locks"), ("sim", "actors"), ("sim", "locks")], ids="-".join)
def counter(request: pytest.FixtureRequest) -> Iterator[Counter]:
    """Of a cluster of three."""
    engine, runtime = request.param
    with Counter.cluster(engine=engine, runtime=runtime, timeout=PATIENCE) as counter:
        yield counter


@pytest.fixture(params=["actors", "locks"])
def runtime(request: pytest.FixtureRequest) -> RuntimeName:
    return request.param


@pytest.fixture
def simulated(runtime: RuntimeName) -> Iterator[Counter]:
    """Of a simulated cluster of three, in which little is missing until it is too much for a new voter."""
    with Counter.cluster(
        engine="sim", seed=3, runtime=runtime, timeout=PATIENCE, settings=Settings(max_promotion_lag=5)
    ) as counter:
        yield counter


def cluster_of(counter: Counter) -> Cluster:
    assert isinstance(counter.cluster, Cluster)
    return counter.cluster


def simulation_of(counter: Counter) -> SimCluster:
    assert isinstance(counter.cluster, SimCluster)
    return counter.cluster


class Load:
    """Increments under way while something else happens: whenever one is answered, the next one is submitted."""

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self._calls: list[Call[int]] = []
        self._goes_on = True
        for _ in range(8):
            self._submit()

    def _submit(self) -> None:
        call = self._counter.incr.submit()
        self._calls.append(call)
        call.add_done_callback(self._go_on)

    def _go_on(self, call: Call[int]) -> None:
        if self._goes_on and call.exception(0.0) is None:
            self._submit()

    def during(self, operation: Callable[[], object]) -> None:
        """It goes on before, meanwhile and afterwards."""
        self._calls[-1].result()
        operation()
        self._calls[-1].result()

    def was_applied_once(self) -> None:
        """Each increment gave a value of its own, and there are no others."""
        self._goes_on = False
        number = 0
        while number < len(self._calls):  # one that is just being answered may still bring another
            self._calls[number].result()
            number += 1
        assert sorted(call.result() for call in self._calls) == list(range(1, number + 1))
        assert self._counter.get() == number


def test_a_cluster_grows_and_shrinks_under_load_and_every_command_counts_once(counter: Counter) -> None:
    cluster, load = cluster_of(counter), Load(counter)
    load.during(cluster.add)
    load.during(cluster.add)
    assert cluster.members().voters == ("n1", "n2", "n3", "n4", "n5")
    load.during(lambda: cluster.remove("n2", "n4"))  # two at a time: joint consensus
    assert cluster.members() == Members(("n1", "n3", "n5"), (), cluster.members().index)
    assert cluster.nodes == ("n1", "n3", "n5")
    load.was_applied_once()
    cluster.wait_until_equal(PATIENCE)


def test_the_leader_can_be_removed_and_another_one_goes_on(counter: Counter) -> None:
    cluster, load = cluster_of(counter), Load(counter)
    leader = cluster.leader()
    load.during(lambda: cluster.remove(leader))
    assert cluster.leader() != leader
    assert leader not in cluster.nodes
    assert not cluster.members().has(leader)
    load.was_applied_once()


def test_a_dead_peer_is_replaced_by_a_fresh_one_that_counts(counter: Counter) -> None:
    cluster, load = cluster_of(counter), Load(counter)
    leader = cluster.leader()
    dead, alive = (name for name in cluster.nodes if name != leader)
    cluster.kill(dead)
    load.during(lambda: cluster.replace(dead))
    assert cluster.members().voters == tuple(sorted((leader, alive, "n4")))
    cluster.kill(alive)  # so the new one's vote is needed
    load.was_applied_once()


def test_leadership_is_handed_over_under_load_and_nothing_is_lost(counter: Counter) -> None:
    cluster, load = cluster_of(counter), Load(counter)
    before = cluster.leader()
    load.during(lambda: cluster.transfer_leadership())
    assert cluster.leader() != before
    load.during(lambda: cluster.transfer_leadership(before))
    assert cluster.leader() == before
    assert cluster.transfer_leadership(before) == before, "it leads already"
    load.was_applied_once()


def test_a_peer_is_added_while_the_leader_is_cut_off(runtime: RuntimeName) -> None:
    """It may begin with the old leader; it ends with the new one, once."""
    for engine in ("threads", "sim"):
        with Counter.cluster(engine=engine, runtime=runtime, timeout=PATIENCE, chaos=True) as counter:
            cluster, load = cluster_of(counter), Load(counter)
            away = cluster.leader()
            cluster.network.disconnect(away)
            load.during(lambda: cluster.add())  # noqa: B023
            assert cluster.members().voters == ("n1", "n2", "n3", "n4")
            cluster.network.connect(away)
            load.was_applied_once()
            assert set(cluster.wait_until_equal(PATIENCE)) == {"n1", "n2", "n3", "n4"}


def test_a_snapshot_is_taken_by_hand_and_shortens_the_log(runtime: RuntimeName) -> None:
    with Counter.cluster(engine="sim", runtime=runtime, settings=Settings(trailing_entries=3)) as counter:
        cluster = simulation_of(counter)
        for _ in range(20):
            counter.incr()
        leader = cluster.leader()
        other = next(name for name in cluster.nodes if name != leader)
        index = cluster.snapshot()
        cluster.run_for(1.0)
        status = cluster.status()
        assert (described := status[leader]) is not None
        assert (described.snapshot_index, described.first_index) == (index, index - 2)
        assert (of_other := status[other]) is not None
        assert of_other.snapshot_index == 0
        assert cluster.snapshot(other) == index


class Unsavable(Replicated):
    """Its field holds what its annotation does not say."""

    value: str = ""

    @command
    def spoil(self) -> None:
        self.value = 3  # type: ignore[assignment]


def test_a_machine_that_cannot_be_saved_is_told_of() -> None:
    with Unsavable.cluster(engine="sim") as machine:
        machine.spoil()
        with pytest.raises(SnapshotFailed, match="could not take a snapshot"):
            cluster_of(machine).snapshot()  # type: ignore[arg-type]


def test_a_snapshot_of_who_is_down_is_not_waited_for(simulated: Counter) -> None:
    cluster = simulation_of(simulated)
    cluster.kill("n1")
    before = cluster.now
    with pytest.raises(CallTimeout):
        cluster.snapshot("n1")
    assert cluster.now == before


# --- What is refused, and what is not known.


def test_a_name_is_never_given_twice(simulated: Counter) -> None:
    cluster = cluster_of(simulated)
    assert cluster.add("extra") == "extra"
    cluster.remove("n3")
    for name in ("n1", "n3", "extra"):
        with pytest.raises(NameTaken):
            cluster.add(name)
    with pytest.raises(WrongArguments):
        cluster.add("../n9")
    assert cluster.add() == "n4"
    with pytest.raises(NoSuchNode):
        cluster.restart("n3")


def test_who_is_not_there_can_be_neither_promoted_nor_removed_nor_replaced_nor_leader(simulated: Counter) -> None:
    cluster = cluster_of(simulated)
    operations: list[Callable[..., Any]] = [cluster.promote, cluster.remove, cluster.replace, cluster.snapshot]
    for operation in (*operations, cluster.transfer_leadership):
        with pytest.raises(NoSuchNode):
            operation("n9")
    learner = cluster.add(promote=False)
    with pytest.raises(NoSuchNode):
        cluster.replace(learner)
    with pytest.raises(NoSuchNode):
        cluster.transfer_leadership(learner)
    with pytest.raises(WrongArguments):
        cluster.remove("n1", "n2", "n3")


def test_a_change_that_would_leave_no_majority_running_is_not_begun(simulated: Counter) -> None:
    """It would wait for peers that are down, and every command behind it."""
    cluster = cluster_of(simulated)
    leader = cluster.leader()
    down, up = (name for name in cluster.nodes if name != leader)
    cluster.kill(down)
    with pytest.raises(QuorumAtRisk, match="not begun"):
        cluster.remove(up)
    assert cluster.members() == Members(("n1", "n2", "n3"), (), 0)
    cluster.remove(down)
    assert simulated.incr() == 1


def test_a_learner_that_lacks_too_much_is_no_voter_before_it_has_caught_up(simulated: Counter) -> None:
    cluster = simulation_of(simulated)
    name = cluster.add(promote=False)
    cluster.network.disconnect(name)
    for _ in range(20):
        simulated.incr()
    with pytest.raises(NotCaughtUp):
        cluster.promote(name, timeout=1.0)
    assert cluster.members().learners == (name,)
    cluster.network.connect(name)
    cluster.promote(name)
    assert name in cluster.members().voters


def test_members_that_are_not_as_expected_are_left_alone(simulated: Counter) -> None:
    cluster = cluster_of(simulated)
    before = cluster.members()
    learner = cluster.add(promote=False)
    with pytest.raises(MembersChanged):
        cluster.set_members(["n1", "n2"], expected_index=before.index)
    now = cluster.members()
    assert now.learners == (learner,)
    assert cluster.set_members(["n1", "n2"], expected_index=now.index).voters == ("n1", "n2")


class Overtaken:
    """A client through which another administrator is faster, once."""

    def __init__(self, client: ClusterClient, faster: Callable[[], object]) -> None:
        self._client = client
        self._faster = [faster]
        self.inspect = client.inspect

    def administer(self, *arguments: Any, **keywords: Any) -> Administered | None:
        while self._faster:
            self._faster.pop()()
        return self._client.administer(*arguments, **keywords)


def test_of_two_administrators_at_a_time_neither_undoes_what_the_other_did(runtime: RuntimeName) -> None:
    with Counter.cluster(engine="threads", runtime=runtime, timeout=PATIENCE) as counter:
        cluster = cluster_of(counter)
        leader = cluster.leader()
        gone = next(name for name in cluster.nodes if name != leader)
        client: Any = Overtaken(cluster.client, cluster.add)
        Administrator(cluster.supervisor, client, timeout=PATIENCE).remove(gone)
        assert cluster.members().voters == tuple(sorted({"n1", "n2", "n3", "n4"} - {gone}))


def test_while_nobody_decides_an_outcome_is_unknown_and_never_called_a_failure(simulated: Counter) -> None:
    """The leader is alone and does not know it yet: it takes the change, and cannot say what becomes of it."""
    cluster = simulation_of(simulated)
    simulated.incr()
    leader = cluster.leader()
    cluster.network.partition([name for name in cluster.nodes if name != leader], [leader])
    with pytest.raises(OutcomeUnknown, match="not known whether n4"):
        cluster.add("n4", timeout=0.1)
    assert "n4" in cluster.nodes, "it may be a member, so it must run"
    cluster.network.heal()
    assert cluster.add("n4") == "n4", "what is missing can be asked for"
    assert cluster.members().voters == ("n1", "n2", "n3", "n4")


def test_a_peer_that_may_be_a_member_runs_on_when_it_is_added_again_in_vain(runtime: RuntimeName) -> None:
    with Counter.cluster(engine="sim", runtime=runtime, settings=Settings(check_quorum=False)) as counter:
        cluster = simulation_of(counter)
        assert counter.incr() == 1
        cluster.network.partition()
        with pytest.raises(OutcomeUnknown):
            cluster.add("n4", timeout=1.0)
        with pytest.raises(ChangeUnderWay):
            cluster.add("n4", timeout=1.0)
        cluster.network.heal()
        assert cluster.add("n4") == "n4"
        assert cluster.members().voters == ("n1", "n2", "n3", "n4")


def test_a_leader_of_the_past_is_not_believed(runtime: RuntimeName) -> None:
    """It does not know yet that n4 is a member; stopping n4 for good would cost a vote that counts."""
    with Counter.cluster(engine="sim", runtime=runtime, settings=Settings(check_quorum=False)) as counter:
        cluster = simulation_of(counter)
        old = cluster.leader()
        cluster.network.disconnect(old)
        cluster.run_for(2.0)
        assert cluster.add() == "n4"
        cluster.kill(cluster.leader())
        statuses = cluster.status()
        assert [name for name, status in statuses.items() if status and status.role == "leader"] == [old]
        with pytest.raises(NoQuorum):
            cluster.remove("n4", timeout=1.0)
        assert "n4" in cluster.nodes


def test_without_a_leader_nothing_is_changed_and_the_new_peer_is_stopped(simulated: Counter) -> None:
    cluster = simulation_of(simulated)
    cluster.network.partition()
    cluster.run_for(2.0)
    with pytest.raises(NoQuorum):
        cluster.add(timeout=1.0)
    assert cluster.nodes == ("n1", "n2", "n3")
    cluster.network.heal()
    assert cluster.add() == "n5", "the name was given"


def test_a_change_waits_for_the_one_before_it(simulated: Counter) -> None:
    """Those whose majority is needed now are far away: they answer, but late."""
    cluster = simulation_of(simulated)
    leader, *far = cluster.leader(), cluster.add(promote=False), cluster.add(promote=False)
    for name in far:
        cluster.network.set(sender=leader, receiver=name, requests=Faults(delay=(3.0, 3.0)))
    cluster.run_for(5.0)
    with pytest.raises(OutcomeUnknown):
        cluster.set_members([leader, *far], timeout=0.5)
    assert not cluster.members().is_committed
    with pytest.raises(ChangeUnderWay):
        cluster.add(timeout=0.5)
    cluster.network.heal()
    assert cluster.add() == "n7"
    assert cluster.members().voters == tuple(sorted((leader, *far, "n7")))


def test_a_successor_that_cannot_be_reached_leaves_the_leader_in_office(simulated: Counter) -> None:
    cluster = simulation_of(simulated)
    leader = cluster.leader()
    target = next(name for name in cluster.nodes if name != leader)
    cluster.network.disconnect(target)
    simulated.incr()
    with pytest.raises(TransferFailed):
        cluster.transfer_leadership(target, timeout=5.0)
    assert cluster.leader() == leader
    assert simulated.incr() == 2


def test_a_cluster_of_one_grows(runtime: RuntimeName) -> None:
    """Its leader sent nothing to anybody until then; and the beginning of its log is a snapshot."""
    settings = Settings(trailing_entries=0)
    with Counter.cluster(engine="sim", runtime=runtime, nodes=1, settings=settings) as counter:
        cluster = simulation_of(counter)
        with pytest.raises(NoSuchNode):
            cluster.transfer_leadership()
        for _ in range(30):
            counter.incr()
        cluster.snapshot()
        cluster.add()
        cluster.wait_until_equal()
        cluster.remove("n1")
        assert cluster.leader() == "n2"
        assert counter.incr() == 31


def test_learners_do_not_count_for_whether_enough_are_up(simulated: Counter) -> None:
    cluster = simulation_of(simulated)
    for name in [cluster.add(promote=False) for _ in range(4)]:
        cluster.kill(name)
    assert cluster.supervisor.health() == ""
    assert simulated.incr() == 1


# --- Processes, and what a directory remembers.


def test_a_directory_remembers_its_members_when_everything_is_started_again(tmp_path: Path) -> None:
    options: dict[str, Any] = {"data": tmp_path, "storage": "memory", "timeout": PATIENCE}
    with Counter.cluster(**options) as counter:
        cluster = cluster_of(counter)
        assert [counter.incr.submit() for _ in range(50)][-1].result() == 50
        assert cluster.add() == "n4"
        cluster.kill("n1")
        assert cluster.replace("n1") == "n5"
        cluster.remove(cluster.leader())
        members = cluster.members()
        assert counter.incr() == 51
    with Counter.cluster(**options) as counter:
        cluster = cluster_of(counter)
        assert counter.incr() == 52
        assert cluster.members() == members
        assert cluster.nodes == members.voters
        assert (tmp_path / "n1" / "raft.sqlite3").exists(), "the data of who left stays"
        with pytest.raises(NameTaken):
            cluster.add("n1")
    record = json.loads((tmp_path / "cluster.json").read_text())
    assert record["nodes"] == ["n1", "n2", "n3"]
    assert record["newborn"] == []


def test_what_was_cut_short_is_finished_after_a_restart_of_everything(tmp_path: Path) -> None:
    """As if the program had died: one peer was started and not made a member, another removed and not stopped."""
    options: dict[str, Any] = {"engine": "threads", "data": tmp_path, "storage": "memory", "timeout": PATIENCE}
    with Counter.cluster(**options) as counter:
        cluster = cluster_of(counter)
        assert cluster.supervisor.add() == "n4"
        leader = cluster.leader()
        gone = next(name for name in ("n1", "n2", "n3") if name != leader)
        members = cluster.set_members({"n1", "n2", "n3"} - {gone})
        assert counter.incr() == 1
    with Counter.cluster(**options) as counter:
        cluster = cluster_of(counter)
        assert set(cluster.nodes) == {"n1", "n2", "n3", "n4"}
        assert counter.incr() == 2
        assert cluster.members() == members
        cluster.remove(gone)
        assert cluster.add("n4") == "n4"
        assert set(cluster.nodes) == set(cluster.members().voters) == {"n1", "n2", "n3", "n4"} - {gone}


def test_a_preferred_voter_leads_again_after_it_was_away(counter: Counter) -> None:
    cluster = cluster_of(counter)
    wished = next(name for name in cluster.nodes if name != cluster.leader())
    cluster.set_priority(wished, 5)
    assert cluster.members().priority(wished) == 5
    for number in (1, 2):
        assert cluster._poll(lambda: cluster.leader() == wished, PATIENCE), "nobody handed leadership over"
        assert counter.incr() == number
        cluster.kill(wished)
        assert cluster.leader() != wished
        cluster.restart(wished)
    with pytest.raises(WrongArguments):
        cluster.set_priority(wished, -1)
    with pytest.raises(NoSuchNode):
        cluster.set_priority("n9", 2)


def test_who_takes_a_place_takes_the_priority_with_it(counter: Counter) -> None:
    cluster = cluster_of(counter)
    cluster.set_priority("n1", 0)
    assert cluster.add(promote=False) == "n4"
    cluster.set_priority("n4", 0)
    cluster.kill("n1")
    assert cluster.replace("n1") == "n5"
    assert cluster.members().priorities == (("n4", 0), ("n5", 0))
    cluster.remove("n4")
    assert cluster.members().priorities == (("n5", 0),)


def test_a_peer_that_came_later_must_find_its_log_again_like_any_other(tmp_path: Path) -> None:
    options: dict[str, Any] = {"engine": "threads", "data": tmp_path, "storage": "memory", "timeout": PATIENCE}
    with Counter.cluster(**options) as counter:
        cluster_of(counter).add()
    (tmp_path / "n4" / "raft.sqlite3").unlink()
    with Counter.cluster(**options) as counter, pytest.raises(CorruptStorage, match="n4"):
        cluster_of(counter).restart("n4")


def test_a_peer_that_cannot_start_is_no_member_and_its_name_is_gone(tmp_path: Path) -> None:
    options: dict[str, Any] = {"engine": "threads", "data": tmp_path, "storage": "memory", "timeout": PATIENCE}
    with Counter.cluster(**options) as counter:
        cluster = cluster_of(counter)
        (tmp_path / "n4").write_text("not a directory")
        with pytest.raises(ActorumError):
            cluster.add()
        assert cluster.nodes == ("n1", "n2", "n3")
        assert cluster.add() == "n5"
