"""`RaftMachine`: hypothesis drives a cluster beside a plain object; each of its rules, seen broken."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any, ClassVar, Literal

import pytest
from hypothesis import find, settings
from hypothesis import strategies as st
from hypothesis.stateful import run_state_machine_as_test

from actors import Replicated, command, query
from actors.replies import encode_result
from actors.testing.stateful import RaftMachine, _Model, values_of
from actors.testing.steps import Ask, Crash, Cut, Disturb, Heal, Isolate, Restart, Step, Wait
from actors.testing.verdict import Violation
from tests.plugin.ledgers import Honest, log_of


class Ledger(Replicated):
    """Parameters of every kind, and names that mean something else to hypothesis."""

    moved: dict[str, int] = {}  # noqa: RUF012

    @command
    def transfer(self, source: str, target: str, *, amount: int = 1) -> int:
        self.moved[target] = self.moved.get(target, 0) + amount
        return self.moved[target]

    @command
    def crash(self, names: list[str], share: float | None) -> list[str]:
        if share is None:
            raise ValueError("no share")
        return sorted({*names, *self.moved})

    @query
    def heal(self) -> dict[str, int]:
        return self.moved


class LedgerMachine(RaftMachine):
    machine = Ledger
    arguments = {"transfer": {"amount": st.integers(1, 3)}}  # noqa: RUF012
    seen: ClassVar[list[Step]] = []

    def teardown(self) -> None:
        super().teardown()
        self.seen.extend(step for _, step in self.chaos.steps)


def test_a_machine_without_a_mistake_survives_calls_and_trouble_of_every_kind() -> None:
    quick = settings(max_examples=20, stateful_step_count=15, deadline=None, database=None, derandomize=True)
    run_state_machine_as_test(LedgerMachine, settings=quick)
    assert {type(step) for step in LedgerMachine.seen} == {Ask, Crash, Restart, Cut, Isolate, Disturb, Heal, Wait}
    assert {step.name for step in LedgerMachine.seen if isinstance(step, Ask)} == {"transfer", "crash", "heal"}
    assert any(isinstance(step, Ask) and step.by_keyword == {"amount": 3} for step in LedgerMachine.seen)


LOG = log_of((1, "deposit", ("ann", 5)), (2, "close", ("bob",)))


def model() -> _Model:
    plain = _Model(Honest)
    plain.submitted(1, frozenset())
    plain.submitted(2, frozenset({1}))
    plain.follow(LOG)
    return plain


def test_a_model_that_agrees_says_nothing_also_of_a_repetition() -> None:
    plain = model()
    plain.answered(1, encode_result(5))
    plain.follow(log_of((1, "deposit", ("ann", 5)))[2:])
    plain.asked(Ask("total"), lambda: 5)
    assert plain.index == 5


def test_another_answer_than_the_plain_objects() -> None:
    with pytest.raises(
        Violation, match=r"The Model Agrees: deposit\('ann', 5\) was answered 6, the plain object says 5"
    ):
        model().answered(1, encode_result(6))
    with pytest.raises(Violation, match=r"close\('bob'\) was answered None, the plain object says KeyError"):
        model().answered(2, encode_result(None))


def test_an_answer_to_what_is_not_committed() -> None:
    with pytest.raises(Violation, match=r"Acknowledged Is Kept: command 3 was answered"):
        model().answered(3, encode_result(1))


def test_a_command_that_overtakes_one_that_was_answered_before() -> None:
    plain = _Model(Honest)
    plain.submitted(1, frozenset())
    plain.submitted(2, frozenset({1}))
    with pytest.raises(
        Violation, match=r"Real Time Is Kept: close\('bob'\), command 2, is in the log before command 1"
    ):
        plain.follow(LOG[:2] + LOG[3:])


def test_a_query_that_sees_an_older_state() -> None:
    with pytest.raises(Violation, match=r"Queries See It All: total\(\) says 0, the plain object 5"):
        model().asked(Ask("total"), lambda: 0)


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        (int, 7),
        (str | None, None),
        (Annotated[int, "cents"], 3),
        (Literal["a", "b"], "b"),
        (Colour, Colour.BLUE),
        (list[bool], [True]),
        (tuple[int, ...], (4,)),
        (tuple[int, str], (1, "bob")),
        (dict[str, int], {"ann": 2}),
        (set[int], {4}),
        (Any, "bob"),
        (complex, 0j),
    ],
    ids=str,
)
def test_values_follow_from_the_annotation(kind: Any, wanted: object) -> None:
    quick = settings(max_examples=3_000, database=None, deadline=None, derandomize=True)
    assert find(values_of(kind), lambda value: value == wanted, settings=quick) == wanted
