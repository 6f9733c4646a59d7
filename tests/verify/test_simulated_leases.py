"""Reads by lease hold as long as clocks drift no more than leases allow for; where they drift more, that is found."""

from __future__ import annotations

from random import Random

import pytest
from msgspec.structs import replace

from raft_core import ReadReady, Settings
from raft_core.events import LeaseExpired, LeaseExtended, ReadMode, ReadRequested
from raft_core.verify.adversary import LEASE_DRIFT, Adversary, drawn
from raft_core.verify.counterexample import counterexample
from raft_core.verify.recording import recorded
from raft_core.verify.rerun import rerun
from raft_core.verify.simulation import Simulation, Turn, ended, simulate

SETTINGS = Settings(election_timeout=150, heartbeat_interval=20, lease_reads=True)


class _Drifting(Simulation):
    """Every leader's clock goes too slow by `drift` and those of all others too fast, and soon it is cut off."""

    drift = LEASE_DRIFT

    def __init__(self, seed: int) -> None:
        super().__init__(seed, 3, adversary=Adversary(settings=SETTINGS, slowest=3.0, think_takes=10.0))
        self.misfortunes.elected = self.elected  # type: ignore[method-assign]

    def elected(self, name: str) -> None:
        """The worst that can happen to its lease."""
        if not self._at_peace:
            for server in self.servers.values():
                server.clock.runs(1 - self.drift if server.name == name else 1 + self.drift)
            self.after(300_000, lambda: self.isolate(name))
            self.after(900_000, self.cut.clear)

    def isolate(self, name: str) -> None:
        """Nobody hears it, but its clients."""
        if not self._at_peace:
            self.cut.update(link for other in self.founders for link in ((name, other), (other, name)))


def first_broken(drift: float, monkeypatch: pytest.MonkeyPatch, seeds: int) -> str | None:
    monkeypatch.setattr(_Drifting, "drift", drift)
    violations = (ended(_Drifting(seed), 5_000).violation for seed in range(seeds))
    return next((violation.rule for violation in violations if violation is not None), None)


def test_the_worst_clocks_that_leases_allow_for_break_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert first_broken(LEASE_DRIFT, monkeypatch, 6) is None


def test_clocks_that_drift_further_make_reads_too_old_and_that_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    assert first_broken(0.7, monkeypatch, 40) == "Linearizability"


CUTS = Adversary(
    settings=replace(SETTINGS, heartbeat_interval=50), slowest=3.0, think_takes=20.0, misfortune_every=200.0, cuts=True
)


def test_a_read_that_is_too_old_is_shrunk_and_a_sound_lease_breaks_nothing_by_that_schedule() -> None:
    with pytest.MonkeyPatch.context() as broken:
        broken.setattr("raft_core.verify.simulated_clock.LEASE_SHARE", 6.0)
        reports = (simulate(seed, 3, 1_500, adversary=CUTS) for seed in range(80, 120))
        seed = next(report.seed for report in reports if report.violation is not None)
        found = counterexample(seed, 3, 1_500, adversary=CUTS)
    assert found is not None and found.violation.rule == "Linearizability"
    assert len(found.decisions) < 150 < found.decided
    assert rerun(found.decisions, 3, CUTS.settings) is None


def test_leases_are_the_same_when_a_run_is_carried_out_again() -> None:
    kinds, answers = list[type](), 0

    def watch(turn: Turn) -> None:
        nonlocal answers
        kinds.extend(type(event) for event in turn.events)
        by_lease = isinstance(turn.events[0], ReadRequested) and turn.events[0].mode is ReadMode.LEASE
        answers += by_lease and any(isinstance(effect, ReadReady) for effect in turn.effects)

    report, decisions, _ = recorded(3, 3, 3_000, adversary=CUTS)
    assert report == simulate(3, 3, 3_000, adversary=CUTS, watcher=watch)
    first, kinds, answers_then, answers = kinds, [], answers, 0
    assert rerun(decisions, 3, CUTS.settings, watcher=lambda turn: watch(turn) if not turn.happening else None) is None
    assert (kinds, answers) == (first, answers_then)
    assert first.count(LeaseExtended) > 30 < answers and LeaseExpired in first


def test_where_leases_are_drawn_clocks_drift_within_their_margin_and_never_jump() -> None:
    drawn_ones = [drawn(Random(seed)) for seed in range(200)]
    leased = [adversary for adversary in drawn_ones if adversary.settings.lease_reads]
    assert {adversary.clock_drift for adversary in leased} == {0.0, 0.03, LEASE_DRIFT}
    assert not any(adversary.clock_jumps for adversary in leased)
    assert 40 < len(leased) < 160
    assert any(adversary.clock_jumps for adversary in drawn_ones)
