"""The nouns of Figure 2: terms, indices, server ids, log entries and the settings of a server.

Everything here is an immutable value.  Time appears only as *durations* in whole milliseconds (settings), never as a
reading of a clock: the core is told that a deadline passed, it does not look (paper 5.2, thesis 9.3).

Why `msgspec.Struct(frozen=True)` and not a dataclass: creating one costs about a tenth, replacing a field about a
thirtieth, and the RPC messages built from them are their own wire format.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, TypeAlias

from msgspec import Meta, Struct

ServerId: TypeAlias = str
"""Name of a server, unique in its cluster and never used again for another disk (thesis 3.8)."""

Term: TypeAlias = Annotated[int, Meta(ge=0)]
"""Logical clock of Raft, counted from 0; 0 is "before the first election" (paper 5.1)."""

LogIndex: TypeAlias = Annotated[int, Meta(ge=0)]
"""Position in the log, counted from 1; index 0 stands for the empty log and has term 0 (Figure 2)."""

Round: TypeAlias = Annotated[int, Meta(ge=0)]
"""Number of a leader's round of "am I still the leader?", counted from 1 in each term (thesis 6.4)."""


class EntryKind(IntEnum):
    """What an entry is for."""

    COMMAND = 0
    """A command of the state machine: opaque bytes."""
    NO_OP = 1
    """The empty entry with which every leader opens its term (thesis 6.4, step 1)."""
    CONFIGURATION = 2
    """The members of the cluster from here on (paper 6); the core reads it, the state machine does not."""


class Entry(Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True):
    """One log entry (Figure 2, State: "each entry contains command for state machine, and term").

    The index is not stored: it is the entry's position.  `command` is opaque here; only the state machine decodes it.
    """

    term: Term
    command: bytes = b""
    kind: EntryKind = EntryKind.COMMAND


class Settings(Struct, frozen=True, kw_only=True):
    """Durations and bounds of one server.  Durations are whole milliseconds, sizes are bytes."""

    election_timeout: int = 300
    """Lower end T of the randomised election timeout, drawn from [T, 2T) (paper 5.2, 9.3)."""
    heartbeat_interval: int = 50
    """A leader that has nothing to say speaks this often; well below `election_timeout` (paper 5.2, 5.6)."""
    max_in_flight: int = 64
    """AppendEntries messages to one follower that may be unanswered at a time (pipelining, thesis 10.2.1)."""
    max_entries_per_message: int = 4096
    """Entries in one AppendEntries at most."""
    max_bytes_per_message: int = 1 << 20
    """Bytes of commands in one AppendEntries at most; a single larger entry still travels, alone."""
    max_uncommitted_entries: int = 65_536
    """Entries a leader accepts beyond its commit index before it refuses more (back-pressure)."""
    max_uncommitted_bytes: int = 64 << 20
    """Bytes of commands a leader accepts beyond its commit index before it refuses more."""
    max_unapplied_entries: int = 65_536
    """Committed entries the state machine may lag behind before a leader refuses more (back-pressure)."""
    max_promotion_lag: int = 4096
    """Entries a server may lack when it becomes a voter; a server that is no learner yet lacks all (thesis 4.2.1)."""
    snapshot_entries: int = 100_000
    """A server takes a snapshot when it has applied so many entries since the last one; 0: never by itself (paper 7).
    It waits longer if the last snapshot was larger than what was applied since; servers with a large state take turns,
    after half as many more or fewer."""
    snapshot_bytes: int = 64 << 20
    """The same in bytes of commands, whichever comes first."""
    snapshot_chunk_bytes: int = 256 << 10
    """Bytes of a snapshot in one InstallSnapshot (paper 7)."""
    trailing_entries: int = 1024
    """Entries kept in the log behind a snapshot, so that a follower a little late needs no snapshot."""
    pre_vote: bool = True
    """Ask before raising the term (thesis 9.6)."""
    lease_reads: bool = False
    """Let a leader that a majority heard within 0.9 election timeouts answer reads of mode `lease` by itself (thesis
    6.4.1).  A setting of the whole cluster; it needs `check_quorum`, and clocks that drift less than a tenth."""
    check_quorum: bool = True
    """A leader that hears from no majority for an election timeout steps down (thesis 6.2)."""
