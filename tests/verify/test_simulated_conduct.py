"""Simulated clusters with disks that stall, settings that change and leaders that are preferred: the rules hold."""

from __future__ import annotations

import sys
from collections import Counter
from random import Random

import pytest
from msgspec.structs import replace

from raft_core import (
    ConfigurationProposed,
    DiskRecovered,
    DiskStalled,
    Event,
    Leader,
    Server,
    Settings,
    SettingsChanged,
    Transition,
    step,
)
from raft_core.verify import simulated_server
from raft_core.verify.adversary import Adversary, other_settings
from raft_core.verify.counterexample import counterexample
from raft_core.verify.recording import recorded
from raft_core.verify.rerun import rerun
from raft_core.verify.schedule import Hangs, IsTold, Wants
from raft_core.verify.simulated_conduct import check_timers
from raft_core.verify.simulated_server import SimulatedServer
from raft_core.verify.simulation import Simulation, Turn, simulate
from raft_core.verify.violation import Violation
from tests.verify.test_counterexample import essence

QUICK = Settings(election_timeout=150, heartbeat_interval=50)
RESTLESS = Adversary(
    settings=QUICK,
    misfortune_every=500.0,
    crashes=True,
    stalls=True,
    prefers=True,
    settings_every=100.0,
    change_every=800.0,
    think_takes=20.0,
)
"""All three at once."""


@pytest.mark.parametrize("seed", range(12))
def test_a_restless_cluster_breaks_no_rule(seed: int) -> None:
    report = simulate(seed, (3, 5, 2)[seed % 3], 2_500, adversary=RESTLESS)
    assert report.violation is None, report.violation
    assert report.is_decided


def test_what_was_written_down_of_restless_clusters_is_the_same_run_again() -> None:
    kinds: Counter[str] = Counter()
    for seed in range(4):
        turns, again = list[Turn](), list[Turn]()
        report, decisions, _ = recorded(seed, 3, 1_500, adversary=RESTLESS)
        assert report == simulate(seed, 3, 1_500, adversary=RESTLESS, watcher=turns.append)
        assert rerun(decisions, 3, QUICK, watcher=again.append) is None
        assert [essence(turn) for turn in again if not turn.happening] == [essence(turn) for turn in turns]
        events = Counter(type(event).__name__ for turn in turns for event in turn.events)
        wishes = [decision.wish for decision in decisions if isinstance(decision, Wants)]
        kinds["settings"] += sum(isinstance(wish, SettingsChanged) for wish in wishes)
        kinds["priorities"] += sum(isinstance(wish, ConfigurationProposed) and bool(wish.priorities) for wish in wishes)
        kinds["hangs"] += sum(isinstance(decision, Hangs) for decision in decisions)
        kinds["stalled"] += events["DiskStalled"]
        kinds["recovered"] += events["DiskRecovered"]
        assert events["DiskStalled"] <= sum(isinstance(decision, IsTold) for decision in decisions)
    assert min(kinds.values()) > 0 and len(kinds) == 5, kinds


def _until_broken(seeds: int, adversary: Adversary) -> str:
    for seed in range(seeds):
        report = simulate(seed, (3, 5)[seed % 2], 2_500, adversary=adversary)
        if report.violation is not None:
            return report.violation.rule
    return ""


# --- disks that stall -------------------------------------------------------------------------------------------------


def _leads(simulation: Simulation) -> SimulatedServer:
    return next(server for server in simulation.servers.values() if isinstance(_state(server).role, Leader))


def _state(server: SimulatedServer) -> Server:
    assert server.server is not None
    return server.server


@pytest.mark.parametrize("seed", range(5))
def test_another_leads_soon_after_the_disk_of_the_leader_hangs_and_is_served_by_it_when_it_writes_again(
    seed: int,
) -> None:
    simulation = Simulation(seed, 3, adversary=Adversary(settings=QUICK, stalls=True))
    simulation.run(500)
    leader = _leads(simulation)
    leader.disk_hangs()
    hung, committed = simulation.now, len(simulation.oracle.committed)
    while isinstance(_state(leader).role, Leader) or _leaders(simulation) != 1:
        simulation.go_on(simulation.steps + 1)
        assert simulation.now - hung < 4 * QUICK.election_timeout * 1_000
    assert _state(leader).disk_is_stalled
    simulation.go_on(simulation.steps + 500)
    assert len(simulation.oracle.committed) > committed + 10
    assert leader.disk.last_index < committed + 10, "nothing is written meanwhile"
    leader.disk_goes_on()
    simulation.end_in_peace()
    assert simulation.judge() and not _state(leader).disk_is_stalled


def _leaders(simulation: Simulation) -> int:
    return sum(isinstance(_state(server).role, Leader) for server in simulation.servers.values())


