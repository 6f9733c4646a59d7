"""The half of a simulated server that serves: requests, the state machine, its snapshots.

Work for the state machine is done in order and in its own time.  A snapshot is taken in memory at once, when its turn
comes, and is on disk some time later; a part of one that is sent is read from disk some time after it was asked for.
Several of either may be under way, and overtake one another.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias, assert_never

from raft_core.configuration import Configuration, Configured, Snapshot
from raft_core.effects import (
    ApplyCommitted,
    ConfigurationAccepted,
    ConfigurationChanged,
    ConfigurationCommitted,
    ConfigurationRefused,
    Ignored,
    ProposalAccepted,
    ProposalRefused,
    ReadReady,
    ReadRefused,
    RoleChanged,
    Send,
    SendSnapshotChunk,
    TransferEnded,
    TransferRefused,
)
from raft_core.events import (
    Applied,
    ConfigurationProposed,
    Event,
    Proposed,
    ReadRequested,
    SettingsChanged,
    SnapshotTaken,
    SnapshotUnreadable,
    TransferRequested,
)
from raft_core.messages import InstallSnapshot
from raft_core.state import Server
from raft_core.types import LogIndex, ServerId, Term
from raft_core.verify.simulated_clients import Request
from raft_core.verify.simulated_disk import SimulatedDisk
from raft_core.verify.simulated_duties import Duties
from raft_core.verify.simulated_snapshots import Restoration, SimulatedReplica
from raft_core.verify.violation import Violation

if TYPE_CHECKING:
    from raft_core.verify.simulation import Simulation

Work: TypeAlias = ApplyCommitted | Restoration | ReadReady
Told: TypeAlias = (
    ProposalAccepted
    | ProposalRefused
    | ReadRefused
    | RoleChanged
    | ConfigurationAccepted
    | ConfigurationRefused
    | ConfigurationChanged
    | ConfigurationCommitted
    | TransferRefused
    | TransferEnded
    | Ignored
)
"""What needs no disk, no network and no clock."""
Wish: TypeAlias = ConfigurationProposed | TransferRequested | SettingsChanged


class SimulatedService(ABC):
    """What a server does for others, as far as it needs a state machine."""

    def __init__(self, name: ServerId, simulation: Simulation, voters: tuple[ServerId, ...]) -> None:
        self.name = name
        self.simulation = simulation
        self.voters = voters
        """With whom the cluster began; nobody for a server that joined later."""
        self.disk = SimulatedDisk()
        self.server: Server | None = None
        self.slowness = 1.0

        self.duties = Duties(name)

    def _reset(self) -> None:
        self.duties = Duties(self.name)
        self.replica = SimulatedReplica(Configured(0, Configuration(self.voters)))
        self._work: deque[Work] = deque()
        self._taking: list[Restoration] = []
        self._parts: list[SendSnapshotChunk] = []
        self._requests: dict[int, Request] = {}
        self._expected: dict[LogIndex, tuple[Term, Request, int]] = {}
        self._results: dict[Request, dict[int, object]] = {}

    @abstractmethod
    def post(self, event: Event) -> None:
        """Something happens to this server."""

    @abstractmethod
    def _later(self, longest: float, action: Callable[[], None]) -> None:
        """After at most `longest` milliseconds, if it is still alive by then."""

    @abstractmethod
    def _to_disk(self, longest: float, action: Callable[[], None]) -> None:
        """As `_later`, but while the disk hangs nothing is done."""

    # --- requests -----------------------------------------------------------------------------------------------------

    def ask(self, request: Request) -> None:
        """A client asks."""
        if self.server is None:
            return
        self.post(self._asked(request, self.simulation.next_number()))

    def _asked(self, request: Request, number: int) -> Event:
        self._requests[number] = request
        if request.commands:
            return Proposed(number, request.commands)
        return ReadRequested((number,), request.mode)

    def wish(self, event: Wish) -> None:
        """An administrator asks; there is one answer, unless the server falls.  Of settings nobody hears."""
        self.post(event)

    def _take(self, number: int) -> Request:
        request = self._requests.pop(number, None)
        if request is None:
            raise Violation("One Answer", f"{self.name} answers read {number} twice")
        return request

    def _accepted(self, effect: ProposalAccepted) -> None:
        request = self._requests.pop(effect.proposal_id)
        for place, index in enumerate(range(effect.first_index, effect.last_index + 1)):
            self._expected[index] = (effect.term, request, place)
        self._results[request] = {}

    def _tell(self, effect: Told) -> None:
        """Let those know who asked, and those who watch."""
        match effect:
            case ProposalAccepted():
                self._accepted(effect)
            case ProposalRefused(proposal_id=number, leader_id=leader_id):
                self.simulation.refuse(self._requests.pop(number), leader_id)
            case ReadRefused(read_ids=numbers, leader_id=leader_id):
                self.duties.answered_reads(numbers)
                for number in numbers:
                    self.simulation.refuse(self._take(number), leader_id)
            case RoleChanged(role=role):
                if role == "leader":
                    self.simulation.misfortunes.elected(self.name)
                else:
                    self._expected.clear()
            case ConfigurationCommitted():
                self.simulation.oracle.members.says_committed(self.name, effect)
            case (
                ConfigurationAccepted(proposal_id=number)
                | ConfigurationRefused(proposal_id=number)
                | TransferEnded(transfer_id=number)
                | TransferRefused(transfer_id=number)
            ):
                self.duties.answered_wish(number)
                self.simulation.administrator.answered(effect)
            case ConfigurationChanged() | Ignored():
                pass
            case _:
                assert_never(effect)

    # --- the state machine --------------------------------------------------------------------------------------------

    def _hand_on(self, work: Work) -> None:
        self._work.append(work)
        if len(self._work) == 1:
            self._later(self.simulation.adversary.apply_takes * self.slowness, self._do_work)

    def _do_work(self) -> None:
        work = self._work.popleft()
        match work:
            case ApplyCommitted():
                self._apply(work)
            case Restoration():
                self.replica.restore(*work)
                self.post(Applied(work.snapshot.last_included_index))
            case ReadReady():
                self._read(work)
        if self._work:
            self._later(self.simulation.adversary.apply_takes * self.slowness, self._do_work)

    def _read(self, work: ReadReady) -> None:
        applied = self.replica.applied_index
        if applied < work.read_index:
            raise Violation("Read Index", f"{self.name} reads at {applied}, not at {work.read_index}")
        for number in work.read_ids:
            request = self._take(number)
            self.simulation.answer(request, [self.replica.machine.read(request.key)])

    def _apply(self, work: ApplyCommitted) -> None:
        for index, entry in enumerate(work.entries, start=work.first_index):
            result = self.replica.apply(index, entry)
            term, request, place = self._expected.pop(index, (0, None, 0))
            if request is None or term != entry.term:
                continue
            results = self._results[request]
            results[place] = result
            if len(results) == len(request.commands):
                self.simulation.answer(request, [results[place] for place in range(len(results))])
                del self._results[request]
        self.post(Applied(self.replica.applied_index))
        every = self.simulation.adversary.snapshot_every
        if every and self.replica.is_due(every):
            self._take_snapshot()

    # --- snapshots ----------------------------------------------------------------------------------------------------

    def _take_snapshot(self) -> None:
        """What is applied now will be on disk a little later, if nothing happens to the server."""
        taken = self.replica.snapshot()
        self._taking.append(taken)
        self._to_disk(self.simulation.adversary.write_takes * 3, lambda: self._keep(taken))

    def _keep(self, taken: Restoration) -> None:
        self._taking.remove(taken)
        self.simulation.oracle.took_snapshot(self.name, taken.snapshot)
        self.disk.keep(*taken)
        self.post(SnapshotTaken(taken.snapshot))

    def _send_part(self, effect: SendSnapshotChunk) -> None:
        """Read a part from disk and send it, in a moment."""
        self._parts.append(effect)
        self._later(self.simulation.adversary.apply_takes, lambda: self._part_read(effect))

    def _part_read(self, effect: SendSnapshotChunk) -> None:
        """Another snapshot may have replaced it by now."""
        self._parts.remove(effect)
        content = self.disk.content(effect.snapshot)
        if content is None:
            self.post(SnapshotUnreadable(effect.snapshot))
            return
        data = content[effect.offset : effect.offset + effect.length]
        message = InstallSnapshot(effect.term, self.name, effect.snapshot, effect.offset, data)
        self._part_leaves(Send(effect.to, message))

    def _part_leaves(self, effect: Send) -> None:
        self._leaves(effect)

    def _leaves(self, effect: Send) -> None:
        """A message that waits for nothing."""
        self.simulation.send(self.name, effect)

    def opened(self, snapshot: Snapshot) -> Restoration:
        """A snapshot on this server's disk, for the state machine.  It is read when its turn comes; what is open is not
        lost when later ones replace it."""
        content = self.disk.content(snapshot)
        if content is None:
            raise Violation("Snapshot Before Cut", f"{self.name} has no snapshot of {snapshot.last_included_index}")
        return Restoration(snapshot, content)
