"""What a golden script prints: messages, effects and states as short lines for people.

The words are the paper's.  One notation is added: `3@2` is the entry at index 3, which has term 2 ("3 of term 2"), and
`0@0` the place before the first entry.  Every function is pure: equal values give equal text, on every machine.

What stays unsaid: `RoleChanged` (the line of changes says it) and, unless asked for, the timers.

Rejected: `repr` of the structures (complete, but nobody reads it twice), and a table per step (wide, and a diff of two
tables shows little).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never

from raft_core.configuration import Configuration, Snapshot, decode_configuration
from raft_core.effects import (
    AppendToLog,
    ApplyCommitted,
    CompactLog,
    ConfigurationAccepted,
    ConfigurationChanged,
    ConfigurationCommitted,
    ConfigurationRefused,
    Effect,
    Ignored,
    PersistTermAndVote,
    ProposalAccepted,
    ProposalRefused,
    ReadReady,
    ReadRefused,
    ReceiveSnapshotChunk,
    ResetElectionTimer,
    ResetHeartbeatTimer,
    RestoreSnapshot,
    RoleChanged,
    RoundConfirmed,
    RoundSent,
    Send,
    SendSnapshotChunk,
    StopHeartbeatTimer,
    TransferEnded,
    TransferRefused,
)
from raft_core.messages import (
    AppendEntries,
    AppendEntriesResult,
    InstallSnapshot,
    InstallSnapshotResult,
    Message,
    RequestPreVote,
    RequestPreVoteResult,
    RequestReadIndex,
    RequestReadIndexResult,
    RequestVote,
    RequestVoteResult,
    TimeoutNow,
)
from raft_core.roles import Progress
from raft_core.state import Server
from raft_core.types import Entry, EntryKind, LogIndex, ServerId


def entry_words(index: LogIndex, entry: Entry) -> str:
    """`2@1 x`: index, term, and what the entry holds."""
    match entry.kind:
        case EntryKind.NO_OP:
            content = "no-op"
        case EntryKind.CONFIGURATION:
            members = decode_configuration(entry.command)
            content = members_words(members) if members else "members that cannot be read"
        case EntryKind.COMMAND:
            content = entry.command.decode(errors="backslashreplace")
        case _:
            assert_never(entry.kind)
    return f"{index}@{entry.term} {content}".rstrip()


def members_words(members: Configuration) -> str:
    """`[n1 n2 n3]`; joint `[n1 n2 | n2 n3]`, old voters first; learners behind a plus sign, `[n1 + n2]`; priorities
    behind a colon, `[n1:5 n2]`."""
    ranked = dict(members.priorities)
    voters, learners = (
        " ".join(f"{name}:{ranked[name]}" if name in ranked else name for name in names)
        for names in (members.voters, members.learners)
    )
    old = f"{' '.join(members.old_voters)} | " if members.is_joint else ""
    return f"[{old}{voters}{f' + {learners}' if learners else ''}]"


def snapshot_words(snapshot: Snapshot) -> str:
    """`snapshot 5@2 [n1 n2 n3]`: what it covers, and the members it names."""
    where = f"{snapshot.last_included_index}@{snapshot.last_included_term}"
    return f"snapshot {where} {members_words(snapshot.configured.configuration)}"


def entries_words(first: LogIndex, entries: Iterable[Entry]) -> str:
    """Entries in a row, the first at index `first`."""
    return ", ".join(entry_words(index, entry) for index, entry in enumerate(entries, start=first))


def message_words(message: Message) -> str:
    """A message in one line."""
    name = type(message).__name__
    match message:
        case RequestVote() | RequestPreVote():
            why = " for a transfer" if isinstance(message, RequestVote) and message.leadership_transfer else ""
            return f"{name} term={message.term} last={message.last_log_index}@{message.last_log_term}{why}"
        case RequestVoteResult():
            return f"{name} term={message.term} {_granted(message.vote_granted)}"
        case RequestPreVoteResult():
            return f"{name} term={message.term} for={message.requested_term} {_granted(message.vote_granted)}"
        case AppendEntries():
            entries = entries_words(message.prev_log_index + 1, message.entries)
            after = f"after={message.prev_log_index}@{message.prev_log_term}"
            return f"{name} term={message.term} {after} [{entries}] commit={message.leader_commit}{_round(message)}"
        case AppendEntriesResult():
            return f"{name} term={message.term} {_verdict(message)}{_round(message)}"
        case InstallSnapshot():
            part = f"bytes {message.offset} to {message.offset + len(message.data)} of {message.snapshot.size}"
            return f"{name} term={message.term} {snapshot_words(message.snapshot)}, {part}"
        case InstallSnapshotResult():
            verdict = "installed" if message.is_installed else f"next={message.next_offset}"
            return f"{name} term={message.term} of={message.last_included_index} {verdict}"
        case RequestReadIndex():
            return f"{name} term={message.term} {_reads(message.read_ids)}"
        case RequestReadIndexResult():
            return f"{name} term={message.term} {_reads(message.read_ids)} at {message.read_index}"
        case TimeoutNow():
            return f"{name} term={message.term}"
        case _:
            assert_never(message)


def _granted(vote_granted: bool) -> str:
    return "granted" if vote_granted else "refused"


def _round(message: AppendEntries | AppendEntriesResult) -> str:
    return f" round={message.round}" if message.round else ""


def _verdict(result: AppendEntriesResult) -> str:
    if result.success:
        return f"match={result.match_index}"
    if not result.conflict_index:
        return f"refused after={result.prev_log_index}"
    return f"refused after={result.prev_log_index} conflict={result.conflict_index}@{result.conflict_term}"


def effect_words(effect: Effect, *, timers: bool) -> str | None:
    """What the server wants done, in one line; None for what is said elsewhere or was not asked for."""
    match effect:
        case PersistTermAndVote():
            return f"persists term={effect.current_term} vote={name_words(effect.voted_for)}"
        case AppendToLog():
            entries = entries_words(effect.prev_log_index + 1, effect.entries)
            return f"persists log after {effect.prev_log_index}: {entries}"
        case Send():
            return f"sends {effect.to}: {message_words(effect.message)}"
        case ApplyCommitted():
            return f"applies {entries_words(effect.first_index, effect.entries)}"
        case CompactLog() | ReceiveSnapshotChunk() | SendSnapshotChunk() | RestoreSnapshot():
            return _snapshot_effect_words(effect)
        case ResetElectionTimer() | ResetHeartbeatTimer() | StopHeartbeatTimer():
            return _timer_words(effect) if timers else None
        case RoleChanged():
            return None
        case RoundSent():
            return f"notes when round {effect.round} is sent"
        case RoundConfirmed():
            return f"round {effect.round} is confirmed"
        case Ignored():
            return f"ignores it: {effect.reason}"
        case ProposalAccepted() | ProposalRefused() | ReadReady() | ReadRefused():
            return _answer_words(effect)
        case ConfigurationAccepted() | ConfigurationRefused() | TransferRefused() | TransferEnded():
            return _administrative_words(effect)
        case ConfigurationChanged():
            return f"members: {members_words(effect.configuration)}"
        case ConfigurationCommitted():
            return f"members for good: {members_words(effect.configuration)}"
        case _:
            assert_never(effect)


def _snapshot_effect_words(effect: CompactLog | ReceiveSnapshotChunk | SendSnapshotChunk | RestoreSnapshot) -> str:
    match effect:
        case CompactLog():
            where = f"{effect.last_included_index}@{effect.last_included_term}"
            return f"{'discards the log; it begins' if effect.discards_all else 'cuts the log'} behind {where}"
        case ReceiveSnapshotChunk():
            return f"writes bytes {effect.offset} to {effect.offset + len(effect.data)} of {effect.snapshot.size}"
        case SendSnapshotChunk():
            return f"sends {effect.to}: bytes {effect.offset} to {effect.offset + effect.length} of its snapshot"
        case RestoreSnapshot():
            return f"takes its state from the {snapshot_words(effect.snapshot)}"
        case _:
            assert_never(effect)


def _administrative_words(
    effect: ConfigurationAccepted | ConfigurationRefused | TransferRefused | TransferEnded,
) -> str:
    """What an administrator hears."""
    match effect:
        case ConfigurationAccepted():
            return f"accepts c{effect.proposal_id} at {effect.index}@{effect.term}"
        case ConfigurationRefused():
            return f"refuses c{effect.proposal_id}: {effect.reason.value}{_ask_instead(effect.leader_id)}"
        case TransferRefused():
            return f"transfer t{effect.transfer_id} failed: {effect.reason.value}{_ask_instead(effect.leader_id)}"
        case TransferEnded():
            return f"transfer t{effect.transfer_id} ended: it leads no more"
        case _:
            assert_never(effect)


def _timer_words(effect: ResetElectionTimer | ResetHeartbeatTimer | StopHeartbeatTimer) -> str:
    match effect:
        case ResetElectionTimer():
            contact = f", leader contact {effect.contact_timeout} ms" if effect.contact_timeout else ""
            return f"starts timers: election {effect.timeout} ms{contact}"
        case ResetHeartbeatTimer():
            return f"starts timers: heartbeat {effect.interval} ms"
        case StopHeartbeatTimer():
            return "stops the heartbeat timer"
        case _:
            assert_never(effect)


def _answer_words(effect: ProposalAccepted | ProposalRefused | ReadReady | ReadRefused) -> str:
    """What a client hears."""
    match effect:
        case ProposalAccepted():
            where = f"{effect.first_index}@{effect.term}"
            return f"accepts p{effect.proposal_id} at {where}{_up_to(effect)}"
        case ProposalRefused():
            return f"refuses p{effect.proposal_id}: {effect.reason.value}{_ask_instead(effect.leader_id)}"
        case ReadReady():
            return f"may answer {_reads(effect.read_ids)} once {effect.read_index} is applied"
        case ReadRefused():
            return f"refuses {_reads(effect.read_ids)}: not leader{_ask_instead(effect.leader_id)}"
        case _:
            assert_never(effect)


def _ask_instead(leader_id: ServerId | None) -> str:
    return f", the leader is {leader_id}" if leader_id else ""


def _up_to(effect: ProposalAccepted) -> str:
    return f" to {effect.last_index}@{effect.term}" if effect.last_index > effect.first_index else ""


def _reads(read_ids: Iterable[int]) -> str:
    return " ".join(f"r{read_id}" for read_id in read_ids)


def name_words(server_id: ServerId | None) -> str:
    """A server's name, or `none`."""
    return server_id or "none"