def test_a_leader_that_leads_on_with_a_stalled_disk_is_noticed_and_shrunk_to_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def leads_on(server: Server, event: Event) -> Transition:
        if isinstance(event, DiskStalled):
            return Transition(replace(server, disk_is_stalled=True), ())
        return step(server, event)

    monkeypatch.setattr(simulated_server, "step", leads_on)
    seed = next(seed for seed in range(20) if simulate(seed, 3, 1_500, adversary=RESTLESS).violation is not None)
    found = counterexample(seed, 3, 1_500, adversary=RESTLESS)
    assert found is not None and found.violation.rule == "Stalled Disk"
    assert sum(isinstance(decision, Hangs) for decision in found.decisions) == 1
    assert len(found.decisions) <= 15


def test_a_server_that_does_not_believe_in_its_disk_again_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def despairs(server: Server, event: Event) -> Transition:
        return Transition(server, ()) if isinstance(event, DiskRecovered) else step(server, event)

    monkeypatch.setattr(simulated_server, "step", despairs)
    assert _until_broken(10, RESTLESS) == "Stalled Disk"


# --- settings ---------------------------------------------------------------------------------------------------------


def test_settings_that_somebody_may_want_are_of_every_kind() -> None:
    leases, random = Settings(lease_reads=True), Random(1)
    wished = [other_settings(random, leases) for _ in range(200)]
    assert {settings.lease_reads for settings in wished} == {True, False}
    assert any(settings.election_timeout != leases.election_timeout for settings in wished)
    assert any(settings.heartbeat_interval == 0 for settings in wished)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda asked: replace(asked, max_in_flight=asked.max_in_flight + 1),
        lambda asked: replace(asked, heartbeat_interval=asked.election_timeout),
    ],
)
def test_settings_that_nobody_asked_for_are_noticed(spoil: object, monkeypatch: pytest.MonkeyPatch) -> None:
    def makes_up(server: Server, event: Event) -> Transition:
        after, effects = step(server, event)
        if after.settings is not server.settings and callable(spoil):
            after = replace(after, settings=spoil(after.settings))
        return Transition(after, effects)

    monkeypatch.setattr(simulated_server, "step", makes_up)
    assert _until_broken(10, RESTLESS) == "Settings"


def test_settings_that_are_refused_without_a_reason_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(server: Server, event: Event) -> Transition:
        return Transition(server, ()) if isinstance(event, SettingsChanged) else step(server, event)

    monkeypatch.setattr(simulated_server, "step", refuses)
    assert _until_broken(10, RESTLESS) == "Settings"


def test_at_peace_all_servers_have_the_settings_that_they_began_with() -> None:
    simulation = Simulation(2, 3, adversary=RESTLESS)
    simulation.run(2_000)
    assert {_state(server).settings for server in simulation.servers.values() if server.server} != {QUICK}
    simulation.end_in_peace()
    assert {_state(server).settings for server in simulation.servers.values()} == {QUICK}


def test_timers_that_are_not_those_of_the_settings_are_noticed() -> None:
    simulation = Simulation(1, 3, adversary=Adversary(settings=QUICK))
    simulation.run(300)
    leader = _leads(simulation)
    check_timers(_state(leader), leader.clock.lasting)
    for timer in ("election", "heartbeat"):
        with pytest.raises(Violation, match="Timers"):
            check_timers(_state(leader), {**leader.clock.lasting, timer: 1})
    with pytest.raises(Violation, match="Timers"):
        check_timers(replace(_state(leader), election_timeout=1), leader.clock.lasting)


def test_a_leader_that_is_never_forgotten_is_noticed() -> None:
    """Who counts its leader as recent has a timer that ends it (thesis 4.2.3, 9.6)."""
    simulation = Simulation(1, 3, adversary=Adversary(settings=QUICK))
    simulation.run(300)
    heard = next(server for server in simulation.servers.values() if _state(server).contact_timeout)
    check_timers(_state(heard), heard.clock.lasting)
    with pytest.raises(Violation, match="never forgets"):
        check_timers(_state(heard), {**heard.clock.lasting, "contact": 0})


# --- preferred leaders ------------------------------------------------------------------------------------------------


def test_in_a_kind_world_the_preferred_voter_leads_and_nobody_flaps() -> None:
    handed_over = 0
    for seed in range(8):
        simulation = Simulation(seed, 3, adversary=Adversary(settings=QUICK, prefers=True))
        simulation.run(4_000)
        simulation.end_in_peace()
        assert simulation.judge()
        leader = _state(_leads(simulation))
        members = leader.configuration
        assert members.priority(leader.server_id) == max(members.priority(name) for name in members.voters)
        timeouts = simulation.now / 1_000 / QUICK.election_timeout
        assert simulation.misfortunes.counts["preferred"] <= timeouts / 10
        handed_over += simulation.misfortunes.counts["preferred"]
    assert handed_over >= 2


def test_a_better_leader_that_never_gets_its_turn_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["raft_core.priorities"], "_is_quiet", lambda server, leader: False)
    kind = Adversary(settings=QUICK, prefers=True)
    assert _until_broken(10, kind) == "Preferred Leader"


def test_a_leader_that_hands_over_too_soon_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["raft_core.priorities"], "PATIENCE", 5)
    assert _until_broken(20, Adversary(settings=QUICK, prefers=True)) == "No Flapping"
