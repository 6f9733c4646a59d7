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

from actors.storage.damage import corrupt
from actors.storage.files import make_directory, sync_directory
from actors.storage.port import CorruptStorage, UnknownFormat, WrongCluster
from raft_core.types import ServerId

FORMAT = 1
RECORD_NAME = "cluster.json"


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
    or `CorruptStorage` if it cannot be read.
    """
    make_directory(directory)
    found = read_record(directory)
    if found is None:
        found = ClusterRecord(cluster_id=secrets.token_hex(8), machine=machine, nodes=nodes, code_tag=code_tag)
        _write(directory, found)
        return found
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
    record = _known_record(directory)
    _write(directory, replace(record, added=(*record.added, server_id), newborn=(*record.newborn, server_id)))


def note_born(directory: Path, server_id: ServerId) -> None:
    """This peer was up: it has a log."""
    record = _known_record(directory)
    _write(directory, replace(record, newborn=tuple(name for name in record.newborn if name != server_id)))


def note_removed(directory: Path, server_id: ServerId) -> None:
    """This peer is needed no more."""
    record = _known_record(directory)
    if server_id not in record.removed:
        _write(directory, replace(record, removed=(*record.removed, server_id)))


def _known_record(directory: Path) -> ClusterRecord:
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
            fix=f"restore the file; or, while the others run: actorum members replace {database.parent.name}",
        )


def _write(directory: Path, record: ClusterRecord) -> None:
    path, new = directory / RECORD_NAME, directory / (RECORD_NAME + ".new")
    with new.open("wb") as file:
        file.write(json.format(json.encode(record), indent=1) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    new.rename(path)
    sync_directory(directory)
