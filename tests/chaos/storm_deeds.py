"""Carrying out the plan of a storm on a real cluster: an administrator's operations, and harm that overlaps them.

Harm goes to the edge and no further: of every set of voters that may count at the moment - those in force, the older
ones of a joint phase, those that an operation under way will lead to - a majority runs and is connected.  If nobody can
be spared, older harm is ended first.  So every operation can be done, and it is a finding if one is not.

The administrator's operations are carried out by a thread of their own, one at a time; harm is done by the caller.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic, sleep

from actors.cluster import Cluster
from actors.errors import ActorumError
from actors.membership import leader_among
from actors.protocol import Status
from actors.supervisor import PeerState
from raft_core import ServerId, majority
from tests.chaos.storm_plan import ADMINISTRATIVE, Step
from tests.chaos.storm_witness import LogWitness

PATIENCE = 60.0
"""Seconds for what must happen: a peer that was killed is back, somebody leads."""
OPERATION_TIMEOUT = 20.0
"""Seconds that the administrator gives an operation."""
LONGEST_WAIT = 4.0
"""Seconds after which harm is ended, because an operation may wait for the very peer that it befell."""
FEWEST_VOTERS = 3
_LOOK = 0.3
"""Seconds that a peer gets to say how it is."""


@dataclass(frozen=True)
class Deed:
    """An operation that has been carried out, or was tried."""

    number: int
    step: Step
    what: str
    error: ActorumError | None
    seconds: float

    def __str__(self) -> str:
        end = f"{self.error.code}: {self.error.why}" if self.error else "done"
        return f"{self.number:4} {self.step!s:22} {self.what:34} {end} ({self.seconds:.2f} s)"


@dataclass(frozen=True)
class _Harm:
    what: str
    names: frozenset[ServerId]
    until: int
    """It ends before this operation."""
    undo: Callable[[], None]
    cut: tuple[str, frozenset[ServerId]] | None = None


@dataclass(frozen=True)
class Situation:
    """Who counts, at one moment."""

    voters: frozenset[ServerId]
    old_voters: frozenset[ServerId]
    learners: frozenset[ServerId]
    leader: ServerId

    @classmethod
    def of(cls, leader: Status) -> Situation:
        """As the leader has it."""
        voters, old_voters, learners = map(frozenset, (leader.voters, leader.old_voters, leader.learners))
        return cls(voters, old_voters, learners, leader.server_id)

    @property
    def members(self) -> frozenset[ServerId]:
        """All of them."""
        return self.voters | self.old_voters | self.learners


@dataclass
class Storm:
    """One cluster, and what has happened to it."""

    cluster: Cluster
    witness: LogWitness
    tell: Callable[[str], None] = lambda line: None
    deeds: list[Deed] = field(default_factory=list)
    most_harmed: int = 0
    """Voters that were down, paused or cut off at a time, at most."""

    def __post_init__(self) -> None:
        self._harm: list[_Harm] = []
        self._hand = ThreadPoolExecutor(1, thread_name_prefix="administrator")
        self._under_way: Future[None] | None = None
        self._wished: list[frozenset[ServerId]] = []
        """Voters that an operation under way will lead to."""

    def rage(self, steps: list[Step]) -> None:
        """All of them, and then nothing is harmed any more."""
        try:
            for number, step in enumerate(steps, 1):
                self._end_harm(lambda harm, now=number: harm.until <= now)  # type: ignore[misc]
                (self._administer if step.kind in ADMINISTRATIVE else self._do_harm)(number, step)
                sleep(step.pause)
            self._finish()
        finally:
            self._end_harm()
            self._hand.shutdown()

    def _finish(self) -> None:
        """What is under way comes to its end; if it waits for somebody who is harmed, harm ends before."""
        if self._under_way is not None:
            if not wait([self._under_way], LONGEST_WAIT).done:
                self._end_harm()
            self._under_way.result()
        self._under_way, self._wished = None, []

    def _note(self, deed: Deed) -> None:
        self.deeds.append(deed)
        self.tell(str(deed))

    # --- how it is ----------------------------------------------------------------------------------------------------

    def look(self) -> Situation:
        """Who counts; waits for a leader that can lead."""
        found: list[Status] = []

        def leads() -> bool:
            statuses = self.cluster.status(_LOOK)
            self.witness.looked_at(statuses.values())
            leader = leader_among(statuses)
            if leader is not None and leader.server_id not in self._harmed():
                found.append(leader)
            return bool(found)

        self._until(leads, "a leader")
        return Situation.of(found[0])

    def _harmed(self) -> frozenset[ServerId]:
        down = {name for name, (state, _, _) in self._states().items() if state is not PeerState.UP}
        return frozenset(down).union(*(harm.names for harm in self._harm))

    def _states(self) -> dict[ServerId, tuple[PeerState, float, int]]:
        return self.cluster.supervisor.members()

    def _can_miss(self, now: Situation, missing: frozenset[ServerId]) -> bool:
        """Is there a majority of all that count without these?"""
        groups = [now.voters, now.old_voters, *self._wished]
        if self._under_way is not None and not self._under_way.done():
            groups.append(now.voters | now.learners)
        return all(len(group - missing) >= majority(group) for group in groups if group)

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = monotonic() + PATIENCE
        while not condition():
            if monotonic() > deadline:
                raise TimeoutError(f"not within {PATIENCE} s: {what} ({self.cluster.status(_LOOK)})")
            sleep(0.005)

    # --- harm ---------------------------------------------------------------------------------------------------------

    def _end_harm(self, which: Callable[[_Harm], bool] = lambda harm: True) -> None:
        ended = [harm for harm in self._harm if which(harm)]
        self._harm = [harm for harm in self._harm if harm not in ended]
        for harm in ended:
            harm.undo()

    def _do_harm(self, number: int, step: Step) -> None:
        began = monotonic()
        names = self._victims(step)
        deed = {"kill": self._kill, "pause": self._pause, "partition": self._partition}[step.kind]
        what = deed(names, step, number + 1 + step.lasts)
        self._note(Deed(number, step, f"{what} {' '.join(sorted(names))}", None, monotonic() - began))

    def _victims(self, step: Step) -> frozenset[ServerId]:
        """Whom it befalls."""
        now = self.look()
        while not (found := self._spared(now, step)):
            self._end_harm()
            self._until(lambda: not self._harmed(), "everybody is back")
            now = self.look()
        self.most_harmed = max(self.most_harmed, len((self._harmed() | found) & now.voters))
        return found

    def _spared(self, now: Situation, step: Step) -> frozenset[ServerId]:
        found: frozenset[ServerId] = frozenset()
        for name in self._in_order(now.members - self._harmed(), now, step):
            if not (found and not step.to_the_edge) and self._can_miss(now, self._harmed() | found | {name}):
                found |= {name}
        return found

    def _in_order(self, names: frozenset[ServerId], now: Situation, step: Step) -> list[ServerId]:
        """The drawn one first; the leader before it, if it shall be the leader, and else at the end."""
        order = sorted(names)
        turn = int(step.who * len(order))
        return sorted(order[turn:] + order[:turn], key=lambda name: (name == now.leader) != step.leader)

    def _kill(self, names: frozenset[ServerId], step: Step, until: int) -> str:
        """SIGKILL from outside, and the supervisor finds out by itself; or they stay down for some time."""
        if step.lasts > 1:
            for name in names:
                self.cluster.kill(name)
            self._harm.append(_Harm("down", names, until, lambda: self._restart(names)))
            return "kill -9, stays down:"
        process_ids = {self._states()[name][2] for name in names} - {0}
        for process_id in process_ids:
            with suppress(ProcessLookupError):
                os.kill(process_id, signal.SIGKILL)
        self._until(lambda: not process_ids & {one for _, _, one in self._states().values()}, f"the death of {names}")
        return "kill -9:"

    def _restart(self, names: frozenset[ServerId]) -> None:
        for name in names & frozenset(self._states()):  # who was removed meanwhile stays down
            with suppress(ActorumError):
                self.cluster.restart(name)

    def _pause(self, names: frozenset[ServerId], step: Step, until: int) -> str:
        process_ids = [self._states()[name][2] for name in names]
        for process_id in filter(None, process_ids):
            with suppress(ProcessLookupError, ChildProcessError):
                os.kill(process_id, signal.SIGSTOP)
                # It stands still a moment after the signal was sent.  (It is our child.)
                os.waitid(os.P_PID, process_id, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        self._harm.append(_Harm("paused", names, until, lambda: _go_on(process_ids)))
        return "SIGSTOP:"

    def _partition(self, names: frozenset[ServerId], step: Step, until: int) -> str:
        way = ("cut off:", "hear nothing:", "are not heard:")[0 if step.who < 0.6 else 1 if step.who < 0.8 else 2]
        self._harm.append(_Harm("cut", names, until, self._cut_anew, (way, names)))
        self._cut_anew()
        return way

    def _cut_anew(self) -> None:
        network = self.cluster.network
        network.heal()
        for way, names in [harm.cut for harm in self._harm if harm.cut is not None]:
            for name in names:
                for other in set(network.names) - names:
                    if way != "hear nothing:":
                        network.cut(name, other)
                    if way != "are not heard:":
                        network.cut(other, name)

    # --- the administrator --------------------------------------------------------------------------------------------

    def _administer(self, number: int, step: Step) -> None:
        self._finish()
        what, work, wished = self._prepared(step)
        self._wished = [wished]

        def carry_out() -> None:
            began, error = monotonic(), None
            try:
                work()
            except ActorumError as failure:
                error = failure
            self._note(Deed(number, step, what, error, monotonic() - began))

        self._under_way = self._hand.submit(carry_out)
        if not step.to_the_edge:
            self._finish()

    def _prepared(self, step: Step) -> tuple[str, Callable[[], object], frozenset[ServerId]]:
        """What is to be done, and the voters that it leads to."""
        now = self.look()
        match step.kind:
            case "add":
                return "as a learner" if step.leader else "as a voter", lambda: self._add(not step.leader), now.voters
            case "remove":
                return self._removal(now, step)
            case "promote":
                return self._promotion(now, step)
            case "transfer":
                return self._transfer(now, step)
            case _:
                name = self._in_order(now.members - self._harmed(), now, step)[0]
                return f"of {name}", lambda: self.cluster.snapshot(name, timeout=OPERATION_TIMEOUT), now.voters

    def _add(self, promote: bool) -> None:
        self.cluster.add(promote=promote, timeout=OPERATION_TIMEOUT)

    def _leaving(self, now: Situation, step: Step) -> ServerId | None:
        """A voter without whom enough are left; None: there is none, even with everybody well."""
        for _ in range(2):
            for name in self._in_order(now.voters, now, step):
                rest = now.voters - {name}
                if len(rest) >= FEWEST_VOTERS and len(rest - self._harmed()) >= majority(rest):
                    return name
            self._end_harm()
        return None

    def _removal(self, now: Situation, step: Step) -> tuple[str, Callable[[], object], frozenset[ServerId]]:
        name = self._leaving(now, step)
        learner = next(iter(sorted(now.learners)), None)
        if name is None and learner is None:
            old = self._in_order(now.voters, now, step)[0]
            rest = now.voters - {old}
            return f"and replace {old}", lambda: self.cluster.replace(old, timeout=OPERATION_TIMEOUT), rest
        gone = learner if name is None or (learner is not None and step.who < 0.2) else name
        title = f"{gone}{', who leads' if gone == now.leader else ''}"
        return title, lambda: self.cluster.remove(str(gone), timeout=OPERATION_TIMEOUT), now.voters - {str(gone)}

    def _promotion(self, now: Situation, step: Step) -> tuple[str, Callable[[], object], frozenset[ServerId]]:
        """Of a learner; if there is none, of a voter that was made one: two changes, the first of them joint."""
        if now.learners:
            learner = self._in_order(now.learners, now, step)[0]
            self._end_harm(lambda harm: learner in harm.names)  # else it could not catch up
            wished = now.voters | {learner}
            return learner, lambda: self.cluster.promote(learner, timeout=OPERATION_TIMEOUT), wished
        name = self._leaving(now, step)
        if name is None:
            return "somebody new", lambda: self._add(True), now.voters
        self._end_harm(lambda harm: name in harm.names)
        return f"{name} after its demotion", lambda: self._demote_and_promote(now, name), now.voters - {name}

    def _demote_and_promote(self, now: Situation, name: ServerId) -> None:
        self.cluster.set_members(now.voters - {name}, now.learners | {name}, timeout=OPERATION_TIMEOUT)
        self.cluster.promote(name, timeout=OPERATION_TIMEOUT)

    def _transfer(self, now: Situation, step: Step) -> tuple[str, Callable[[], object], frozenset[ServerId]]:
        others = self._in_order(now.voters - {now.leader} - self._harmed(), now, step)
        target = None if step.leader else others[0]
        work = lambda: self.cluster.transfer_leadership(target, timeout=OPERATION_TIMEOUT)  # noqa: E731
        return f"from {now.leader} to {target or 'anybody'}", work, now.voters


def _go_on(process_ids: list[int]) -> None:
    for process_id in filter(None, process_ids):
        with suppress(ProcessLookupError):
            os.kill(process_id, signal.SIGCONT)
