"""What a data directory says of itself: which cluster, which nodes, which machine - and whether it was ever used.

Written before the first peer starts, so that a directory is never mistaken for another cluster's, never started with
more or fewer nodes than it has (that would change the membership behind Raft's back), and never asked for a
peer whose disk was lost: a server without its memory must not return under its old id (thesis 3.8).
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from msgspec import MsgspecError, Struct, json
from msgspec.structs import replace

from actors.errors import RecoveryUnfinished
from actors.storage.damage import corrupt
from actors.storage.files import make_directory, sync_directory
from actors.storage.port import CorruptStorage, UnknownFormat, WrongCluster
from raft_core.types import LogIndex, ServerId, Term

FORMAT = 1
RECORD_NAME = "cluster.json"


class Recovery(Struct, frozen=True, kw_only=True):
    """The members were replaced by hand, without the vote of a majority, because it was lost (`actors.recovery`)."""

    at: str
    """When, in UTC."""
    former_id: str
    """The cluster until then, to which whoever was given up belongs for ever."""
    cluster_id: str
    """The cluster from then on."""
    survivors: tuple[ServerId, ...]
    """The voters from then on."""
    given_up: tuple[ServerId, ...]
    chosen: ServerId
    """The survivor with the most complete log, which became the log of all."""
    index: LogIndex
    """Of the entry that says so; behind the last one of the chosen log."""
    term: Term
    """Of that entry."""

    def __str__(self) -> str:
        return (
            f"{self.at}: with {', '.join(self.survivors)}, from entry {self.index} of term {self.term} on; given up: "
            f"{', '.join(self.given_up)}"
        )


def next_incarnation(cluster_id: str) -> str:
    """The same cluster after a recovery.  Its name is chosen at random: two recoveries, each with other survivors on
    another copy of the data, make two clusters that have nothing to say to each other."""
    return f"{lineage_of(cluster_id)}.{secrets.token_hex(4)}"


def lineage_of(cluster_id: str) -> str:
    """What stays the same through recoveries: what was committed before one, such as snapshots, is of use after it."""
    return cluster_id.partition(".")[0]


class ClusterRecord(Struct, frozen=True, kw_only=True):
    """The content of the record."""

    format: int = FORMAT
    cluster_id: str
    machine: str
    nodes: tuple[ServerId, ...]
    """The members that the cluster began with."""
    code_tag: str = ""
    """Runtime of the code commands the logs may hold; empty: none are taken."""
    was_started: bool = False
    """All peers were up once: from then on each must find its log."""
    added: tuple[ServerId, ...] = ()
    """Peers that came later, in order."""
    newborn: tuple[ServerId, ...] = ()
    """Those among them that were never up: they have no log yet."""
    removed: tuple[ServerId, ...] = ()
    """Peers that are not started any more."""
    recoveries: tuple[Recovery, ...] = ()
    """Every recovery from the loss of a majority, for ever: what was promised before one may be broken."""
    recovering: Recovery | None = None
    """One that was begun and not finished: nothing is started before it is."""

    @property
    def ever(self) -> tuple[ServerId, ...]:
        """Every name that was ever given."""
        return self.nodes + self.added

    @property
    def present(self) -> tuple[ServerId, ...]:
        """The peers that are to run."""
        return tuple(name for name in self.ever if name not in self.removed)


def open_record(directory: Path, machine: str, nodes: tuple[ServerId, ...], code_tag: str) -> ClusterRecord:
    """The record of `directory`, made if there is none.

    Raises `WrongCluster` if it was made for another machine, other nodes or code of another runtime, `UnknownFormat`
    or `CorruptStorage` if it cannot be read, `RecoveryUnfinished` if a recovery was cut short.
    """
    make_directory(directory)
    found = read_record(directory)
    if found is None:
        found = ClusterRecord(cluster_id=secrets.token_hex(8), machine=machine, nodes=nodes, code_tag=code_tag)
        _write(directory, found)
        return found
    refuse_unfinished_recovery(directory, found)
    wanted = {"machine": machine, "nodes": ", ".join(nodes), "code commands of": code_tag or "none"}
    present = {"machine": found.machine, "nodes": ", ".join(found.nodes), "code commands of": found.code_tag or "none"}
    for what, value in wanted.items():
        if value != present[what]:
            raise WrongCluster(
                f"{directory} holds a cluster with {what}: {present[what]}; asked for was {value}",
                why="a cluster's machine and members cannot be changed by starting it otherwise",
                fix="start it as it was made (members come and go while it runs: actorum members), or choose another "
                "data directory",
            )
    return found


def read_record(directory: Path) -> ClusterRecord | None:
    """The record of `directory`, or None if it has none."""
    path = directory / RECORD_NAME
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        record = json.decode(content, type=ClusterRecord)
    except MsgspecError as error:
        raise corrupt(path, f"it is not a record of a cluster ({error})") from None
    if record.format != FORMAT:
        raise UnknownFormat(f"{path} has format {record.format}; this version reads format {FORMAT}")
    return record


def note_started(directory: Path) -> None:
    """All peers are up: from now on each of them must find its log."""
    record = read_record(directory)
    if record is not None and (record.newborn or not record.was_started):
        _write(directory, replace(record, was_started=True, newborn=()))


def note_added(directory: Path, server_id: ServerId) -> None:
    """This peer is about to be started for the first time."""
    record = known_record(directory)
    _write(directory, replace(record, added=(*record.added, server_id), newborn=(*record.newborn, server_id)))


def note_born(directory: Path, server_id: ServerId) -> None:
    """This peer was up: it has a log."""
    record = known_record(directory)
    _write(directory, replace(record, newborn=tuple(name for name in record.newborn if name != server_id)))


def note_removed(directory: Path, server_id: ServerId) -> None:
    """This peer is needed no more."""
    record = known_record(directory)
    if server_id not in record.removed:
        _write(directory, replace(record, removed=(*record.removed, server_id)))


def note_recovery_begun(directory: Path, recovery: Recovery) -> None:
    """From here on this is the only way forward."""
    _write(directory, replace(known_record(directory), recovering=recovery))


def note_recovered(directory: Path) -> None:
    """The recovery that was begun is done."""
    record = known_record(directory)
    recovery = record.recovering
    assert recovery is not None
    after = replace(
        record,
        cluster_id=recovery.cluster_id,
        was_started=True,
        newborn=(),
        removed=(*record.removed, *recovery.given_up),
        recoveries=(*record.recoveries, recovery),
        recovering=None,
    )
    _write(directory, after)


def refuse_unfinished_recovery(directory: Path, record: ClusterRecord) -> None:
    """Raise `RecoveryUnfinished` if one was begun and cut short: some logs belong to the new cluster already."""
    if record.recovering is not None:
        survivors = " ".join(f"--survivor {name}" for name in record.recovering.survivors)
        raise RecoveryUnfinished(
            f"a recovery of {directory} was begun and not finished",
            why="some of its peers belong to the cluster that it makes already, others to the one before",
            fix=f"actorum recover {directory} {survivors}",
        )


def known_record(directory: Path) -> ClusterRecord:
    """The record of a directory that must have one.  Raises `CorruptStorage`."""
    record = read_record(directory)
    if record is None:
        raise corrupt(directory / RECORD_NAME, "it is gone")
    return record


def refuse_lost_log(database: Path) -> None:
    """Raise `CorruptStorage` if the peer's log should be there and is not."""
    record = read_record(database.parent.parent)
    if record is None or not record.was_started or database.parent.name in record.newborn:
        return
    if not database.exists():
        raise CorruptStorage(
            f"{database} is gone",
            why="the peer has voted and acknowledged entries; without its log it could break both promises",
            fix=f"restore the file; or start the others, if they are a majority, and: actorum members replace "
            f"{database.parent.name}",
        )


def _write(directory: Path, record: ClusterRecord) -> None:
    path, new = directory / RECORD_NAME, directory / (RECORD_NAME + ".new")
    with new.open("wb") as file:
        file.write(json.format(json.encode(record), indent=1) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    new.rename(path)
    sync_directory(directory)
