"""The twin with one mistake each: something of the shared state is used without the lock."""

from __future__ import annotations

from actors.applier import ClientId
from actors.errors import ActorumError
from actors.lock_based.peer import TICK, LockedPeer
from actors.protocol import ClientMessage
from raft_core import Event, Leader, LogIndex, Term


class LooksAtTheTimeOutside(LockedPeer):
    """The ticker compares deadlines before it takes the lock."""

    def _watch_elections(self) -> None:
        while not self._life.is_over:
            self._threads.sleep(TICK)
            self._turn(self._shared.deadlines.due_for_election(self._threads.now()))


class DescribesItselfOutside(LockedPeer):
    """The answer to "how are you?" is put together without the lock."""

    def _describe(self, client_id: ClientId, batch_id: int) -> None:
        status = self._shared.interpreter.status(
            batch_id,
            inbox_depth=0,
            dropped_messages=0,
            fsync_p99=0.0,
            uptime=0.0,
            process_id=0,
        )
        self._world.consensus_voice.reply(client_id, status)


class NotesAppliedOutside(LockedPeer):
    """The applier writes how far it is without the lock: it is only a number."""

    def _note_applied(self, index: LogIndex) -> None:
        self._shared.applied_index = index


class ActsOutside(LockedPeer):
    """What there is to do is taken out of the shared state after the lock has been given up."""

    def _turn(self, events: list[Event] = [], asked: list[tuple[ClientId, ClientMessage]] = []) -> None:  # type: ignore[override]  # noqa: B006
        with self.lock:
            self._shared.to_do = self._serve_locked(list(events), asked)
        for action in self._shared.to_do:
            action()


class LooksAtItsRoleOutside(LockedPeer):
    """A replicator looks whether its term is over before it takes the lock."""

    def _begin_heartbeats(self, term: Term) -> bool:
        server = self._shared.interpreter.server
        if server.current_term != term or not isinstance(server.role, Leader):
            return False
        return super()._begin_heartbeats(term)


class RefusesOutside(LockedPeer):
    """The list of refused frames is changed without the lock."""

    def _refuse(self, error: ActorumError) -> None:
        self._shared.bad_frames.append(error)


PLANTED: dict[type[LockedPeer], str] = {
    LooksAtTheTimeOutside: "deadlines",
    DescribesItselfOutside: "interpreter",
    NotesAppliedOutside: "shared state.applied_index",
    ActsOutside: "shared state.to_do",
    LooksAtItsRoleOutside: "interpreter",
    RefusesOutside: "the contents of shared state.bad_frames",
}
"""Each with the beginning of the name of the field on which the race is."""
