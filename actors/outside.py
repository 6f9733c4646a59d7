"""The state machine of a service that stands outside of the peers, as in MIT's lab.

Such a service follows the log of a peer (`protocol.FollowLog`), applies the commands by itself, and says from time to
time: this is my state behind entry so-and-so, you need what leads there no more (`protocol.KeepSnapshot`, the lab's
`Snapshot`).  The peer keeps that as its snapshot and cuts its log (paper 7).  A peer that is sent a snapshot hands it
to the service that follows it, which goes on from there (`protocol.Restored`).

So the peer's own machine holds nothing but the latest state that it was given, and what it stands for.  Unlike every
other machine it may differ between replicas, as each service hands over when it likes; and no snapshot of it can be
taken of what the peer has applied, for the peer does not know what became of it.
"""

from __future__ import annotations

from actors.machine_state import FORMAT, SavedReplica, save_machine
from actors.replicated import Replicated
from raft_core.types import LogIndex, Term


class Outside(Replicated):
    """What a service outside has handed over."""

    last_included_index: int = 0
    """The last entry that is in `state`; 0 as long as nothing was handed over."""
    last_included_term: int = 0
    state: bytes = b""

    def keep(self, last_included_index: LogIndex, last_included_term: Term, state: bytes) -> bytes:
        """Hold this from now on; the content of a snapshot of it."""
        self.last_included_index, self.last_included_term = last_included_index, last_included_term
        self.state = state
        return SavedReplica(FORMAT, last_included_index, 0, 0, save_machine(self), []).encode()
