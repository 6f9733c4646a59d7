"""What an experiment leaves on disk, and the only thing that its tables and figures are made of.

    DIR/manifest.json        Manifest: machine, versions, plan, seeds, hypotheses; written before the first run
    DIR/runs/00017.json      Run: one repetition of one cell, with its gates
    DIR/runs/00017.f8        its latencies in seconds: little-endian doubles, in order of the intended send times
    DIR/runs/00017.at.f8     the intended send times of the same operations, in seconds since the measurement began

A run is complete when its JSON file is there: that is written last, and renamed into its place.  So a broken-off
experiment goes on where it was (`complete`), and a file that is missing, torn or of another experiment is an error
with its name in it, never a smaller sample.

Durations are seconds, sizes bytes, throughput operations per second, everywhere; figures and tables convert.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar

import msgspec
from msgspec import Struct

from actors.errors import ActorumError, ExitCode
from actors.spec import RuntimeName

Isolation: TypeAlias = Literal["threads", "processes"]
Storage: TypeAlias = Literal["memory", "sqlite"]
Load: TypeAlias = Literal["closed", "open"]
Fault: TypeAlias = Literal["none", "leader killed", "follower paused", "slow apply", "slow fsync", "link delay"]
Control: TypeAlias = Literal["", "a/a", "null core", "planted slowdown"]
"""Why a cell is measured that is not part of the comparison proper; "" is."""

FORMAT = 1
STAGES = ("client", "queue or lock", "core", "fsync", "replication", "apply", "reply")
"""Where an operation waits, in the order in which it passes:

client         from being submitted to being written to the link
queue or lock  from there to the turn (of the mailbox, or inside the lock) that takes it
core           from there to the core's decision
fsync          from there to the confirmation of the leader's own disk, or to the commit if that came first
replication    from there to the commit; 0 where followers were quicker than the disk
apply          from there to the end of the state machine's command, its queue included
reply          from there to the client
"""


class RecordError(ActorumError):
    """A file of an experiment is missing, unreadable, or belongs to another one.  Nothing was drawn from the rest."""

    code = "EXPERIMENT-INCOMPLETE"
    exit_code = ExitCode.USAGE


class Cell(Struct, frozen=True, order=True, kw_only=True, forbid_unknown_fields=True):
    """One combination of the factors."""

    runtime: RuntimeName
    isolation: Isolation
    peers: int = 3
    storage: Storage = "memory"
    payload: int = 16
    """Bytes of a command's argument."""
    clients: int = 16
    """Commands under way at once in the closed loop; without meaning in the open one."""
    batching: bool = True
    """Whether a client's commands and a leader's entries may travel together."""
    load: Load = "closed"
    rate: float = 0.0
    """Arrivals per second of the open loop; 0 in the closed one."""
    fault: Fault = "none"
    control: Control = ""
    label: str = ""
    """Tells apart two cells that are alike (the A and the B of an A/A control)."""


class Gate(Struct, frozen=True, forbid_unknown_fields=True):
    """One condition without which the speed of a run is not reported."""

    name: str
    passed: bool
    detail: str = ""


class Waiting(Struct, frozen=True, forbid_unknown_fields=True):
    """A place where work waits its turn: the leader's mailbox, or its lock.  Little's law: depth = rate * residence."""

    kind: Literal["mailbox", "lock"]
    depth: float
    """Mean number that waits or is served, sampled by time and not derived from the other two."""
    rate: float
    """Arrivals per second."""
    residence: float
    """Mean time from arrival to the end of service."""
    wait_p50: float
    wait_p99: float
    service_p50: float
    """In the handler, or holding the lock."""
    service_p99: float


class PeerUse(Struct, frozen=True, forbid_unknown_fields=True):
    """What one peer used during the measurement.  In one process, the whole process stands under the leader's name."""

    peer: str
    was_leader: bool
    processor: float
    """Seconds."""
    voluntary: int
    """Context switches that it asked for."""
    involuntary: int
    fsyncs: int
    resident: int
    """Bytes at the end."""


