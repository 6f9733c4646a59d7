"""Snapshots that somebody still needs though a newer one is durable.

Once a log is cut, snapshots older than the newest are of no use to a server that starts.  Two others may need one:

* The state machine, from the arrival of a leader's snapshot until it has taken its state from it.  A newer one may be
  there before, our own or another of the leader's; in between, entries are applied that stand behind the older one.
* A follower to whom it is being sent.  If it were removed at each cut, a transfer that takes longer than the time
  between two cuts would begin anew for ever.  It is kept while it gets on; one that has not got on during `PATIENCE`
  cuts is over, or its follower is gone.  So no more are kept than followers began to need in that time.

Three threads ask and tell, and need no lock: each entry is added by one of them, in one step of the interpreter, and
taken away in another.
"""

from __future__ import annotations

from raft_core import LogIndex, Snapshot

PATIENCE = 64
"""Cuts that a transfer may go without a further part.  (A count, and no time: a simulation has its own.)"""


class Keeper:
    """Knows which snapshots of one server must not be removed yet."""

    def __init__(self) -> None:
        self._received: dict[Snapshot, None] = {}
        self._sent: dict[Snapshot, int] = {}
        """How far each was read."""
        self._cuts: dict[Snapshot, tuple[int, int]] = {}
        """How far it had been read at a cut, and how many cuts there were since; for `needed` alone."""

    def forget_all(self) -> None:
        """A new peer begins: nobody needs anything."""
        self._received.clear()
        self._sent.clear()
        self._cuts.clear()

    def received(self, snapshot: Snapshot) -> None:
        """It came from a leader, and the state machine may be about to take it.  (The disk's thread.)"""
        self._received[snapshot] = None

    def stands_behind(self, index: LogIndex) -> None:
        """The state machine has applied everything up to `index`, or taken a snapshot of that.  (The applier's.)"""
        for snapshot in list(self._received):
            if snapshot.last_included_index <= index:
                self._received.pop(snapshot, None)

    def sent(self, snapshot: Snapshot, position: int) -> None:
        """It was read up to `position`.  (That of consensus.)"""
        self._sent[snapshot] = max(position, self._sent.get(snapshot, 0))

    def needed(self) -> frozenset[Snapshot]:
        """Those to keep at this cut.  (The disk's thread.)"""
        for snapshot, position in list(self._sent.items()):
            before, cuts = self._cuts.get(snapshot, (-1, 0))
            cuts = cuts + 1 if position == before else 1
            self._cuts[snapshot] = position, cuts
            if cuts >= PATIENCE:
                del self._sent[snapshot], self._cuts[snapshot]
        return frozenset(self._received) | frozenset(self._sent)
