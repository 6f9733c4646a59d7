"""The state machine of one replica: the user's object, the client sessions, and nothing else (paper 2, thesis 6.3).

`MachineHost` is handed committed entries in log order and answers each with reply bytes.  It is deterministic: equal
entries from equal states give equal states and equal replies, on every replica; so it has no clock but the replicated
one (`replicated_clock`), no randomness but that of a `Context` and no threads, and what it forgets it forgets by
counting entries.  One caller at a time, that is the caller's duty.

Rules of the file:

1. A bad command never raises.  Undecodable, unknown or ill-typed, it is answered with a refusal and the machine stays
   as it is.  An exception of the user's method is a refusal too (`CommandFailed`); *what it had changed before it
   raised stays changed*, alike on every replica - copying the state to undo it would cost more than all the rest.
   Only MemoryError and KeyboardInterrupt pass through: they are this process's trouble, and a replica that had its own
   outcome must stop rather than go on.
2. Exactly once (thesis 6.3): see `client_sessions`.
3. Sessions are limited in number; the one that has been silent for the most log entries goes first.

Measured (CPython 3.11, 2 cores, batches of 100): 1.4-1.5 us for each `Counter.incr`, of which the envelope is 0.15, the
arguments, the method and the reply 0.45, the session the rest.

Rejected: results only for the last sequence (clients pipeline); expiry by time (clocks differ); copying before each
command to roll back (see 1); counting sequences instead of keeping them (loses out-of-order commands).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from copy import deepcopy
from typing import Any, ClassVar, Final, Protocol

from actors.canonical import canonical, digest
from actors.carrying_out import CarryOut, Target, agreed_code_tag, carrier, failure, run_code
from actors.client_sessions import Session as Session
from actors.client_sessions import session_digest
from actors.codec import (
    DOCS,
    OPEN_SESSION,
    RUN_CODE,
    CommandEnvelope,
    decode_code,
    decode_command,
    encode_command,
)
from actors.context import Context, current, enter
from actors.errors import ActorumError, BadFrame, BlockingCallInsideApply, UnpicklableCommand, WrongVersion
from actors.machine_state import (
    FORMAT,
    SavableMachine,
    SavedReplica,
    SavedSession,
    decode_replica,
    loaded_fields,
    save_machine,
    set_fields,
)
from actors.replicated_clock import STAMP, decode_stamp
from actors.replies import RefusalKind, encode_refusal, encode_result
from actors.signatures import Operation
from actors.versions import UPGRADE, version_for, version_that_loads, versions_of
from raft_core.types import Entry, EntryKind, LogIndex, Term

MAX_SESSIONS: Final = 10_000
"""Client sessions remembered at a time.  A setting of the whole cluster: replicas must forget the same ones."""

OPEN_SESSION_COMMAND: Final = encode_command(0, 0, 0, OPEN_SESSION, b"")
"""The log entry that opens a session."""

_COMMAND: Final = EntryKind.COMMAND
"""Every entry is compared with it, and a member of an enumeration takes long to look up."""
_ALREADY_ANSWERED: Final = encode_refusal(RefusalKind.ALREADY_ANSWERED, "already answered, and the answer acknowledged")
_NO_COPY: Final = "the state cannot be copied and compared"

# A context variable and not a set of thread ids: every thread starts with a context of its own, so one that applies
# does not hinder another, and reading it costs 0.02 us.
_applying: ContextVar[bool] = ContextVar("applying", default=False)


def refuse_inside_apply(label: str) -> None:
    """Raise `BlockingCallInsideApply` if the calling thread is applying a command or answering a query right now."""
    if _applying.get():
        raise BlockingCallInsideApply(
            f"{label} was called on the cluster from inside a command or query",
            why="the cluster cannot answer before this command is applied: it would wait for itself",
            fix="make the call outside and pass its result as an argument; on the machine itself use self.method()",
            docs=DOCS,
        )


class Machine(SavableMachine, Target, Protocol):
    """What the host needs to know of the user's object; `replicated.Replicated` provides it."""

    _operations: ClassVar[Mapping[str, Operation[Any, Any]]]

    def on_clock(self, context: Context) -> None:
        """The replicated clock has moved."""

    def next_deadline(self) -> int | None:
        """When it should move next, at the latest."""


