"""Mistakes that both designs can make, for they are in what both share: the core and what carries it out.

Each is a well-known one; most are those of `tests/mutants`, which asks more instruments than the search of schedules.
"""

from __future__ import annotations

from actors.compare.mistakes.mistake import Mistake
from actors.compare.mistakes.patching import Patch

_SAID_LATER = "it says everything but AppendEntries after it has given up the lock, and it writes before that"
_WRITTEN_AT_ONCE = "a turn ends with the write done, so nobody finds an entry in the log that is not on the disk"


def _mistake(name: str, rule: str, where: str, old: str, new: str, harmless: str = "") -> Mistake:
    return Mistake(name, rule, (Patch(where, old, new),), harmless)


SHARED = (
    _mistake(
        "persist after send",
        "Figure 2: on stable storage before responding",
        "actors.interpreter",
        """                elif persists:
                    behind.append(effect)
                elif self._held:""",
        "                elif self._held:",
        _SAID_LATER,
    ),
    _mistake(
        "vote granted before it is persisted",
        "Figure 2, persistent state",
        "raft_core.election",
        """    effects: list[Effect] = [] if after.voted_for == server.voted_for else [persist_term_and_vote(after)]
    effects.append(Send(sender, RequestVoteResult(after.current_term, vote_granted=True)))""",
        """    effects: list[Effect] = [Send(sender, RequestVoteResult(after.current_term, vote_granted=True))]
    effects.append(persist_term_and_vote(after))""",
        _SAID_LATER,
    ),
    _mistake(
        "vote not persisted",
        "Figure 2, persistent state; thesis 3.8",
        "raft_core.election",
        "effects: list[Effect] = [] if after.voted_for == server.voted_for else [persist_term_and_vote(after)]",
        "effects: list[Effect] = []",
    ),
    _mistake(
        "duplicate vote counted",
        "paper 5.2; xraft#27, jgroups-raft#24",
        "raft_core.election",
        """        return Transition(server, (Ignored("a vote, but no election is running"),))
    role = _count(role, sender, result.vote_granted)""",
        """        return Transition(server, (Ignored("a vote, but no election is running"),))
    if result.vote_granted and sender in role.granted:
        sender = min(voter for voter in server.voters if voter not in role.granted)
    role = _count(role, sender, result.vote_granted)""",
    ),
    _mistake(
        "two votes in one term",
        "paper 5.2: first come, first served",
        "raft_core.election",
        "        and server.voted_for in (None, request.candidate_id)\n        and not isinstance",
        "        and not isinstance",
    ),
    _mistake(
        "no up-to-date check",
        "paper 5.4.1",
        "raft_core.election",
        "        and not _has_newer_log(server, request)\n    )",
        "    )",
    ),
    _mistake(
        "stale vote counted",
        "paper 5.1",
        "raft_core.step",
        "if result.term < server.current_term and not isinstance(result, RequestPreVoteResult):",
        "if result.term < server.current_term and isinstance(result, AppendEntriesResult):",
    ),
    _mistake(
        "stale reply used",
        "paper 5.1",
        "raft_core.step",
        "if result.term < server.current_term and not isinstance(result, RequestPreVoteResult):",
        "if result.term < server.current_term and isinstance(result, RequestVoteResult):",
    ),
    _mistake(
        "match index goes back on an overtaken reply",
        "Figure 2: increases monotonically",
        "raft_core.progress",
        "match_index = max(progress.match_index, result.match_index)",
        "match_index = result.match_index",
    ),
    _mistake(
        "old term committed by counting",
        "paper 5.4.2, Figure 8",
        "raft_core.replication",
        "if index <= server.commit_index or server.log.term_at(index) != server.current_term:",
        "if index <= server.commit_index:",
    ),
    _mistake(
        "truncation without a conflict",
        "Figure 2, AppendEntries RPC, receiver 3",
        "raft_core.followers",
        "    if index > server.log.last_index:\n        return index\n    for entry in request.entries:",
        "    if index > server.log.last_index or request.entries:\n        return index\n"
        "    for entry in request.entries:",
    ),
    _mistake(
        "no look at the entry before",
        "paper 5.3, consistency check",
        "raft_core.followers",
        "if not _matches(server, request):",
        "if server.log.term_at(request.prev_log_index) is None:",
    ),
    _mistake(
        "commit beyond what the message vouches for",
        "Figure 2, AppendEntries RPC, receiver 5",
        "raft_core.followers",
        "commit_index = max(server.commit_index, min(request.leader_commit, last_new_index))",
        "commit_index = max(server.commit_index, min(request.leader_commit, server.log.last_index))",
    ),
    _mistake(
        "acknowledged before it is persisted",
        "Figure 2, persistent state",
        "raft_core.followers",
        "return Transition(server, (*effects, Send(sender, result)))",
        "return Transition(server, (Send(sender, result), *effects))",
        _SAID_LATER,
    ),
    _mistake(
        "own disk counted before the write is done",
        "thesis 10.2.1",
        "raft_core.replication",
        "reached[server.server_id] = server.persisted_index",
        "reached[server.server_id] = server.log.last_index",
        _WRITTEN_AT_ONCE,
    ),
    _mistake(
        "read without asking a majority",
        "thesis 6.4; etcd#7331",
        "actors.requests",
        "                    if self._freshness.suffices(message, server.commit_index, now):",
        "                    if message:",
    ),
    _mistake(
        "read before the term's first commit",
        "thesis 6.4, step 1",
        "raft_core.reads",
        "    return server.log.term_at(server.commit_index) == server.current_term",
        "    return True",
    ),
    _mistake(
        "no reply of a session kept",
        "thesis 6.3; ra#145",
        "actors.machine",
        "        if kept is not None:\n            return kept\n",
        "",
    ),
    _mistake(
        "vote forgotten by a restart",
        "Figure 2, persistent state; akka-raft#62",
        "actors.spec",
        "        voted_for=stored.voted_for,",
        "        voted_for=None,",
    ),
    _mistake(
        "work handed over twice",
        "Figure 2, All Servers 1: apply once",
        "actors.interpreter",
        "            work, self._work = self._work, []",
        "            work = list(self._work)",
    ),
)
