"""`step_all` and `coalesce`: fewer effects, the same work, and never an answer before what it stands on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from raft_core import (
    AppendEntries,
    AppendEntriesResult,
    AppendToLog,
    ApplyCommitted,
    Effect,
    ElectionTimeout,
    Entry,
    Event,
    HeartbeatTimeout,
    LogPersisted,
    PersistTermAndVote,
    Proposed,
    ReadRequested,
    RequestVote,
    RequestVoteResult,
    ResetElectionTimer,
    ResetHeartbeatTimer,
    Send,
    Server,
    Settings,
    StopHeartbeatTimer,
    Transition,
    coalesce,
    follower,
    received,
    step,
    step_all,
)

Build = Callable[..., Server]
Agree = Callable[[Server], Server]
PLAIN = Settings()


def _entries(*commands: bytes) -> tuple[Entry, ...]:
    return tuple(Entry(1, command) for command in commands)


def _request(prev: int, *commands: bytes, term: int = 1, commit: int = 0, round: int = 0) -> AppendEntries:
    return AppendEntries(term, "n1", prev, 1 if prev else 0, _entries(*commands), commit, round)


# -- what is merged, and where it stands ------------------------------------------------------------------------------


def test_many_proposals_become_one_write_and_one_message_for_each_peer(elect: Build, agree: Agree) -> None:
    """Group commit (thesis 10.2.2), without a thread."""
    leader = agree(elect(3))
    events = [Proposed(number, (b"%d" % number,)) for number in range(50)]
    after, effects = step_all(leader, events)
    assert [type(effect) for effect in effects[:3]] == [Send, Send, AppendToLog]
    sends = [effect.message for effect in effects if isinstance(effect, Send)]
    assert [len(message.entries) for message in sends if isinstance(message, AppendEntries)] == [50, 50]
    assert [len(effect.entries) for effect in effects if isinstance(effect, AppendToLog)] == [50]
    assert after.log.last_index == 51


def test_writes_of_two_terms_stay_apart() -> None:
    """Each is acknowledged with its own term, or the disk's answer would vouch for the wrong log."""
    one, two = AppendToLog(0, _entries(b"a"), 1), AppendToLog(1, _entries(b"b"), 2)
    assert coalesce([one, two], PLAIN) == (one, two)


def test_a_write_that_replaces_is_not_merged_with_what_it_replaces() -> None:
    """It does not continue the earlier one; later ones continue it."""
    one, two = AppendToLog(0, _entries(b"a", b"b"), 1), AppendToLog(1, _entries(b"c"), 1)
    three = AppendToLog(2, _entries(b"d"), 1)
    assert coalesce([one, two, three], PLAIN) == (one, AppendToLog(1, _entries(b"c", b"d"), 1))


def test_a_write_never_passes_a_vote() -> None:
    """Votes and log writes are one ordered stream."""
    one, vote, two = AppendToLog(0, _entries(b"a"), 1), PersistTermAndVote(2, "n2"), AppendToLog(1, _entries(b"b"), 1)
    assert coalesce([one, vote, two], PLAIN) == (one, vote, two)


def test_an_answer_moves_back_to_the_later_one_never_forward() -> None:
    """The last success vouches for all: it stands behind the write of the last entry."""
    effects: list[Effect] = []
    for index in (1, 2):
        effects.append(AppendToLog(index - 1, _entries(b"x"), 1))
        effects.append(Send("n2", AppendEntriesResult(1, True, index - 1, index)))
    assert coalesce(effects, PLAIN) == (AppendToLog(0, _entries(b"x", b"x"), 1), effects[3])


def test_an_answer_stands_behind_a_write_that_could_not_move_forward() -> None:
    """A vote between two writes keeps the second in its place; the answer that sums both up must follow it."""
    server = follower("n1", ["n2", "n3"], current_term=1)
    vote = received("n3", RequestVote(1, "n3", 9, 1))
    effects = step_all(server, [received("n2", _append(0, 1)), vote, received("n2", _append(1, 1))]).effects
    writes = [place for place, effect in enumerate(effects) if isinstance(effect, AppendToLog)]
    answer = effects.index(Send("n2", AppendEntriesResult(1, True, 1, 2)))
    assert len(writes) == 2
    assert writes[0] < effects.index(PersistTermAndVote(1, "n3")) < writes[1] < answer


