"""What must hold after any schedule, judged from the committed log, on fresh machines.

1. A command has one outcome: two fresh machines that are given the log reach equal states, entry by entry, and so did
   every replica (paper 2: equal logs, equal states).
2. Every acknowledged command is in the log, and its answer is the one that the log gives.
3. Exactly once (thesis 6.3): the log without its repetitions leads to the same machine.

Not found here: what differs only between processes, such as the order of a set of strings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import msgpack

from actors.canonical import canonical
from actors.codec import OPEN_SESSION, RUN_CODE, CommandEnvelope, decode_command
from actors.machine import MachineHost
from actors.protocol import Digest
from actors.replicated import Replicated
from actors.testing.history import Asked
from raft_core import Entry, EntryKind, ServerId


class Violation(AssertionError):
    """Something that must hold does not; the text says what, of which command."""


Replies = dict[int, bytes | None]


def judge(
    machine: type[Replicated],
    log: Sequence[Entry],
    acknowledged: Mapping[int, Asked],
    replicas: Mapping[ServerId, Digest],
) -> None:
    """Raise `Violation` if one of the rules is broken; `acknowledged` is by sequence number."""
    expected, replies = _two_alike(machine, log)
    for name, replica in replicas.items():
        if replica.digest != expected:
            raise Violation(f"replica {name} has another state than its log gives: a command is not deterministic")
    _answers_are_the_logs(log, acknowledged, replies)
    _repetitions_change_nothing(machine, log)


def described(envelope: CommandEnvelope) -> str:
    """A command as one would call it."""
    arguments = msgpack.decode(envelope.arguments) if envelope.arguments and envelope.name != RUN_CODE else []
    return f"{envelope.name}({', '.join(map(repr, arguments))})"


def _two_alike(machine: type[Replicated], log: Sequence[Entry]) -> tuple[str, Replies]:
    first, second = MachineHost(machine()), MachineHost(machine())
    replies: Replies = {}
    for index, entry in enumerate(log, 1):
        (reply,), (other) = first.apply_batch(index, (entry,)), second.apply_batch(index, (entry,))
        if [reply] != other or canonical(vars(first.machine)) != canonical(vars(second.machine)):
            raise Violation(f"{_at(index, entry)} has two outcomes on equal states: it is not deterministic")
        if entry.kind is EntryKind.COMMAND:
            replies.setdefault(decode_command(entry.command).sequence, reply)
    return first.state_digest(), replies


def _at(index: int, entry: Entry) -> str:
    return f"{described(decode_command(entry.command))}, entry {index},"


def _answers_are_the_logs(log: Sequence[Entry], acknowledged: Mapping[int, Asked], replies: Replies) -> None:
    commands = {envelope.sequence: envelope for envelope in _commands(log)}
    for sequence, asked in acknowledged.items():
        envelope = commands.get(sequence)
        if envelope is None or (envelope.name, envelope.arguments) != (asked.name, asked.arguments):
            raise Violation(f"{asked.name}, command {sequence}, was acknowledged and is not in the log")
        if replies[sequence] != asked.reply:
            raise Violation(f"{described(envelope)}, command {sequence}, was answered otherwise than by its log")


def _commands(log: Sequence[Entry]) -> list[CommandEnvelope]:
    found = [decode_command(entry.command) for entry in log if entry.kind is EntryKind.COMMAND]
    return [envelope for envelope in found if envelope.name != OPEN_SESSION]


def sequences_of_code(log: Sequence[Entry]) -> set[int]:
    """Sequence numbers that belong to code commands."""
    return {envelope.sequence for envelope in _commands(log) if envelope.name == RUN_CODE}


def _repetitions_change_nothing(machine: type[Replicated], log: Sequence[Entry]) -> None:
    every, once = MachineHost(machine()), MachineHost(machine())
    seen: set[tuple[int, int]] = set()
    for index, entry in enumerate(log, 1):
        every.apply_batch(index, (entry,))
        envelope = decode_command(entry.command) if entry.kind is EntryKind.COMMAND else None
        if envelope is None or envelope.name == OPEN_SESSION or (envelope.session, envelope.sequence) not in seen:
            once.apply_batch(index, (entry,))
        if envelope is not None:
            seen.add((envelope.session, envelope.sequence))
    if canonical(vars(every.machine)) != canonical(vars(once.machine)):
        raise Violation("a command that came twice was applied twice")
