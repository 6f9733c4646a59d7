"""Tests of the ledger on simulated clusters: `pytest examples/tests`, and with `--runxfail` to see how the mistake of
`CarelessLedger` is reported."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st

from actors.testing.chaos import ChaosCluster
from actors.testing.stateful import RaftMachine
from actors.testing.verdict import Violation
from examples.bank_ledger import CarelessLedger, Ledger

NAMES = ("ann", "bob", "carl", "dora")
ARGUMENTS = {
    "deposit": lambda random: (random.choice(NAMES), random.randint(1, 100)),
    "share_profit": lambda random: (random.randint(1, 100),),
}


def test_the_ledger_survives_whatever_happens(sim_cluster: Callable[..., ChaosCluster[Any]]) -> None:
    bank = sim_cluster(Ledger, nodes=3, arguments=ARGUMENTS)
    bank.chaos(steps=100)  # calls, crashes, restarts, cuts, lost and late messages, as the seed says
    bank.calm()  # the trouble ends, what was asked is answered
    total = bank.machine.total()  # calls of one's own, in between
    bank.machine.share_profit(7)
    assert bank.machine.total() == total + 7
    bank.chaos(steps=100)
    bank.check()


@pytest.mark.xfail(raises=Violation, strict=True, reason="the order of a set differs between processes")
def test_the_careless_ledger_does_not(sim_cluster: Callable[..., ChaosCluster[Any]]) -> None:
    bank = sim_cluster(CarelessLedger, nodes=3, arguments=ARGUMENTS)
    bank.chaos(steps=200)
    bank.check()


class LedgerMachine(RaftMachine):
    """Hypothesis looks for a schedule in which the cluster differs from a plain `Ledger`."""

    machine = Ledger
    arguments = {"deposit": {"name": st.sampled_from(NAMES)}, "transfer": {"cents": st.integers(1, 50)}}


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=15, stateful_step_count=15, deadline=None)
