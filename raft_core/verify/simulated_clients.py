"""Clients of a simulated cluster, and the state machine they use: a few keys and a counter, with sessions (thesis 6.3).

A client has one request under way, of one to three commands or of one read.  It asks again - the same commands under
the same numbers - when it was refused or heard nothing, and sometimes gives up; then the outcome is *unknown*, and
stays so.  What it saw becomes a history, and at the end that must be linearizable: no phantom, no lost acknowledged
write, nothing applied twice, every read as new as what was acknowledged before it.

The machine is the very model the history is checked against, plus sessions.  So a difference between the two can only
come from what stands between them: Raft.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import Random
from typing import Any, NamedTuple, TypeAlias

from msgspec import Struct, msgpack

from raft_core.events import ReadMode
from raft_core.types import Entry, EntryKind
from raft_core.verify.counter import CounterModel
from raft_core.verify.history import KeyValueModel, Linearizable, Model, NotLinearizable, Operation, Undecided
from raft_core.verify.linearizability import check

KEYS = ("a", "b")
COUNTER = "count"
MOST_COMMANDS = 3
"""In one request.  So many answers are kept for each client: it has but one request under way."""
SEARCHED = 20_000
"""Configurations the checker may explore for a key before it leaves the question open."""


class Command(Struct, frozen=True, array_like=True):
    """One command as it stands in the log."""

    client: int
    sequence: int
    key: str
    name: str
    arguments: tuple[Any, ...]


Result: TypeAlias = Any
_encode = msgpack.Encoder().encode
_decode = msgpack.Decoder(Command).decode
_decode_state = msgpack.Decoder(tuple[dict[str, Any], dict[int, list[tuple[int, Any]]]]).decode


def model_of(key: str) -> Model:
    """What stands behind `key`."""
    return CounterModel() if key == COUNTER else KeyValueModel()


class SimulatedMachine:
    """One replica's state."""

    def __init__(self) -> None:
        self._models = {key: model_of(key) for key in (*KEYS, COUNTER)}
        self._states = {key: model.initial for key, model in self._models.items()}
        self._sessions: dict[int, list[tuple[int, Result]]] = {}

    @classmethod
    def restored(cls, content: bytes) -> SimulatedMachine:
        """As it was when `snapshot` gave this."""
        machine = cls()
        machine._states, machine._sessions = _decode_state(content)
        return machine

    def snapshot(self) -> bytes:
        """All there is; equal for equal states."""
        return _encode((self._states, dict(sorted(self._sessions.items()))))

    def apply(self, entry: Entry) -> Result:
        """Apply a committed entry; a command that was applied before gets its earlier result.  One that comes after
        later ones of its client was given up, and is too late."""
        if entry.kind is not EntryKind.COMMAND:
            return None
        command = _decode(entry.command)
        answered = self._sessions.setdefault(command.client, [])
        if not answered or answered[-1][0] < command.sequence:
            key = command.key
            self._states[key], result = self._models[key].apply(self._states[key], command.name, command.arguments)
            self._sessions[command.client] = [*answered, (command.sequence, result)][-MOST_COMMANDS:]
            return result
        return next((result for sequence, result in answered if sequence == command.sequence), None)

    def read(self, key: str) -> Result:
        """What is there."""
        return self._states[key]

    def fingerprint(self) -> tuple[tuple[str, Any], ...]:
        """Equal for equal states."""
        return tuple(self._states.items())


class Request(NamedTuple):
    """What a client wants: commands, or the value of one key."""

    client: int
    number: int
    attempt: int
    commands: tuple[bytes, ...]
    """None: it is a read."""
    key: str
    mode: ReadMode = ReadMode.LEADER
    """How the read is made sure of."""


def commands_of(request: Request) -> list[Command]:
    """What it asks for, as the client knew it."""
    return [_decode(command) for command in request.commands]


class Client:
    """One client: what it asks for, what it was told."""

    def __init__(self, number: int, random: Random, *, only_reads: bool = False) -> None:
        self.number = number
        self.only_reads = only_reads
        """It asks any server, leader or not: so somebody asks those who have not yet noticed that they lead no more."""
        self.request: Request | None = None
        self.invoked = 0
        self.operations: list[Operation] = []
        self._random = random
        self._sequence = 0
        self._requests = 0
        self._commands: list[Command] = []

    @property
    def has_work(self) -> bool:
        """A request is under way."""
        return self.request is not None

    def ask(self, now: int) -> Request:
        """A new request."""
        random, keys = self._random, (*KEYS, COUNTER)
        self._requests += 1
        self.invoked = now
        self._commands = []
        if not self.only_reads and random.random() > 0.2:
            self._commands = [self._command(random.choice(keys)) for _ in range(random.choice((1, 1, 1, 2, 3)))]
        commands, mode = tuple(map(_encode, self._commands)), random.choice(tuple(ReadMode))
        self.request = Request(self.number, self._requests, 0, commands, random.choice(keys), mode)
        return self.request

    def _command(self, key: str) -> Command:
        self._sequence += 1
        if key == COUNTER:
            return Command(self.number, self._sequence, key, "incr", (self._random.choice((1, 1, 5)),))
        value = self.number * 10_000 + self._sequence
        name = self._random.choice(("put", "put", "delete", "cas"))
        expected = self._random.choice((None, value - 1))
        arguments = {"put": (value,), "delete": (), "cas": (expected, value)}[name]
        return Command(self.number, self._sequence, key, name, arguments)

    def again(self) -> Request:
        """The same once more."""
        assert self.request is not None
        self.request = self.request._replace(attempt=self.request.attempt + 1)
        return self.request

    def answered(self, now: int, results: Sequence[Result]) -> None:
        """All of the request is answered."""
        assert self.request is not None
        if self._commands:
            self._note(now, results)
        else:
            name = "get"
            read = Operation(self.number, name, (), results[0], self.invoked, now, self.request.key)
            self.operations.append(read)
        self.request = None

    def give_up(self) -> None:
        """Nothing is known of the request, now or later."""
        self._note(None, [None] * len(self._commands))
        self.request = None

    def _note(self, returned: int | None, results: Sequence[Result]) -> None:
        for command, result in zip(self._commands, results, strict=True):
            self.operations.append(
                Operation(self.number, command.name, command.arguments, result, self.invoked, returned, command.key)
            )


def verdict_on(clients: Iterable[Client]) -> Linearizable | NotLinearizable | Undecided:
    """On all that the clients saw, key by key."""
    history = [operation for client in clients for operation in client.operations]
    worst: Linearizable | NotLinearizable | Undecided = Linearizable(())
    for key in (*KEYS, COUNTER):
        part = [operation for operation in history if operation.key == key]
        found = check(part, model_of(key), limit=SEARCHED)
        if isinstance(found, NotLinearizable):
            return found
        if isinstance(found, Undecided):
            worst = found
    return worst