class Run(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One repetition of one cell.  Latencies stand in a file of their own."""

    format: int = FORMAT
    number: int
    """Its place in the order of the experiment, from 0."""
    cell: Cell
    repetition: int
    seed: int
    began: float
    """Seconds since the epoch."""
    load_before: float
    """The machine's load average just before."""
    seconds: float
    """Of the measurement, without warm-up."""
    completed: int
    """Operations with a result within it; as many latencies are in the file."""
    refused: int
    unknown: int
    throughput: float
    timeline: tuple[int, ...]
    """Completions in each tenth of a second."""
    fault_at: float | None = None
    """Seconds into the measurement."""
    elected: float | None = None
    """From the leader's death to the next leader's first sign."""
    unavailable: float | None = None
    """The longest time without a completion around the fault."""
    elections: int = 0
    """Beyond the first and those that the fault made necessary."""
    entries_per_append: float = 0.0
    """Mean number of entries in the leader's AppendEntries that carried some."""
    stages: dict[str, tuple[float, float]] = {}
    """Of sampled operations: for each of `STAGES`, the p50 and the p99."""
    waiting: Waiting | None = None
    peers: tuple[PeerUse, ...] = ()
    gates: tuple[Gate, ...] = ()

    @property
    def is_sound(self) -> bool:
        """Whether every gate was passed, and there was one."""
        return bool(self.gates) and all(gate.passed for gate in self.gates)


class Hypothesis(Struct, frozen=True, forbid_unknown_fields=True):
    """What was expected before the first run."""

    name: str
    statement: str
    reason: str


class Planned(Struct, frozen=True, forbid_unknown_fields=True):
    """One run to be."""

    number: int
    cell: Cell
    repetition: int
    seed: int


class Manifest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an experiment is; written before its first run, and never changed."""

    format: int = FORMAT
    name: str
    """quick, full, ..."""
    seed: int
    began: float
    seconds: float
    """Of each measurement."""
    versions: dict[str, str]
    """actorum (with the commit, if known), Python, SQLite, Pykka, msgspec, numpy, scipy, matplotlib."""
    machine: dict[str, str]
    """Processors, model, memory, kernel, file system of the data, whether a GIL is there, start method, load before."""
    hypotheses: tuple[Hypothesis, ...]
    plan: tuple[Planned, ...]


class Experiment:
    """The files of one experiment."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @property
    def manifest_path(self) -> Path:
        return self.directory / "manifest.json"

    def run_path(self, number: int) -> Path:
        """The file of a run; its latencies are beside it."""
        return self.directory / "runs" / f"{number:05}.json"

    def begin(self, manifest: Manifest) -> None:
        """Write the manifest.  Raises `RecordError` if another experiment is there."""
        (self.directory / "runs").mkdir(parents=True, exist_ok=True)
        if self.manifest_path.exists():
            raise RecordError(
                f"{self.directory} holds an experiment already",
                why="an experiment's manifest is written once, before its first run",
                fix="continue it with --resume, or name another directory with --out",
            )
        _write(self.manifest_path, msgspec.json.format(msgspec.json.encode(manifest)))

    def manifest(self) -> Manifest:
        """Read it.  Raises `RecordError`."""
        return _decoded(self.manifest_path, Manifest)

    def complete(self, manifest: Manifest | None = None) -> set[int]:
        """The numbers of the runs that are there, whole, and as planned.  What is not can be carried out again."""
        plan = (manifest or self.manifest()).plan
        return {planned.number for planned in plan if self._is_there(planned)}

    def _is_there(self, planned: Planned) -> bool:
        path = self.run_path(planned.number)
        try:
            run = self._planned_run(planned)
            sizes = [path.with_suffix(suffix).stat().st_size for suffix in (".f8", ".at.f8")]
        except (RecordError, OSError):
            return False
        return sizes == [array("d").itemsize * run.completed] * 2

    def save(self, run: Run, latencies: Sequence[float], intended: Sequence[float]) -> None:
        """Keep a run; it is there, whole, or not at all."""
        path = self.run_path(run.number)
        _write(path.with_suffix(".f8"), array("d", latencies).tobytes())
        _write(path.with_suffix(".at.f8"), array("d", intended).tobytes())
        _write(path, msgspec.json.format(msgspec.json.encode(run)))

    def run(self, number: int) -> Run:
        """Read a run.  Raises `RecordError`."""
        return _decoded(self.run_path(number), Run)

    def runs(self) -> Iterator[Run]:
        """All planned runs, in order.  Raises `RecordError` at the first that is missing or not of this plan."""
        for planned in self.manifest().plan:
            yield self._planned_run(planned)

    def _planned_run(self, planned: Planned) -> Run:
        run = self.run(planned.number)
        if (run.number, run.cell, run.repetition, run.seed) != (
            planned.number,
            planned.cell,
            planned.repetition,
            planned.seed,
        ):
            raise _not_here(self.run_path(planned.number), "it is not the run that the manifest plans there")
        return run

    def latencies(self, run: Run) -> array[float]:
        """Of the completed operations, in seconds.  Raises `RecordError`."""
        return _doubles(self.run_path(run.number).with_suffix(".f8"), run.completed)

    def intended(self, run: Run) -> array[float]:
        """When each of them was to be sent.  Raises `RecordError`."""
        return _doubles(self.run_path(run.number).with_suffix(".at.f8"), run.completed)


def _write(path: Path, data: bytes) -> None:
    beside = path.with_name(path.name + ".tmp")
    with beside.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


_Record = TypeVar("_Record", bound=Struct)


def _decoded(path: Path, kind: type[_Record]) -> _Record:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except OSError as error:
        raise _not_here(path, error.strerror or str(error)) from error
    except msgspec.MsgspecError as error:
        raise _not_here(path, str(error)) from error


def _doubles(path: Path, count: int) -> array[float]:
    values = array("d")
    try:
        values.frombytes(path.read_bytes())
    except OSError as error:
        raise _not_here(path, error.strerror or str(error)) from error
    except ValueError as error:
        raise _not_here(path, str(error)) from error
    if len(values) != count:
        raise _not_here(path, f"it holds {len(values)} values where its run completed {count} operations")
    return values


def _not_here(path: Path, why: str) -> RecordError:
    is_run = path.parent.name == "runs"
    return RecordError(
        f"the experiment's file {path} cannot be used: {why}",
        why="tables and figures are made of all the planned runs, or not at all",
        fix=f"carry out again what is missing: actorum compare --resume --out {path.parents[1]}"
        if is_run
        else "name the directory of an experiment; without its manifest it cannot be continued",
    )
