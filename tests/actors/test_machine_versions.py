"""A new version of a machine begins at one entry of the log, on all replicas alike, or not at all."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import Any, ClassVar

import pytest
from msgspec import msgpack

from actors.cluster import Cluster
from actors.codec import encode_command
from actors.context import HERE, Context
from actors.errors import NoQuorum, WrongVersion
from actors.machine import OPEN_SESSION_COMMAND, MachineHost
from actors.protocol import Digest
from actors.replicated import Replicated, command, query
from actors.replicated_clock import encode_stamp
from actors.replies import RefusalKind, encode_result
from actors.runtimes import RUNTIMES
from actors.spec import RuntimeName
from actors.supervisor import PeerState
from actors.upgrading import begin_version, version_to_begin
from actors.versions import UPGRADE, encode_upgrade
from raft_core import Entry, ServerId
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
    assert (host.describe(), host.versions, host.state()) == ("account@1", (1, 2, 4), {"balance": 5})


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
    assert host.describe() == "account@1" and host.versions == (1,)


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


def answers(**versions: tuple[int, ...] | None) -> dict[ServerId, Digest | None]:
    return {
        name: None if known is None else Digest(1, name, 5, "abc", "account@1", known)
        for name, known in versions.items()
    }


def test_an_upgrade_is_refused_with_the_names_of_those_who_do_not_know_the_version() -> None:
    asked = answers(n1=(1, 2, 4), n2=(1, 2), n3=(1, 2, 4), n4=(1,))
    with pytest.raises(WrongVersion, match=r"version 4 .* n2, n4 would have to stop") as refused:
        version_to_begin(None, ["n1", "n2", "n3"], asked)
    assert refused.value.why == "n2 knows 1, 2; n4 knows 1"
    with pytest.raises(WrongVersion, match="version 3 "):
        version_to_begin(3, ["n1", "n2", "n3"], asked)
    assert version_to_begin(1, ["n1", "n2", "n3"], asked) == 1


def test_every_voter_must_answer_and_a_learner_that_is_down_is_not_waited_for() -> None:
    with pytest.raises(NoQuorum, match=r": n3 did not say"):
        version_to_begin(None, ["n1", "n3"], answers(n1=(1, 2), n3=None, n4=None))
    assert version_to_begin(None, ["n1", "n3"], answers(n1=(1, 2), n3=(1, 2), n4=None)) == 2


def test_a_new_program_on_old_data_goes_on_as_the_old_one_until_the_upgrade(tmp_path: Path) -> None:
    with Account1.cluster(nodes=3, engine="threads", data=tmp_path) as old:
        assert old.deposit(5) == 5
        assert old.cluster.upgrade() == 1, "nothing newer is known"
    with Account.cluster(nodes=3, engine="threads", data=tmp_path) as account:
        assert account.deposit(1) == 6
        assert account.cluster.upgrade() == 4 and account.deposit(1) == 601
    with Account.cluster(nodes=3, engine="threads", data=tmp_path) as account:
        assert account.total() == 601


# --- processes: each has the program that was there when it was started

PROGRAM = """
from typing import Any, ClassVar

from actors import Replicated, command


class Ledger(Replicated):
    total: int = 0

    @command
    def add(self, amount: int) -> int:
        self.total += amount
        return self.total
"""

NEW_PROGRAM = (
    PROGRAM.replace("class Ledger(Replicated)", 'class Ledger1(Replicated, name="ledger")')
    + """

class Ledger(Replicated):
    version: ClassVar[int] = 2
    replaces: ClassVar[type[Replicated] | None] = Ledger1
    cents: int = 0

    @command
    def add(self, amount: int) -> int:
        self.cents += amount
        return self.cents

    @classmethod
    def migrate(cls, state: dict[str, Any], from_version: int) -> dict[str, Any]:
        return {"cents": state["total"] * 100}
"""
)


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A module that new processes can import, and that may be replaced while others run."""
    folder = tmp_path / "program"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    (folder / "ledger_of_two_versions.py").write_text(PROGRAM)
    yield folder / "ledger_of_two_versions.py"
    sys.modules.pop("ledger_of_two_versions", None)


@pytest.mark.timeout(90)
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_rolling_upgrade_of_processes_waits_for_the_last_voter(
    runtime: RuntimeName, program: Path, tmp_path: Path
) -> None:
    ledger_class = importlib.import_module("ledger_of_two_versions").Ledger
    with ledger_class.cluster(data=tmp_path / "data", runtime=runtime, timeout=30) as ledger:
        cluster: Cluster = ledger.cluster
        assert ledger.add(5) == 5 and cluster.upgrade() == 1
        program.write_text(NEW_PROGRAM)
        cluster.restart("n1")
        cluster.restart("n2")
        with pytest.raises(WrongVersion, match=r"version 2 .*: n3 would have to stop"):
            cluster.upgrade(timeout=30)
        assert ledger.add(1) == 6, "the old version is in force"
        cluster.restart("n3")
        assert cluster.upgrade(timeout=30) == 2
        assert ledger.add(1) == 601


@pytest.mark.timeout(90)
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_process_that_meets_a_version_it_does_not_know_stops_and_goes_on_with_the_new_program(
    runtime: RuntimeName, program: Path, tmp_path: Path
) -> None:
    ledger_class = importlib.import_module("ledger_of_two_versions").Ledger
    with ledger_class.cluster(data=tmp_path / "data", runtime=runtime, timeout=30) as ledger:
        cluster: Cluster = ledger.cluster
        assert ledger.add(5) == 5
        program.write_text(NEW_PROGRAM)
        cluster.restart("n1")
        cluster.restart("n2")
        assert begin_version(cluster.client, 2, 30.0) == 2, "as if n3 had become a member just now"
        assert ledger.add(1) == 501
        eventually(lambda: cluster.supervisor.members()["n3"][0] is PeerState.FAILED)
        error = cluster.supervisor.last_errors()["n3"]
        assert isinstance(error, WrongVersion) and "ledger@2, and this replica knows 1 at most" in error.what
        assert ledger.add(1) == 502, "the others go on"
        cluster.restart("n3")
        digests = cluster.wait_until_equal(30.0)
        assert {digest.machine for digest in digests.values()} == {"ledger@2"}


def eventually(holds: Callable[[], bool]) -> None:
    deadline = monotonic() + 30.0
    while not holds():
        assert monotonic() < deadline, "it did not come about"
        sleep(0.01)
