"""Log replication as a follower sees it: Figure 2's box "AppendEntries RPC, receiver implementation"; paper 5.3.

The rules of the file:

* A valid leader resets the election timer, whether or not its entries fit.
* Only a real conflict truncates.  A message that brings nothing new, or less than is here, removes nothing.
* What is committed is never replaced; a message that would is ignored and answered with silence.
* Success is said only behind the write it vouches for: the `AppendToLog` stands before the `Send`.
"""

from __future__ import annotations

from msgspec.structs import replace

from raft_core.configuration import Configured, configured
from raft_core.effects import AppendToLog, Effect, Ignored, ResetElectionTimer, Send
from raft_core.messages import AppendEntries, AppendEntriesResult
from raft_core.reads import ask_again
from raft_core.roles import Follower, Leader
from raft_core.state import Server, Transition
from raft_core.types import Entry, LogIndex, ServerId


def on_append_entries(server: Server, sender: ServerId, request: AppendEntries) -> Transition:
    """Receiver 1 to 5.  The sender's term is at least ours here; a higher one has been adopted already."""
    if request.term < server.current_term:
        refusal = AppendEntriesResult(server.current_term, False, request.prev_log_index, 0)
        return Transition(server, (Send(sender, refusal),))
    if isinstance(server.role, Leader):
        return Transition(server, (Ignored("a second leader in one term cannot be"),))
    server = replace(server, role=following(server, request.leader_id))
    reset = ResetElectionTimer(server.election_timeout, server.settings.election_timeout)
    if not _matches(server, request):
        return Transition(server, (reset, Send(sender, _refusal(server, request))))
    after, effects = _append(server, sender, request)
    if isinstance(after.role, Follower) and after.role.asked_reads and not request.entries:
        after, questions = ask_again(after, after.role)
        effects += questions
    return Transition(after, (reset, *effects))


def following(server: Server, leader_id: ServerId) -> Follower:
    """A follower that has just heard this leader; what it asked it stays asked."""
    role = server.role
    if isinstance(role, Follower) and role.leader_id == leader_id:
        return role if role.leader_is_recent else replace(role, leader_is_recent=True)
    return Follower(leader_id, leader_is_recent=True)


def _matches(server: Server, request: AppendEntries) -> bool:
    """Is there an entry at prev_log_index with prev_log_term?  What a snapshot replaced was committed, so the leader
    has the same (Leader Completeness, paper 5.4.3)."""
    log = server.log
    return (
        request.prev_log_index < log.last_included_index or log.term_at(request.prev_log_index) == request.prev_log_term
    )


def _refusal(server: Server, request: AppendEntries) -> AppendEntriesResult:
    """Receiver 2: no entry at prev_log_index with prev_log_term; say where to try next (paper 5.3, end)."""
    conflict_term = server.log.term_at(request.prev_log_index) or 0
    if conflict_term and request.prev_log_index > server.log.last_included_index:
        conflict_index = server.log.first_index_of_run(request.prev_log_index)
    else:
        conflict_term, conflict_index = 0, server.log.last_index + 1
    return AppendEntriesResult(
        server.current_term,
        False,
        request.prev_log_index,
        0,
        conflict_term,
        max(conflict_index, server.commit_index + 1),
        request.round,
    )


def _append(server: Server, sender: ServerId, request: AppendEntries) -> Transition:
    """Receiver 3 to 5: drop what conflicts, append what is missing, follow the leader's commit index."""
    effects: list[Effect] = []
    last_new_index = request.prev_log_index + len(request.entries)
    first = _first_missing(server, request)
    if first <= server.commit_index and first <= last_new_index:
        return Transition(server, (Ignored("it would replace committed entries"),))
    if first <= last_new_index:
        missing = request.entries[first - request.prev_log_index - 1 :]
        found = configured(missing, first)
        if found is None:
            return Transition(server, (Ignored("it names members in bytes that cannot be read"),))
        effects.append(AppendToLog(first - 1, missing, server.current_term))
        server = _with_entries(server, first, missing, found)
    # Receiver 5, with "index of last new entry" read as the last one this message vouches for: what stands behind it
    # may still turn out to conflict.
    commit_index = max(server.commit_index, min(request.leader_commit, last_new_index))
    if commit_index != server.commit_index:
        server = replace(server, commit_index=commit_index)
    result = AppendEntriesResult(server.current_term, True, request.prev_log_index, last_new_index, round=request.round)
    return Transition(server, (*effects, Send(sender, result)))


def _with_entries(server: Server, first: LogIndex, entries: tuple[Entry, ...], found: tuple[Configured, ...]) -> Server:
    """Put `entries` at `first`, in the place of whatever is there.  The latest members in the log are in force, and
    those whose entry is gone never were (paper 6; thesis 4.1)."""
    if first > server.log.last_index:
        log, configurations = server.log, server.configurations
    else:
        log = server.log.truncate(first - 1)
        configurations = tuple([known for known in server.configurations if known.index < first])
    return replace(
        server,
        log=log.append(entries),
        persisted_index=min(server.persisted_index, first - 1),
        configurations=configurations + found if found else configurations,
    )


def _first_missing(server: Server, request: AppendEntries) -> LogIndex:
    """Index of the first entry of the request that the log lacks or holds with another term (receiver 3 and 4)."""
    index = request.prev_log_index + 1
    if index > server.log.last_index:
        return index
    for entry in request.entries:
        if index > server.log.last_included_index and server.log.term_at(index) != entry.term:
            break
        index += 1
    return index