def change_words(before: Server, after: Server, *, log: bool = False) -> str:
    """Role, term, vote, leader and commit index, as far as they changed; with `log` also the end of the log."""
    pairs = [
        ("", before.role_name, after.role_name),
        ("term ", str(before.current_term), str(after.current_term)),
        ("vote ", name_words(before.voted_for), name_words(after.voted_for)),
        ("leader ", _other_leader(before), _other_leader(after)),
        ("commit ", str(before.commit_index), str(after.commit_index)),
    ]
    if log:
        pairs.append(("log ", _end(before), _end(after)))
    return ", ".join(f"{what}{old} -> {new}" for what, old, new in pairs if old != new)


def _other_leader(server: Server) -> str:
    """A leader's own name would repeat what its role says."""
    return name_words(server.leader_id if server.leader_id != server.server_id else None)


def _end(server: Server) -> str:
    return f"{server.log.last_index}@{server.log.last_term}"


def state_words(server: Server) -> str:
    """The state of a server in one line."""
    words = [
        server.role_name,
        f"term {server.current_term}",
        f"vote {name_words(server.voted_for)}",
        f"leader {name_words(server.leader_id)}",
        f"log to {_end(server)}",
        f"commit {server.commit_index}",
        f"applied {server.last_applied}",
    ]
    if server.persisted_index != server.log.last_index:
        words.append(f"durable to {server.persisted_index}")
    return ", ".join(words)


def log_words(server: Server) -> str:
    """The log, with a bar behind what is known to be committed."""
    first = server.log.last_included_index + 1
    before = [f"... {first - 1}@{server.log.last_included_term}"] if first > 1 else []
    known = entries_words(first, server.log.entries(first, server.commit_index))
    committed = ", ".join([*before, known] if known else before)
    rest = entries_words(server.commit_index + 1, server.log.entries(server.commit_index + 1, server.log.last_index))
    return f"{committed} | {rest}".strip()


def progress_words(progress: Progress) -> str:
    """What a leader knows of one follower."""
    mode = "probing" if progress.is_probing else "streaming"
    if progress.sending is not None:
        mode = f"sending a {snapshot_words(progress.sending.snapshot)} from {progress.sending.offset}"
    heard = "" if progress.is_active else ", not heard from"
    flight = f", {len(progress.in_flight)} in flight" if progress.in_flight else ""
    return f"{progress.server_id}: {mode}, match {progress.match_index}, next {progress.next_index}{flight}{heard}"
