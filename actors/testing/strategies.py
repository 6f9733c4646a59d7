"""Strategies of hypothesis for the pure core: `servers`, `messages`, `events` and `schedules`.

`servers` draws states that can be (`consistency`), built directly, in any role: most of them would take a long schedule
to reach.  `messages` and `events` are drawn near to a server: about its terms and its indices, a little before them and
a little behind them, for what is far off is refused at the first look.  All of them could have been sent by somebody:
no entry is of a later term than its message, and terms never decrease along a log.  `schedules` draws what happens to a
whole cluster, from what can happen at each moment (`actors.testing.schedules`).

Everything shrinks to what is simpler: shorter logs, lower terms, earlier choices.

    @given(st.data())
    def test_terms_never_decrease(data):
        server = data.draw(servers())
        assert step(server, data.draw(events(server))).server.current_term >= server.current_term

Needs hypothesis.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from hypothesis import strategies as st
from msgspec.structs import replace

from actors.testing.schedules import Act, Schedule, Stepper, World
from raft_core import (
    AppendEntries,
    AppendEntriesResult,
    Applied,
    Candidate,
    ElectionTimeout,
    Entry,
    EntryKind,
    Event,
    Follower,
    HeartbeatTimeout,
    Leader,
    LeaderContactExpired,
    LogIndex,
    LogPersisted,
    Message,
    PeerRestarted,
    PendingRead,
    PreCandidate,
    Progress,
    Proposed,
    ReadRequested,
    Received,
    RequestPreVote,
    RequestPreVoteResult,
    RequestVote,
    RequestVoteResult,
    Server,
    ServerId,
    Settings,
    Term,
    majority,
    restore,
    step,
)
from raft_core.quorum import quorum_value

ROLES = ("follower", "pre-candidate", "candidate", "leader")
COMMANDS = st.sampled_from((b"a", b"bb", b""))
SETTINGS = st.sampled_from((Settings(), Settings(max_in_flight=2, max_entries_per_message=2, pre_vote=False)))


# --- servers ----------------------------------------------------------------------------------------------------------


@st.composite
def servers(draw: st.DrawFn, *, roles: Sequence[str] = ROLES, settings: Settings | None = None) -> Server:
    """A server, "n1" of one, three or five, in one of `roles`, in a state that can be."""
    role = draw(st.sampled_from(roles))
    size = draw(st.sampled_from((3, 5) if "candidate" in role else (3, 1, 5)))
    names = [f"n{number}" for number in range(1, size + 1)]
    campaigns = role in ("candidate", "leader")
    entries = draw(_entries(0))
    current_term = (entries[-1].term if entries else 0) + draw(st.integers(1 if campaigns else 0, 3))
    if role == "leader":
        entries += _opened(current_term, draw(st.lists(COMMANDS, max_size=3)))
    server = restore(
        "n1",
        names,
        settings or draw(SETTINGS),
        randomness=draw(st.integers(0, 99)),
        current_term=current_term,
        voted_for="n1" if campaigns else draw(st.sampled_from((None, *names))) if current_term else None,
        entries=entries,
    )
    server = replace(server, persisted_index=draw(st.integers(0, server.log.last_index)))
    return draw(_leaders(server) if role == "leader" else _others(server, role))


@st.composite
def _entries(draw: st.DrawFn, term: Term, *, most: int = 3) -> tuple[Entry, ...]:
    """Entries that can follow one of `term`: the first of each later term is a leader's no-op."""
    entries: tuple[Entry, ...] = ()
    if term:
        entries = tuple(Entry(term, command) for command in draw(st.lists(COMMANDS, max_size=2)))
    for more in draw(st.lists(st.integers(1, 2), max_size=most)):
        term += more
        entries += _opened(term, draw(st.lists(COMMANDS, max_size=2)))
    return entries


def _opened(term: Term, commands: Sequence[bytes]) -> tuple[Entry, ...]:
    return Entry(term, b"", EntryKind.NO_OP), *(Entry(term, command) for command in commands)


@st.composite
def _others(draw: st.DrawFn, server: Server, role: str) -> Server:
    commit_index = draw(st.integers(0, server.log.last_index))
    server = replace(server, commit_index=commit_index, last_applied=draw(st.integers(0, commit_index)))
    if role == "follower":
        leader_id = draw(st.sampled_from((None, *server.peers))) if server.current_term else None
        return replace(server, role=Follower(leader_id, leader_is_recent=leader_id is not None and draw(st.booleans())))
    few = majority(server.voters) - 1
    granted = draw(st.lists(st.sampled_from(server.peers), max_size=few - 1, unique=True))
    others = [peer for peer in server.peers if peer not in granted]
    refused = draw(st.lists(st.sampled_from(others), max_size=few, unique=True))
    kind = Candidate if role == "candidate" else PreCandidate
    return replace(server, role=kind(frozenset({"n1", *granted}), frozenset(refused)))


