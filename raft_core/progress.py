"""What a leader knows of one follower: where their logs agree, and what is under way (paper 5.3; thesis 10.2.1).

A follower's `Progress` is in one of two modes.  *Probing*: it is not known where the logs agree; one message is out at
a time, and every answer moves `next_index`.  *Streaming*: messages go out optimistically, up to `max_in_flight` of them
unanswered, each beginning where the last one ended.  A refusal leads back to probing; a success leads to streaming.
Whatever is lost shows up at the next heartbeat: it names the entry before `next_index`, and a follower that lacks it
refuses.  So no message needs a timer of its own.

An answer that was overtaken by a later one says less than is known, and moves nothing back.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from msgspec.structs import replace

from raft_core.messages import AppendEntriesResult
from raft_core.roles import Leader, Progress
from raft_core.state import Server
from raft_core.types import Entry, LogIndex, ServerId, Settings

CAREFUL_WINDOW = 16
"""Messages under way to a follower that was found to lack one of many: with one at a time, a network that holds most
answers back keeps it from ever catching up (the lab's `figure8_unreliable`)."""

MOST_UNANSWERED = 16_384
"""Entries under way to one follower at most.  Who was away lacks hundreds of thousands; sent all at once, as many
messages as may be unanswered would keep the leader busy for a tenth of a second, while nobody else hears of it."""


def progress_of(leader: Leader, server_id: ServerId) -> Progress | None:
    """What `leader` knows of this server; None if it replicates nothing to it."""
    for progress in leader.followers:
        if progress.server_id == server_id:
            return progress
    return None


def has_room(progress: Progress, settings: Settings) -> bool:
    """May another message with entries be under way?"""
    if progress.is_probing:
        return not progress.in_flight
    window = min(settings.max_in_flight, CAREFUL_WINDOW) if progress.careful_until else settings.max_in_flight
    unanswered = progress.next_index - 1 - progress.match_index
    return len(progress.in_flight) < window and unanswered < MOST_UNANSWERED


def entries_from(server: Server, first: LogIndex) -> tuple[Entry, ...]:
    """The next message's worth of entries: bounded in number and bytes, but never none where there is one."""
    settings = server.settings
    entries = server.log.entries(first, first + settings.max_entries_per_message - 1)
    if sum([len(entry.command) for entry in entries]) <= settings.max_bytes_per_message:
        return entries
    return entries[: _count_within(entries, settings)]


def _count_within(entries: Sequence[Entry], settings: Settings) -> int:
    """How many of the entries fit into one message together; the first one always does."""
    sizes = accumulate([len(entry.command) for entry in entries])
    return max(sum(1 for size in sizes if size <= settings.max_bytes_per_message), 1)


def note_in_flight(progress: Progress, count: int) -> Progress:
    """A message with so many entries was sent."""
    last_index = progress.next_index - 1 + count
    if not count:
        return progress
    if progress.is_probing:
        return replace(progress, in_flight=(last_index,))
    return replace(progress, next_index=last_index + 1, in_flight=(*progress.in_flight, last_index))


def advance(progress: Progress, result: AppendEntriesResult) -> Progress:
    """Success: update match_index and next_index; neither ever decreases on an overtaken answer (paper 5.3)."""
    match_index = max(progress.match_index, result.match_index)
    next_index = match_index + 1 if progress.is_probing else max(progress.next_index, match_index + 1)
    in_flight = () if progress.is_probing else tuple([last for last in progress.in_flight if last > match_index])
    careful = progress.careful_until if match_index < progress.careful_until else 0
    return replace(
        progress,
        match_index=match_index,
        next_index=next_index,
        is_probing=False,
        in_flight=in_flight,
        careful_until=careful,
    )


def back_up(server: Server, progress: Progress, result: AppendEntriesResult) -> Progress:
    """Refused: decrement next_index, a whole divergent term at a time (paper 5.3, end).

    An answer that was overtaken says nothing: it names an entry that is known to match, or not the one being probed.
    """
    refused_index = result.prev_log_index
    if refused_index <= progress.match_index or refused_index >= progress.next_index:
        return progress
    if progress.is_probing and refused_index != progress.next_index - 1:
        return progress
    next_index = result.conflict_index
    if result.conflict_term:
        last_of_term = server.log.last_index_of_term(result.conflict_term)
        if last_of_term is not None:
            next_index = last_of_term + 1
    next_index = min(max(next_index, progress.match_index + 1), refused_index)
    careful = progress.careful_until if progress.is_probing else max(progress.careful_until, progress.next_index - 1)
    return replace(progress, next_index=next_index, is_probing=True, in_flight=(), careful_until=careful)
