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

from raft_core.configuration import Configuration, Configured, Snapshot, configuration_entry, decode_configuration
from raft_core.log import Log
from raft_core.messages import AppendEntries, InstallSnapshot, Message, RequestPreVote, RequestVote, TimeoutNow
from raft_core.roles import Candidate, Follower, Leader, PreCandidate, Progress, Role
from raft_core.state import Incoming, Server
from raft_core.types import Entry, EntryKind, ServerId
from raft_core.verify.local_states import Atlas, LocalNumber, LocalState, Packet, PacketNumber
from raft_core.verify.situations import Committed

Renaming: TypeAlias = dict[ServerId | None, ServerId | None]


def renamed_server(server: Server, names: Renaming) -> Server:
    """The same server if all had other names."""
    log, snapshot, incoming = server.log, server.snapshot, server.incoming
    entries = renamed_entries(tuple(log), names)
    base = (log.last_included_index, log.last_included_term)
    return replace(
        server,
        server_id=names[server.server_id],
        voted_for=names[server.voted_for],
        role=_renamed_role(server.role, names),
        log=Log(entries, last_included_index=base[0], last_included_term=base[1]),
        configurations=tuple([_renamed_configured(known, names) for known in server.configurations]),
        snapshot=renamed_snapshot(snapshot, names),
        incoming=None if incoming is None else Incoming(_renamed(incoming.snapshot, names), incoming.offset),
    )


def renamed_entries(entries: tuple[Entry, ...], names: Renaming) -> tuple[Entry, ...]:
    """The same entries if all had other names: those that name members are others."""
    if not any(entry.kind is EntryKind.CONFIGURATION for entry in entries):
        return entries
    return tuple([_renamed_entry(entry, names) for entry in entries])


def _renamed_entry(entry: Entry, names: Renaming) -> Entry:
    members = decode_configuration(entry.command) if entry.kind is EntryKind.CONFIGURATION else None
    return entry if members is None else configuration_entry(entry.term, _renamed_members(members, names))


def _renamed_members(members: Configuration, names: Renaming) -> Configuration:
    voters, learners, old = (
        tuple(sorted(str(names[name]) for name in side))
        for side in (members.voters, members.learners, members.old_voters)
    )
    return Configuration(voters, learners, old)


def _renamed_configured(known: Configured, names: Renaming) -> Configured:
    return Configured(known.index, _renamed_members(known.configuration, names))


def _renamed(snapshot: Snapshot, names: Renaming) -> Snapshot:
    return replace(snapshot, configured=_renamed_configured(snapshot.configured, names))


def renamed_snapshot(snapshot: Snapshot | None, names: Renaming) -> Snapshot | None:
    """The same snapshot, if there is one, if all had other names."""
    return None if snapshot is None else _renamed(snapshot, names)


def _renamed_role(role: Role, names: Renaming) -> Role:
    match role:
        case Follower():
            return replace(role, leader_id=names[role.leader_id])
        case PreCandidate() | Candidate():
            granted, refused = (frozenset(names[name] for name in side) for side in (role.granted, role.refused))
            return replace(role, granted=granted, refused=refused)
        case Leader():
            followers = [_renamed_progress(progress, names) for progress in role.followers]
            followers.sort(key=lambda progress: progress.server_id)
            transfer = role.transfer
            if transfer is not None:
                transfer = replace(transfer, target=names[transfer.target])
            return replace(role, followers=tuple(followers), transfer=transfer)


def _renamed_progress(progress: Progress, names: Renaming) -> Progress:
    sending = progress.sending
    if sending is not None:
        sending = replace(sending, snapshot=_renamed(sending.snapshot, names))
    return replace(progress, server_id=names[progress.server_id], sending=sending)


def renamed_message(message: Message, names: Renaming) -> Message:
    """The same message if all had other names."""
    match message:
        case RequestVote() | RequestPreVote():
            return replace(message, candidate_id=names[message.candidate_id])
        case AppendEntries():
            entries = renamed_entries(message.entries, names)
            return replace(message, leader_id=names[message.leader_id], entries=entries)
        case InstallSnapshot():
            return replace(message, leader_id=names[message.leader_id], snapshot=_renamed(message.snapshot, names))
        case TimeoutNow():
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
        self._histories: list[dict[Committed, Committed]] = [{} for _ in self._orders]
        self._shapes: dict[LocalNumber, int] = {}
        self._candidates: dict[tuple[int, ...], Sequence[int]] = {}

    def key(
        self,
        locals_: tuple[LocalNumber, ...],
        packets: frozenset[PacketNumber],
        leaders: tuple[int, ...],
        committed: Committed,
        rest: object,
    ) -> int:
        """A number that equal states share, and those that are equal but for the names of servers.

        `leaders` are places of servers in the list of names, -1 for nobody."""
        shapes = tuple([self._shape(number) for number in locals_])
        orders = self._candidates.get(shapes)
        if orders is None:
            orders = self._candidates[shapes] = self._sorting(shapes)
        if len(orders) == 1:
            return self._hash(orders[0], locals_, packets, leaders, committed, rest)
        return min([self._hash(order, locals_, packets, leaders, committed, rest) for order in orders])

    def _hash(
        self,
        number: int,
        locals_: tuple[LocalNumber, ...],
        packets: frozenset[PacketNumber],
        leaders: tuple[int, ...],
        committed: Committed,
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
        history = self._histories[number].get(committed)
        if history is None:
            history = self._renamed_history(number, committed)
        return hash((tuple(places), frozenset(there), led, history, rest))

    def _renamed_history(self, number: int, committed: Committed) -> Committed:
        terms = [term for term, _ in committed]
        entries = renamed_entries(tuple([entry for _, entry in committed]), self._renamings[number])
        found = self._histories[number][committed] = tuple(zip(terms, entries, strict=True))
        return found

    def _renamed_local(self, number: int, local: LocalNumber) -> LocalNumber:
        state, names = self._atlas.locals[local], self._renamings[number]
        renamed = LocalState(
            renamed_server(state.server, names),
            state.current_term,
            names[state.voted_for],
            renamed_entries(state.entries, names),
            tuple(sorted(str(names[name]) for name in state.founders)),
            state.last_included,
            renamed_snapshot(state.snapshot, names),
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