def test_a_refusal_is_not_swallowed() -> None:
    """Neither by a success nor by another refusal: each may be the one the leader waits for."""
    success = Send("n2", AppendEntriesResult(1, True, 0, 3))
    refusal = Send("n2", AppendEntriesResult(1, False, 9, 0, 0, 4))
    for effects in ((success, refusal), (refusal, success), (refusal, refusal)):
        assert coalesce(effects, PLAIN) == effects


def test_a_success_that_vouches_for_less_replaces_nothing() -> None:
    """An old message, answered late, must not hide a newer answer; nor may another term or an older round."""
    newest = Send("n2", AppendEntriesResult(2, True, 0, 3, round=2))
    for less in (
        AppendEntriesResult(2, True, 0, 2, round=2),
        AppendEntriesResult(2, True, 0, 3, round=1),
        AppendEntriesResult(3, True, 0, 3, round=2),
    ):
        assert coalesce([newest, Send("n2", less)], PLAIN) == (newest, Send("n2", less))


def test_answers_to_different_peers_stay_apart() -> None:
    """A former leader's messages may still arrive beside the new one's."""
    effects = tuple(Send(peer, AppendEntriesResult(1, True, 0, 3)) for peer in ("n2", "n3"))
    assert coalesce(effects, PLAIN) == effects


def test_requests_that_continue_each_other_become_one() -> None:
    """With the later one's commit index and round."""
    one, two = _request(0, b"a", b"b", commit=0, round=1), _request(2, b"c", commit=1, round=2)
    merged = _request(0, b"a", b"b", b"c", commit=1, round=2)
    assert coalesce([Send("n2", one), Send("n2", two)], PLAIN) == (Send("n2", merged),)


def test_requests_that_do_not_continue_each_other_stay_apart() -> None:
    """A gap, a repetition, or another term."""
    one = Send("n2", _request(0, b"a", b"b"))
    for other in (_request(3, b"c"), _request(0, b"a", b"b"), _request(2, b"c", term=2)):
        assert coalesce([one, Send("n2", other)], PLAIN) == (one, Send("n2", other))


def test_merged_requests_keep_the_bounds() -> None:
    """Entries and bytes, as for a single message; an empty one always fits."""
    one, two, beat = Send("n2", _request(0, b"aa")), Send("n2", _request(1, b"bb")), Send("n2", _request(1))
    assert coalesce([one, two], Settings(max_entries_per_message=1)) == (one, two)
    assert coalesce([one, two], Settings(max_bytes_per_message=3)) == (one, two)
    assert len(coalesce([one, two], Settings(max_bytes_per_message=4))) == 1
    assert coalesce([one, beat], Settings(max_bytes_per_message=1)) == (one,)


def test_of_several_timer_settings_the_last_stays_in_its_place() -> None:
    """An election timer is one timer; a heartbeat timer is set or stopped."""
    reset, stop = ResetHeartbeatTimer(50), StopHeartbeatTimer()
    assert coalesce([ResetElectionTimer(1), reset, ResetElectionTimer(2), stop], PLAIN) == (ResetElectionTimer(2), stop)
    assert coalesce([stop, reset], PLAIN) == (reset,)


def test_neighbouring_applications_become_one() -> None:
    """In the place of the first."""
    one, two = ApplyCommitted(1, _entries(b"a")), ApplyCommitted(2, _entries(b"b", b"c"))
    reset = ResetElectionTimer(1)
    assert coalesce([one, reset, two], PLAIN) == (ApplyCommitted(1, _entries(b"a", b"b", b"c")), reset)


def test_a_granted_vote_keeps_its_place_behind_the_writes_before_it() -> None:
    """Votes are never merged and never move."""
    server = follower("n1", ["n2", "n3"], current_term=1)
    events = [received("n2", _append(0, 1)), received("n3", RequestVote(2, "n3", 5, 1, leadership_transfer=True))]
    effects = step_all(server, events).effects
    granted = effects.index(Send("n3", RequestVoteResult(2, vote_granted=True)))
    assert effects.index(PersistTermAndVote(2, "n3")) < granted
    assert next(i for i, effect in enumerate(effects) if isinstance(effect, AppendToLog)) < granted


