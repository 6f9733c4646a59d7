"""A space-time table: one column for each server, one row for each turn, time runs downwards.

What a person needs to follow a schedule, and no more: what happened to whom, what was sent to whom, and how role, term,
vote, log and commit index changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import assert_never

from raft_core.effects import Effect, Send, SendSnapshotChunk
from raft_core.events import (
    Applied,
    ElectionTimeout,
    Event,
    HeartbeatTimeout,
    LeaderContactExpired,
    LogPersisted,
    PeerRestarted,
    Proposed,
    ReadRequested,
    Received,
)
from raft_core.log import Log
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
from raft_core.state import Server
from raft_core.types import ServerId
from raft_core.verify.simulation import Turn

HAPPENINGS = {
    "falls": "falls",
    "starts": "comes back",
    "writes": "its disk is done",
    "applies": "its state machine goes on",
    "takes a snapshot": "takes a snapshot",
    "keeps a snapshot": "its snapshot is on disk",
    "sends a part": "reads a part of a snapshot",
    "": "falls and comes back",
}
"""What is no turn, in words."""


def space_time_table(turns: Iterable[Turn], names: Sequence[ServerId], *, width: int = 34) -> str:
    """The turns as text; each server's column is `width` characters wide."""
    lines = ["".join(["at (ms)".rjust(10), *("  " + name.ljust(width) for name in names)]).rstrip()]
    before: dict[ServerId, Server] = {}
    for turn in turns:
        cell = [*happened_words(turn), *map(_arrow, filter(_is_sent, turn.effects))]
        cell += state_words(before.get(turn.server_id), turn.after)
        before[turn.server_id] = turn.after
        place = 10 + sum(width + 2 for name in names[: names.index(turn.server_id)])
        for number, words in enumerate(cell):
            at = f"{turn.at / 1_000:.2f}".rjust(10) if number == 0 else " " * 10
            lines.append((at.ljust(place) + "  " + words)[: place + width + 2].rstrip())
    return "\n".join(lines)


def names_in(turns: Iterable[Turn], servers: int) -> list[ServerId]:
    """With whom the cluster began, and who joined later, in the order of their numbers.

    >>> names_in([], 3)
    ['n1', 'n2', 'n3']
    """
    founders = [f"n{number}" for number in range(1, servers + 1)]
    joined = {turn.server_id for turn in turns} - set(founders)
    return founders + sorted(joined, key=lambda name: (len(name), name))


def happened_words(turn: Turn) -> list[str]:
    """What happened to the server, a line each."""
    return [event_words(event) for event in turn.events] or [HAPPENINGS[turn.happening]]


def event_words(event: Event) -> str:
    """An event in a few words."""
    match event:
        case Received(sender=sender, message=message):
            return f"<- {sender} {message_words(message)}"
        case ElectionTimeout():
            return "election timeout"
        case HeartbeatTimeout():
            return "heartbeat timeout"
        case LeaderContactExpired():
            return "leader contact expired"
        case Proposed(commands=commands):
            return _counted(len(commands), "command") + " proposed"
        case ReadRequested(read_ids=numbers):
            return _counted(len(numbers), "read") + " requested"
        case LogPersisted(index=index):
            return f"on disk up to {index}"
        case Applied(index=index):
            return f"applied up to {index}"
        case PeerRestarted(server_id=peer):
            return f"new link to {peer}"
        case _:
            return " ".join([type(event).__name__, *(str(getattr(event, name)) for name in event.__struct_fields__)])


def message_words(message: Message) -> str:
    """A message in a few words."""
    match message:
        case RequestVote():
            return f"RequestVote t{message.term} last {message.last_log_index}@{message.last_log_term}"
        case RequestPreVote():
            return f"RequestPreVote t{message.term} last {message.last_log_index}@{message.last_log_term}"
        case RequestVoteResult() | RequestPreVoteResult():
            return f"{'granted' if message.vote_granted else 'refused'} t{message.term}"
        case AppendEntries():
            terms = " ".join(str(entry.term) for entry in message.entries)
            after = f"{message.prev_log_index}@{message.prev_log_term}"
            return f"Append t{message.term} after {after} [{terms}] c{message.leader_commit}"
        case AppendEntriesResult(success=True):
            return f"has {message.match_index} t{message.term}"
        case AppendEntriesResult():
            return f"lacks {message.prev_log_index} t{message.term}"
        case InstallSnapshot(snapshot=snapshot):
            return f"Snapshot t{message.term} of {snapshot.last_included_index}, from {message.offset}"
        case InstallSnapshotResult(is_installed=True):
            return f"has snapshot {message.last_included_index} t{message.term}"
        case InstallSnapshotResult():
            return f"snapshot {message.last_included_index} from {message.next_offset} t{message.term}"
        case RequestReadIndex():
            return f"ReadIndex? t{message.term}"
        case RequestReadIndexResult():
            return f"ReadIndex {message.read_index} t{message.term}"
        case TimeoutNow():
            return f"TimeoutNow t{message.term}"
        case _:
            assert_never(message)


def state_words(before: Server | None, after: Server) -> list[str]:
    """What changed of a server, a line each."""
    words = []
    if before is None or (before.role_name, before.current_term) != (after.role_name, after.current_term):
        words.append(f"= {after.role_name}, term {after.current_term}")
    if (before.voted_for if before else None) != after.voted_for:
        words.append(f"= voted for {after.voted_for or 'nobody'}")
    if after.log != (before.log if before else Log()):
        words.append(f"= log {after.log.last_index}@{after.log.last_term}")
    if (before.commit_index if before else 0) != after.commit_index:
        words.append(f"= commits {after.commit_index}")
    return words


def _is_sent(effect: Effect) -> bool:
    return isinstance(effect, Send | SendSnapshotChunk)


def _arrow(effect: Effect) -> str:
    if isinstance(effect, SendSnapshotChunk):
        return f"-> {effect.to} Snapshot t{effect.term} of {effect.snapshot.last_included_index}, from {effect.offset}"
    assert isinstance(effect, Send)
    return f"-> {effect.to} {message_words(effect.message)}"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number != 1 else ''}"
