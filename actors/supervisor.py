"""The supervisor: starts peers, watches them, restarts what died, and gives every incarnation fresh links.

One thread owns everything here; other threads ask it by putting functions in its queue.  A link belongs to one
incarnation of both its ends: when a peer starts, it gets new links to every running peer and every client, and they get
theirs to it.  The old ones die with the old incarnation, whatever a kill left in them.

Which peers are started again, and when, is decided in `actors.member`.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from time import monotonic
from typing import TypeVar

from msgspec.structs import replace

from actors.control import ControlChannel, PeerEnded, PeerReady, StopPeer
from actors.errors import ActorumError, ClusterClosed, NoSuchNode, PeerFailed, error_from_json
from actors.hosts import Host, Hosted
from actors.links import link_pair
from actors.links.handing import LinkTaker, PeerLink, link_client, link_peers
from actors.member import Member
from actors.member import PeerState as PeerState
from actors.roster import Roster
from actors.spec import PeerSpec, spec_of_another
from raft_core import ServerId, Settings, majority

T = TypeVar("T")
STOP_TIMEOUT = 10.0
"""Seconds a peer gets to stop in good order before it is killed."""


class Supervisor:
    """Runs the peers of one cluster.  Its methods may be called from any thread."""

    def __init__(
        self,
        specs: list[PeerSpec],
        host: Host,
        peer_link: PeerLink = lambda sender, receiver: link_pair(),
        roster: Roster | None = None,
    ) -> None:
        """`peer_link` makes the links between peers; `roster` knows the names they had and have."""
        self._host = host
        self._template = specs[0]
        self._roster = roster or Roster(spec.config.server_id for spec in specs)
        self._peer_link = peer_link
        self._members = {spec.config.server_id: Member(spec) for spec in specs}  # replaced, never changed: others look
        self._voters = frozenset(self._members)
        self._clients: dict[int, LinkTaker] = {}
        self._next_client_id = 1
        self._asked: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._selector = selectors.DefaultSelector()
        self._wake_reader, self._wake_writer = os.pipe()
        self._selector.register(self._wake_reader, selectors.EVENT_READ, None)
        self._waiting: list[tuple[Callable[[], bool], Future[None]]] = []
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="actorum-supervisor", daemon=True)
        self._thread.start()

    # --- for any thread -----------------------------------------------------------------------------------------------

    def start(self, timeout: float) -> None:
        """Start all peers and wait until each has recovered; raises the first peer's error if one cannot."""
        self._ask(lambda: self._each(self._launch))
        try:
            self._until(
                lambda: all(m.state in (PeerState.UP, PeerState.FAILED) for m in self._members.values()), timeout
            )
        except TimeoutError:
            raise PeerFailed(f"not all peers were ready within {timeout} s", why=self.health()) from None
        for member in self._members.values():
            if member.error is not None:
                raise member.error

    def add(self, server_id: ServerId | None = None, timeout: float = 30.0) -> ServerId:
        """Start a further peer, with an empty disk, under this name or the next number; returns when it is ready.

        It is no member yet.  Raises `NameTaken`, or what kept it from starting.
        """
        name = self._ask(lambda: self._admit(server_id))
        member = self._members[name]
        try:
            self._until(lambda: member.state in (PeerState.UP, PeerState.FAILED), timeout)
        except TimeoutError:
            member.error = PeerFailed(f"{name} was not ready within {timeout} s")
        if member.error is not None:
            self.retire(name)
            raise member.error
        self._ask(lambda: self._roster.born(name))
        return name

    def _admit(self, server_id: ServerId | None) -> ServerId:
        name = self._roster.claim(server_id)
        member = Member(spec_of_another(self._template, name, self._roster.number(name)))
        self._members = {**self._members, name: member}
        self._launch(member)
        return name

    def retire(self, server_id: ServerId) -> None:
        """Stop a peer for good: nobody counts on it any more.  Its data stays, its name is not given again."""
        member = self._member(server_id)
        self._ask(lambda: self._stop(member))
        try:
            self._until(lambda: member.hosted is None, STOP_TIMEOUT)
        except TimeoutError:
            self.kill(server_id)
        self._ask(lambda: self._forget(server_id))

    def _forget(self, server_id: ServerId) -> None:
        self._roster.remove(server_id)
        self._members = {name: member for name, member in self._members.items() if name != server_id}

    def note_voters(self, voters: Iterable[ServerId]) -> None:
        """Whose majority is needed, for `health`."""
        self._voters = frozenset(voters)

    @property
    def settings(self) -> Settings:
        """Those with which peers are started."""
        return self._template.config.settings

    def use_settings(self, settings: Settings) -> None:
        """Start peers with these from now on; those that run keep theirs."""
        self._ask(lambda: self._respecify(lambda spec: replace(spec, config=replace(spec.config, settings=settings))))

    def use_log_level(self, level: str) -> None:
        """The same, with how much they log."""
        self._ask(lambda: self._respecify(lambda spec: replace(spec, log_level=level)))

    def _respecify(self, change: Callable[[PeerSpec], PeerSpec]) -> None:
        self._template = change(self._template)
        for member in self._members.values():
            member.spec = change(member.spec)

    def kill(self, server_id: ServerId) -> None:
        """Kill a peer (SIGKILL for a process) and leave it down; returns when it is gone."""
        member = self._member(server_id)
        self._ask(lambda: self._kill(member))
        self._until(lambda: member.hosted is None, 30.0)

    def restart(self, server_id: ServerId, timeout: float = 30.0) -> None:
        """Start a peer from its storage (stopping it first if it runs); returns when it has recovered."""
        member = self._member(server_id)
        stopped = self._ask(lambda: self._stop(member))
        try:
            # Not "until none is there": somebody else may restart it too, and be faster.
            self._until(lambda: stopped is None or member.hosted is not stopped, STOP_TIMEOUT)
        except TimeoutError:
            self.kill(server_id)
        self._ask(lambda: self._launch(member))
        self._until(
            lambda: member.state is PeerState.UP or (member.error is not None and member.hosted is None), timeout
        )
        if member.error is not None:
            raise member.error

    def add_client(self, client: LinkTaker) -> int:
        """Give a client links to all running peers, now and whenever one starts; its number."""
        return self._ask(lambda: self._add_client(client))

    def remove_client(self, client_id: int) -> None:
        """This client needs no links any more."""
        self._ask(lambda: self._clients.pop(client_id, None))

    @property
    def clients(self) -> frozenset[int]:
        """Numbers of the clients that are given links."""
        return self._ask(lambda: frozenset(self._clients))

    def members(self) -> dict[ServerId, tuple[PeerState, float, int]]:
        """State, seconds since it changed, and process id (0 if down) of each peer."""
        now = monotonic()
        return {name: (m.state, now - m.since, m.process_id) for name, m in self._members.items()}

    def recovered_index(self, server_id: ServerId) -> int:
        """Last log index that a peer's present incarnation found in its storage."""
        return self._member(server_id).recovered_index

    def last_errors(self) -> dict[ServerId, ActorumError]:
        """The last word of each peer that ever ended with one, even if it has been started again since."""
        return {name: m.last_error for name, m in self._members.items() if m.last_error is not None}

    def health(self) -> str:
        """Who is down and since when, in words; empty if enough peers are up to serve."""
        voters = {n: s for n, s in self.members().items() if n in self._voters}
        down = [(n, s, since) for n, (s, since, _) in voters.items() if s is not PeerState.UP]
        reasons = {name: f" ({m.error.what})" for name, m in list(self._members.items()) if m.error is not None}
        if len(voters) - len(down) >= majority(voters):
            return ""
        who = ", ".join(f"{n} is {state} since {since:.1f} s{reasons.get(n, '')}" for n, state, since in down)
        return f"{who}; {majority(voters)} of {len(voters)} peers are needed"

    def close(self) -> None:
        """Stop all peers in good order (kill who does not stop in time) and end."""
        if self._is_closed:
            return
        self._ask(lambda: self._each(self._stop))
        with contextlib.suppress(TimeoutError):
            self._until(self._all_gone, STOP_TIMEOUT)
        self._ask(lambda: self._each(self._kill))
        self._until(self._all_gone, 30.0)
        self._is_closed = True
        self._wake()
        self._thread.join()
        self._selector.close()
        os.close(self._wake_reader)
        os.close(self._wake_writer)

    def _each(self, function: Callable[[Member], object]) -> None:
        for member in self._members.values():
            function(member)

    def _all_gone(self) -> bool:
        return all(member.hosted is None for member in self._members.values())

    def _ask(self, function: Callable[[], T]) -> T:
        """Have the supervisor's thread call `function`, and wait for its result."""
        if self._is_closed:
            raise ClusterClosed("the cluster is closed")
        answer: Future[T] = Future()

        def carry_out() -> None:
            try:
                answer.set_result(function())
            except BaseException as error:
                answer.set_exception(error)

        self._asked.put(carry_out)
        self._wake()
        return answer.result()

    def _until(self, condition: Callable[[], bool], timeout: float) -> None:
        """Wait until `condition` holds; it is looked at in the supervisor's thread, after everything that happens."""
        answer: Future[None] = Future()
        self._ask(lambda: self._waiting.append((condition, answer)))
        answer.result(timeout)

    def _wake(self) -> None:
        os.write(self._wake_writer, b"!")

    def _member(self, server_id: ServerId) -> Member:
        if server_id not in self._members:
            known = ", ".join(self._members)
            if self._roster.was_removed(server_id):
                raise NoSuchNode(f"{server_id} was removed", why=f"the nodes are {known}", fix="name one of them")
            raise NoSuchNode(f"there is no node {server_id}", why=f"the nodes are {known}", fix="name one of them")
        return self._members[server_id]

    # --- the supervisor's thread --------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._is_closed:
            for key, _ in self._selector.select(self._until_restart()):
                if key.data is None:
                    os.read(self._wake_reader, 4096)
                else:
                    self._hear_safely(key.data)
            with contextlib.suppress(Empty):
                while True:
                    self._asked.get_nowait()()
            self._restart_due()
            self._waiting = [waiting for waiting in self._waiting if not _settle(*waiting)]

    def _until_restart(self) -> float | None:
        due = [member.restart_at for member in self._members.values() if member.restart_at is not None]
        return max(0.0, min(due) - monotonic()) if due else None

    def _restart_due(self) -> None:
        for member in self._members.values():
            if member.restart_at is not None and member.restart_at <= monotonic():
                self._launch(member)

    def _launch(self, member: Member) -> None:
        if member.hosted is not None:  # somebody else started it meanwhile
            return
        member.starting()
        member.hosted = self._host.launch(member.spec)
        self._selector.register(member.hosted.channel, selectors.EVENT_READ, member)

    def _stop(self, member: Member) -> Hosted | None:
        member.unwanted()
        if member.hosted is not None:
            member.hosted.channel.send(StopPeer())
        return member.hosted

    def _kill(self, member: Member) -> None:
        member.unwanted()
        if member.hosted is not None:
            member.hosted.kill()

    def _hear_safely(self, member: Member) -> None:
        """A peer that says what cannot be understood is killed; the others still need this thread."""
        try:
            self._hear(member)
        except Exception as error:
            member.last_error = PeerFailed(
                f"{member.spec.config.server_id} was killed: {error}", why="a control packet"
            )
            if member.hosted is not None:
                member.hosted.kill()

    def _hear(self, member: Member) -> None:
        """Something on a peer's control channel; its end is the peer's end."""
        if member.hosted is None:
            return
        received = member.hosted.channel.receive()
        if received is None:
            self._gone(member)
            return
        match received[0]:
            case PeerReady(process_id=process_id, last_index=last_index):
                member.ready(process_id, last_index)
                self._connect(member)
            case PeerEnded(error=error) if error:
                member.error = member.last_error = error_from_json(error)
            case _:
                pass

    def _gone(self, member: Member) -> None:
        hosted, member.hosted = member.hosted, None
        assert hosted is not None
        self._selector.unregister(hosted.channel)
        hosted.channel.close()
        member.ended(hosted.join())

    # --- links --------------------------------------------------------------------------------------------------------

    def _connect(self, member: Member) -> None:
        for other in self._members.values():
            if other is not member and other.state is PeerState.UP:
                link_peers(_end_of(member), _end_of(other), self._peer_link)
        for client_id, client in self._clients.items():
            link_client(_end_of(member), client_id, client)

    def _add_client(self, client: LinkTaker) -> int:
        client_id = self._next_client_id
        self._next_client_id += 1
        self._clients[client_id] = client
        for member in self._members.values():
            if member.state is PeerState.UP:
                link_client(_end_of(member), client_id, client)
        return client_id


def _end_of(member: Member) -> tuple[ServerId, ControlChannel]:
    """Where the peer takes its links."""
    assert member.hosted is not None
    return member.spec.config.server_id, member.hosted.channel


def _settle(condition: Callable[[], bool], answer: Future[None]) -> bool:
    if not answer.done() and condition():
        answer.set_result(None)
    return answer.done()