def _append(prev: int, count: int) -> AppendEntries:
    return AppendEntries(1, "n2", prev, 1 if prev else 0, tuple(Entry(1, b"e") for _ in range(count)), prev)


# -- the same work ----------------------------------------------------------------------------------------------------


def _one_by_one(server: Server, events: list[Event]) -> Transition:
    effects: list[Effect] = []
    for event in events:
        server, more = step(server, event)
        effects.extend(more)
    return Transition(server, tuple(effects))


@dataclass
class Disk:
    """What the persist effects made of it so far."""

    term_and_vote: tuple[int, str | None] = (0, None)
    entries: list[Entry] = field(default_factory=list)


class World:
    """Three servers whose messages arrive in order; an inbox is drained in one go, by either manner of stepping."""

    def __init__(self, drain: Callable[[Server, list[Event]], Transition]) -> None:
        names = ["n1", "n2", "n3"]
        self.drain = drain
        self.servers = {name: follower(name, names) for name in names}
        self.disks = {name: Disk() for name in names}
        self.applied: dict[str, list[Entry]] = {name: [] for name in names}
        self.inboxes: dict[str, list[Event]] = {name: [] for name in names}

    def run(self, name: str, events: list[Event]) -> None:
        self.inboxes[name].extend(events)
        while any(self.inboxes.values()):
            for each in self.servers:
                batch, self.inboxes[each] = self.inboxes[each], []
                self.servers[each], effects = self.drain(self.servers[each], batch)
                for effect in effects:
                    self.carry_out(each, effect)

    def carry_out(self, name: str, effect: Effect) -> None:
        disk = self.disks[name]
        match effect:
            case PersistTermAndVote(current_term=term, voted_for=voted_for):
                disk.term_and_vote = (term, voted_for)
            case AppendToLog(prev_log_index=prev, entries=more, current_term=term):
                disk.entries[prev:] = more
                self.inboxes[name].append(LogPersisted(prev + len(more), term))
            case ApplyCommitted(first_index=first, entries=more):
                assert first == len(self.applied[name]) + 1
                self.applied[name].extend(more)
            case Send(to=to, message=message):
                self.check_order(name, effect)
                self.inboxes[to].append(received(name, message))
            case _:
                pass

    def check_order(self, name: str, send: Send) -> None:
        """The order contract: what an answer says is on the disk before it is said."""
        disk, message = self.disks[name], send.message
        if isinstance(message, AppendEntriesResult) and message.success:
            assert len(disk.entries) >= message.match_index
        if isinstance(message, RequestVoteResult) and message.vote_granted:
            assert disk.term_and_vote == (message.term, send.to)


def _scripts() -> st.SearchStrategy[list[tuple[str, list[Event]]]]:
    proposal = st.builds(Proposed, st.integers(0, 99), st.lists(st.binary(max_size=3), max_size=3).map(tuple))
    reads = st.builds(ReadRequested, st.tuples(st.integers(0, 99)))
    timeout = st.builds(ElectionTimeout, st.integers(0, 299))
    event = st.one_of(proposal, proposal, proposal, reads, st.just(HeartbeatTimeout()))
    names = st.sampled_from(["n1", "n2", "n3"])
    burst = st.tuples(names, st.lists(event, min_size=1, max_size=12))
    election = st.tuples(names, st.lists(timeout, min_size=1, max_size=1))
    return st.lists(st.one_of(burst, burst, burst, election), max_size=12)


@settings(max_examples=200, deadline=None)
@given(_scripts())
def test_a_batched_cluster_arrives_where_a_stepping_one_does(script: list[tuple[str, list[Event]]]) -> None:
    """The same servers, disks and state machines after every burst, whichever way the inboxes are drained."""
    stepping, batched = World(_one_by_one), World(step_all)
    first: tuple[str, list[Event]] = ("n1", [ElectionTimeout(0)])
    for name, events in [first, *script]:
        stepping.run(name, list(events))
        batched.run(name, list(events))
        assert batched.servers == stepping.servers
        assert batched.disks == stepping.disks
        assert batched.applied == stepping.applied
