"""Recovery from the loss of a majority for good: an act of an operator that breaks promises, so it is never done by
itself, and never in silence.

Raft serves as long as a majority of the voters keeps its logs; with fewer it stops, and that is right: nobody can know
what only the others held.  If their disks will not come back, somebody has to decide to go on with what is left.

1. The cluster is down.  Of the survivors' logs the most complete one, by (term, index) as in an election (paper 5.4.1),
   is chosen.  Behind its end goes one configuration entry, with the survivors as the only voters, of a term that is
   higher than any of theirs.  That and the term are one transaction.
2. The other logs stay as they are.  The survivors elect whoever has the chosen log, for nobody else's is as complete,
   and it makes theirs equal to its own: that is Raft at work as always, and no entry is ever copied by hand.
3. The cluster gets another id, its next *incarnation*.  A peer that was given up, and comes back with its log and its
   old members - with its like, it may be a majority of those - belongs to the former one.  Nothing of it is opened, no
   link leads to it, over HTTP its messages are refused, and its name is never given again.

It is refused while a majority can still be read, and if a peer that is not named has a more complete log than those
that are.  A crash in between is safe: the record of the directory says what was begun, nothing starts before it is
finished, and every step can be repeated.

What it costs is said before, and written down in `cluster.json` and shown by `actorum status` after it: what only the
others held is lost though it may have been acknowledged, and what was never committed takes effect if the chosen log
holds it.

Rejected: each survivor for itself, as hashicorp/raft's RecoverCluster does it (survivors whose ends differ take both
for committed and drift apart for ever); the same identity afterwards, as etcd's --force-new-cluster keeps it (members
that come back win elections among themselves and overrule those who went on); a single survivor (why lose a copy); to
do it when the cluster starts, by an option (it would stay in somebody's script).
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct

from actors.errors import NoSuchNode, RecoveryRefused
from actors.service import refuse_if_served
from actors.storage.disk import Disk
from actors.storage.files import FileLock
from actors.storage.port import CorruptStorage, StorageError, StorageInUse
from actors.storage.record import (
    ClusterRecord,
    Recovery,
    known_record,
    lineage_of,
    next_incarnation,
    note_recovered,
    note_recovery_begun,
    read_record,
)
from actors.storage.snapshots import SnapshotFiles
from actors.storage.sqlite import SqliteStorage
from actors.storage.sqlite_file import adopt, beside, cluster_of, connect
from raft_core import Configuration, LogIndex, ServerId, Settings, Term, configuration, majority, restore
from raft_core.configuration import configuration_entry
from raft_core.effects import AppendToLog, PersistTermAndVote

LOG = logging.getLogger("actorum.recovery")
_DATABASE = "raft.sqlite3"


class Survivor(Struct, frozen=True, kw_only=True):
    """A peer whose log can be read."""

    server_id: ServerId
    current_term: Term
    last_term: Term
    last_index: LogIndex
    members: Configuration
    """The latest in its log."""

    @property
    def completeness(self) -> tuple[Term, LogIndex]:
        """The greater, the more complete is its log (paper 5.4.1)."""
        return self.last_term, self.last_index


class RecoveryPlan(Struct, frozen=True, kw_only=True):
    """What a recovery would do."""

    survivors: tuple[Survivor, ...]
    chosen: Survivor
    """The first of those with the most complete log."""
    term: Term
    lost: dict[ServerId, str]
    """Who is given up, and what is wrong with each."""

    def __str__(self) -> str:
        chosen, lost = self.chosen, "; ".join(f"{name}: {why}" for name, why in self.lost.items())
        return "\n".join(
            [
                f"The cluster goes on with {_listed(self.survivors)} and the log of {chosen.server_id}: "
                f"{chosen.last_index} entries, the last of term {chosen.last_term}.",
                f"Given up for good: {lost}.",
                f"LOST is what only these held: every command behind entry {chosen.last_index}, though it may have "
                "been acknowledged, and though somebody may have read its effect.",
                "TAKES EFFECT what that log holds, committed or not: a command whose outcome was unknown may turn out "
                "to have been carried out.",
                "This cannot be undone. Copy the directory first.",
            ]
        )


def plan_recovery(data: str | Path, survivors: Iterable[ServerId]) -> RecoveryPlan:
    """Look at everything and change nothing.

    Raises `RecoveryRefused`, with the reason, `NoSuchNode` for a peer that the cluster does not have, `StorageInUse`
    while it runs, and `CorruptStorage` if a survivor's log cannot be read.
    """
    directory = Path(data).absolute()
    refuse_if_served(directory)
    record = known_record(directory)
    named = _named(record, survivors)
    if record.recovering is not None:
        raise RecoveryRefused(
            f"a recovery of {directory} was begun already",
            why=f"with the survivors {', '.join(record.recovering.survivors)}; it can only be finished",
            fix="ask for it with the same survivors",
        )
    found, lost = _examined(directory, record, named)
    survived = tuple(found[name] for name in named)
    chosen = max(survived, key=lambda survivor: survivor.completeness)
    _refuse_if_others_know_more(found, chosen)
    _refuse_if_not_needed(directory, found)
    lost.update(dict.fromkeys(found.keys() - set(named), "not named as a survivor"))
    term = max(survivor.current_term for survivor in found.values()) + 1
    return RecoveryPlan(survivors=survived, chosen=chosen, term=term, lost=dict(sorted(lost.items())))


def recover(data: str | Path, survivors: Iterable[ServerId], *, accept_data_loss: bool = False) -> Recovery:
    """Let the cluster in the directory `data`, which must be down, go on with the `survivors` alone, because a majority
    of its logs is gone for good.  Read the module's essay, or `docs/how-to/operate.md`, before.

    Raises what `plan_recovery` does, and `RecoveryRefused` without `accept_data_loss`.
    """
    directory, survivors = Path(data).absolute(), tuple(survivors)
    record = read_record(directory)
    if record is not None and record.recovering is not None:
        return _finish_if_same(directory, record.recovering, survivors)
    plan = plan_recovery(directory, survivors)
    if not accept_data_loss:
        raise RecoveryRefused("nothing was recovered: nobody agreed to the loss of data", why=str(plan))
    recovery = _recovery(known_record(directory), plan)
    note_recovery_begun(directory, recovery)
    return _finish(directory, recovery)


def is_begun(data: str | Path) -> bool:
    """Was one cut short?  It was agreed to, and can only be finished."""
    return known_record(Path(data)).recovering is not None


def _named(record: ClusterRecord, survivors: Iterable[ServerId]) -> tuple[ServerId, ...]:
    named = tuple(dict.fromkeys(survivors))
    for name in named:
        if name not in record.present:
            raise NoSuchNode(
                f"{name} cannot survive: {'it was removed' if name in record.ever else 'there is no such peer'}",
                why=f"the peers are {', '.join(record.present)}",
                fix="name those whose data is there",
            )
    if not named:
        raise RecoveryRefused(
            "no survivor was named", why="somebody must have the data", fix="name all whose data is there"
        )
    return named


# --- looking ----------------------------------------------------------------------------------------------------------


def _examined(
    directory: Path, record: ClusterRecord, named: Collection[ServerId]
) -> tuple[dict[ServerId, Survivor], dict[ServerId, str]]:
    """Whose log can be read, and what is wrong with the others.  Raises if it is wrong with one that is `named`."""
    found: dict[ServerId, Survivor] = {}
    lost: dict[ServerId, str] = {}
    for name in record.present:
        try:
            with _opened(directory / name, record.cluster_id, name) as disk:
                found[name] = _seen(record, name, disk)
        except StorageError as error:
            if name in named or isinstance(error, StorageInUse):
                raise
            lost[name] = error.what
    return found, lost


@contextmanager
def _opened(directory: Path, cluster_id: str, name: ServerId) -> Iterator[Disk]:
    """The disk of a peer that has one: none is made here."""
    path = directory / _DATABASE
    if not path.exists():
        raise CorruptStorage(f"{path} is gone", why="without its log it is no survivor", fix="leave it out")
    with closing(SqliteStorage(path, cluster_id=cluster_id, server_id=name)) as storage:
        snapshots = SnapshotFiles(
            directory / "snapshots", cluster_id=lineage_of(cluster_id), server_id=name, synchronous=True
        )
        yield Disk(storage, snapshots)


def _seen(record: ClusterRecord, name: ServerId, disk: Disk) -> Survivor:
    stored, snapshot = disk.load()
    server = restore(
        name,
        record.nodes,
        Settings(),
        randomness=0,
        current_term=stored.current_term,
        entries=stored.entries,
        snapshot=snapshot,
        last_included=(stored.last_included_index, stored.last_included_term),
    )
    return Survivor(
        server_id=name,
        current_term=stored.current_term,
        last_term=server.log.last_term,
        last_index=server.log.last_index,
        members=server.configuration,
    )


def _refuse_if_others_know_more(found: dict[ServerId, Survivor], chosen: Survivor) -> None:
    best = max(found.values(), key=lambda survivor: survivor.completeness)
    if best.completeness > chosen.completeness:
        raise RecoveryRefused(
            f"{best.server_id} is not named, and its log is more complete than that of {chosen.server_id}",
            why=f"it has {best.last_index} entries, the last of term {best.last_term}; {chosen.server_id} has "
            f"{chosen.last_index}, the last of term {chosen.last_term}",
            fix=f"--survivor {best.server_id}",
        )


def _refuse_if_not_needed(directory: Path, found: dict[ServerId, Survivor]) -> None:
    """The latest members that anybody knows decide, in a joint phase both halves of them (paper 6)."""
    members = max(found.values(), key=lambda survivor: survivor.completeness).members
    groups = [group for group in (members.voters, members.old_voters) if group]
    if all(len(found.keys() & set(group)) >= majority(group) for group in groups):
        raise RecoveryRefused(
            "a recovery is not needed: a majority of the voters has its logs",
            why=f"the voters are {', '.join(members.voters)}, and {', '.join(found)} can be read, so nothing is lost",
            fix=f"actorum up --data {directory}, then actorum members replace for each of the others",
        )


# --- doing ------------------------------------------------------------------------------------------------------------


def _recovery(record: ClusterRecord, plan: RecoveryPlan) -> Recovery:
    return Recovery(
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        former_id=record.cluster_id,
        cluster_id=next_incarnation(record.cluster_id),
        survivors=tuple(survivor.server_id for survivor in plan.survivors),
        given_up=tuple(plan.lost),
        chosen=plan.chosen.server_id,
        index=plan.chosen.last_index + 1,
        term=plan.term,
    )


def _finish_if_same(directory: Path, recovery: Recovery, survivors: Collection[ServerId]) -> Recovery:
    if set(survivors) != set(recovery.survivors):
        raise RecoveryRefused(
            f"a recovery of {directory} with other survivors was begun already",
            why=f"it has {', '.join(recovery.survivors)}, and can only be finished",
            fix="ask for it with the same survivors",
        )
    refuse_if_served(directory)
    return _finish(directory, recovery)


def _finish(directory: Path, recovery: Recovery) -> Recovery:
    """Whatever of it was done already: every step can be repeated, and nothing starts before the last."""
    others = [name for name in recovery.survivors if name != recovery.chosen]
    if _belongs_to(directory / recovery.chosen) == recovery.former_id:
        _write_members(directory, recovery)
    for name in (recovery.chosen, *others):
        _adopt(directory / name, name, recovery.cluster_id)
    note_recovered(directory)
    LOG.warning("recovered %s without a majority: %s", directory, recovery)
    return recovery


def _write_members(directory: Path, recovery: Recovery) -> None:
    """In one transaction; done again, it changes nothing."""
    name = recovery.chosen
    with _opened(directory / name, recovery.former_id, name) as disk:
        disk.load()
        entry = configuration_entry(recovery.term, configuration(recovery.survivors))
        disk.write([PersistTermAndVote(recovery.term, None), AppendToLog(recovery.index - 1, (entry,), recovery.term)])


def _belongs_to(directory: Path) -> str:
    path = directory / _DATABASE
    with closing(connect(path, "full")) as connection:
        return cluster_of(connection, path)


def _adopt(directory: Path, name: ServerId, cluster_id: str) -> None:
    path = directory / _DATABASE
    lock = FileLock(beside(path, ".lock"))
    try:
        with closing(connect(path, "full")) as connection:
            adopt(connection, path, (cluster_id, name))
    finally:
        lock.release()


def _listed(survivors: Iterable[Survivor]) -> str:
    return ", ".join(survivor.server_id for survivor in survivors)
