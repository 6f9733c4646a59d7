"""What must hold after any schedule, judged from the committed log, on fresh machines.

1. *Progress*: without faults, every replica applies everything.
2. *One Outcome*: two fresh machines that are given the log agree, entry by entry, on state and answer.
3. *Equal Logs, Equal States* (paper 2): every replica has the state that the log gives.
4. *Acknowledged Is Kept*: every command that was answered is in the log.
5. *Answered As Applied*: with the answer that the log gives.
6. *Exactly Once* (thesis 6.3): the log without its repetitions leads to the same machine.
7. *Everywhere Alike*: other processes come to the same, too (`elsewhere`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec import msgpack

from actors.canonical import canonical
from actors.codec import OPEN_SESSION, RUN_CODE, CommandEnvelope, decode_command
from actors.machine import MachineHost
from actors.protocol import Digest
from actors.replicated import Replicated
from actors.sim import SimCluster
from actors.testing.elsewhere import Elsewhere
from actors.testing.history import Asked
from raft_core import Entry, EntryKind, ServerId

if TYPE_CHECKING:
    from actors.testing.failure import Failure

EVERYWHERE_ALIKE = "Everywhere Alike"


class Violation(AssertionError):
    """Something that must hold does not; the text says what, of which command."""

    def __init__(self, rule: str, explanation: str) -> None:
        super().__init__(f"{rule}: {explanation}")
        self.rule = rule
        """Which of the rules above is broken."""
        self.failure: Failure | None = None
        """The run that ended with it, if somebody looked on."""


Replies = dict[int, bytes | None]
NewHost = Callable[[Replicated], MachineHost]
"""How commands are carried out: as the replicas do it, unless a test of this very file wants otherwise."""


def judge(
    machine: type[Replicated],
    log: Sequence[Entry],
    acknowledged: Mapping[int, Asked],
    replicas: Mapping[ServerId, Digest],
    new_host: NewHost = MachineHost,
) -> None:
    """Raise `Violation` if one of the rules is broken; `acknowledged` is by sequence number."""
    expected, replies = _two_alike(machine, log, new_host)
    for name, replica in replicas.items():
        if replica.digest != expected:
            raise Violation(
                "Equal Logs, Equal States",
                f"replica {name} has another state than its log gives: a command is not deterministic",
            )
    _answers_are_the_logs(log, acknowledged, replies)
    _repetitions_change_nothing(machine, log, new_host)


def judge_elsewhere(elsewhere: Elsewhere, log: Sequence[Entry]) -> None:
    """Raise `Violation` if other processes come to something else."""
    index = elsewhere.first_difference(log)
    if index is not None:
        raise Violation(EVERYWHERE_ALIKE, f"{_at(index, log[index - 1])} has another outcome in another process")


def settled(cluster: SimCluster, patience: float) -> dict[ServerId, Digest]:
    """Fingerprints of replicas that have applied the same entries, all that the leader has; waits for them."""
    deadline = cluster.now + patience
    while cluster.now < deadline:
        ends = {status.last_index for status in cluster.status().values() if status and status.role == "leader"}
        digests = {name: digest for name, digest in cluster.digests().items() if digest is not None}
        if len(digests) == len(cluster.nodes) and {digest.applied_index for digest in digests.values()} == ends:
            return digests
        cluster.run_for(0.1)
    raise Violation("Progress", f"without faults for {patience:.0f} s, and the replicas have not applied the same")


def described(envelope: CommandEnvelope) -> str:
    """A command as one would call it."""
    arguments = msgpack.decode(envelope.arguments) if envelope.arguments and envelope.name != RUN_CODE else []
    return f"{envelope.name}({', '.join(map(repr, arguments))})"


def _two_alike(machine: type[Replicated], log: Sequence[Entry], new_host: NewHost) -> tuple[str, Replies]:
    first, second = new_host(machine()), new_host(machine())
    replies: Replies = {}
    for index, entry in enumerate(log, 1):
        (reply,), (other) = first.apply_batch(index, (entry,)), second.apply_batch(index, (entry,))
        if [reply] != other or canonical(vars(first.machine)) != canonical(vars(second.machine)):
            raise Violation("One Outcome", f"{_at(index, entry)} has two outcomes on equal states")
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
            raise Violation("Acknowledged Is Kept", f"{asked.name}, command {sequence}, is not in the log")
        if replies[sequence] != asked.reply:
            raise Violation("Answered As Applied", f"{described(envelope)}, command {sequence}, was answered otherwise")


def _commands(log: Sequence[Entry]) -> list[CommandEnvelope]:
    found = [decode_command(entry.command) for entry in log if entry.kind is EntryKind.COMMAND]
    return [envelope for envelope in found if envelope.name != OPEN_SESSION]


def _repetitions_change_nothing(machine: type[Replicated], log: Sequence[Entry], new_host: NewHost) -> None:
    every, once = new_host(machine()), new_host(machine())
    seen: set[tuple[int, int]] = set()
    for index, entry in enumerate(log, 1):
        every.apply_batch(index, (entry,))
        envelope = decode_command(entry.command) if entry.kind is EntryKind.COMMAND else None
        if envelope is None or envelope.name == OPEN_SESSION or (envelope.session, envelope.sequence) not in seen:
            once.apply_batch(index, (entry,))
        if envelope is not None:
            seen.add((envelope.session, envelope.sequence))
    if canonical(vars(every.machine)) != canonical(vars(once.machine)):
        raise Violation("Exactly Once", "a command that came twice was applied twice")
