"""What clients and servers of a simulation have to say to one another, and when.

A client asks the server it believes to lead, asks again when it heard nothing or was refused, and sometimes gives up.
One of the four only reads, and asks anybody: so somebody asks those who do not know yet that they lead no more.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from random import Random

from raft_core.types import ServerId
from raft_core.verify.adversary import Adversary
from raft_core.verify.simulated_clients import Client, Request
from raft_core.verify.simulated_server import SimulatedServer

MILLISECOND = 1_000
RETRY = 400
"""Milliseconds after which a client asks again."""
IMPATIENT = (3, 4)
"""Clients that wait an eighth of that the first time, and twice as long each time after: so somebody writes to a new
leader before the old one has noticed, and nobody floods a slow cluster with what it was asked before."""


class Conversations(ABC):
    """The half of a simulation that has to do with clients."""

    random: Random
    adversary: Adversary
    now: int
    servers: dict[ServerId, SimulatedServer]

    def _begin_clients(self, target: ServerId) -> None:
        self.clients = [Client(number, self.random, only_reads=number == 4) for number in range(1, 5)]
        self._targets = dict.fromkeys(range(1, 5), target)
        self._at_peace = False

    @property
    def names(self) -> tuple[ServerId, ...]:
        """Of all servers."""
        return tuple(self.servers)

    @abstractmethod
    def after(self, delay: int, action: Callable[[], None]) -> None:
        """Do `action` in `delay` microseconds."""

    def duration(self, longest: float) -> int:
        """A random time of at most `longest` milliseconds; short ones are the most likely."""
        return 1 + int(self.random.random() ** 2 * longest * MILLISECOND)

    def _think(self, client: Client) -> None:
        self.after(self.duration(self.adversary.think_takes), lambda: self._ask(client))

    def _ask(self, client: Client) -> None:
        if client.only_reads:
            self._targets[client.number] = self.random.choice(self.names)
        if not self._at_peace:
            self._say(client.ask(self.now))

    def _say(self, request: Request) -> None:
        """Send a request, and look after it later."""
        server = self.servers[self._targets[request.client]]
        self.after(self.duration(5), lambda: server.ask(request))
        patience = min(RETRY, RETRY // 8 << request.attempt) if request.client in IMPATIENT else RETRY
        self.after(patience * MILLISECOND, lambda: self._heard_nothing(request))

    def _heard_nothing(self, request: Request) -> None:
        self._try_again(request, self.random.choice(self.names))

    def refuse(self, request: Request, leader_id: ServerId | None) -> None:
        """A server could not help."""
        target = leader_id or self.random.choice(self.names)
        if self.random.random() < 0.1:
            target = self.random.choice(self.names)  # who left may name one another as leaders
        self.after(self.duration(20), lambda: self._try_again(request, target))

    def _try_again(self, request: Request, target: ServerId) -> None:
        client = self.clients[request.client - 1]
        if client.request != request:
            return
        self._targets[client.number] = target
        if not self._at_peace and self.random.random() < 0.05:
            client.give_up()
            self._think(client)
        else:
            self._say(client.again())

    def answer(self, request: Request, results: Sequence[object]) -> None:
        """A server has the answer; it may get lost on its way."""
        if self.random.random() >= self.adversary.loss:
            self.after(self.duration(5), lambda: self._answered(request, results))

    def _answered(self, request: Request, results: Sequence[object]) -> None:
        client = self.clients[request.client - 1]
        if client.request is None or client.request.number != request.number:
            return
        client.answered(self.now, results)
        if not self._at_peace:
            self._think(client)

    def _are_answered(self) -> bool:
        return not any(client.has_work for client in self.clients)