@st.composite
def _leaders(draw: st.DrawFn, server: Server) -> Server:
    """Its log and its term are there; what its followers have decides on what is committed."""
    newest_round = draw(st.integers(0, 3))
    followers = tuple(draw(_progress(server, peer, newest_round)) for peer in server.peers)
    on_quorum = quorum_value([server.persisted_index, *(progress.match_index for progress in followers)])
    is_own = server.log.term_at(on_quorum) == server.current_term
    before_its_term = server.log.first_index_of_run(server.log.last_index) - 1
    commit_index = on_quorum if is_own else draw(st.integers(0, before_its_term))
    tail = server.log.entries(commit_index + 1, server.log.last_index)
    leader = Leader(
        followers,
        newest_round,
        pending_reads=draw(_pending_reads(followers, newest_round, commit_index)) if is_own else (),
        early_reads=() if is_own else tuple(PendingRead(0, 0, (number,)) for number in range(draw(st.integers(0, 2)))),
        uncommitted_bytes=sum(len(entry.command) for entry in tail if entry.term == server.current_term),
    )
    last_applied = draw(st.integers(0, commit_index))
    return replace(server, commit_index=commit_index, last_applied=last_applied, role=leader)


@st.composite
def _progress(draw: st.DrawFn, server: Server, peer: ServerId, newest_round: int) -> Progress:
    last_index = server.log.last_index
    match_index = draw(st.integers(0, last_index))
    is_probing = draw(st.booleans())
    in_flight: tuple[LogIndex, ...]
    if is_probing:
        next_index = draw(st.integers(match_index + 1, last_index + 1))
        probe = draw(st.integers(next_index, last_index)) if next_index <= last_index else None
        in_flight = () if probe is None or draw(st.booleans()) else (probe,)
    else:
        steps = draw(st.lists(st.integers(1, 2), max_size=server.settings.max_in_flight))
        ends = accumulate(steps, initial=match_index)
        in_flight = tuple(end for end in ends if match_index < end <= last_index)
        next_index = (match_index, *in_flight)[-1] + 1
    acknowledged_round = draw(st.integers(0, newest_round))
    return Progress(peer, next_index, match_index, is_probing, in_flight, acknowledged_round, draw(st.booleans()))


@st.composite
def _pending_reads(
    draw: st.DrawFn, followers: Sequence[Progress], newest_round: int, commit_index: LogIndex
) -> tuple[PendingRead, ...]:
    confirmed = quorum_value([newest_round, *(progress.acknowledged_round for progress in followers)])
    rounds = range(confirmed + 1, newest_round + 1)
    return tuple(PendingRead(number, draw(st.integers(0, commit_index)), (100 + number,)) for number in rounds)


# --- messages and events ----------------------------------------------------------------------------------------------

KINDS = (AppendEntries, AppendEntriesResult, RequestVote, RequestVoteResult, RequestPreVote, RequestPreVoteResult)
AWAITED: dict[str, type[Message]] = {
    "follower": AppendEntries,
    "pre-candidate": RequestPreVoteResult,
    "candidate": RequestVoteResult,
    "leader": AppendEntriesResult,
}
"""What a role mostly hears, so that what it does about it is tried often."""


def _near(value: int, *, least: int = 0) -> st.SearchStrategy[int]:
    return st.sampled_from([value, value + 1, max(value - 1, least), max(value - 2, least), value + 3, least])


def _terms(server: Server) -> st.SearchStrategy[Term]:
    """Mostly the present one: all others are decided at the first look.  Nobody speaks in term 0."""
    term = max(server.current_term, 1)
    return st.sampled_from([term] * 5 + [term + 1, max(term - 1, 1), term + 2])


def _indices(server: Server) -> st.SearchStrategy[LogIndex]:
    return st.one_of(_near(server.log.last_index), _near(server.commit_index))


@st.composite
def messages(draw: st.DrawFn, server: Server | None = None) -> Message:
    """What a peer may say to `server`; without one, to any."""
    server = server or draw(servers())
    term, index = draw(_terms(server)), draw(_indices(server))
    last = (index, min(draw(_terms(server)), term) if index else 0)
    candidate_id = draw(_peers(server))
    kind = draw(st.sampled_from((*[AWAITED[server.role_name]] * 5, *KINDS)))
    if kind is AppendEntries:
        return draw(_append_entries(server, term))
    if kind is AppendEntriesResult:
        return draw(_append_entries_results(server, term))
    if kind is RequestVote:
        return RequestVote(term, candidate_id, *last)
    if kind is RequestVoteResult:
        return RequestVoteResult(term, draw(st.booleans()))
    if kind is RequestPreVote:
        return RequestPreVote(term + 1, candidate_id, *last)
    return RequestPreVoteResult(term, max(server.current_term + draw(st.integers(0, 1)), 1), draw(st.booleans()))


