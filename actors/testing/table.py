"""A run of a cluster as a space-time table: a column for the client, each server and the network; time runs downwards.

Beside the steps stands what came of them: who leads, and what is applied where.  The messages of Raft itself are in the
figure (`page`); here they would hide what a user knows and can change, the calls and the trouble.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from msgspec import Struct

from actors.codec import OPEN_SESSION, decode_command
from actors.testing.steps import Crash, Step, Wait, words
from actors.testing.verdict import described
from raft_core import ApplyCommitted, Effect, Entry, EntryKind, Event, LogIndex, RoleChanged, Server, ServerId
from raft_core.verify.simulation import Turn


class Row(Struct, frozen=True):
    """Something at one place."""

    at: float
    """Virtual seconds."""
    who: str
    what: str


class Watch:
    """Looks on while a simulation runs, if it `is_on`; a recorder of every server."""

    def __init__(self, *, is_on: bool = False) -> None:
        self.rows: list[Row] = []
        self.turns: list[Turn] = []
        self.clock: Callable[[], float] = lambda: 0.0
        self._is_on = is_on
        self._servers: dict[ServerId, Server] = {}
        self._shown: LogIndex = 0

    def recorder_of(self, server_id: ServerId) -> Watch | None:
        """Nobody, if nobody looks."""
        return self if self._is_on else None

    def step(self, step: Step) -> None:
        """The test did something."""
        if isinstance(step, Wait):
            return  # the times of the other rows say it
        self.rows.append(Row(self.clock(), *words(step)))
        if isinstance(step, Crash) and self._is_on:
            self._note_life(self._servers[step.server_id], "falls")

    def end_of_trouble(self) -> None:
        """The test does nothing more."""
        self.rows.append(Row(self.clock(), "network", "all trouble ends"))

    def started(self, server: Server) -> None:
        """A server begins."""
        if server.server_id in self._servers:
            self._note_life(server, "starts")
        self._servers[server.server_id] = server

    def _note_life(self, server: Server, happening: str) -> None:
        self.turns.append(Turn(int(self.clock() * 1e6), server.server_id, (), (), server, happening))

    def turn(
        self, now: float, events: Sequence[Event], before: Server, after: Server, effects: Sequence[Effect]
    ) -> None:
        """A server took a turn."""
        self._servers[after.server_id] = after
        self.turns.append(Turn(int(now * 1e6), after.server_id, tuple(events), tuple(effects), after))
        self.rows += [Row(now, after.server_id, what) for effect in effects for what in self._told(effect)]

    def _told(self, effect: Effect) -> Iterator[str]:
        match effect:
            case RoleChanged(role="leader", term=term):
                yield f"= leader, term {term}"
            case ApplyCommitted(first_index=first_index, entries=entries):
                yield from self._applied(first_index, entries)
            case _:
                pass

    def _applied(self, first_index: LogIndex, entries: Sequence[Entry]) -> Iterator[str]:
        """Where an entry is applied first it is shown as one would call it."""
        commands = [(index, said) for index, entry in enumerate(entries, first_index) if (said := _said(entry))]
        known = [index for index, _ in commands if index <= self._shown]
        if known:
            yield f"applies {known[0]}" + (f" to {known[-1]}" if len(known) > 1 else "")
        for index, said in commands[len(known) :]:
            self._shown = index
            yield f"applies {index}: {said}"


def _said(entry: Entry) -> str:
    """A command as one would call it; nothing if it is not the user's."""
    envelope = decode_command(entry.command) if entry.kind is EntryKind.COMMAND else None
    return "" if envelope is None or envelope.name == OPEN_SESSION else described(envelope)


def what_changed(turns: Sequence[Turn]) -> list[Turn]:
    """Without the turns that changed nothing: a leader's heartbeats and what is said to them."""
    before: dict[ServerId, Server] = {}
    kept = []
    for turn in turns:
        was, before[turn.server_id] = before.get(turn.server_id), turn.after
        if turn.happening or was is None or _outline(was) != _outline(turn.after):
            kept.append(turn)
    return kept


def _outline(server: Server) -> tuple[object, ...]:
    return server.role_name, server.current_term, server.voted_for, server.log, server.commit_index


def table(rows: Sequence[Row], names: Sequence[ServerId]) -> str:
    """The rows as text."""
    columns = ["client", *names, "network"]
    wide = {name: max([len(name), *(len(row.what) for row in rows if row.who == name)]) for name in columns[:-1]}
    heads = "  ".join(name.ljust(wide.get(name, 0)) for name in columns)
    lines = [f"{'time (s)':>10}  {heads}"]
    for row in rows:
        place = sum(wide[name] + 2 for name in columns[: columns.index(row.who)])
        lines.append(f"{row.at:10.4f}  {'':{place}}{row.what}")
    return "\n".join(line.rstrip() for line in lines)
