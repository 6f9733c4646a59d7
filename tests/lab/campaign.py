"""Many runs of the lab's scenarios: thousands of seeds in simulation, pass after pass in real time.

    python -m tests.lab.campaign --runtime actors --engine sim --seeds 1000 --jobs 2
    python -m tests.lab.campaign --runtime locks --engine processes --passes 5
    python -m tests.lab.campaign --runtime actors --engine sim --scenario figure8 --first-seed 17 --seeds 1

Each run that fails is printed with the line that repeats it.  Exit code 1 if any did.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from time import monotonic, process_time
from typing import NamedTuple

from actors.runtimes import RUNTIMES
from tests.lab import test_agreement, test_elections, test_pauses, test_persistence, test_snapshots
from tests.lab.variants import ENGINES, ScenarioFunction, Variant, open_lab, plan_of

MODULES = (test_elections, test_agreement, test_persistence, test_snapshots, test_pauses)
SCENARIOS: dict[str, ScenarioFunction] = {
    name.removeprefix("test_"): function
    for module in MODULES
    for name, function in vars(module).items()
    if plan_of(function) is not None
}
"""Every scenario of the lab, by name."""


class Result(NamedTuple):
    """What became of one run."""

    scenario: str
    variant: Variant
    seed: int
    seconds: float
    """Of processor time in a simulation, of real time otherwise."""
    error: str
    """Empty if all went well."""


def run(name: str, variant: Variant, seed: int, *, is_brief: bool = False) -> Result:
    """One scenario, once; see `Lab.is_brief`."""
    function = SCENARIOS[name]
    plan = plan_of(function)
    assert plan is not None
    clock = monotonic if variant.is_real else process_time
    began = clock()
    error = ""
    try:
        with open_lab(plan, variant, seed, is_brief=is_brief) as lab:
            function(lab)
    except Exception:
        error = traceback.format_exc()
    return Result(name, variant, seed, clock() - began, error)


def _run_seeds(name: str, variant: Variant, seeds: range) -> list[Result]:
    return [run(name, variant, seed) for seed in seeds]


def simulate(names: list[str], variant: Variant, seeds: range, jobs: int) -> Iterator[list[Result]]:
    """All seeds of all scenarios, on several processors, in portions."""
    portions = [(name, seeds[start : start + 10]) for start in range(0, len(seeds), 10) for name in names]
    if jobs == 1:
        yield from (_run_seeds(name, variant, portion) for name, portion in portions)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        under_way = [pool.submit(_run_seeds, name, variant, portion) for name, portion in portions]
        for done in under_way:
            yield done.result()


def play(names: list[str], variant: Variant, passes: int, first_seed: int, *, is_brief: bool) -> Iterator[list[Result]]:
    """Pass after pass, one scenario at a time: they would take each other's time."""
    for number in range(first_seed, first_seed + passes):
        began = monotonic()
        for name in names:
            yield [run(name, variant, number, is_brief=is_brief)]
        print(f"pass {number}: {monotonic() - began:.0f} s", file=sys.stderr)


class Summary:
    """Counts, and who failed."""

    def __init__(self) -> None:
        self.runs: Counter[str] = Counter()
        self.failures: list[Result] = []
        self._seconds: Counter[str] = Counter()

    def add(self, result: Result) -> None:
        """One more; a failure is told at once."""
        self.runs[result.scenario] += 1
        self._seconds[result.scenario] += result.seconds  # type: ignore[assignment]
        if result.error:
            self.failures.append(result)
            print(f"FAILED: {repetition(result)}\n{result.error}", flush=True)

    def table(self) -> str:
        """A line for each scenario."""
        lines = [f"{'scenario':<34}{'runs':>8}{'failed':>8}{'s/run':>9}"]
        failed = Counter(result.scenario for result in self.failures)
        for name, runs in self.runs.items():
            lines.append(f"{name:<34}{runs:>8}{failed[name]:>8}{self._seconds[name] / runs:>9.3f}")
        lines.append(f"{'all':<34}{self.runs.total():>8}{len(self.failures):>8}{self._seconds.total():>9.0f} s")
        return "\n".join(lines)


def repetition(result: Result) -> str:
    """The line that repeats a run."""
    variant = result.variant
    often = f"--first-seed {result.seed} " + ("--passes 1" if variant.is_real else "--seeds 1")
    return (
        f"python -m tests.lab.campaign --runtime {variant.runtime} --engine {variant.engine} "
        f"--scenario {result.scenario} {often}"
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runtime", choices=RUNTIMES, default="actors")
    parser.add_argument("--engine", choices=ENGINES, default="sim")
    parser.add_argument("--scenario", choices=sorted(SCENARIOS), action="append", help="all of them, if not given")
    parser.add_argument("--seeds", type=int, default=100, help="how many, in a simulation")
    parser.add_argument("--passes", type=int, default=1, help="how many, in real time")
    parser.add_argument("--brief", action="store_true", help="in real time: six of thirty rounds, as in a test run")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="processes, in a simulation")
    return parser.parse_args()


def _progress(number: int, summary: Summary, began: float) -> None:
    if sys.stderr.isatty() or number % 50 == 0:
        runs, failures = summary.runs.total(), len(summary.failures)
        print(f"{monotonic() - began:6.0f} s  {runs} runs  {failures} failed", file=sys.stderr, flush=True)


def main() -> int:
    """Run what the command line asks for."""
    asked = _arguments()
    variant = Variant(asked.runtime, asked.engine)
    chosen = asked.scenario or list(SCENARIOS)
    names = [name for name in chosen if (plan := plan_of(SCENARIOS[name])) is not None and plan.runs_on(variant)]
    if variant.is_real:
        portions = play(names, variant, asked.passes, asked.first_seed, is_brief=asked.brief)
    else:
        portions = simulate(names, variant, range(asked.first_seed, asked.first_seed + asked.seeds), asked.jobs)
    summary, began = Summary(), monotonic()
    for number, portion in enumerate(portions, 1):
        for result in portion:
            summary.add(result)
        _progress(number, summary, began)
    print(summary.table())
    return 1 if summary.failures else 0


if __name__ == "__main__":
    sys.exit(main())
