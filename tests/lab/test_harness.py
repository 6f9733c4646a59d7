"""The harness notices what it is there to notice: each of its checks is shown something that must not be."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from msgspec import msgpack

from actors.following import HandedOver, pack
from actors.protocol import Administered, Delivered, Offered, Restored
from actors.runtimes import RUNTIMES
from raft_core import Entry, EntryKind
from tests.lab import campaign
from tests.lab.harness import STATE_LIMIT, Lab
from tests.lab.ports import SimPort
from tests.lab.stage import Task
from tests.lab.variants import VARIANTS, Plan, Variant, open_lab, plan_of
from tests.lab.witness import Violation

THREE = Plan(servers=3)
WITH_SNAPSHOTS = Plan(servers=3, with_snapshots=True)
SIM = Variant("actors", "sim")
BY_NAME = {
    "A": "initial_election re_election many_elections",
    "B": "basic_agree rpc_bytes follower_failure leader_failure fail_agree fail_no_agree concurrent_starts rejoin"
    " backup count",
    "C": "persist1 persist2 persist3 figure8 unreliable_agree figure8_unreliable reliable_churn unreliable_churn",
    "D": "snapshot_basic snapshot_install snapshot_install_unreliable snapshot_install_crash"
    " snapshot_install_unreliable_crash snapshot_all_crash snapshot_init",
}
"""The lab's tests, by its parts."""


@pytest.fixture
def quiet() -> Iterator[Lab]:
    """Three simulated servers that have agreed on b"1"."""
    with open_lab(THREE, SIM, 7) as lab:
        lab.one(b"1", 3, retry=False)
        yield lab


def _entry(command: bytes, term: int = 1) -> Entry:
    return Entry(term, command, EntryKind.COMMAND)


def test_every_test_of_the_lab_is_there() -> None:
    names = {name for part in BY_NAME.values() for name in part.split()}
    assert names <= set(campaign.SCENARIOS)
    assert set(campaign.SCENARIOS) - names == {"paused_leader", "paused_follower"}


def test_every_scenario_runs_on_some_variant_of_each_runtime() -> None:
    for name, function in campaign.SCENARIOS.items():
        plan = plan_of(function)
        assert plan is not None
        assert {variant.runtime for variant in VARIANTS if plan.runs_on(variant)} == set(RUNTIMES), name


def test_an_ordinary_run_plays_every_scenario_in_real_time_and_every_runtime_in_every_engine() -> None:
    squares = set()
    for function in campaign.SCENARIOS.values():
        plan = plan_of(function)
        assert plan is not None
        real = [v for v in VARIANTS if v.is_real and v.is_on_diagonal_of(function)]
        played = {v for v in real if plan.runs_on(v) and v.engine in plan.ordinary}
        assert played
        squares |= played
    assert squares == {variant for variant in VARIANTS if variant.is_real}


def test_a_gap_in_what_a_server_delivers_is_a_violation(quiet: Lab) -> None:
    end = quiet.servers[0].last_index
    with pytest.raises(Violation, match=f"n1 delivered {end} and then {end + 2}"):
        quiet.heard("n1", Delivered(end + 2, (_entry(b"2"),)))


def test_a_repeated_delivery_is_a_violation(quiet: Lab) -> None:
    end = quiet.servers[0].last_index
    with pytest.raises(Violation, match=f"n1 delivered {end} and then {end}"):
        quiet.heard("n1", Delivered(end, (_entry(b"1"),)))


def test_two_servers_that_deliver_different_entries_at_one_index_are_a_violation(quiet: Lab) -> None:
    end = quiet.servers[0].last_index
    quiet.heard("n1", Delivered(end + 1, (_entry(b"2"),)))
    quiet.heard("n2", Delivered(end + 1, (_entry(b"2"),)))
    with pytest.raises(Violation, match="n3 delivered"):
        quiet.heard("n3", Delivered(end + 1, (_entry(b"2", term=2),)))


def test_an_entry_that_comes_back_different_after_a_restart_is_a_violation(quiet: Lab) -> None:
    quiet.attached("n1")
    with pytest.raises(Violation, match="n1 delivered"):
        quiet.heard("n1", Delivered(1, (_entry(b"another past"),)))


