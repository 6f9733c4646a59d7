"""`Administrator`: what may be done to a cluster while it runs - other members, another leader, snapshots by hand.

A change of members is not sent and hoped for; it is *pursued*: look at the members that the leader has, make of them
the ones that are wished, ask for them on condition that nobody changed them meanwhile (compare and set), look again.
It is done when the wish holds in a committed configuration, however it came about.  So every step may be repeated: a
lost answer, a leader that died or steps down, another administrator at work lead back to the beginning, and a change is
never made twice.  Only when the time is up while an attempt may still take effect, the outcome is unknown, and said to
be (never "failed").

A new peer is a learner before it is a voter: while it lacks most of the log it would only be one more whose
acknowledgement is needed (thesis 4.2.1).  When it has caught up the leader decides; it is asked until it agrees.

A peer is stopped for good only when its removal is committed: from then on nobody counts on it (thesis 4.2.2).

Rejected: a queue of changes in the leader (it would have to survive the leader); removing a peer by stopping it first
(until the removal is committed, its vote may be needed for it).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import monotonic, sleep

from actors.cluster_ports import ClusterClient, Peers
from actors.errors import (
    ActorumError,
    CallTimeout,
    ChangeUnderWay,
    MembersChanged,
    NameTaken,
    NoQuorum,
    NoSuchNode,
    OutcomeUnknown,
    QuorumAtRisk,
    SnapshotFailed,
    TransferFailed,
    WrongArguments,
)
from actors.membership import (
    Attempts,
    Members,
    Wish,
    Wished,
    holds,
    is_known_to_most,
    leader_among,
    members_of,
    unheard,
    with_another,
    with_learner,
    with_priority,
    with_voter,
    without,
)
from actors.protocol import ChangeMembers, Digest, SnapshotPeer, Status, TransferLeadership
from actors.supervisor import PeerState
from actors.upgrading import begin_version, version_to_begin
from raft_core import LogIndex, ServerId, majority
from raft_core.effects import ConfigurationRefusal, TransferRefusal

_POLL = 0.01
_PAUSE = 0.05
"""Seconds between two attempts."""
ATTEMPT = 2.0
"""Seconds after which an attempt counts as unanswered."""
LOOK = 0.5
"""Seconds that a peer gets to say how it is; one that hangs shall not hold up those who could do it."""


class Administrator:
    """A running cluster, for who takes care of it.  Any thread may use it.

    `timeout`: seconds for a whole operation; None: those of the cluster.
    """

    def __init__(self, supervisor: Peers, client: ClusterClient, *, timeout: float) -> None:
        self._supervisor = supervisor
        self._client = client
        self._timeout = timeout

    def _now(self) -> float:
        return monotonic()

    def _pause(self, seconds: float) -> None:
        sleep(seconds)

    def _poll(self, look: Callable[[], bool], timeout: float, pause: float = _POLL) -> bool:
        deadline = self._now() + timeout
        while not look():
            if self._now() > deadline:
                return False
            self._pause(pause)
        return True

    # --- how it is ----------------------------------------------------------------------------------------------------

    @property
    def nodes(self) -> tuple[ServerId, ...]:
        """Names of all peers that run, or should."""
        return tuple(self._supervisor.members())

    def status(self, timeout: float = 1.0) -> dict[ServerId, Status | None]:
        """How each peer is; None for one that does not answer within `timeout` seconds."""
        answers: dict[ServerId, Status | None] = {}
        for server_id, (state, _, _) in self._supervisor.members().items():
            # Who is down is asked too, but not waited for: a client that is closed says so.
            seconds = timeout if state is PeerState.UP else 0.0
            answer = self._client.inspect(server_id, digest=False, timeout=seconds)
            answers[server_id] = answer if isinstance(answer, Status) else None
        if (leader := leader_among(answers)) is not None:
            self._supervisor.note_voters(leader.voters)
        return answers

    def leader(self, timeout: float | None = None) -> ServerId:
        """Name of the leader; waits for one, at most `timeout` seconds, then raises `NoQuorum`."""
        return self._leading(timeout).server_id

    def members(self, timeout: float | None = None) -> Members:
        """Who belongs to the cluster, as the leader has it; waits for one, at most `timeout` seconds."""
        return members_of(self._leading(timeout))

    def _leading(self, timeout: float | None) -> Status:
        found: list[Status] = []

        def look() -> bool:
            leader = leader_among(self.status())
            found.extend([leader] if leader else [])
            return bool(found)

        if not self._poll(look, self._timeout if timeout is None else timeout):
            raise NoQuorum("no leader was elected in time", why=self._supervisor.health() or "elections go on")
        return found[0]

    # --- other members ------------------------------------------------------------------------------------------------

    def add(self, server_id: ServerId | None = None, *, promote: bool = True, timeout: float | None = None) -> ServerId:
        """Start a new peer and make it a member: a learner first, then, with `promote`, a voter; its name.

        Raises `NameTaken` if a peer has this name or ever had it, `NotCaughtUp` if it stays a learner for now.
        """
        deadline = self._deadline(timeout)
        before = self.nodes
        name = self._started(server_id, deadline)
        try:
            self._pursue(f"{name} has become a learner", lambda now: with_learner(now, name), deadline)
        except ActorumError as error:
            if name not in before and not isinstance(error, OutcomeUnknown):  # else it may be a member, so it must run
                self._supervisor.retire(name)
            raise
        if promote:
            self._promote(name, deadline)
        return name

    def _started(self, server_id: ServerId | None, deadline: float) -> ServerId:
        """A peer that runs and does not vote: a new one, or one whose addition was cut short."""
        if server_id is None or server_id not in self.nodes:
            return self._supervisor.add(server_id)
        if server_id in self.members(deadline - self._now()).voters:
            raise NameTaken(
                f"{server_id} is a voter already", why="each peer has a name of its own", fix="leave the name out"
            )
        return server_id

    def promote(self, server_id: ServerId, *, timeout: float | None = None) -> None:
        """Let a learner vote, as soon as it has caught up with the log."""
        self._promote(server_id, self._deadline(timeout))

    def _promote(self, server_id: ServerId, deadline: float) -> None:
        self._pursue(f"{server_id} votes", lambda now: with_voter(now, server_id), deadline)

    def remove(self, *server_ids: ServerId, timeout: float | None = None) -> None:
        """Take these peers out of the cluster, the leader too, and stop them.  Their data stays where it is, and their
        names are never given again."""
        leaving = tuple(dict.fromkeys(server_ids))
        for name in leaving:
            self._check(name)
        self._pursue(f"{', '.join(leaving)} left", lambda now: without(now, leaving), self._deadline(timeout))
        for name in leaving:
            self._supervisor.retire(name)

    def replace(self, server_id: ServerId, *, timeout: float | None = None) -> ServerId:
        """Put a fresh peer in the place of a voter that will not come back; its name.  The old one, if it runs, is
        stopped when the new one votes."""
        deadline = self._deadline(timeout)
        self._check(server_id)
        if server_id not in self.members(timeout).voters:
            raise NoSuchNode(
                f"{server_id} is no voter, so nobody can take its place",
                why="a learner, or a peer that is no member, is not missed",
                fix=f"actorum members remove {server_id}",
            )
        name = self.add(promote=False, timeout=deadline - self._now())
        self._pursue(f"{name} took the place of {server_id}", lambda now: with_another(now, server_id, name), deadline)
        self._supervisor.retire(server_id)
        return name

    def set_members(
        self,
        voters: Iterable[ServerId],
        learners: Iterable[ServerId] = (),
        *,
        expected_index: LogIndex | None = None,
        timeout: float | None = None,
    ) -> Members:
        """Let exactly these running peers be the members, by joint consensus if need be (paper 6).  Nobody is started
        or stopped.

        `expected_index`: only if the members are those of that entry (`members().index`), else `MembersChanged`.
        """
        wished = Wished(frozenset(voters), frozenset(learners))
        for name in sorted(wished.voters | wished.learners):
            self._check(name)

        def wish(now: Members) -> Wished:
            if expected_index not in (None, now.index) and not holds(wished, now):
                raise MembersChanged(
                    f"the members are those of entry {now.index}, not {expected_index}",
                    why=f"voters: {', '.join(now.voters)}; learners: {', '.join(now.learners) or 'none'}",
                    fix="look at the members and decide again",
                )
            return wished

        return self._pursue("the members are as wished", wish, self._deadline(timeout))

    def _deadline(self, timeout: float | None) -> float:
        return self._now() + (self._timeout if timeout is None else timeout)

    def _check(self, server_id: ServerId) -> None:
        """Raises `NoSuchNode`."""
        self._supervisor.recovered_index(server_id)

    def _pursue(self, what: str, wish: Wish, deadline: float) -> Members:
        """See the module."""
        past = Attempts(what)
        found: list[Members] = []

        def attempt() -> bool:
            members = self._attempt(past, wish, deadline)
            found.extend([members] if members else [])
            return bool(found)

        if not self._poll(attempt, deadline - self._now(), _PAUSE):
            raise past.error(self._supervisor.health())
        self._supervisor.note_voters(found[0].voters)
        return found[0]

    def _attempt(self, past: Attempts, wish: Wish, deadline: float) -> Members | None:
        """The members, if they are as wished; None: they are not, yet."""
        statuses = self.status(LOOK)
        leader = leader_among(statuses)
        if leader is None:
            past.reason = "no leader answered"
            return None
        now = members_of(leader)
        wished = wish(now)
        if not now.is_committed:
            past.reason = ConfigurationRefusal.CHANGE_UNDER_WAY
        elif not is_known_to_most(leader, statuses) or not self._can_decide(past, wished.voters, statuses):
            past.reason = "not enough voters answered"
        elif unheard(leader, wished[0], statuses):
            past.reason = ConfigurationRefusal.NOT_CAUGHT_UP
        elif holds(wished, now):
            return now
        else:
            return self._ask_for_members(past, leader, wished, deadline)
        return None

    def _can_decide(self, past: Attempts, voters: frozenset[ServerId], statuses: dict[ServerId, Status | None]) -> bool:
        """Do enough of these answer?  If so many are down that they cannot, raises `QuorumAtRisk`: such a change could
        be begun, and would then wait for them, with everything behind it."""
        states = {name: state for name, (state, _, _) in self._supervisor.members().items()}
        down = sorted(name for name in voters if states.get(name) not in (PeerState.UP, PeerState.STARTING))
        if len(voters) - len(down) < majority(voters):
            raise QuorumAtRisk(
                f"not begun: {past.what}",
                why=f"{majority(voters)} of the voters {', '.join(sorted(voters))} would be needed, and "
                f"{', '.join(down)} would be down",
                fix=f"actorum restart {down[0]}, or remove it instead",
            )
        return sum(statuses.get(name) is not None for name in voters) >= majority(voters)

    def _ask_for_members(self, past: Attempts, leader: Status, wished: Wished, deadline: float) -> Members | None:
        voters, learners = tuple(sorted(wished.voters)), tuple(sorted(wished.learners))
        priorities = None if wished.priorities is None else tuple(sorted(wished.priorities))
        answer = self._client.administer(
            leader.server_id,
            lambda number: ChangeMembers(number, voters, learners, leader.configuration_index, priorities),
            timeout=max(LOOK, min(ATTEMPT, deadline - self._now())),
        )
        if answer is not None and answer.outcome == "done":
            ranked = leader.priorities if priorities is None else priorities
            return Members(voters, learners, answer.index, priorities=ranked)
        past.note(answer)
        return None

    def set_priority(self, server_id: ServerId, priority: int, *, timeout: float | None = None) -> None:
        """The higher, the rather a voter shall lead; all begin with 1, and 0 leads only while nobody else can.

        A leader hands over to a better one that could be reached, and had nearly the whole log, for some seconds.
        Elections are as always: whoever is elected meanwhile leads meanwhile.
        """
        if priority < 0:
            raise WrongArguments(
                f"{priority} is no priority", why="the lowest one is 0: leads only while nobody else can", fix="0"
            )
        what = f"{server_id} has priority {priority}"
        self._pursue(what, lambda now: with_priority(now, server_id, priority), self._deadline(timeout))

    # --- another leader -----------------------------------------------------------------------------------------------

    def transfer_leadership(self, target: ServerId | None = None, *, timeout: float | None = None) -> ServerId:
        """Hand leadership over to `target`, or to whoever has most of the log (thesis 3.10); who leads now.

        Calls that meet the hand-over wait for a moment; nothing is lost.  Raises `TransferFailed`.
        """
        deadline = self._deadline(timeout)
        before = self.leader(deadline - self._now())
        found: list[ServerId] = []

        def attempt() -> bool:
            leader = leader_among(self.status(LOOK))
            if leader is None:
                return False
            if leader.server_id == target or (target is None and leader.server_id != before):
                found.append(leader.server_id)
            else:
                self._ask_for_successor(leader, target, deadline)
            return bool(found)

        if not self._poll(attempt, deadline - self._now()):
            raise _transfer_failed(target, self._supervisor.health() or "elections go on")
        return found[0]

    def _ask_for_successor(self, leader: Status, target: ServerId | None, deadline: float) -> None:
        others = [name for name in leader.voters if name != leader.server_id]
        if (target not in others) if target is not None else not others:
            raise NoSuchNode(
                f"{target} cannot take over from {leader.server_id}" if target else "nobody can take over",
                why=f"the other voters are: {', '.join(others) or 'none'}",
                fix="name one of them" if others else "add a peer first",
            )
        answer = self._client.administer(
            leader.server_id,
            lambda number: TransferLeadership(number, target),
            timeout=max(LOOK, min(ATTEMPT, deadline - self._now())),
        )
        if answer is not None and answer.reason == TransferRefusal.TIMED_OUT:
            raise _transfer_failed(target, f"{answer.reason}; {leader.server_id} still leads")

    # --- another version of the machine -------------------------------------------------------------------------------

    def upgrade(self, version: int | None = None, *, timeout: float | None = None) -> int:
        """Begin another version of the machine, on all replicas alike (see `versions`): this one, or the newest that
        any peer knows.  The version that is in force then.

        Raises `NoQuorum` if a voter does not say what it knows: all must be up, with their new program; `WrongVersion`,
        naming them, if some do not know the version.  Nothing has changed then.
        """
        deadline = self._deadline(timeout)
        if not self._poll(lambda: self.members(deadline - self._now()).is_committed, deadline - self._now()):
            raise ChangeUnderWay("the members are being changed, so it is not known who will vote", fix="try again")
        members = self.members(deadline - self._now())
        answers = {name: self._digest(name, deadline) for name in (*members.voters, *members.learners)}
        begun = version_to_begin(version, members.voters, answers)
        return begin_version(self._client, begun, max(LOOK, deadline - self._now()))

    def _digest(self, server_id: ServerId, deadline: float) -> Digest | None:
        """Who is down is asked too, but not waited for."""
        state, _, _ = self._supervisor.members().get(server_id, (PeerState.DOWN, 0.0, 0))
        seconds = deadline - self._now() if state in (PeerState.UP, PeerState.STARTING) else 0.0
        answer = self._client.inspect(server_id, digest=True, timeout=max(0.0, seconds))
        return answer if isinstance(answer, Digest) else None

    # --- snapshots ----------------------------------------------------------------------------------------------------

    def snapshot(self, server_id: ServerId | None = None, *, timeout: float | None = None) -> LogIndex:
        """Have a peer (None: the leader) save the state it has applied and shorten its log (paper 7); up to which
        entry.  Raises `SnapshotFailed` if the state cannot be saved."""
        deadline = self._deadline(timeout)
        if server_id is not None:
            self._check(server_id)
        who = server_id or self.leader(deadline - self._now())
        answer = self._client.administer(who, SnapshotPeer, timeout=max(0.0, deadline - self._now()))
        if answer is None:
            raise CallTimeout(f"{who} did not answer in time", why="it is down, or busy", fix="safe to retry")
        if answer.outcome != "done":
            raise SnapshotFailed(f"{who} could not take a snapshot", why=answer.reason, fix="its log stays as it is")
        return answer.index


def _transfer_failed(target: ServerId | None, why: str) -> TransferFailed:
    return TransferFailed(
        f"leadership was not handed over to {target or 'anybody'}", why=why, fix="safe to retry; try another peer"
    )
