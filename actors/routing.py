"""Whom a client asks: the leader, or one peer after the other until it is known; what anybody may answer, in turn."""

from __future__ import annotations

from actors.under_way import Query
from raft_core import ServerId


class Routing:
    """The peers to which there are links, and who is believed to lead."""

    def __init__(self) -> None:
        self.leader_id: ServerId | None = None
        self.attached: list[ServerId] = []
        self._turn = 0
        self._readers = 0

    @property
    def target(self) -> ServerId | None:
        """Who gets what only a leader can do; None: there is nobody."""
        if self.leader_id in self.attached:
            return self.leader_id
        if not self.attached:
            return None
        return self.attached[self._turn % len(self.attached)]

    def redirect(self, refused_by: ServerId, leader_id: ServerId | None) -> bool:
        """Somebody refused and named `leader_id`.  False if that is of no use."""
        if leader_id not in self.attached or leader_id == refused_by:
            return False
        self.leader_id = leader_id
        return True

    def forget_leader(self, server_id: ServerId) -> None:
        """This peer could not help: if no leader is known, the next one is asked.  Once for all that this one refuses:
        as many refusals at a time as there are peers would lead back to it, for ever."""
        if server_id not in self.attached or self.target == server_id:
            self._turn += 1
        if self.leader_id == server_id:
            self.leader_id = None

    def reader(self, query: Query, target: ServerId) -> ServerId:
        """Who is asked: for what anybody may have, everybody in turn.  Only once: where it was of no use, most likely
        the leader is not heard, so the next one to ask is the leader."""
        if query.consistency == "follower":
            followers = [server_id for server_id in self.attached if server_id != self.leader_id]
            return self._next_of(followers) if followers else target
        if query.was_asked or (query.consistency != "session" and query.max_staleness is None):
            return target
        return self._next_of(self.attached)

    def _next_of(self, servers: list[ServerId]) -> ServerId:
        self._readers += 1
        return servers[self._readers % len(servers)]
