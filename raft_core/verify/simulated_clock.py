"""The clock of a simulated server: three timers, which may run too fast or too slow, and jump; and a leader's lease.

A lease (thesis 6.4.1) lasts `LEASE_SHARE` of an election timeout from the *sending* of a round that a majority
answered, by the leader's own clock.  The members who answered protect their leader for an election timeout by theirs.
So clocks may differ by the rest, a tenth, and no more: where they drift further, a simulation finds reads that are too
old.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from raft_core.effects import RoundConfirmed
from raft_core.events import (
    ElectionTimeout,
    Event,
    HeartbeatTimeout,
    LeaderContactExpired,
    LeaseExpired,
    LeaseExtended,
)
from raft_core.types import Round

if TYPE_CHECKING:
    from raft_core.verify.simulated_server import SimulatedServer

ELECTION, CONTACT, HEARTBEAT = "election", "contact", "heartbeat"
LEASE_SHARE = 0.9
"""Part of the election timeout that a lease lasts."""

Timeout: TypeAlias = ElectionTimeout | LeaderContactExpired | HeartbeatTimeout
TIMERS: dict[type[Event], str] = {
    ElectionTimeout: ELECTION,
    LeaderContactExpired: CONTACT,
    HeartbeatTimeout: HEARTBEAT,
}


class SimulatedClock:
    """Timers are forgotten in a fall; how fast the clock runs is not."""

    def __init__(self, server: SimulatedServer) -> None:
        self.rate = 1.0
        self.timers: dict[str, tuple[int, int]] = {}
        """A number that no other setting has, and when it is due."""
        self.lasting: dict[str, int] = {}
        """Milliseconds that each timer was last set to; 0: never."""
        self._server = server
        self._ran_out: set[str] = set()
        self._sent: dict[Round, int] = {}
        self._lease: int | None = None

    def stop(self) -> None:
        """No timer runs, and nothing is remembered."""
        self.timers, self.lasting, self._ran_out = {}, {}, set()
        self._sent, self._lease = {}, None

    def runs(self, rate: float) -> None:
        """From now on it runs so many times as fast as it should."""
        self.rate = rate

    def jump(self, milliseconds: float) -> None:
        """Forwards, or backwards if negative."""
        for name, (_, due) in list(self.timers.items()):
            self.arm(name, due - int(milliseconds * 1_000))

    def _lasts(self, milliseconds: float) -> int:
        return int(milliseconds * 1_000 / self.rate)

    # --- timers -------------------------------------------------------------------------------------------------------

    def set(self, name: str, milliseconds: int) -> None:
        """From now on; 0: never."""
        self._ran_out.discard(name)
        self.lasting[name] = milliseconds
        if not milliseconds:
            self.timers.pop(name, None)
            return
        self.arm(name, self._server.simulation.now + self._lasts(milliseconds))

    def arm(self, name: str, due: int) -> None:
        """It runs out then."""
        simulation = self._server.simulation
        number = simulation.next_number()
        self.timers[name] = (number, due)
        simulation.after(max(0, due - simulation.now), lambda: self._expires(name, number))

    def _expires(self, name: str, number: int) -> None:
        if self._server.server is None or self.timers.get(name, (0, 0))[0] != number:
            return
        del self.timers[name]
        self._ran_out.add(name)
        match name:
            case "election":
                self._server.post(ElectionTimeout(self._server.simulation.random.getrandbits(16)))
            case "contact":
                self._server.post(LeaderContactExpired())
            case _:
                self._server.post(HeartbeatTimeout())

    def is_due(self, event: Event) -> bool:
        """Has this timer run out, and not been set again since?"""
        return TIMERS[type(event)] in self._ran_out

    # --- leases -------------------------------------------------------------------------------------------------------

    def sends(self, number: Round) -> None:
        """A round is sent now.  Rounds are numbered anew in each term: the latest counts."""
        self._sent[number] = self._server.simulation.now

    def confirmed(self, effect: RoundConfirmed) -> Sequence[Event]:
        """A majority answered that round: what the server is told at once."""
        sent = self._sent.get(effect.round)
        assert self._server.server is not None
        share = LEASE_SHARE * self._server.server.settings.election_timeout
        if sent is None or sent + self._lasts(share) <= self._server.simulation.now:
            return ()
        self._lease = sent + self._lasts(share)
        return (LeaseExtended(effect.round),)

    def look(self) -> Sequence[Event]:
        """Before anything else happens: is the lease over?"""
        if self._lease is None or self._server.simulation.now < self._lease:
            return ()
        self._lease = None
        return (LeaseExpired(),)
