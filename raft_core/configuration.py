"""Who belongs to the cluster: configurations (paper 6, thesis 4).

A configuration names the voters and the learners.  During a change of more than one voter it also names the voters it
comes from: *joint consensus*, where every decision needs a majority of the old **and** of the new voters (paper 6).

A configuration is in force on a server from the moment its entry is in the log, committed or not; when the entry is
truncated, the one before it is in force again (thesis 4.1).  So a server keeps those that may still come back:
`Configured` pairs, the oldest of which is committed.

Learners receive the log and never count (thesis 4.2.1).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

import msgspec
from msgspec import Struct

from raft_core.types import Entry, EntryKind, LogIndex, ServerId

DEFAULT_PRIORITY: Final = 1


class Configuration(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The members of a cluster.  Make one with `configuration`, which sorts the names: equal members, equal bytes."""

    voters: tuple[ServerId, ...]
    """C_new during a joint phase."""
    learners: tuple[ServerId, ...] = ()
    old_voters: tuple[ServerId, ...] = ()
    """C_old during a joint phase (paper 6); empty otherwise."""
    priorities: tuple[tuple[ServerId, int], ...] = ()
    """Who shall lead rather than others (`raft_core.priorities`); without those that have `DEFAULT_PRIORITY`."""

    @property
    def is_joint(self) -> bool:
        """Do decisions need two majorities?"""
        return bool(self.old_voters)

    @property
    def servers(self) -> tuple[ServerId, ...]:
        """Everybody who receives the log, sorted."""
        return _servers(self)

    def has_voter(self, server_id: ServerId) -> bool:
        """May this server campaign, and does its vote count in one of the majorities?"""
        return server_id in self.voters or server_id in self.old_voters

    def priority(self, server_id: ServerId) -> int:
        """Of two voters, the one with the higher priority shall lead."""
        for name, priority in self.priorities:
            if name == server_id:
                return priority
        return DEFAULT_PRIORITY

    def after_joint(self) -> Configuration:
        """C_new alone: how a joint phase ends (paper 6)."""
        return Configuration(self.voters, self.learners, priorities=self.priorities)


@lru_cache(maxsize=64)
def _servers(configuration: Configuration) -> tuple[ServerId, ...]:
    return tuple(sorted({*configuration.voters, *configuration.learners, *configuration.old_voters}))


def configuration(
    voters: Iterable[ServerId], learners: Iterable[ServerId] = (), priorities: Iterable[tuple[ServerId, int]] = ()
) -> Configuration:
    """A configuration that is not joint, its names sorted; priorities of others than its members are left out."""
    one, other = tuple(sorted(set(voters))), tuple(sorted(set(learners)))
    ranked = {name: number for name, number in priorities if number != DEFAULT_PRIORITY and name in (*one, *other)}
    return Configuration(one, other, (), tuple(sorted(ranked.items())))


class Configured(Struct, frozen=True, array_like=True):
    """A configuration and the index of its entry; 0 for the one the cluster began with."""

    index: LogIndex
    configuration: Configuration


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(Configuration)
_CONFIGURATION: Final = EntryKind.CONFIGURATION
"""Every entry is compared with it, and a member of an enumeration takes long to look up."""


def configuration_entry(term: int, members: Configuration) -> Entry:
    """The log entry that brings `members` into force."""
    return Entry(term, _ENCODER.encode(members), EntryKind.CONFIGURATION)


def decode_configuration(command: bytes) -> Configuration | None:
    """The configuration in an entry, or None if these bytes are none that could be in force."""
    try:
        decoded = _DECODER.decode(command)
    except (msgspec.DecodeError, msgspec.ValidationError):
        return None
    return decoded if decoded.voters else None


def configured(entries: Iterable[Entry], first_index: LogIndex) -> tuple[Configured, ...] | None:
    """The configurations among `entries`, the first of which has `first_index`; None if one cannot be read."""
    found: list[Configured] = []
    for index, entry in enumerate(entries, first_index):
        if entry.kind is _CONFIGURATION:
            members = decode_configuration(entry.command)
            if members is None:
                return None
            found.append(Configured(index, members))
    return tuple(found)


class Snapshot(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What a snapshot is, without its content (paper 7, Figure 13).

    Two snapshots with the same `checksum` have the same content, so one begun from one leader can be finished from
    another.
    """

    last_included_index: LogIndex
    """The snapshot replaces all entries up to and including this one."""
    last_included_term: int
    """Term of that entry."""
    configured: Configured
    """The latest configuration at that index, and the index of its entry (thesis 5.1)."""
    size: int
    """Bytes of the content."""
    checksum: str
    """SHA-256 of the content, hexadecimal."""