def _peers(server: Server) -> st.SearchStrategy[ServerId]:
    return st.sampled_from(server.peers or ("n2",))


@st.composite
def _append_entries(draw: st.DrawFn, server: Server, term: Term) -> AppendEntries:
    prev_log_index = draw(_indices(server))
    known = server.log.term_at(prev_log_index)
    right = known if known is not None and known <= term and draw(st.integers(0, 3)) else None
    prev_log_term = (right if right is not None else draw(st.integers(1, term))) if prev_log_index else 0
    entries = tuple(entry for entry in draw(_entries(prev_log_term, most=2)) if entry.term <= term)
    leader_commit = draw(_indices(server))
    return AppendEntries(
        term, draw(_peers(server)), prev_log_index, prev_log_term, entries, leader_commit, draw(st.integers(0, 3))
    )


@st.composite
def _append_entries_results(draw: st.DrawFn, server: Server, term: Term) -> AppendEntriesResult:
    """It has everything, or something; or it lacks what was sent, and says where to try next."""
    round, prev_log_index = draw(st.integers(0, 4)), draw(_indices(server))
    if draw(st.booleans()):
        match_index = draw(st.one_of(st.just(server.log.last_index), _indices(server)))
        return AppendEntriesResult(term, True, prev_log_index, match_index, round=round)
    conflict_term = draw(st.one_of(st.just(0), st.integers(1, term)))
    conflict_index = draw(st.one_of(_near(prev_log_index, least=1), st.just(1)))
    return AppendEntriesResult(term, False, prev_log_index, 0, conflict_term, conflict_index, round)


@st.composite
def events(draw: st.DrawFn, server: Server | None = None) -> Event:
    """What may happen to `server`; without one, to any.  Half of it are messages."""
    server = server or draw(servers())
    number = draw(st.integers(0, 15))
    own: tuple[st.SearchStrategy[Event], ...] = (
        st.builds(ElectionTimeout, st.integers(0, 1_000)),
        st.just(HeartbeatTimeout()),
        st.just(LeaderContactExpired()),
        st.builds(Proposed, st.just(number), st.lists(COMMANDS, max_size=3).map(tuple)),
        st.just(ReadRequested((number,))),
        st.builds(LogPersisted, _indices(server), _terms(server)),
        st.builds(Applied, _indices(server)),
        st.builds(PeerRestarted, _peers(server)),
    )
    if number < len(own):
        return draw(own[number])
    return Received(draw(_peers(server)), draw(messages(server)))


# --- schedules --------------------------------------------------------------------------------------------------------

SELDOM = ("propose", "heartbeat", "crash", "deliver later", "deliver twice", "lose")
WHAT = ("deliver",) * 6 + ("finish",) * 3 + ("election timeout",) * 2 + SELDOM


@st.composite
def schedules(
    draw: st.DrawFn,
    *,
    size: int = 3,
    most_acts: int = 60,
    settings: Settings = Settings(pre_vote=False),  # noqa: B008  (immutable)
    stepper: Stepper = step,
) -> Schedule:
    """What happens to a cluster of `size`; `stepper` is asked what each event leads to."""
    world = World(size, settings, stepper)
    # One list of choices, drawn before it is known what there is to choose from: hypothesis shrinks that best.
    choice = st.tuples(st.sampled_from(WHAT), st.integers(0, 7))
    choices = draw(st.lists(choice, min_size=draw(st.sampled_from((0, most_acts // 2))), max_size=most_acts))
    acts: list[Act] = []
    for what, place in choices:
        act = _chosen(world, what, place)
        if act is not None:
            acts.append(act)
            world.act(act)
    return Schedule(size, settings, tuple(acts))


def _chosen(world: World, what: str, place: int) -> Act | None:
    """What happens next; None: nothing that a server would notice."""
    name = world.names[place % len(world.names)]
    leader = world.leaders[place % len(world.leaders)] if world.leaders else None
    under_way = place % len(world.messages) if world.messages else None
    match what:
        case "finish":
            return world.due.popleft() if world.due else None
        case "election timeout":
            return Act(name, ElectionTimeout(place))
        case "crash":
            return Act(name, None)
        case "propose":
            return Act(leader, Proposed(place, (b"%d" % place,))) if leader else None
        case "heartbeat":
            return Act(leader, HeartbeatTimeout()) if leader else None
        case _:
            return _delivered(world, what, under_way) if under_way is not None else None


def _delivered(world: World, what: str, place: int) -> Act | None:
    match what:
        case "deliver":
            return world.messages.pop(0)
        case "deliver twice":
            return world.messages[place]
        case "deliver later":
            return world.messages.pop(place)
        case _:
            world.messages.pop(place)
            return None
