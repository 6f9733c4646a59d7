"""A new version of a machine begins at one entry of the log, on all replicas alike, or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
from msgspec import msgpack
from msgspec.structs import replace

from actors.codec import encode_command
from actors.context import HERE, Context
from actors.errors import NoQuorum, WrongVersion
from actors.machine import OPEN_SESSION_COMMAND, MachineHost
from actors.replicated import Replicated, command, query
from actors.replicated_clock import encode_stamp
from actors.replies import RefusalKind, encode_result
from actors.versions import UPGRADE, encode_upgrade
from raft_core import Entry
from tests.actors.test_machine import refusal


class Account1(Replicated, name="account"):
    """Whole units."""

    balance: int = 0

    @command
    def deposit(self, amount: int) -> int:
        self.balance += amount
        return self.balance

    @query
    def total(self) -> int:
        return self.balance


class Account2(Replicated, name="account"):
    """Cents, and a deposit that means something else."""

    version: ClassVar[int] = 2
    replaces: ClassVar[type[Replicated] | None] = Account1
    cents: int = 0

    @command
    def deposit(self, amount: int) -> int:
        self.cents += amount
        return self.cents

    @query
    def total(self) -> int:
        return self.cents

    @classmethod
    def migrate(cls, state: dict[str, Any], from_version: int) -> dict[str, Any]:
        if state["balance"] < 0:
            raise ValueError("nobody knows what a debt becomes")
        return {"cents": state["balance"] * 100}


class Account(Replicated):
    """Knows what time it is."""

    version: ClassVar[int] = 4
    replaces: ClassVar[type[Replicated] | None] = Account2
    cents: int = 0
    since: int = 0

    @command
    def deposit(self, amount: int, *, context: Context = HERE) -> int:
        self.cents, self.since = self.cents + amount, context.clock
        return self.cents

    @query
    def total(self) -> int:
        return self.cents

    @classmethod
    def migrate(cls, state: dict[str, Any], from_version: int) -> dict[str, Any]:
        return Account2.migrate(state, 1) if from_version == 1 else state


def entry(index: int, name: str, arguments: bytes) -> Entry:
    return Entry(1, encode_command(1, index, 0, name, arguments))


def deposit(index: int, amount: int) -> Entry:
    return entry(index, "deposit", msgpack.encode([amount]))


def upgrade(index: int, version: int) -> Entry:
    return entry(index, UPGRADE, encode_upgrade(version))


LOG = (Entry(1, OPEN_SESSION_COMMAND), deposit(2, 5), upgrade(3, 2), deposit(4, 7), upgrade(5, 4), deposit(6, 1))


def started(*entries: Entry, machine: Replicated | None = None, **options: bool) -> MachineHost:
    host = MachineHost(machine or Account(), **options)  # type: ignore[arg-type]
    if entries:
        host.apply_batch(1, entries)
    return host


def test_a_replica_begins_with_the_oldest_version_it_has() -> None:
    host = started(*LOG[:2])
    assert (host.describe(), host.newest_version, host.state()) == ("account@1", 4, {"balance": 5})


def test_a_version_begins_at_its_entry_with_the_fields_of_the_one_before() -> None:
    host = MachineHost(Account())
    replies = host.apply_batch(1, LOG)
    assert replies[1:] == [encode_result(reply) for reply in (5, 2, 507, 4, 508)]
    assert host.describe() == "account@4" and host.state() == {"cents": 508, "since": 0}


def test_versions_can_be_passed_over() -> None:
    assert started(LOG[0], LOG[1], upgrade(3, 4)).state() == {"cents": 500, "since": 0}


def test_the_version_that_is_in_force_or_an_older_one_does_not_begin_again() -> None:
    host = started(*LOG)
    assert host.apply(7, upgrade(7, 2).command) == encode_result(4)
    assert host.apply(8, upgrade(8, 4).command) == encode_result(4)
    assert host.apply(9, entry(9, UPGRADE, b"\xc1").command) == encode_result(4)
    assert host.state() == {"cents": 508, "since": 0}


def test_an_upgrade_that_is_sent_again_gets_the_first_answer() -> None:
    host = started(*LOG[:3])
    assert host.apply(7, LOG[2].command) == encode_result(2)


def test_a_replica_that_does_not_know_the_version_stops() -> None:
    with pytest.raises(WrongVersion, match="the cluster goes on with account@4, and this replica knows 2 at most"):
        started(*LOG, machine=Account2())


def test_fields_that_cannot_be_migrated_leave_the_old_version_in_force_on_all_replicas() -> None:
    host = started(LOG[0], deposit(2, -5))
    assert refusal(host.apply(3, upgrade(3, 4).command)) is RefusalKind.COMMAND_FAILED
    assert host.describe() == "account@1" and host.state() == {"balance": -5}


def test_the_check_of_determinism_lets_versions_begin() -> None:
    assert started(*LOG, check_determinism=True).save() == started(*LOG).save()


@pytest.mark.parametrize("length", range(1, len(LOG) + 1))
def test_a_snapshot_of_any_version_is_as_good_as_the_log_before_it(length: int) -> None:
    whole, restored = started(*LOG), started()
    restored.restore(started(*LOG[:length]).save())
    assert restored.describe() == started(*LOG[:length]).describe()
    if LOG[length:]:
        restored.apply_batch(length + 1, LOG[length:])
    assert restored.save() == whole.save()


def test_a_snapshot_of_a_version_whose_class_is_gone_loads_into_the_next() -> None:
    class Account4(Replicated, name="account"):
        version: ClassVar[int] = 4
        cents: int = 0
        since: int = 0

        @classmethod
        def migrate(cls, state: dict[str, Any], from_version: int) -> dict[str, Any]:
            return Account2.migrate(state, 1) if from_version == 1 else state

    host = MachineHost(Account4())
    host.restore(started(*LOG[:2]).save())
    assert host.describe() == "account@4" and host.state() == {"cents": 500, "since": 0}


def test_who_may_know_the_time_later_is_told_it_from_the_start() -> None:
    host = started(Entry(1, encode_stamp(77)), *LOG[:2])
    assert host.is_timed and host.clock == 77 and host.next_deadline is None


def test_a_class_replaces_older_versions_of_the_same_machine_only() -> None:
    with pytest.raises(TypeError, match=r'other@2 and cannot replace account@1: give the old class name="other"'):

        class Other(Replicated):
            version: ClassVar[int] = 2
            replaces: ClassVar[type[Replicated] | None] = Account1

    with pytest.raises(TypeError, match="account@1 and cannot replace account@1"):

        class Again(Replicated, name="account"):
            replaces: ClassVar[type[Replicated] | None] = Account1


def test_a_class_that_replaces_none_takes_effect_at_once() -> None:
    host = started(LOG[0], deposit(2, 5), upgrade(3, 1), machine=Account1())
    assert host.describe() == "account@1" and host.newest_version == 1


# --- the cluster


def test_a_cluster_goes_over_to_the_newest_version_when_it_is_told_to() -> None:
    with Account.cluster(nodes=3, engine="sim", seed=4) as account:
        assert account.deposit(5) == 5 and account.total() == 5
        assert {digest.machine for digest in account.cluster.wait_until_equal().values()} == {"account@1"}
        assert account.cluster.upgrade() == 4
        account.cluster.kill_leader()
        assert account.deposit(1) == 501


def test_a_peer_that_is_down_puts_an_upgrade_off() -> None:
    with Account.cluster(nodes=3, engine="sim", seed=4) as account:
        account.deposit(5)
        down = account.cluster.kill_leader()
        with pytest.raises(NoQuorum, match=f"{down} did not say which versions of the machine they know"):
            account.cluster.upgrade(timeout=2.0)
        account.cluster.restart(down)
        assert account.cluster.upgrade() == 4


def test_the_version_that_begins_is_one_that_every_peer_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    with Account.cluster(nodes=3, engine="sim", seed=4) as account:
        account.deposit(5)
        told = dict(account.cluster.wait_until_equal())
        told["n2"] = replace(told["n2"], newest_version=2)  # as one with an older program would say
        monkeypatch.setattr(account.cluster, "digests", lambda timeout: told)
        assert account.cluster.upgrade() == 2
        monkeypatch.undo()
        assert {digest.machine for digest in account.cluster.wait_until_equal().values()} == {"account@2"}


def test_a_new_program_on_old_data_goes_on_as_the_old_one_until_the_upgrade(tmp_path: Path) -> None:
    with Account1.cluster(nodes=3, engine="threads", data=tmp_path) as old:
        assert old.deposit(5) == 5
        assert old.cluster.upgrade() == 1, "nothing newer is known"
    with Account.cluster(nodes=3, engine="threads", data=tmp_path) as account:
        assert account.deposit(1) == 6
        assert account.cluster.upgrade() == 4 and account.deposit(1) == 601
    with Account.cluster(nodes=3, engine="threads", data=tmp_path) as account:
        assert account.total() == 601
