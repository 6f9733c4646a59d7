"""Whole clusters in virtual time: `step` and `step_all` under lost, repeated, reordered messages, cuts and crashes.

A seeded discrete-event simulation in one thread.  What belongs to the order contract of `raft_core.effects` is built
literally: persist effects form a stream that the disk works off in its own time; an answer waits for what stands before
it; AppendEntries does not; a crash loses whatever the disk had not reached, and the inbox.  After every step the five
properties of the paper's Figure 3 are checked, and the rules of which they are made: a vote is durable before it is
spoken, an entry is on a quorum of disks when it is first committed, terms and votes hold across restarts.

Each seed is one schedule; nothing else is random.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from itertools import count

import pytest

from raft_core import (
    AppendEntries,
    AppendEntriesResult,
    AppendToLog,
    Applied,
    ApplyCommitted,
    Effect,
    ElectionTimeout,
    Entry,
    Event,
    HeartbeatTimeout,
    Leader,
    LeaderContactExpired,
    LogPersisted,
    PeerRestarted,
    PersistTermAndVote,
    Proposed,
    ReadReady,
    ReadRefused,
    ReadRequested,
    RequestPreVote,
    RequestVoteResult,
    ResetElectionTimer,
    ResetHeartbeatTimer,
    Send,
    Server,
    Settings,
    StopHeartbeatTimer,
    majority,
    received,
    restore,
    step,
    step_all,
)


class Disk:
    """What survives a crash: term, vote and log, and the history of votes that were spoken."""

    def __init__(self) -> None:
        self.current_term = 0
        self.voted_for: str | None = None
        self.entries: list[Entry] = []

    def write(self, effect: PersistTermAndVote | AppendToLog) -> None:
        if isinstance(effect, PersistTermAndVote):
            assert effect.current_term >= self.current_term, "the durable term went back"
            if effect.current_term == self.current_term:
                assert self.voted_for in (None, effect.voted_for), "the durable vote changed inside a term"
            self.current_term, self.voted_for = effect.current_term, effect.voted_for
        else:
            assert effect.prev_log_index <= len(self.entries), "a gap in the durable log"
            self.entries[effect.prev_log_index :] = effect.entries


class Node:
    """One server, its disk, its unfinished disk stream and its inbox."""

    def __init__(self, server_id: str) -> None:
        self.server_id = server_id
        self.disk = Disk()
        self.server: Server | None = None
        self.incarnation = 0
        self.stream: list[PersistTermAndVote | AppendToLog | Send] = []
        self.inbox: list[Event] = []
        self.timers: dict[str, int] = {}
        self.handed_on = 0


class Cluster:
    """Virtual time, a lossy network, and the checks."""

    def __init__(self, seed: int, size: int, *, batched: bool, settings: Settings) -> None:
        self.random = random.Random(seed)
        self.batched = batched
        self.settings = settings
        self.now = 0.0
        self.agenda: list[tuple[float, int, Callable[[], None]]] = []
        self.numbers = count(1)
        self.nodes = {f"n{i}": Node(f"n{i}") for i in range(1, size + 1)}
        self.cut: set[tuple[str, str]] = set()
        self.loss, self.repetition, self.slowest = 0.0, 0.0, 20.0
        self.leaders: dict[int, str] = {}
        self.votes: dict[tuple[str, int], str] = {}
        self.committed: list[Entry] = []
        self.commit_terms: list[int] = []
        self.reads: dict[int, int] = {}
        self.reads_answered = 0
        for node in self.nodes.values():
            self.restart(node)

    def after(self, delay: float, action: Callable[[], None]) -> None:
        heapq.heappush(self.agenda, (self.now + delay, next(self.numbers), action))

    def run_until(self, end: float) -> None:
        while self.agenda and self.agenda[0][0] <= end:
            self.now, _, action = heapq.heappop(self.agenda)
            action()
        self.now = end

    def set_timer(self, node: Node, name: str, delay: float, event: Callable[[], Event]) -> None:
        number = node.timers[name] = next(self.numbers)

        def expire() -> None:
            if node.timers.get(name) == number:
                self.post(node, event())

        self.after(delay, expire)

    def servers(self) -> list[Server]:
        return [node.server for node in self.nodes.values() if node.server is not None]

    def restart(self, node: Node) -> None:
        node.incarnation += 1
        node.handed_on, disk = 0, node.disk
        saved = {"current_term": disk.current_term, "voted_for": disk.voted_for, "entries": disk.entries}
        chance = self.random.getrandbits(16)
        node.server = restore(node.server_id, self.nodes, self.settings, randomness=chance, **saved)  # type: ignore[arg-type]
        self.set_timer(node, "election", node.server.election_timeout, self._election_timeout)
        for other in self.nodes.values():
            if other is not node and self.random.random() < 0.5:
                self.post(other, PeerRestarted(node.server_id))

    def crash(self, node: Node) -> None:
        node.server = None
        node.stream, node.inbox, node.timers = [], [], {}

    def _election_timeout(self) -> Event:
        return ElectionTimeout(self.random.getrandbits(16))

    def post(self, node: Node, event: Event) -> None:
        if node.server is None:
            return
        node.inbox.append(event)
        if len(node.inbox) == 1:
            incarnation = node.incarnation
            self.after(self.random.random() * 3, lambda: self.drain(node, incarnation))

    def drain(self, node: Node, incarnation: int) -> None:
        if node.server is None or node.incarnation != incarnation:
            return
        events, node.inbox = node.inbox, []
        batches = [events] if self.batched else [[event] for event in events]
        for batch in batches:
            before = node.server
            after, effects = step_all(before, batch) if self.batched else step(before, batch[0])
            node.server = after
            for effect in effects:
                self.carry_out(node, effect)
            self.check(node, before, after)

    def carry_out(self, node: Node, effect: Effect) -> None:
        match effect:
            case Send(message=AppendEntries()):
                self.send(node, effect)
            case PersistTermAndVote() | AppendToLog() | Send():
                self.enqueue(node, effect)
            case ResetElectionTimer(timeout=timeout, contact_timeout=contact):
                self.set_timer(node, "election", timeout, self._election_timeout)
                node.timers.pop("contact", None)
                if contact:
                    self.set_timer(node, "contact", contact, LeaderContactExpired)
            case ResetHeartbeatTimer(interval=interval):
                self.set_timer(node, "heartbeat", interval, HeartbeatTimeout)
            case StopHeartbeatTimer():
                node.timers.pop("heartbeat", None)
            case ApplyCommitted():
                self.apply(node, effect)
            case ReadReady(read_ids=read_ids, read_index=read_index):
                for read_id in read_ids:
                    assert read_index >= self.reads.pop(read_id), "a read that misses an acknowledged write"
                    self.reads_answered += 1
            case ReadRefused(read_ids=read_ids):
                for read_id in read_ids:
                    assert self.reads.pop(read_id) >= 0, "a read answered twice"
            case _:
                pass

    def enqueue(self, node: Node, effect: PersistTermAndVote | AppendToLog | Send) -> None:
        node.stream.append(effect)
        if len(node.stream) == 1:
            self.work_off(node, node.incarnation)

    def work_off(self, node: Node, incarnation: int) -> None:
        """Speak what waits for nothing any more; then give the disk its next write."""
        if node.incarnation != incarnation or node.server is None:
            return
        while node.stream and isinstance(node.stream[0], Send):
            effect = node.stream.pop(0)
            assert isinstance(effect, Send)
            self.send(node, effect)
        if node.stream:
            self.after(self.random.random() * 8, lambda: self.written(node, incarnation))

    def written(self, node: Node, incarnation: int) -> None:
        if node.incarnation != incarnation or node.server is None:
            return
        effect = node.stream.pop(0)
        assert not isinstance(effect, Send)
        node.disk.write(effect)
        if isinstance(effect, AppendToLog):
            index = effect.prev_log_index + len(effect.entries)
            self.post(node, LogPersisted(index, effect.current_term))
        self.work_off(node, incarnation)

    def send(self, node: Node, effect: Send) -> None:
        message, disk = effect.message, node.disk
        if not isinstance(message, RequestPreVote):
            assert message.term <= disk.current_term, "a term was spoken before it was durable"
        if isinstance(message, RequestVoteResult) and message.vote_granted:
            self.note_vote(node.server_id, message.term, effect.to)
            is_durable = disk.current_term > message.term or disk.voted_for == effect.to
            assert is_durable, "a vote was spoken before it was durable"
        if isinstance(message, AppendEntriesResult) and message.success and disk.current_term == message.term:
            assert len(disk.entries) >= message.match_index, "success said before it was durable"
        copies = 2 if self.random.random() < self.repetition else 1
        for _ in range(copies):
            if self.random.random() >= self.loss and (node.server_id, effect.to) not in self.cut:
                delay = 1 + self.random.random() ** 3 * self.slowest
                self.after(delay, lambda: self.post(self.nodes[effect.to], received(node.server_id, message)))

    def apply(self, node: Node, effect: ApplyCommitted) -> None:
        assert effect.first_index == node.handed_on + 1, "applied out of order"
        assert effect.entries
        for index, entry in enumerate(effect.entries, start=effect.first_index):
            if index <= len(self.committed):
                assert self.committed[index - 1] == entry, "state machine safety"
            else:
                self.first_commit(node, entry)
        node.handed_on += len(effect.entries)
        applied = Applied(node.handed_on)
        incarnation = node.incarnation
        delay = self.random.random() * 5
        self.after(delay, lambda: self.post(node, applied) if node.incarnation == incarnation else None)

    def first_commit(self, node: Node, entry: Entry) -> None:
        position = len(self.committed)
        holders = [n for n in self.nodes.values() if n.disk.entries[position : position + 1] == [entry]]
        assert len(holders) >= majority(self.nodes), "committed without a quorum of disks"
        assert node.server is not None
        self.committed.append(entry)
        self.commit_terms.append(node.server.current_term)

    def note_vote(self, voter: str, term: int, candidate: str) -> None:
        assert self.votes.setdefault((voter, term), candidate) == candidate, "two votes in one term"

    def check(self, node: Node, before: Server, after: Server) -> None:
        assert after.current_term >= before.current_term
        assert before.commit_index <= after.commit_index <= after.log.last_index
        assert after.last_applied <= after.commit_index
        persisted = after.persisted_index
        assert tuple(node.disk.entries[:persisted]) == after.log.entries(1, persisted), "believed to be on disk"
        if after.log is not before.log:
            self.check_log_matching(after)
        if isinstance(after.role, Leader):
            self.check_leader(node, before, after, after.role)

    def check_log_matching(self, server: Server) -> None:
        for other in self.servers():
            index = min(server.log.last_index, other.log.last_index)
            while server.log.term_at(index) != other.log.term_at(index):
                index -= 1
            assert server.log.entries(1, index) == other.log.entries(1, index), "log matching"

    def check_leader(self, node: Node, before: Server, after: Server, role: Leader) -> None:
        term = after.current_term
        assert self.leaders.setdefault(term, node.server_id) == node.server_id, "election safety"
        if isinstance(before.role, Leader) and before.current_term == term:
            assert after.log.entries(1, before.log.last_index) == before.log.entries(1, before.log.last_index)
        else:
            durable = [entry for entry, at in zip(self.committed, self.commit_terms, strict=True) if at < term]
            assert list(after.log.entries(1, len(durable))) == durable, "leader completeness"
        for progress in role.followers:
            assert progress.next_index > progress.match_index
            peer = self.nodes[progress.server_id].server
            if peer is not None and peer.current_term == term:
                match_index = progress.match_index
                assert after.log.entries(1, match_index) == peer.log.entries(1, match_index), "match_index too high"

    def offer(self) -> None:
        """Every server gets a command and a read now and then; followers refuse them, dead ones hear nothing."""
        node = self.random.choice(list(self.nodes.values()))
        number = next(self.numbers)
        commands = tuple(b"%d.%d" % (number, i) for i in range(self.random.randint(1, 4)))
        self.post(node, Proposed(number, commands))
        if self.random.random() < 0.3:
            self.reads[number] = len(self.committed)
            self.post(node, ReadRequested((number,)))

    def misfortune(self) -> None:
        node = self.random.choice(list(self.nodes.values()))
        what = self.random.random()
        if what < 0.25:
            if node.server is not None:
                self.crash(node)
            else:
                self.restart(node)
        elif what < 0.45:
            self.cut = {pair for other in self.nodes for pair in ((node.server_id, other), (other, node.server_id))}
        elif what < 0.6:
            side = {n for n in self.nodes if self.random.random() < 0.5}
            self.cut = {(a, b) for a in self.nodes for b in self.nodes if (a in side) != (b in side)}
        elif what < 0.7:
            self.cut = {(a, b) for a in self.nodes for b in self.nodes if self.random.random() < 0.3}
        else:
            self.cut = set()
        self.loss = self.random.choice((0.0, 0.0, 0.1, 0.3))
        self.repetition = self.random.choice((0.0, 0.1, 0.3))
        self.slowest = self.random.choice((5.0, 20.0, 120.0))

    def chaos(self, duration: float) -> None:
        end = self.now + duration
        while self.now < end:
            for _ in range(self.random.randint(1, 8)):
                self.run_until(self.now + self.random.random() * 25)
                self.offer()
            self.misfortune()

    def heal(self) -> None:
        self.cut, self.loss, self.repetition, self.slowest = set(), 0.0, 0.0, 5.0
        for node in self.nodes.values():
            if node.server is None:
                self.restart(node)

    def the_leader(self) -> Server | None:
        """The one of the highest term; one of an older term may not know yet."""
        leaders = [server for server in self.servers() if isinstance(server.role, Leader)]
        return max(leaders, key=lambda server: server.current_term, default=None)

    def everything_is_applied(self, command: bytes) -> bool:
        position = next((i for i, entry in enumerate(self.committed, 1) if entry.command == command), None)
        return position is not None and all(server.last_applied >= position for server in self.servers())


def _settings(seed: int) -> Settings:
    """Small bounds, so that every bound is met."""
    return Settings(
        max_in_flight=(1, 3, 64)[seed % 3],
        max_entries_per_message=(2, 64)[seed % 2],
        max_bytes_per_message=(10, 1 << 20)[seed // 2 % 2],
        max_uncommitted_entries=(6, 1000)[seed // 3 % 2],
        pre_vote=seed % 5 != 0,
        check_quorum=seed % 7 != 0,
    )


def _live_again(cluster: Cluster) -> None:
    """Within 20 election timeouts there is a leader, and a new command reaches every state machine."""
    cluster.heal()
    deadline = cluster.now + 20 * cluster.settings.election_timeout
    command = b"after healing"
    while not cluster.everything_is_applied(command):
        assert cluster.now < deadline, "no progress after healing"
        cluster.run_until(cluster.now + 100)
        leader = cluster.the_leader()
        if leader is not None and not any(entry.command == command for entry in leader.log):
            cluster.post(cluster.nodes[leader.server_id], Proposed(0, (command,)))
    before = cluster.servers()
    cluster.run_until(cluster.now + 5 * cluster.settings.election_timeout)
    after = cluster.servers()
    assert {server.current_term for server in after} == {server.current_term for server in before}
    assert all(server.log == after[0].log for server in after)


@pytest.mark.parametrize("batched", [False, True], ids=["step", "step_all"])
@pytest.mark.parametrize("size", [3, 5])
def test_a_cluster_stays_safe_in_chaos_and_lives_again_after_it(size: int, batched: bool) -> None:
    """Figure 3, on 50 schedules for each size and manner of stepping; the failing seed is in the message."""
    committed = reads = 0
    for seed in range(50):
        cluster = Cluster(seed * 4 + size, size, batched=batched, settings=_settings(seed))
        try:
            cluster.chaos(4_000)
            _live_again(cluster)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
        committed += len(cluster.committed)
        reads += cluster.reads_answered
    assert committed > 50 * 20, "the schedules are too hostile to show anything"
    assert reads > 50
