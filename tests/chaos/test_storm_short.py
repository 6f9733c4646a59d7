"""The storm, in a form short enough for every run of the suite (the long one: `tests.chaos.storm`)."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from actors.errors import ExitCode
from actors.protocol import Delivered, Status
from raft_core import Entry
from tests.chaos.recorded import Ask
from tests.chaos.storm import Plan, run
from tests.chaos.storm_plan import KINDS, planned
from tests.chaos.storm_witness import LogWitness
from tests.runtimes import runtime

OPERATIONS = 15
SEED = 27
"""Of a plan that goes to the edge, and in which nobody is removed while it is paused: that takes ten seconds."""


@pytest.mark.slow
@pytest.mark.usefixtures("each_runtime")
def test_nothing_acknowledged_is_lost_in_a_storm() -> None:
    outcome = run(Plan(runtime(), "sqlite", OPERATIONS, SEED))
    assert outcome.is_good, f"{outcome.problems} {outcome.judgement and outcome.judgement.verdict} {outcome.figures}"
    done = outcome.figures["done"]
    assert isinstance(done, dict) and set(done) == set(KINDS) and sum(done.values()) == OPERATIONS
    assert (outcome.figures["acknowledged_lost"], outcome.figures["doubled"]) == (0, 0)
    assert isinstance(outcome.figures["answered"], int) and outcome.figures["answered"] > 500
    assert outcome.figures["most_harmed"] == 2, "it did not go to the edge"


def now_and_then_doubled(ask: Ask) -> Ask:
    """Some increments take effect twice, as a retry would that nobody recognizes."""
    random = Random(1)

    def asked(name: str, key: str, arguments: tuple[Any, ...]) -> Any:
        if name == "incr" and random.random() < 0.5:
            ask(name, key, arguments)
        return ask(name, key, arguments)

    return asked


def test_a_storm_in_which_increments_count_twice_is_found_unsafe() -> None:
    outcome = run(Plan("actors", "memory", 4, seed=1, meddle=now_and_then_doubled))
    assert outcome.exit_code is ExitCode.UNSAFE
    assert any("doubled" in problem for problem in outcome.problems)


def test_a_seed_means_one_plan_and_each_round_has_one_of_every_kind() -> None:
    assert planned(7, 200) == planned(7, 200) != planned(8, 200)
    assert {step.kind for step in planned(7, 8)} == set(KINDS)
    assert [step.kind for step in planned(7, 200)].count("remove") == 25


@pytest.fixture
def witness() -> Iterator[LogWitness]:
    one = LogWitness()
    yield one
    one.client.close()


def test_another_entry_at_the_same_place_is_noticed(witness: LogWitness) -> None:
    witness.heard("n1", Delivered(1, (Entry(1, b"a"), Entry(1, b"b"))))
    witness.heard("n2", Delivered(1, (Entry(1, b"a"),)))
    assert witness.problems == []
    witness.heard("n2", Delivered(2, (Entry(1, b"c"),)))
    assert len(witness.problems) == 1
    assert "State Machine Safety" in witness.problems[0]


def test_who_goes_back_is_noticed_and_who_comes_back_is_not(witness: LogWitness) -> None:
    witness.heard("n1", Delivered(1, (Entry(1, b"a"), Entry(1, b"b"))))
    witness.gone("n1")
    witness.heard("n1", Delivered(1, (Entry(1, b"a"),)))
    assert witness.problems == []
    witness.heard("n1", Delivered(1, (Entry(1, b"a"),)))
    assert witness.problems == ["n1 applied entry 1, and then 1"]


def test_two_leaders_in_a_term_are_noticed(witness: LogWitness) -> None:
    def leads(name: str, term: int) -> Status:
        return Status(1, name, "leader", term, name, 0, 0, 0, 0, 0, 0, 0.0, 0.0, 0)

    witness.looked_at([leads("n1", 1), leads("n2", 2), None])
    assert witness.problems == []
    witness.looked_at([leads("n1", 2)])
    assert len(witness.problems) == 1
    assert "Election Safety" in witness.problems[0]
