"""The lab face: Raft as MIT's 6.5840 (once 6.824) has its students build it, in the same words.

    network = LabNetwork(3)
    raft = make(network.ends(0), 0, Persister(), apply_channel)      # rf := Make(peers, me, persister, applyCh)
    index, term, is_leader = raft.start("a command")                 # index, term, isLeader := rf.Start(command)
    term, is_leader = raft.get_state()                               # term, isLeader := rf.GetState()
    raft.snapshot(index, b"the service's state up to there")         # rf.Snapshot(index, snapshot)
    raft.kill()                                                      # rf.Kill()

Whoever has done the lab finds the way here, and may then read on into the peers: nothing is simulated or simplified.
Behind each `Raft` runs a whole peer, in threads of this process, of whichever runtime the network was made with.
Applications use `Replicated` instead: here nobody retries, and an accepted command may be lost with its leader.

What differs from Go: a channel is anything with `put` (`queue.Queue`, `SimpleQueue`); a network is made by
`LabNetwork`, and `network.ends(me)` stands for the lab's slice of client ends.

A service that takes snapshots begins with what its persister has of them (`Persister.read_snapshot`); the channel goes
on behind that.  A server that is sent one later puts it into the channel.

Indices are the lab's.  A leader here opens its term with a no-op (thesis 6.4), which the lab has not; it is neither
counted nor delivered, so the first command has index 1.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from itertools import count
from queue import SimpleQueue
from random import Random
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self, TypeAlias

from msgspec import msgpack
from msgspec.structs import replace

from actors.following import Following, HandedOver, pack
from actors.hosts import ThreadHost
from actors.lab_persister import Persister as Persister
from actors.links.router import Router
from actors.network import Network
from actors.outside import Outside
from actors.protocol import (
    ClientMessage,
    Delivered,
    FollowLog,
    InspectPeer,
    KeepSnapshot,
    OfferCommand,
    Offered,
    PeerMessage,
    Restored,
    Status,
)
from actors.raw_client import RawClient
from actors.replicated import machine_reference
from actors.spec import PeerConfig, PeerSpec, RuntimeName
from actors.storage.disk import Disk
from actors.supervisor import Supervisor
from raft_core import EntryKind, ServerId, Settings

NOT_APPENDED = -1
"""The index that `Raft.start` returns if the command was not appended."""
_PATIENCE = 5.0
"""Seconds that closing waits for an apply channel that takes nothing."""


class ApplyMsg(NamedTuple):
    """What a server hands to the service above it (the lab's ApplyMsg): a committed command, or a snapshot."""

    command_valid: bool
    """True: it is a command."""
    command: Any
    command_index: int
    """1 for the first command, and one more for each that follows; the same on every server."""
    snapshot_valid: bool = False
    """True: it is a snapshot, in place of all commands up to `snapshot_index`."""
    snapshot: bytes = b""
    """What a service once gave to `Raft.snapshot`, here or on another server."""
    snapshot_term: int = 0
    snapshot_index: int = 0


_Delivery: TypeAlias = Delivered | tuple[Restored, HandedOver]


class ApplyChannel(Protocol):
    """Where committed commands go; `put` may block for as long as it likes."""

    def put(self, message: ApplyMsg, /) -> object:
        """Take the next command."""


class Raft:
    """One server, from `make` to `kill`.  Any thread may use it."""

    def __init__(self, network: LabNetwork, server_id: ServerId, begins_behind: int, channel: ApplyChannel) -> None:
        """`begins_behind`: the index of the last command that its service has already, by a snapshot."""
        self._network = network
        self._server_id = server_id
        self._begins_behind = begins_behind
        self._channel = channel
        self._following = Following()
        self._too_early: list[Offered] = []
        """Their index cannot be told before more is heard."""
        self._questions: dict[int, Future[tuple[Offered, int] | Status | None]] = {}
        self._deliveries: SimpleQueue[_Delivery | None] = SimpleQueue()
        self._is_gone = False
        self._term = 0
        # Delivering may block: it must hold up neither consensus nor those who ask (structure advice).
        self._deliverer = threading.Thread(target=self._deliver, name=f"lab-apply-{server_id}", daemon=True)
        self._deliverer.start()

    def start(self, command: Any) -> tuple[int, int, bool]:
        """Have a command appended if this server leads: (index, term, is_leader), at once.

        That is no promise: the command is committed when it comes out of the apply channels at that index, and another
        may come out there instead.  The index is -1 if it was not appended.  A command is bytes, text, a number, or
        whatever else msgspec encodes and decodes without being told a type.
        """
        encoded = msgpack.encode(command)
        answer = self._ask(lambda number: OfferCommand(number, encoded))
        if not isinstance(answer, tuple):
            return NOT_APPENDED, self._term, False
        offered, index = answer
        self._term = offered.term
        return index or NOT_APPENDED, offered.term, offered.is_leader

    def get_state(self) -> tuple[int, bool]:
        """Its current term, and whether it believes itself the leader.  If it was killed: the last known term, no."""
        answer = self._ask(lambda number: InspectPeer(number, False))
        if not isinstance(answer, Status):
            return self._term, False
        self._term = answer.term
        return answer.term, answer.role == "leader"

    def snapshot(self, index: int, snapshot: bytes) -> None:
        """The service has everything up to `index`, which came out of the apply channel, in `snapshot`: the server
        keeps that, and the entries up to there no longer.  Nothing happens if it was sent a later one meanwhile."""
        if not self._is_gone:
            self._network.call(lambda: self._keep(index, snapshot))

    def kill(self) -> None:
        """End it: it answers nobody any more, and its threads end.  What it has persisted stays."""
        self._network.kill(self._server_id, self)

    def _ask(self, message: Callable[[int], ClientMessage]) -> tuple[Offered, int] | Status | None:
        """What its peer answers; None if it is not there to answer."""
        number = self._network.number()
        answer = self._questions[number] = Future()
        if self._is_gone:  # asked after `gone` was heard; who asks before is answered there
            self._questions.pop(number, None)
            return None
        self._network.say(self._server_id, self, message(number))
        return answer.result()

    # --- in the thread of the network's client ------------------------------------------------------------------------

    def heard(self, message: PeerMessage) -> None:
        """Its peer said something."""
        match message:
            case Delivered():
                self._following.delivered(message)
                self._deliveries.put(message)
            case Restored():
                self._deliveries.put((message, self._following.restored(message)))
            case Offered():
                self._too_early.append(message)
            case Status():
                self._questions.pop(message.batch_id).set_result(message)
            case _:
                return
        offers, self._too_early = self._too_early, []
        for offered in offers:
            self._answer(offered)

    def _answer(self, offered: Offered) -> None:
        """As soon as its index can be told."""
        index = self._following.position_of(offered)
        if index is None:
            self._too_early.append(offered)
        else:
            self._questions.pop(offered.batch_id).set_result((offered, index))

    def _keep(self, index: int, snapshot: bytes) -> None:
        log_index = self._following.index_of(index)
        if log_index is not None:
            state = pack(HandedOver(index, snapshot))
            self._network.say(self._server_id, self, KeepSnapshot(self._network.number(), log_index, state))

    def gone(self) -> None:
        """Its peer will say nothing any more."""
        self._is_gone = True
        self._deliveries.put(None)
        for number in list(self._questions):
            answer = self._questions.pop(number, None)
            if answer is not None:
                answer.set_result(None)

    # --- in its own ---------------------------------------------------------------------------------------------------

    def _deliver(self) -> None:
        index = 0
        while (delivery := self._deliveries.get()) is not None:
            if isinstance(delivery, Delivered):
                for entry in delivery.entries:
                    if entry.kind is EntryKind.COMMAND:
                        index += 1
                        self._channel.put(ApplyMsg(True, msgpack.decode(entry.command), index))
            else:
                index = delivery[1].position
                self._deliver_snapshot(*delivery)

    def _deliver_snapshot(self, restored: Restored, handed_over: HandedOver) -> None:
        """Unless the service began with it."""
        if handed_over.position > self._begins_behind:
            term, index = restored.last_included_term, handed_over.position
            self._channel.put(ApplyMsg(False, None, 0, True, handed_over.state, term, index))

    def wait_for_end(self) -> None:
        """Return when its last thread has ended, or waits for somebody to take from its apply channel."""
        self._deliverer.join(_PATIENCE)


class Ends(NamedTuple):
    """The links of one server with all servers of a network: what `make` gets as its peers."""

    network: LabNetwork
    servers: tuple[ServerId, ...]


def make(peers: Ends, me: int, persister: Persister, apply_channel: ApplyChannel) -> Raft:
    """Start server number `me` from what `persister` holds, and return as soon as it has read that.

    It takes the place of the server that was made with this number before, which is stopped if it still runs.
    """
    return peers.network.make(me, persister, apply_channel)


class LabNetwork:
    """The servers of one group and the links between them, which can be cut (the lab's labrpc.Network).

    Servers are numbered from 0.  `faults` can do more than cut: lose, delay, reorder and double messages, and count
    them; there servers go by name.
    """

    def __init__(self, servers: int, *, runtime: RuntimeName = "actors", settings: Settings | None = None) -> None:
        self.names = tuple(f"n{number}" for number in range(1, servers + 1))
        """Of the servers, as `faults` calls them."""
        self.faults = Network(self.names)
        self._numbers = count(1)
        self._persisters: dict[ServerId, Persister] = {}
        self._rafts: dict[ServerId, Raft] = {}
        self._to_come: dict[ServerId, Raft] = {}
        self._router = Router(self.faults, Random())
        # Services take snapshots, servers take none; and of what is in one, the lab's servers keep nothing.
        kept = replace(settings or Settings(trailing_entries=0), snapshot_entries=0)
        specs = [self._spec(name, runtime, kept) for name in self.names]
        self._supervisor = Supervisor(specs, _LabHost(self._persisters), self._router.link_pair)
        self._client = RawClient(self)
        self._supervisor.add_client(self._client)

    def _spec(self, server_id: ServerId, runtime: RuntimeName, settings: Settings) -> PeerSpec:
        config = PeerConfig(server_id=server_id, voters=self.names, settings=settings)
        machine = machine_reference(Outside)
        return PeerSpec(config=config, cluster_id="lab", machine=machine, directory=None, runtime=runtime)

    def ends(self, me: int) -> Ends:
        """What server number `me` needs to reach the others."""
        self._name(me)
        return Ends(self, self.names)

    def disconnect(self, server: int) -> None:
        """Nothing gets through to this server or from it; it keeps running and keeps its memory."""
        self.faults.disconnect(self._name(server))

    def connect(self, server: int) -> None:
        """Undo `disconnect`."""
        self.faults.connect(self._name(server))

    def _name(self, server: int) -> ServerId:
        return self.names[server]

    def close(self) -> None:
        """Kill all servers."""
        rafts = list(self._rafts.values())
        self._supervisor.close()
        self._client.close()
        self._router.close()
        for raft in rafts:
            raft.wait_for_end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # --- for its servers ----------------------------------------------------------------------------------------------

    def make(self, me: int, persister: Persister, apply_channel: ApplyChannel) -> Raft:
        """See `make`."""
        server_id = self._name(me)
        self._persisters[server_id] = persister
        raft = self._to_come[server_id] = Raft(self, server_id, persister.handed_over().position, apply_channel)
        try:
            self._supervisor.restart(server_id)
        except BaseException:
            raft.gone()  # it never was there, but its thread is
            raise
        return raft

    def kill(self, server_id: ServerId, raft: Raft) -> None:
        """Kill a server, unless another has taken its place."""
        if self._rafts.get(server_id) is raft:
            self._supervisor.kill(server_id)
        raft.wait_for_end()

    def number(self) -> int:
        """A number for a question."""
        return next(self._numbers)

    def call(self, function: Callable[[], None]) -> None:
        """In the thread in which its servers hear what their peers say."""
        self._client.call(function)

    def say(self, server_id: ServerId, raft: Raft, message: ClientMessage) -> None:
        """To the peer of a server, unless another has taken its place: that one was asked nothing."""
        self._client.call(lambda: self._say(server_id, raft, message))

    def _say(self, server_id: ServerId, raft: Raft, message: ClientMessage) -> None:
        if self._rafts.get(server_id) is raft:
            self._client.say(server_id, message)

    # --- what its client tells (a `RawListener`) ----------------------------------------------------------------------

    def attached(self, server_id: ServerId) -> None:
        """The peer of a new server is there; or one that died unasked and was started again, which is nobody's."""
        if server_id in self._to_come:
            self._rafts[server_id] = self._to_come.pop(server_id)
            self._client.say(server_id, FollowLog(self.number()))

    def heard(self, server_id: ServerId, message: PeerMessage) -> None:
        """It said something."""
        if server_id in self._rafts:
            self._rafts[server_id].heard(message)

    def gone(self, server_id: ServerId) -> None:
        """It is there no more."""
        if server_id in self._rafts:
            self._rafts.pop(server_id).gone()


class _LabHost(ThreadHost):
    """Peers in threads, each on the storage that its persister hands over."""

    def __init__(self, persisters: dict[ServerId, Persister]) -> None:
        super().__init__(Outside)
        self._persisters = persisters

    def _disk(self, spec: PeerSpec) -> Disk:
        return self._persisters[spec.config.server_id].hand_over()
