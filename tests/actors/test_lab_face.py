"""The lab face: what somebody who did MIT's lab expects of `make`, `start`, `get_state`, `kill` and of a persister."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from queue import Queue, SimpleQueue
from time import monotonic, sleep
from typing import Any

import pytest

from actors.errors import ClusterClosed
from actors.lab import NOT_APPENDED, ApplyMsg, LabNetwork, Persister, Raft, make
from actors.runtimes import RUNTIMES
from raft_core import AppendToLog, Entry, PersistTermAndVote

PATIENCE = 30.0
"""Seconds for what must come true."""


class Group:
    """Three servers with their channels and persisters."""

    def __init__(self, network: LabNetwork) -> None:
        self.network = network
        self.channels: list[SimpleQueue[ApplyMsg]] = [SimpleQueue() for _ in range(3)]
        self.persisters = [Persister() for _ in range(3)]
        self.rafts = [self._make(server) for server in range(3)]

    def _make(self, server: int) -> Raft:
        return make(self.network.ends(server), server, self.persisters[server], self.channels[server])

    def restart(self, server: int) -> None:
        """A new server on what the old one persisted, with a channel of its own."""
        self.channels[server] = SimpleQueue()
        self.rafts[server] = self._make(server)

    def leader(self, *but: int) -> int:
        """Wait for a leader among the others."""
        found: list[int] = []

        def look() -> bool:
            found[:] = [n for n, raft in enumerate(self.rafts) if n not in but and raft.get_state()[1]]
            return len(found) == 1

        wait_until(look)
        return found[0]

    def applied(self, server: int, count: int = 1) -> list[Any]:
        """The next commands from a server's channel, whose indices must follow each other."""
        messages = [self.channels[server].get(timeout=PATIENCE) for _ in range(count)]
        first = messages[0].command_index
        assert [message.command_index for message in messages] == list(range(first, first + count))
        return [message.command for message in messages]


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait until `condition` holds."""
    deadline = monotonic() + PATIENCE
    while not condition():
        assert monotonic() < deadline, "it did not come true in time"
        sleep(0.01)


@pytest.fixture(params=RUNTIMES)
def group(request: pytest.FixtureRequest) -> Iterator[Group]:
    """A group on each runtime."""
    with LabNetwork(3, runtime=request.param) as network:
        yield Group(network)


def test_a_command_comes_out_of_every_channel_at_the_index_that_start_returned(group: Group) -> None:
    leader = group.leader()
    term, _ = group.rafts[leader].get_state()
    for index, command in enumerate(["text", b"bytes", 42, ["a", {"list": None}]], 1):
        assert group.rafts[leader].start(command) == (index, term, True)
    for server in range(3):
        assert group.applied(server, 4) == ["text", b"bytes", 42, ["a", {"list": None}]]


def test_who_does_not_lead_appends_nothing_and_says_so(group: Group) -> None:
    leader = group.leader()
    index, term, is_leader = group.rafts[(leader + 1) % 3].start("refused")
    assert (index, is_leader) == (NOT_APPENDED, False)
    assert term == group.rafts[leader].get_state()[0]
    group.rafts[leader].start("accepted")
    assert group.applied(0) == ["accepted"]


def test_a_killed_server_answers_at_once_and_leads_nobody(group: Group) -> None:
    leader = group.leader()
    raft, (term, _) = group.rafts[leader], group.rafts[leader].get_state()
    raft.kill()
    assert raft.start("too late") == (NOT_APPENDED, term, False)
    assert raft.get_state() == (term, False)
    raft.kill()
    assert group.leader(leader) != leader


def test_whoever_asks_while_a_server_is_killed_is_answered(group: Group) -> None:
    raft = group.rafts[group.leader()]
    answers: SimpleQueue[tuple[int, bool]] = SimpleQueue()

    def ask_until_it_leads_no_more() -> None:
        while (answer := raft.get_state())[1]:
            pass
        answers.put(answer)

    askers = [threading.Thread(target=ask_until_it_leads_no_more, daemon=True) for _ in range(8)]
    for asker in askers:
        asker.start()
    raft.kill()
    assert [answers.get(timeout=PATIENCE)[1] for _ in askers] == [False] * len(askers)


def test_all_threads_of_a_killed_server_end(group: Group) -> None:
    group.leader()
    before = threading.active_count()
    for raft in group.rafts:
        raft.kill()
    wait_until(lambda: threading.active_count() <= before - 3 * 2)


def test_a_new_server_delivers_everything_that_its_predecessor_persisted(group: Group) -> None:
    leader = group.leader()
    for command in ("one", "two"):
        group.rafts[leader].start(command)
    for server in range(3):
        assert group.applied(server, 2) == ["one", "two"]
    for raft in group.rafts:
        raft.kill()
    for server in range(3):
        group.restart(server)
    group.rafts[group.leader()].start("three")
    for server in range(3):
        assert group.applied(server, 3) == ["one", "two", "three"]


def test_making_a_server_again_ends_the_one_that_was_there(group: Group) -> None:
    leader = group.leader()
    old = group.rafts[leader]
    group.restart(leader)
    assert old.start("nobody is there") == (NOT_APPENDED, old.get_state()[0], False)
    old.kill()
    group.rafts[group.leader()].start("one")
    assert group.applied(leader) == ["one"]


def test_a_question_to_a_server_whose_end_is_not_heard_yet_does_not_reach_its_successor(group: Group) -> None:
    leader = group.leader()
    old, restarted = group.rafts[leader], threading.Event()

    def be_late() -> None:
        restarted.wait(PATIENCE)

    group.network.call(be_late)  # in the thread that tells of ends
    group.restart(leader)
    answers: SimpleQueue[tuple[int, int, bool]] = SimpleQueue()
    asker = threading.Thread(target=lambda: answers.put(old.start("nobody is there")))
    asker.start()
    wait_until(lambda: bool(old._questions))
    restarted.set()
    assert answers.get(timeout=PATIENCE)[0] == NOT_APPENDED
    asker.join(PATIENCE)
    group.rafts[group.leader()].start("one")
    assert group.applied(leader) == ["one"]


def test_a_leader_that_was_cut_off_forgets_what_it_accepted_alone(group: Group) -> None:
    leader = group.leader()
    group.network.disconnect(leader)
    assert group.rafts[leader].start("doomed")[2]
    group.rafts[group.leader(leader)].start("committed")
    group.network.connect(leader)
    assert group.applied(leader) == ["committed"]


def test_a_channel_that_nobody_empties_holds_up_neither_start_nor_the_other_servers() -> None:
    with LabNetwork(3) as network:
        full: Queue[ApplyMsg] = Queue(maxsize=1)
        channels: list[SimpleQueue[ApplyMsg]] = [SimpleQueue(), SimpleQueue()]
        rafts = [make(network.ends(0), 0, Persister(), full)]
        rafts += [make(network.ends(n), n, Persister(), channel) for n, channel in enumerate(channels, 1)]
        wait_until(lambda: rafts[0].get_state()[1] or rafts[1].get_state()[1] or rafts[2].get_state()[1])
        leader = next(raft for raft in rafts if raft.get_state()[1])
        term = leader.get_state()[0]
        assert [leader.start(number)[0] for number in range(50)] == list(range(1, 51))
        for channel in channels:
            assert [channel.get(timeout=PATIENCE).command for _ in range(50)] == list(range(50))
        assert leader.get_state() == (term, True)
        assert [full.get(timeout=PATIENCE).command for _ in range(50)] == list(range(50))


def test_after_its_network_is_closed_a_server_is_dead_and_no_other_can_be_made() -> None:
    with LabNetwork(1) as network:
        channel: SimpleQueue[ApplyMsg] = SimpleQueue()
        raft = make(network.ends(0), 0, Persister(), channel)
        wait_until(lambda: raft.get_state()[1])
    assert raft.start("closed") == (NOT_APPENDED, 1, False)
    with pytest.raises(ClusterClosed):
        make(network.ends(0), 0, Persister(), channel)


def test_what_a_predecessor_writes_after_the_handover_is_not_stored() -> None:
    persister = Persister()
    zombie = persister.hand_over()
    zombie.write([PersistTermAndVote(3, "n1"), AppendToLog(0, (Entry(3, b"before"),), 3)])
    heir = persister.hand_over()
    assert heir.load() == zombie.load()
    zombie.write([PersistTermAndVote(4, "n2"), AppendToLog(1, (Entry(4, b"after"),), 4)])
    assert heir.load().stored.entries == (Entry(3, b"before"),)
    assert persister.hand_over().load() == heir.load()


def test_a_copy_of_a_persister_is_independent_of_it() -> None:
    persister = Persister()
    size = persister.raft_state_size()
    copy = persister.copy()
    persister.hand_over().write([AppendToLog(0, (Entry(1, b"x" * 1000),), 1)])
    assert copy.raft_state_size() == size
    assert persister.raft_state_size() > size + 1000


# --- snapshots (part D)


def agreed(group: Group, *commands: Any) -> None:
    """All servers have applied these."""
    leader = group.rafts[group.leader()]
    for command in commands:
        assert leader.start(command)[2]
    for server in range(3):
        assert group.applied(server, len(commands)) == list(commands)


def test_a_snapshot_shortens_what_a_server_persists_and_is_there_for_its_successor(group: Group) -> None:
    agreed(group, *[f"{number}" * 100 for number in range(5)])
    persister = group.persisters[0]
    long = persister.raft_state_size()
    group.rafts[0].snapshot(4, b"four")
    wait_until(lambda: persister.raft_state_size() < long - 400)
    assert (persister.read_snapshot(), persister.snapshot_size()) == (b"four", 4)
    group.rafts[0].kill()
    assert persister.copy().read_snapshot() == b"four"


def test_after_a_restart_the_channel_goes_on_behind_the_snapshot_that_the_persister_has(group: Group) -> None:
    agreed(group, "one", "two", "three")
    for server in range(3):
        group.rafts[server].snapshot(2, b"two of them")
    wait_until(lambda: all(persister.snapshot_size() for persister in group.persisters))
    for server in range(3):
        group.rafts[server].kill()
    for server in range(3):
        group.restart(server)
    leader = group.rafts[group.leader()]
    assert leader.start("four")[0] == 4, "the commands in the snapshot are counted"
    for server in range(3):
        first, second = (group.channels[server].get(timeout=PATIENCE) for _ in range(2))
        assert (first, second) == (ApplyMsg(True, "three", 3), ApplyMsg(True, "four", 4))


def test_a_server_that_was_away_is_sent_the_snapshot_of_another(group: Group) -> None:
    agreed(group, "one")
    away = (group.leader() + 1) % 3
    group.network.disconnect(away)
    others = [server for server in range(3) if server != away]
    leader = group.rafts[group.leader(away)]
    for command in ("two", "three", "four"):
        leader.start(command)
    for server in others:
        assert group.applied(server, 3) == ["two", "three", "four"]
        group.rafts[server].snapshot(3, b"three of them")
    wait_until(lambda: all(group.persisters[server].snapshot_size() for server in others))
    term, _ = leader.get_state()
    group.network.connect(away)
    first, second = (group.channels[away].get(timeout=PATIENCE) for _ in range(2))
    assert first == ApplyMsg(False, None, 0, True, b"three of them", term, 3)
    assert second == ApplyMsg(True, "four", 4)
    assert group.persisters[away].read_snapshot() == b"three of them"


def test_a_snapshot_of_what_was_not_delivered_or_is_in_a_later_one_changes_nothing(group: Group) -> None:
    agreed(group, "one", "two", "three")
    raft, persister = group.rafts[0], group.persisters[0]
    raft.snapshot(4, b"never delivered")
    raft.snapshot(2, b"two of them")
    raft.snapshot(1, b"an older one")
    wait_until(lambda: persister.snapshot_size() > 0)
    raft.snapshot(3, b"three of them")
    wait_until(lambda: persister.read_snapshot() != b"two of them")
    assert persister.read_snapshot() == b"three of them"
    raft.kill()
    raft.snapshot(3, b"too late")