class MachineHost:
    """One replica's machine with its sessions.

    `allow_code` lets code commands in, `expected_code_tag` says of which runtime (by default: of this one), and
    `check_determinism` carries everything out twice, on copies, and refuses what differs (for debugging: slow).
    """

    def __init__(
        self,
        machine: Machine,
        *,
        max_sessions: int = MAX_SESSIONS,
        allow_code: bool = False,
        expected_code_tag: str | None = None,
        check_determinism: bool = False,
    ) -> None:
        self._versions = versions_of(type(machine))
        self.last_applied: LogIndex = 0
        self.clock = 0
        """The replicated clock: milliseconds since 1970."""
        self._term: Term = 0
        self._sessions: OrderedDict[int, Session] = OrderedDict()
        self._max_sessions = max_sessions
        self._code_tag = agreed_code_tag(expected_code_tag) if allow_code else None
        operations = [operation for version in self._versions for operation in version._operations.values()]
        self.is_timed = any(operation.context for operation in operations)
        """Whether the machine asks for a `Context`, and so needs to be told the time."""
        self._checks = check_determinism
        self._run = self._run_twice if check_determinism else self._execute
        self._become(machine if len(self._versions) == 1 else self._versions[0]())

    def _become(self, machine: Machine) -> None:
        """Go on with this one."""
        self.machine = machine
        self._commands = self._compiled("command")
        self._queries = self._compiled("query")

    def _compiled(self, kind: str) -> dict[str, CarryOut]:
        """Look the types up now: a machine with unusable annotations must not start."""
        return {o.name: carrier(o.signature) for o in self.machine._operations.values() if o.kind == kind}

    # --- committed entries --------------------------------------------------------------------------------------------

    def apply(self, index: LogIndex, command: bytes) -> bytes:
        """Apply the command committed at `index` and return its reply."""
        reply = self.apply_batch(index, (Entry(0, command),))[0]
        assert reply is not None, "only a command has a reply, and this was one"
        return reply

    def apply_batch(self, first_index: LogIndex, entries: tuple[Entry, ...]) -> list[bytes | None]:
        """Apply committed entries in order; one reply for each, None for those that are no commands.

        Raises ValueError if `first_index` was applied before: doing it again would double it.
        """
        if first_index <= self.last_applied:
            raise ValueError(f"entry {first_index} comes again: entries up to {self.last_applied} are applied")
        apply = self._apply_timed if self.is_timed else self._apply
        token = _applying.set(True)
        try:
            return [
                apply(index, entry) if entry.kind is _COMMAND else None
                for index, entry in enumerate(entries, first_index)
            ]
        finally:
            _applying.reset(token)
            enter(None)
            self.last_applied = first_index + len(entries) - 1

    def _apply_timed(self, index: LogIndex, entry: Entry) -> bytes:
        self._term = entry.term
        enter(Context(index, entry.term, self.clock))
        return self._apply(index, entry)

    def _apply(self, index: LogIndex, entry: Entry) -> bytes:
        try:
            envelope = decode_command(entry.command)
        except BadFrame as error:
            return encode_refusal(RefusalKind.UNREADABLE, error.what)
        session = self._sessions.get(envelope.session)
        if session is None:
            return self._without_session(index, envelope)
        session.last_applied = index
        self._sessions.move_to_end(envelope.session)
        sequence = envelope.sequence
        kept = session.replies.get(sequence)
        if kept is not None:
            return kept
        if sequence < session.lowest_pending:
            return _ALREADY_ANSWERED
        if envelope.lowest_pending > session.lowest_pending:
            session.acknowledge(envelope.lowest_pending)
        reply = session.replies[sequence] = self._run(self.machine, envelope.name, envelope.arguments)
        return reply

    def _without_session(self, index: LogIndex, envelope: CommandEnvelope) -> bytes:
        if envelope.name == STAMP:
            return self._set_clock(index, decode_stamp(envelope.arguments))
        if envelope.name != OPEN_SESSION:
            return encode_refusal(RefusalKind.SESSION_EXPIRED, f"session {envelope.session} is not open")
        self._sessions[index] = Session(index)
        if len(self._sessions) > self._max_sessions:
            self._sessions.popitem(last=False)
        return encode_result(index)

    def _set_clock(self, index: LogIndex, clock: int) -> bytes:
        if clock > self.clock:
            self.clock = clock
            enter(Context(index, self._term, clock))
            try:
                for machine in _with_parts(self.machine):
                    machine.on_clock(current())
            except MemoryError:
                raise
            except (Exception, SystemExit) as error:
                return failure(error)
        return encode_result(self.clock)

    # --- carrying out -------------------------------------------------------------------------------------------------

    def _execute(self, machine: Machine, name: str, arguments: bytes) -> bytes:
        carry_out = self._commands.get(name)
        return carry_out(machine, arguments) if carry_out else self._execute_other(machine, name, arguments)

    def _execute_other(self, machine: Machine, name: str, arguments: bytes) -> bytes:
        if name == UPGRADE:
            return self._upgrade(arguments)
        if name != RUN_CODE:
            return self._unknown("command", name, self._commands)
        if self._code_tag is None:
            return encode_refusal(RefusalKind.CODE_REFUSED, "this cluster does not accept code commands")
        try:
            function = decode_code(arguments, self._code_tag)
        except WrongVersion as error:
            return encode_refusal(RefusalKind.CODE_REFUSED, error.what)
        except MemoryError:
            raise
        except Exception as error:  # a pickle may raise anything
            return failure(error)
        return run_code(machine, function)

    def _upgrade(self, arguments: bytes) -> bytes:
        """Begin another version of the machine with this one's fields; if they cannot be migrated, nothing changes."""
        version = version_for(arguments, self._versions)
        if version is not None and version.version > self.machine.version:
            try:
                machine = version()
                set_fields(machine, loaded_fields(version, save_machine(self.machine)))
            except ActorumError as error:
                return failure(error)
            self._become(machine)
        return encode_result(self.machine.version)

    def _unknown(self, kind: str, name: str, known: Mapping[str, object]) -> bytes:
        listed = ", ".join(sorted(known)) or "none"
        return encode_refusal(
            RefusalKind.UNKNOWN_COMMAND, f"{self.describe()} has no {kind} {name!r}; it has: {listed}"
        )

    def _run_twice(self, machine: Machine, name: str, arguments: bytes) -> bytes:
        """Carry a command out on two copies; let the first become the state if they agree."""
        if name == UPGRADE:
            return self._upgrade(arguments)
        try:
            first, second = deepcopy(machine), deepcopy(machine)
            replies = self._execute(first, name, arguments), self._execute_again(second, name, arguments)
            same = replies[0] == replies[1] and canonical(vars(first)) == canonical(vars(second))
            save_machine(first)  # refuses what a replica that was restored would have otherwise
        except UnpicklableCommand as error:
            return encode_refusal(RefusalKind.NON_DETERMINISTIC, error.what)
        except (TypeError, RecursionError) as error:
            return encode_refusal(RefusalKind.NON_DETERMINISTIC, f"{_NO_COPY}: {error}")
        if not same:
            return encode_refusal(RefusalKind.NON_DETERMINISTIC, f"{name} had two outcomes, and none was kept")
        vars(machine).clear()
        vars(machine).update(vars(first))
        return replies[0]

    def _execute_again(self, machine: Machine, name: str, arguments: bytes) -> bytes:
        """The same random numbers come again from a new context."""
        context = current()
        enter(Context(context.index, context.term, context.clock))
        return self._execute(machine, name, arguments)

    # --- reading ------------------------------------------------------------------------------------------------------

    def query(self, name: str, arguments: bytes) -> bytes:
        """Answer a query from the present state; when that is recent enough is the caller's concern (thesis 6.4)."""
        carry_out = self._queries.get(name)
        if carry_out is None:
            return self._unknown("query", name, self._queries)
        token = _applying.set(True)
        enter(Context(self.last_applied, self._term, self.clock))
        try:
            return carry_out(self.machine, arguments) if not self._checks else self._query_a_copy(carry_out, arguments)
        finally:
            _applying.reset(token)
            enter(None)

    def _query_a_copy(self, carry_out: CarryOut, arguments: bytes) -> bytes:
        try:
            asked = deepcopy(self.machine)
            reply = carry_out(asked, arguments)
            unchanged = canonical(vars(asked)) == canonical(vars(self.machine))
        except (TypeError, RecursionError) as error:
            return encode_refusal(RefusalKind.NON_DETERMINISTIC, f"{_NO_COPY}: {error}")
        if not unchanged:
            return encode_refusal(RefusalKind.NON_DETERMINISTIC, "a query changed the state: make it a command")
        return reply

    def state_digest(self) -> str:
        """SHA-256 over the fields of the machine and the sessions: equal on replicas that applied the same entries.

        Raises `UnpicklableCommand` if a field holds something without content, such as a lock.
        """
        try:
            sessions = [session_digest(number, session) for number, session in self._sessions.items()]
            return digest((vars(self.machine), self.clock, sessions))
        except (TypeError, RecursionError) as error:
            raise UnpicklableCommand(
                f"the state of {self.describe()} cannot be compared between replicas: {error}",
                why="a replicated field must hold plain values",
                fix="keep locks, files and the like out of the machine",
                docs=DOCS,
            ) from None

    # --- snapshots ----------------------------------------------------------------------------------------------------

    def save(self) -> bytes:
        """Everything that the entries up to `last_applied` made of this replica (paper 7): equal on all of them.

        Raises `UnpicklableCommand` if a field holds what its annotation does not say.
        """
        sessions = [
            SavedSession(number, session.last_applied, session.lowest_pending, session.replies)
            for number, session in self._sessions.items()
        ]
        return SavedReplica(
            FORMAT, self.last_applied, self._term, self.clock, save_machine(self.machine), sessions
        ).encode()

    def restore(self, saved: bytes) -> None:
        """Become what `save` took down: the machine's fields, the sessions, and `last_applied`.

        A state that an older version of the machine saved is migrated.  Raises `WrongVersion` for that of a newer one
        or of another machine, `BadFrame` for what is none; then nothing has changed.
        """
        replica = decode_replica(saved)
        version = version_that_loads(replica.machine.version, self._versions)
        fields = loaded_fields(version, replica.machine)
        if version is not type(self.machine):
            self._become(version())
        set_fields(self.machine, fields)
        self.last_applied, self._term, self.clock = replica.last_applied, replica.term, replica.clock
        self._sessions = OrderedDict(
            (number, Session(last_applied, lowest_pending, replies))
            for number, last_applied, lowest_pending, replies in replica.sessions
        )

    def state(self) -> dict[str, object]:
        """A copy of the fields of the machine by name, for display; those of a part under its name."""
        return _fields(self.machine)

    @property
    def next_deadline(self) -> int | None:
        """When the machine has something to let go, by the replicated clock; None if never as things are."""
        if not self.is_timed:
            return None
        deadlines = (machine.next_deadline() for machine in _with_parts(self.machine))
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def describe(self) -> str:
        """Name and version of the machine, for example "counter@1"."""
        return f"{self.machine._machine_name}@{self.machine.version}"

    @property
    def versions(self) -> tuple[int, ...]:
        """The versions of the machine that this replica knows, in order."""
        return tuple(cls.version for cls in self._versions)

    def session_count(self) -> int:
        """How many client sessions are remembered."""
        return len(self._sessions)


def _with_parts(machine: Machine) -> Iterator[Machine]:
    yield machine
    for name in machine._parts:
        yield from _with_parts(vars(machine)[name])


def _fields(machine: Machine) -> dict[str, object]:
    parts = machine._parts
    return {name: _fields(value) if name in parts else deepcopy(value) for name, value in vars(machine).items()}
