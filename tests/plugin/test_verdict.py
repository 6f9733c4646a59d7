"""Each rule of `check`, seen broken: by a log, an answer or a replica that does not fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import pytest
from msgspec import msgpack
from msgspec.structs import replace

from actors.calls import Call, EventWaiter
from actors.errors import WrongArguments
from actors.machine import MachineHost
from actors.protocol import Digest
from actors.replies import encode_result
from actors.testing.chaos import chaos_cluster
from actors.testing.elsewhere import Elsewhere, place_of
from actors.testing.history import Asked
from actors.testing.verdict import Violation, judge, judge_elsewhere, settled
from raft_core import Entry, LogIndex
from tests.plugin.ledgers import CountsReceipts, Honest, TakesTheFirst, log_of

T = TypeVar("T")
LOG = log_of((1, "deposit", ("ann", 5)), (2, "deposit", ("bob", 7)))


def broken_rule(judged: Callable[[], object]) -> str:
    with pytest.raises(Violation) as caught:
        judged()
    return caught.value.rule


def replica_of(log: tuple[Entry, ...]) -> Digest:
    host = MachineHost(Honest())
    host.apply_batch(1, log)
    return Digest(0, "n1", len(log), host.state_digest(), host.describe())


def asked(name: str, arguments: tuple[object, ...], result: object) -> Asked:
    call: Call[int] = Call(lambda reply: 0, EventWaiter())
    one = Asked(name, msgpack.encode(arguments), call)
    one.reply = encode_result(result)
    return one


def test_what_fits_is_accepted() -> None:
    answers = {1: asked("deposit", ("ann", 5), 5), 2: asked("deposit", ("bob", 7), 7)}
    judge(Honest, LOG, answers, {"n1": replica_of(LOG)})


def test_a_command_with_two_outcomes() -> None:
    assert broken_rule(lambda: judge(CountsReceipts, LOG, {}, {})) == "One Outcome"


def test_a_replica_that_has_another_state_than_the_log_gives() -> None:
    other = log_of((1, "deposit", ("ann", 5)), (2, "deposit", ("bob", 8)))
    assert broken_rule(lambda: judge(Honest, LOG, {}, {"n1": replica_of(other)})) == "Equal Logs, Equal States"


@pytest.mark.parametrize(
    "answers", [{3: asked("deposit", ("carl", 1), 1)}, {1: asked("deposit", ("ann", 6), 5)}], ids=["none", "another"]
)
def test_an_acknowledged_command_that_is_not_in_the_log(answers: dict[int, Asked]) -> None:
    assert broken_rule(lambda: judge(Honest, LOG, answers, {})) == "Acknowledged Is Kept"


def test_an_answer_that_the_log_does_not_give() -> None:
    answers = {2: asked("deposit", ("bob", 7), 8)}
    assert broken_rule(lambda: judge(Honest, LOG, answers, {})) == "Answered As Applied"


class Forgetful(MachineHost):
    """Carries out what comes twice, twice."""

    def apply_batch(self, first_index: LogIndex, entries: tuple[Entry, ...]) -> list[bytes | None]:
        for session in self._sessions.values():
            session.replies.clear()
        return super().apply_batch(first_index, entries)


def test_a_command_that_is_done_twice() -> None:
    log = log_of((1, "deposit", ("ann", 5)), (1, "deposit", ("ann", 5)))
    judge(Honest, log, {}, {})
    assert broken_rule(lambda: judge(Honest, log, {}, {}, Forgetful)) == "Exactly Once"


def test_a_replica_that_does_not_keep_up_although_it_could() -> None:
    with chaos_cluster(Honest, seed=1) as bank:
        bank.machine.deposit("ann", 5)
        bank.cluster.network.disconnect("n1")
        bank.cluster.network.disconnect("n2")
        assert broken_rule(lambda: settled(bank.cluster, 3.0)) == "Progress"
        bank.calm()
        assert {digest.applied_index for digest in settled(bank.cluster, 60.0).values()} != {0}


def test_a_command_that_goes_by_the_order_of_a_set_is_found_in_another_process_and_only_there() -> None:
    log = log_of((1, "deposit", ("ann", 5)), (2, "deposit", ("bob", 7)), (3, "close", ("ann",)))
    judge(TakesTheFirst, log, {}, {})
    careless, honest = Elsewhere(TakesTheFirst), Elsewhere(Honest)
    try:
        with pytest.raises(Violation, match=r"Everywhere Alike: close\('ann'\), entry 5, has another outcome"):
            judge_elsewhere(careless, log)
        judge_elsewhere(careless, log[:-1])
        judge_elsewhere(honest, log)
    finally:
        careless.close()
        honest.close()


def test_a_machine_that_no_other_process_can_find_is_not_judged_there() -> None:
    class Local(Honest):
        pass

    assert place_of(Local) is None
    assert Elsewhere(Local).first_difference(LOG) is None


def test_a_machine_that_another_process_cannot_load_is_told_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    place = place_of(Honest)
    assert place is not None
    wrong = replace(place, name="Dishonest")
    monkeypatch.setattr("actors.testing.elsewhere.place_of", lambda kind: wrong)
    elsewhere = Elsewhere(Honest)
    with pytest.raises(WrongArguments, match=r"could not load Honest") as caught:
        elsewhere.first_difference(LOG)
    assert caught.value.fix is not None and "check(processes=False)" in caught.value.fix
    elsewhere.close()
