"""The replicators of a leader: a ticker for one term, one round, one message, as the structure advice of the Raft lab
has it.

Each follower has a thread of its own, for as long as one term of leadership lasts, and an outbox on which that thread
waits.  The core decides what is sent, in whatever turn; what it decides is put into the outbox inside the peer's lock,
and sent by the thread outside it.  If there is nothing to send for a heartbeat interval, the thread takes a turn of its
own, in which the heartbeats of all followers become due.

The rules of the file:

1. Outboxes are made, looked up and closed inside the peer's lock; they are waited on outside it.  The lock of an outbox
   is a leaf.
2. A thread does not outlive what it is for: the term, or the membership of its follower (paper 6).  It is told so by
   its closed outbox, and looks for itself before it begins heartbeats.
3. Nobody is started inside the lock: what starts a thread is left in `Shared.to_do`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from actors.lock_based.crew import Crew
from actors.lock_based.locks import InstrumentedLock
from actors.lock_based.mail import Mail
from actors.lock_based.shared import Shared
from actors.lock_based.world import World
from raft_core import Leader, ServerId, Settings, Term


class Replicators:
    """One for each follower, in each term in which this server leads."""

    def __init__(
        self,
        shared: Shared,
        lock: InstrumentedLock,
        world: World,
        crew: Crew,
        begin_heartbeats: Callable[[Term], bool],
        settings: Settings,
    ) -> None:
        """`lock` is the peer's.  `begin_heartbeats` takes it: a turn with the heartbeats of all followers, if they are
        due; False if this server leads in that term no more."""
        self._shared = shared
        self._lock = lock
        self._world = world
        self._crew = crew
        self._begin_heartbeats = begin_heartbeats
        self._heartbeat_interval = settings.heartbeat_interval / 1000

    def serve_locked(self, to: ServerId, term: Term) -> bool:
        """Is what this leader replicates in `term` sent by a replicator?  Also to a server that leaves: the entry that
        says so goes the way of those before it, else it would overtake them and be refused (thesis 4.2.2)."""
        self._lock.assert_owned()
        shared = self._shared
        return to in shared.interpreter.server.peers or (term == shared.replicated_term and to in shared.outboxes)

    def outbox_locked(self, follower: ServerId, term: Term) -> Mail[bytes]:
        """What the replicator of `follower` in `term` is to send; the first that is for it starts it."""
        self._lock.assert_owned()
        shared = self._shared
        if term != shared.replicated_term:
            for superseded in shared.outboxes.values():
                superseded.close()
            shared.outboxes = {}
            shared.replicated_term = term
        if follower not in shared.outboxes:
            outbox: Mail[bytes] = Mail(self._world.threads)
            shared.outboxes = {**shared.outboxes, follower: outbox}
            replicate = partial(self._replicate, follower, outbox, term)
            shared.to_do.append(partial(self._crew.start, f"replicator {follower}", replicate))
        return shared.outboxes[follower]

    def follow_members_locked(self) -> None:
        """Who left in the middle of a term needs no replicator any more (paper 6).  Who came got one with the first
        message: at the latest, with the entry that makes it a member."""
        self._lock.assert_owned()
        shared = self._shared
        server = shared.interpreter.server
        if not isinstance(server.role, Leader) or server.configurations is shared.replicated:
            return
        shared.replicated = server.configurations
        self._keep_outboxes_locked(frozenset(server.peers))

    def follow_settings_locked(self) -> None:
        """Replicators that wait for the next heartbeat look again if its interval is another now."""
        self._lock.assert_owned()
        shared = self._shared
        interval = shared.interpreter.server.settings.heartbeat_interval / 1000
        if interval != self._heartbeat_interval:
            self._heartbeat_interval = interval
            for outbox in shared.outboxes.values():
                outbox.wake()

    def _keep_outboxes_locked(self, followers: frozenset[ServerId]) -> None:
        """Only these are replicated to, from now on; who leaves is still sent what is in its outbox."""
        self._lock.assert_owned()
        shared = self._shared
        for follower, outbox in shared.outboxes.items():
            if follower not in followers:
                outbox.finish()
        shared.outboxes = {name: outbox for name, outbox in shared.outboxes.items() if name in followers}

    def _replicate(self, follower: ServerId, outbox: Mail[bytes], term: Term) -> None:
        """Replicate to one follower, for as long as this server leads in `term`."""
        while self._round(follower, outbox, term):
            pass

    def _round(self, follower: ServerId, outbox: Mail[bytes], term: Term) -> bool:
        """Send what there is; if there is nothing for a heartbeat interval, heartbeats.  False: the term is over."""
        frames = outbox.take(self._heartbeat_interval)
        if frames is None:
            return False
        if not frames:
            return self._begin_heartbeats(term)
        outlet = self._world.outlet(follower)
        for frame in frames:
            outlet.send(frame)
        return True
