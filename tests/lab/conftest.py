"""Makes tests of the scenarios: in the simulation on both runtimes, with several seeds; in real time on a diagonal.

Real time is what a test run has least of.  So a scenario is played in threads on one runtime and in processes on the
other (`Variant.is_on_diagonal_of`: which is which alternates), those that take long only in one of the two
(`Plan.ordinary`); and of many rounds of the same kind only some are played (`Lab.is_brief`).  Every scenario meets real
time, both runtimes meet both engines, and all of this directory takes about three minutes.  `campaign` plays everything
everywhere.

The name of a test says how to run it again: `test_backup[locks-sim-3]` is
`python -m tests.lab.campaign --runtime locks --engine sim --scenario backup --first-seed 3 --seeds 1`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.harness import Lab
from tests.lab.variants import VARIANTS, Variant, open_lab, plan_of


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each variant and seed."""
    plan = plan_of(metafunc.function)
    if plan is None:
        return
    runs = [
        (variant, seed)
        for variant in VARIANTS
        if plan.runs_on(variant) and variant.engine in plan.ordinary and variant.is_on_diagonal_of(metafunc.function)
        for seed in range(1 if variant.is_real else plan.seeds)
    ]
    names = [f"{variant.runtime}-{variant.engine}-{seed}" for variant, seed in runs]
    metafunc.parametrize("run", runs, ids=names)


@pytest.fixture
def lab(run: tuple[Variant, int], request: pytest.FixtureRequest) -> Iterator[Lab]:
    """The cluster that the scenario asked for."""
    variant, seed = run
    plan = plan_of(request.function)
    assert plan is not None
    with open_lab(plan, variant, seed, is_brief=variant.is_real) as opened:
        yield opened