def test_two_leaders_of_one_term_are_a_violation_even_long_after_each_other(quiet: Lab) -> None:
    leader = quiet.check_one_leader()
    term = quiet.check_terms()
    quiet.sleep(5.0)
    question = quiet.offer((leader + 1) % 3, b"2")
    number = next(number for number, asked in quiet._questions.items() if asked is question)
    with pytest.raises(Violation, match=f"both lead in term {term}"):
        quiet.heard(quiet.servers[question.server].name, Offered(number, 9, 9, term, True))


def test_a_term_that_decreases_is_a_violation(quiet: Lab) -> None:
    quiet.check_terms()
    with pytest.raises(Violation, match="and is in term 0"):
        quiet.heard("n1", Offered(0, 0, 0, 0, False))


def test_a_cluster_without_a_majority_has_no_leader_and_no_agreement(quiet: Lab) -> None:
    quiet.disconnect(0, 1)
    quiet.sleep(2.0)
    quiet.check_no_leader()
    with pytest.raises(AssertionError, match="nobody leads"):
        quiet.check_one_leader()
    with pytest.raises(AssertionError, match="no agreement"):
        quiet.one(b"2", 1, retry=True)


def test_a_command_that_too_few_apply_fails_when_it_must_not_be_offered_again(quiet: Lab) -> None:
    quiet.disconnect((quiet.check_one_leader() + 1) % 3)
    with pytest.raises(AssertionError, match="accepted and not applied by 3"):
        quiet.one(b"2", 3, retry=False)


def test_a_leader_of_connected_servers_is_noticed_where_none_may_be(quiet: Lab) -> None:
    with pytest.raises(AssertionError, match="lead without a majority"):
        quiet.check_no_leader()


def test_waiting_gives_up_when_the_term_has_moved_on(quiet: Lab) -> None:
    assert quiet.wait(1, 3) == b"1"
    assert quiet.wait(2, 3, start_term=0) is None
    with pytest.raises(AssertionError, match="only 0 of 3 servers applied position 2"):
        quiet.wait(2, 3)


def test_a_scenario_that_takes_too_long_fails() -> None:
    with pytest.raises(AssertionError, match="limit"), open_lab(THREE, SIM, 0) as lab:
        lab.sleep(121.0)


def test_a_task_in_the_background_goes_on_while_the_scenario_sleeps_and_its_error_is_the_scenarios(quiet: Lab) -> None:
    times: list[float] = []

    def task() -> Task[str]:
        for _ in range(3):
            times.append(round(quiet.now - began, 6))
            yield 1.0
        return "done"

    def failing() -> Task[None]:
        yield 0.5
        raise ValueError("inside")

    began = quiet.now
    background = quiet.spawn(task())
    quiet.sleep(5.0)
    assert (times, background.is_over, background.result) == ([0.0, 1.0, 2.0], True, "done")
    quiet.spawn(failing())
    with pytest.raises(ValueError, match="inside"):
        quiet.sleep(1.0)


@pytest.mark.parametrize("variant", [variant for variant in VARIANTS if not variant.is_real], ids="-".join)
def test_a_scenario_with_the_same_seed_is_the_same_run(variant: Variant) -> None:
    assert _digest(variant, 3) == _digest(variant, 3)
    assert _digest(variant, 3) != _digest(variant, 4)


def _digest(variant: Variant, seed: int) -> str:
    function = campaign.SCENARIOS["persist2"]
    plan = plan_of(function)
    assert plan is not None
    with open_lab(plan, variant, seed) as lab:
        function(lab)
        assert isinstance(lab.port, SimPort)
        return lab.port.trace_digest


def test_a_campaign_tells_how_to_repeat_what_failed() -> None:
    result = campaign.Result("figure8", Variant("locks", "sim"), 17, 0.1, "it failed")
    assert campaign.repetition(result) == (
        "python -m tests.lab.campaign --runtime locks --engine sim --scenario figure8 --first-seed 17 --seeds 1"
    )
    summary = campaign.Summary()
    summary.add(result)
    summary.add(campaign.run("basic_agree", SIM, 1))
    assert [r.scenario for r in summary.failures] == ["figure8"]
    assert summary.runs == {"figure8": 1, "basic_agree": 1}


