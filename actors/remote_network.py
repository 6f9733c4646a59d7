"""The network of a cluster that another program runs: what can be done to it, as packets of the local service.

`RemoteNetwork` has the methods of `Network`, for there is one way to make trouble, whoever runs the peers.  Each method
that changes something is one packet, and in the service `carry_out` calls the method of that name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias, assert_never

from msgspec import Struct

from actors.network import Faults, LinkCounts, LinkFaults, Network, NetworkState, refuse_unknown
from raft_core import ServerId


class Cut(Struct, frozen=True, array_like=True, tag=1, forbid_unknown_fields=True):
    """`Network.cut`."""

    sender: ServerId | None
    receiver: ServerId | None


class Mend(Struct, frozen=True, array_like=True, tag=2, forbid_unknown_fields=True):
    """`Network.mend`."""

    sender: ServerId | None
    receiver: ServerId | None


class Disconnect(Struct, frozen=True, array_like=True, tag=3, forbid_unknown_fields=True):
    """`Network.disconnect`."""

    server_id: ServerId


class Connect(Struct, frozen=True, array_like=True, tag=4, forbid_unknown_fields=True):
    """`Network.connect`."""

    server_id: ServerId


class Partition(Struct, frozen=True, array_like=True, tag=5, forbid_unknown_fields=True):
    """`Network.partition`."""

    groups: tuple[tuple[ServerId, ...], ...]


class SetFaults(Struct, frozen=True, array_like=True, tag=6, forbid_unknown_fields=True):
    """`Network.set`."""

    sender: ServerId | None
    receiver: ServerId | None
    requests: Faults | None
    results: Faults | None


class Unreliable(Struct, frozen=True, array_like=True, tag=7, forbid_unknown_fields=True):
    """`Network.unreliable`."""

    longest_delay: float


class ReorderResults(Struct, frozen=True, array_like=True, tag=8, forbid_unknown_fields=True):
    """`Network.reorder_results`."""

    hold_back_delay: tuple[float, float]


class Reliable(Struct, frozen=True, array_like=True, tag=9, forbid_unknown_fields=True):
    """`Network.reliable`."""


class Heal(Struct, frozen=True, array_like=True, tag=10, forbid_unknown_fields=True):
    """`Network.heal`."""


Change: TypeAlias = (
    Cut | Mend | Disconnect | Connect | Partition | SetFaults | Unreliable | ReorderResults | Reliable | Heal
)


def carry_out(change: Change, network: Network) -> None:
    """Do to `network` what another program asked for; raises what the network's method raises."""
    match change:
        case Cut(sender=sender, receiver=receiver):
            network.cut(sender, receiver)
        case Mend(sender=sender, receiver=receiver):
            network.mend(sender, receiver)
        case Disconnect(server_id=server_id):
            network.disconnect(server_id)
        case Connect(server_id=server_id):
            network.connect(server_id)
        case Partition(groups=groups):
            network.partition(*groups)
        case SetFaults(sender=sender, receiver=receiver, requests=requests, results=results):
            network.set(sender=sender, receiver=receiver, requests=requests, results=results)
        case Unreliable(longest_delay=longest_delay):
            network.unreliable(longest_delay=longest_delay)
        case ReorderResults(hold_back_delay=hold_back_delay):
            network.reorder_results(hold_back_delay=hold_back_delay)
        case Reliable():
            network.reliable()
        case Heal():
            network.heal()
        case _:
            assert_never(change)


class RemoteNetwork:
    """What may happen to messages between the peers, as seen and changed from outside the program that runs them."""

    def __init__(self, ask: Callable[[], NetworkState], change: Callable[[Change], None]) -> None:
        self._ask = ask
        self._change = change

    @property
    def names(self) -> tuple[ServerId, ...]:
        """Of all servers."""
        return self.state().names

    def set(
        self,
        *,
        sender: ServerId | None = None,
        receiver: ServerId | None = None,
        requests: Faults | None = None,
        results: Faults | None = None,
    ) -> None:
        """From now on, links from `sender` to `receiver` (None: any) have these faults; None: as they are."""
        self._change(SetFaults(sender, receiver, requests, results))

    def cut(self, sender: ServerId | None = None, receiver: ServerId | None = None) -> None:
        """Let nothing through from `sender` to `receiver` (None: any).  The other direction still works."""
        self._change(Cut(sender, receiver))

    def mend(self, sender: ServerId | None = None, receiver: ServerId | None = None) -> None:
        """Undo `cut`."""
        self._change(Mend(sender, receiver))

    def disconnect(self, server_id: ServerId) -> None:
        """Nothing gets through to this server or from it; it keeps running."""
        self._change(Disconnect(server_id))

    def connect(self, server_id: ServerId) -> None:
        """Undo `disconnect`; a link works if both of its servers are connected."""
        self._change(Connect(server_id))

    def is_connected(self, server_id: ServerId) -> bool:
        """It was not disconnected."""
        state = self.state()
        return refuse_unknown(server_id, state.names) not in state.disconnected

    def partition(self, *groups: Iterable[ServerId]) -> None:
        """Only links inside a group work; who is in no group is alone.  What was cut before is forgotten."""
        self._change(Partition(tuple(tuple(group) for group in groups)))

    def reliable(self) -> None:
        """No message is lost, late or doubled; what is cut stays cut."""
        self._change(Reliable())

    def unreliable(self, *, longest_delay: float = 0.026) -> None:
        """The lab's unreliable network: requests up to 26 ms late, 10 % of them lost, and 10 % of the results."""
        self._change(Unreliable(longest_delay))

    def reorder_results(self, *, hold_back_delay: tuple[float, float] = (0.2, 2.2)) -> None:
        """The lab's long reordering: two of three results are held back, so that those of different terms overtake."""
        self._change(ReorderResults(hold_back_delay))

    def heal(self) -> None:
        """Everything works again."""
        self._change(Heal())

    def faults(self, sender: ServerId, receiver: ServerId) -> LinkFaults:
        """Of one link; it is cut as well if one of its servers is disconnected."""
        return self.state().faults(sender, receiver)

    def state(self) -> NetworkState:
        """Every link as it is now, with its counts since the beginning."""
        return self._ask()

    def counts(self) -> LinkCounts:
        """Of all links together, since the beginning."""
        return self.state().total()

    def link_counts(self) -> dict[tuple[ServerId, ServerId], LinkCounts]:
        """Of each link, (sender, receiver)."""
        return {(link.sender, link.receiver): link.counts for link in self.state().links}
