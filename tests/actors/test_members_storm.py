"""Members come and go, leaders change, peers die and the network fails, all at random and all the time; whatever was
acknowledged stays, once, and in the end all replicas are the same."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from actors.calls import Call
from actors.errors import ActorumError, ExitCode
from actors.machines.counter import Counter
from actors.sim import SimCluster
from actors.spec import RuntimeName
from raft_core import Settings

SETTINGS = Settings(snapshot_entries=50, trailing_entries=5, max_promotion_lag=20)
OPERATIONS = 100
MOST = 7
"""Peers that run at a time."""


class Storm:
    """One simulated cluster and what happens to it."""

    def __init__(self, counter: Counter, seed: int) -> None:
        assert isinstance(counter.cluster, SimCluster)
        self.cluster = counter.cluster
        self.counter = counter
        self.random = Random(seed)
        self.calls: list[Call[int]] = []
        self.done: list[str] = []

    def rage(self) -> None:
        """One thing after the other.  What is refused or unknown is so; anything else would be a bug."""
        for _ in range(OPERATIONS):
            self.calls += [self.counter.incr.submit() for _ in range(5)]
            happening = self.random.choice(self._happenings())
            try:
                happening()
                self.done.append(happening.__name__)
            except ActorumError as error:
                assert error.exit_code in (ExitCode.RETRY, ExitCode.UNKNOWN, ExitCode.USAGE), error
            self.cluster.run_for(self.random.uniform(0.0, 0.5))

    def _happenings(self) -> list[Callable[[], object]]:
        calm = [self.heal, self.restart, self.promote, self.transfer, self.snapshot, self.heal, self.restart]
        come_or_go = self.add if len(self.cluster.nodes) < MOST else self.remove
        return [*calm, self.kill, self.disconnect, come_or_go, come_or_go, self.remove]

    def _one(self) -> str:
        return self.random.choice(self.cluster.nodes)

    def heal(self) -> None:
        self.cluster.network.heal()

    def restart(self) -> None:
        for name in self.cluster.nodes:
            if self.cluster.status(0.1)[name] is None:
                self.cluster.restart(name)

    def kill(self) -> None:
        self.cluster.kill(self._one())

    def disconnect(self) -> None:
        self.cluster.network.disconnect(self._one())

    def add(self) -> None:
        self.cluster.add(promote=self.random.random() < 0.7, timeout=2.0)

    def promote(self) -> None:
        for name in self.cluster.members(1.0).learners:
            self.cluster.promote(name, timeout=2.0)

    def remove(self) -> None:
        self.cluster.remove(self._one(), timeout=2.0)

    def transfer(self) -> None:
        self.cluster.transfer_leadership(timeout=2.0)

    def snapshot(self) -> None:
        self.cluster.snapshot(self._one(), timeout=2.0)

    def pass_by(self) -> None:
        """Everything works again."""
        self.heal()
        self.restart()
        self.cluster.leader(30.0)
        for name in set(self.cluster.nodes) - set(self._members()):
            self.cluster.remove(name)  # it was never made a member, or is one no more
        self.cluster.wait_until_equal(60.0)

    def _members(self) -> tuple[str, ...]:
        members = self.cluster.members()
        return members.voters + members.learners


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("runtime", ["actors", "locks"])
def test_whatever_happens_to_the_members_every_command_counts_once(runtime: RuntimeName, seed: int) -> None:
    with Counter.cluster(engine="sim", seed=seed, runtime=runtime, settings=SETTINGS, timeout=60.0) as counter:
        storm = Storm(counter, seed)
        storm.rage()
        storm.pass_by()
        values = sorted(call.result() for call in storm.calls)
        assert values == list(range(1, len(values) + 1))
        assert counter.get() == len(values)
        assert {"add", "remove", "promote", "transfer", "snapshot", "kill", "disconnect"} <= set(storm.done)