# --- part D


@pytest.fixture
def saving() -> Iterator[Lab]:
    """Three simulated servers that have agreed on 25 commands and kept snapshots of 20."""
    with open_lab(WITH_SNAPSHOTS, SIM, 5) as lab:
        for number in range(25):
            lab.one(b"%d" % number, 3, retry=False)
        lab.until(lambda: all(server.kept_index > 20 for server in lab.servers), 1.0)
        yield lab


def _snapshot(index: int, commands: list[bytes], term: int = 1, position: int | None = None) -> Restored:
    """As a server would tell it."""
    handed_over = HandedOver(len(commands) if position is None else position, msgpack.encode(commands))
    return Restored(index, term, pack(handed_over))


def test_servers_keep_the_snapshots_they_are_given_and_their_logs_are_short(saving: Lab) -> None:
    assert {server.kept_index for server in saving.servers} == {21}, "and one no-op"
    longest = max(status.last_index - status.first_index for status in saving.states(range(3)).values())
    assert longest < 5 and 0 < saving.log_size() < 5 * 20


def test_a_log_that_is_never_cut_is_noticed(quiet: Lab) -> None:
    for _ in range(150):
        quiet.one(quiet.random_bytes(), 3, retry=False)
    assert quiet.log_size() > STATE_LIMIT


def test_a_snapshot_that_takes_a_server_back_is_a_violation(saving: Lab) -> None:
    end = saving.servers[0].last_index
    for index in (end, 21):
        with pytest.raises(Violation, match=f"n1 was at {end} and is back at {index}"):
            saving.heard("n1", _snapshot(index, saving.delivered()[: index - 1]))


def test_a_snapshot_that_is_forgotten_over_a_restart_is_a_violation(saving: Lab) -> None:
    saving.attached("n1")
    with pytest.raises(Violation, match="n1 has lost its snapshot"):
        saving.heard("n1", Delivered(1, ()))
    with pytest.raises(Violation, match="n1 kept a snapshot of 21 and has one of 11"):
        saving.heard("n1", _snapshot(11, saving.delivered()[:10]))


def test_a_snapshot_with_other_commands_than_were_delivered_is_a_violation(saving: Lab) -> None:
    saving.attached("n1")
    with pytest.raises(Violation, match="n1 has other commands than others"):
        saving.heard("n1", _snapshot(21, [*saving.delivered()[:19], b"another"]))


def test_a_snapshot_with_more_or_fewer_commands_than_up_to_its_index_is_a_violation(saving: Lab) -> None:
    for wrong in (19, 21):
        saving.attached("n1")
        with pytest.raises(Violation, match=f"n1 counts {wrong} commands up to 21, others 20"):
            saving.heard("n1", _snapshot(21, saving.delivered()[:wrong]))
    saving.attached("n1")
    with pytest.raises(Violation, match="a snapshot of 20 commands has 21"):
        saving.heard("n1", _snapshot(21, saving.delivered()[:21], position=20))


def test_a_snapshot_whose_last_entry_had_another_term_is_a_violation(saving: Lab) -> None:
    saving.attached("n1")
    with pytest.raises(Violation, match="in another term"):
        saving.heard("n1", _snapshot(21, saving.delivered()[:20], term=2))


def test_what_comes_behind_a_snapshot_without_what_is_in_it_or_after_a_gap_is_a_violation(saving: Lab) -> None:
    saving.attached("n1")
    saving.heard("n1", _snapshot(21, saving.delivered()[:20]))
    for index in (21, 23):
        with pytest.raises(Violation, match=f"n1 delivered 21 and then {index}"):
            saving.heard("n1", Delivered(index, (_entry(saving.delivered()[index - 2]),)))


def test_a_server_that_refuses_a_snapshot_and_has_no_later_one_is_noticed(saving: Lab) -> None:
    server = saving.servers[0]
    saving.heard("n1", Delivered(server.last_index + 1, tuple(_entry(b"%d" % number) for number in range(25, 30))))
    assert saving._service is not None
    ((number, index),) = saving._service._handed_over.items()
    with pytest.raises(AssertionError, match=f"n1 does not keep a snapshot of {index}: no room"):
        saving.heard("n1", Administered(number, "refused", reason="no room"))
