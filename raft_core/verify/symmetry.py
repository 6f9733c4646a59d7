"""Servers have no characters: two situations that differ by an exchange of names are one (symmetry reduction).

A state is looked up under the smallest hash that any renaming gives it.  Renamed situations, messages and histories are
numbered like all others and looked up, not computed, the second time.  Most situations can be put in order without
their names (by what any renaming could make of them), and then one renaming is enough.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby, permutations, product
from typing import TypeAlias

from msgspec.structs import replace

from raft_core.messages import AppendEntries, Message, RequestPreVote, RequestVote
from raft_core.state import Candidate, Follower, Leader, PreCandidate, Role, Server
from raft_core.types import ServerId
from raft_core.verify.local_states import Atlas, LocalNumber, LocalState, Packet, PacketNumber

Renaming: TypeAlias = dict[ServerId | None, ServerId | None]


def renamed_server(server: Server, names: Renaming) -> Server:
    """The same server if all had other names."""
    return replace(
        server,
        server_id=names[server.server_id],
        voted_for=names[server.voted_for],
        role=_renamed_role(server.role, names),
    )


def _renamed_role(role: Role, names: Renaming) -> Role:
    match role:
        case Follower():
            return replace(role, leader_id=names[role.leader_id])
        case PreCandidate() | Candidate():
            granted, refused = (frozenset(names[name] for name in side) for side in (role.granted, role.refused))
            return replace(role, granted=granted, refused=refused)
        case Leader():
            followers = [replace(progress, server_id=names[progress.server_id]) for progress in role.followers]
            return replace(role, followers=tuple(sorted(followers, key=lambda progress: progress.server_id)))


def renamed_message(message: Message, names: Renaming) -> Message:
    """The same message if all had other names."""
    match message:
        case RequestVote() | RequestPreVote():
            return replace(message, candidate_id=names[message.candidate_id])
        case AppendEntries():
            return replace(message, leader_id=names[message.leader_id])
        case _:
            return message


class Symmetry:
    """Renamings of everything that has a number."""

    def __init__(self, atlas: Atlas) -> None:
        self._atlas = atlas
        names = atlas.names
        self._orders = list(permutations(range(len(names))))
        self._renamings: list[Renaming] = [
            {None: None} | {name: names[place] for name, place in zip(names, order, strict=True)}
            for order in self._orders
        ]
        self._numbers = {order: number for number, order in enumerate(self._orders)}
        self._locals: list[dict[LocalNumber, LocalNumber]] = [{} for _ in self._orders]
        self._packets: list[dict[PacketNumber, PacketNumber]] = [{} for _ in self._orders]
        self._histories: list[dict[tuple[int, ...], tuple[int, ...]]] = [{} for _ in self._orders]
        self._shapes: dict[LocalNumber, int] = {}
        self._candidates: dict[tuple[int, ...], Sequence[int]] = {}

    def key(
        self,
        locals_: tuple[LocalNumber, ...],
        packets: frozenset[PacketNumber],
        leaders: tuple[int, ...],
        rest: object,
    ) -> int:
        """A number that equal states share, and those that are equal but for the names of servers.

        `leaders` are places of servers in the list of names, -1 for nobody."""
        shapes = tuple([self._shape(number) for number in locals_])
        orders = self._candidates.get(shapes)
        if orders is None:
            orders = self._candidates[shapes] = self._sorting(shapes)
        if len(orders) == 1:
            return self._hash(orders[0], locals_, packets, leaders, rest)
        return min([self._hash(order, locals_, packets, leaders, rest) for order in orders])

    def _hash(
        self,
        number: int,
        locals_: tuple[LocalNumber, ...],
        packets: frozenset[PacketNumber],
        leaders: tuple[int, ...],
        rest: object,
    ) -> int:
        order, known, known_packets = self._orders[number], self._locals[number], self._packets[number]
        places: list[LocalNumber] = [0] * len(order)
        for local, place in zip(locals_, order, strict=True):
            renamed = known.get(local)
            places[place] = self._renamed_local(number, local) if renamed is None else renamed
        there = []
        for packet in packets:
            renamed = known_packets.get(packet)
            there.append(self._renamed_packet(number, packet) if renamed is None else renamed)
        led = tuple([place if place < 0 else order[place] for place in leaders])
        return hash((tuple(places), frozenset(there), led, rest))

    def _renamed_local(self, number: int, local: LocalNumber) -> LocalNumber:
        state, names = self._atlas.locals[local], self._renamings[number]
        renamed = LocalState(
            renamed_server(state.server, names), state.current_term, names[state.voted_for], state.entries
        )
        self._locals[number][local] = found = self._atlas.local(renamed)
        return found

    def _renamed_packet(self, number: int, packet: PacketNumber) -> PacketNumber:
        names = self._renamings[number]
        sender, to, message = self._atlas.packets[packet]
        renamed = Packet(names[sender], names[to], renamed_message(message, names))  # type: ignore[arg-type]
        self._packets[number][packet] = found = self._atlas.packet(renamed)
        return found

    def _shape(self, local: LocalNumber) -> int:
        """The smallest number that any renaming gives this situation: the same for all that differ by names alone."""
        shape = self._shapes.get(local)
        if shape is None:
            shape = min(self._renamed_local(number, local) for number in range(len(self._orders)))
            self._shapes[local] = shape
        return shape

    def _sorting(self, shapes: tuple[int, ...]) -> list[int]:
        """The renamings that put servers of these shapes in order; several, if some are alike."""
        ranked = sorted(range(len(shapes)), key=lambda place: shapes[place])
        groups = [list(group) for _, group in groupby(ranked, key=lambda place: shapes[place])]
        found = []
        for arrangement in product(*(permutations(group) for group in groups)):
            order = [0] * len(shapes)
            for new_place, old_place in enumerate(_flat(arrangement)):
                order[old_place] = new_place
            found.append(self._numbers[tuple(order)])
        return found


def _flat(groups: Iterable[Iterable[int]]) -> list[int]:
    return [place for group in groups for place in group]
