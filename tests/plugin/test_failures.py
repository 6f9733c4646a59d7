"""Chaos is data: what was done can be done again, in part, and shown."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from actors.testing.chaos import ChaosCluster, chaos_cluster
from actors.testing.failure import failure_of, latest_steps, watched
from actors.testing.steps import Ask, Crash, Cut, Disturb, Heal, Isolate, Restart, Step, Wait
from actors.testing.table import Watch, what_changed
from actors.testing.verdict import Violation
from tests.plugin.ledgers import CountsReceipts, Honest

ROUGH: tuple[Step, ...] = (
    Ask("deposit", ("ann", 5)),
    Wait(0.6),
    Crash("n1"),
    Crash("n2"),  # does not apply: a majority stays up
    Cut("n2", "n3"),
    Ask("total"),
    Wait(0.4),
    Restart("n1"),
    Restart("n3"),  # does not apply: it is up
    Disturb(),
    Ask("close", ("ann",)),
    Wait(0.3),
    Isolate("n3"),
    Heal(),
)
PASSED_OVER = (Crash("n2"), Restart("n3"))


def steps_of(cluster: ChaosCluster[Honest]) -> list[Step]:
    return [step for _, step in cluster.steps]


def test_what_was_done_is_kept_and_leads_to_the_same_run_again() -> None:
    digests = []
    steps: Sequence[Step] = ROUGH
    for _ in range(2):
        with chaos_cluster(Honest, seed=5) as bank:
            bank.perform(steps)
            digests.append(bank.cluster.trace_digest)
            steps = steps_of(bank)
    assert [step for step in steps if not isinstance(step, Wait)] == [
        step for step in ROUGH if not isinstance(step, Wait) and step not in PASSED_OVER
    ]
    assert digests[0] == digests[1]


def test_the_seed_gives_the_steps_and_crashes_leave_a_majority() -> None:
    runs = []
    for seed in (1, 1, 2):
        with chaos_cluster(Honest, nodes=5, seed=seed) as bank:
            bank.chaos(200)
            runs.append(steps_of(bank))
    assert runs[0] == runs[1] != runs[2]
    assert {type(step) for step in runs[0]} == {Ask, Crash, Restart, Cut, Isolate, Disturb, Heal, Wait}
    down: set[str] = set()
    for step in runs[0]:
        if isinstance(step, Crash):
            down.add(step.server_id)
        elif isinstance(step, Restart):
            down.remove(step.server_id)
        assert len(down) <= 2


def test_calls_of_the_test_itself_are_among_the_steps_with_the_time_they_took() -> None:
    with chaos_cluster(Honest, seed=1) as bank:
        bank.machine.deposit("ann", amount=5)
        bank.machine.total()
        assert [type(step) for step in steps_of(bank)] == [Ask, Wait, Ask]
        assert str(steps_of(bank)[0]) == "deposit('ann', 5)"


def test_a_failure_is_shrunk_to_the_steps_it_needs() -> None:
    with chaos_cluster(CountsReceipts, seed=1) as bank:
        bank.perform(ROUGH)
        with pytest.raises(Violation, match="One Outcome: deposit"):
            bank.check(processes=False)
        failure = failure_of(bank)
    assert failure is not None
    assert (failure.steps, failure.violation.rule) == (1, "One Outcome")
    assert failure.was > 10
    lines = failure.text().splitlines()
    assert [line.split() for line in lines[:2]] == [
        ["time", "(s)", "client", "n1", "n2", "n3", "network"],
        ["0.0000", "deposit('ann',", "5)"],
    ]
    assert sum("applies 3: deposit('ann', 5)" in line for line in lines) == 1
    assert sum(line.endswith("applies 3") for line in lines) == 2
    assert any("= leader, term 1" in line for line in lines)


def test_the_figure_shows_crashes_and_leaves_out_what_changed_nothing() -> None:
    watch = Watch(is_on=True)
    with chaos_cluster(Honest, seed=1, recorder_of=watch.recorder_of) as bank:
        bank.perform(
            (Wait(1.0), Crash("n1"), Wait(1.0), Restart("n1"), Ask("deposit", ("ann", 5)), Wait(1.0)), watch.step
        )
    changes = what_changed(watch.turns)
    assert [turn.happening for turn in changes if turn.happening] == ["falls", "starts"]
    assert 5 < len(changes) < len(watch.turns) / 3
    page = watched(Violation("A Rule", "is <broken>"), watch, ("n1", "n2", "n3"), 5, 5).page("a test")
    assert "<h1>a test</h1>" in page and "A Rule: is &lt;broken&gt;" in page
    assert "comes back" in page and "heartbeat timeout" not in page


def test_a_failure_that_does_not_happen_again_is_none_and_the_latest_steps_are_shown() -> None:
    with chaos_cluster(Honest, seed=1) as bank:
        bank.perform(ROUGH)
        bank.violation = Violation("One Outcome", "an accident")
        assert failure_of(bank) is None
        assert latest_steps(bank, most=1).splitlines()[1].split() == ["1.3000", "heals"]
