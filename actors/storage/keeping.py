"""Snapshots that somebody still needs though a newer one is durable.

Once a log is cut, snapshots older than the newest are of no use to a server that starts.  Two others may need one:

* The state machine, from the arrival of a leader's snapshot until it has taken its state from it.  A newer one may be
  there before, our own or another of the leader's; in between, entries are applied that stand behind the older one.
* A follower to whom it is being sent.  If it were removed at each cut, a transfer that takes longer than the time
  between two cuts would begin anew for ever.  It is kept while it gets on; one that has not got on during `PATIENCE`
  cuts is over, or its follower is gone.  So no more are kept than followers began to need in that time.

Three threads ask and tell; the lock is a leaf.
"""

from __future__ import annotations

from threading import Lock

from raft_core import LogIndex, Snapshot

PATIENCE = 64
"""Cuts that a transfer may go without a further part.  (A count, and no time: a simulation has its own.)"""


class Keeper:
    """Knows which snapshots of one server must not be removed yet."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._received: set[Snapshot] = set()
        self._sent: dict[Snapshot, tuple[int, int]] = {}
        """How far each was read, and how many cuts there were since."""

    def forget_all(self) -> None:
        """A new peer begins: nobody needs anything."""
        with self._lock:
            self._received.clear()
            self._sent.clear()

    def received(self, snapshot: Snapshot) -> None:
        """It came from a leader, and the state machine may be about to take it."""
        with self._lock:
            self._received.add(snapshot)

    def stands_behind(self, index: LogIndex) -> None:
        """The state machine has applied everything up to `index`, or taken a snapshot of that."""
        with self._lock:
            self._received = {one for one in self._received if one.last_included_index > index}

    def sent(self, snapshot: Snapshot, position: int) -> None:
        """It was read up to `position`."""
        with self._lock:
            before, _ = self._sent.get(snapshot, (-1, 0))
            if position > before:
                self._sent[snapshot] = position, 0

    def needed(self) -> frozenset[Snapshot]:
        """Those to keep at this cut."""
        with self._lock:
            self._sent = {
                one: (position, cuts + 1) for one, (position, cuts) in self._sent.items() if cuts + 1 < PATIENCE
            }
            return frozenset(self._received) | frozenset(self._sent)
