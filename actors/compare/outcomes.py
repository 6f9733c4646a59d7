"""What became of the hypotheses that were written down before the first run.

Each is judged by the data of the cells that it speaks of, by the same verdicts as everything else; where it speaks of
two isolations, by both, corrected for being two.

    held           the data shows what it claims
    refuted        the data shows the opposite
    not decided    neither: too few runs, or a difference no larger than what chance or the machine's mood explains
    not measured   the cells are not there

A claim that there is a difference is not refuted by finding none, and a claim that there is none is not proved by it:
it holds if the whole interval is within what would not matter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

from actors.compare.plan import ISOLATIONS, RUNTIMES
from actors.compare.records import Cell, Hypothesis
from actors.compare.results import ELECTED, P50, P99, SWITCHES, THROUGHPUT, Measure, Results
from actors.compare.statistics import FEWEST, Difference, Verdict, holm
from actors.compare.words import interval

Judgement: TypeAlias = Literal["held", "refuted", "not decided", "not measured"]
EQUAL = 0.2
"""Of the twin's throughput: a difference below it is what the hypothesis "throughput" claims."""


class Outcome(NamedTuple):
    """Of one hypothesis."""

    hypothesis: Hypothesis
    judgement: Judgement
    evidence: str


class _Found(NamedTuple):
    """A difference that a hypothesis speaks of."""

    where: str
    measure: Measure
    difference: Difference
    base: float
    """The second's median."""

    def __str__(self) -> str:
        low, high = self.difference.runs
        return f"{self.where}: {interval(self.difference, self.measure)} (n={low} and {high})"


def outcomes(results: Results) -> list[Outcome]:
    """Of all hypotheses in the manifest, in its order; one that nobody knows how to judge is not decided."""
    return [_outcome(hypothesis, results) for hypothesis in results.manifest.hypotheses]


def _outcome(hypothesis: Hypothesis, results: Results) -> Outcome:
    if hypothesis.name not in _JUDGES:
        return Outcome(hypothesis, "not decided", "there is no rule for judging it")
    gather, judge = _JUDGES[hypothesis.name]
    found = gather(results)
    if not found:
        return Outcome(hypothesis, "not measured", "the cells that it speaks of were not measured")
    corrected = holm([each.difference for each in found])
    found = [each._replace(difference=difference) for each, difference in zip(found, corrected, strict=True)]
    return Outcome(hypothesis, judge(found), "; ".join(map(str, found)))


# --- which differences ------------------------------------------------------------------------------------------------

_Gather: TypeAlias = Callable[[Results], list[_Found]]
_Judge: TypeAlias = Callable[[Sequence[_Found]], Judgement]


def _designs(measure: Measure, isolations: Sequence[str] = ISOLATIONS, **factors: object) -> _Gather:
    """Actors less locks; nothing unless all `isolations` are there."""

    def gather(results: Results) -> list[_Found]:
        four = results.four(**factors)
        pairs = [
            (f"actors less locks, {isolation}, {measure.name}", four[("actors", isolation)], four[("locks", isolation)])
            for isolation in ISOLATIONS
            if isolation in isolations and ("actors", isolation) in four and ("locks", isolation) in four
        ]
        found = _differences(results, pairs, measure)
        return found if len(found) == len(isolations) else []

    return gather


def _isolations(results: Results) -> list[_Found]:
    """Processes less threads, in both designs."""
    four = results.four()
    if len(four) < len(ISOLATIONS) * len(RUNTIMES):
        return []
    pairs = [
        (f"processes less threads, {runtime}", four[(runtime, "processes")], four[(runtime, "threads")])
        for runtime in RUNTIMES
    ]
    return _differences(results, pairs, THROUGHPUT)


def _differences(results: Results, pairs: Sequence[tuple[str, Cell, Cell]], measure: Measure) -> list[_Found]:
    found = []
    for where, first, second in pairs:
        between, base = results.between(first, second, measure), results.summary(second, measure)
        if between is not None and base is not None:
            found.append(_Found(where, measure, between, base.median))
    return found


# --- what they say ----------------------------------------------------------------------------------------------------


def _claims(claimed: Verdict) -> _Judge:
    """All the differences are of this kind."""
    opposite: Verdict = "lower" if claimed == "higher" else "higher"

    def judge(found: Sequence[_Found]) -> Judgement:
        verdicts = [each.difference.verdict for each in found]
        if opposite in verdicts:
            return "refuted"
        return "held" if all(verdict == claimed for verdict in verdicts) else "not decided"

    return judge


def _claims_no_less(found: Sequence[_Found]) -> Judgement:
    """None is lower; it holds if no interval reaches below zero."""
    if any(each.difference.verdict == "lower" for each in found):
        return "refuted"
    is_enough = all(min(each.difference.runs) >= FEWEST for each in found)
    return "held" if is_enough and all(each.difference.low >= 0 for each in found) else "not decided"


def _claims_none(found: Sequence[_Found]) -> Judgement:
    """No difference is detected, by enough runs."""
    verdicts = {each.difference.verdict for each in found}
    if verdicts & {"higher", "lower"}:
        return "refuted"
    return "not decided" if "too few runs" in verdicts else "held"


def _claims_equal(found: Sequence[_Found]) -> Judgement:
    """No difference is detected, and none that is larger than what runs of one cell differ by is compatible."""
    judgement = _claims_none(found)
    if judgement == "held" and not all(_is_within(each, each.difference.spread) for each in found):
        return "not decided"
    return judgement


def _claims_small(found: Sequence[_Found]) -> Judgement:
    """All differences are within `EQUAL`, with their whole intervals; one that is wholly outside refutes it."""
    if any(min(each.difference.runs) < FEWEST for each in found):
        return "not decided"
    limits = [EQUAL * each.base for each in found]
    pairs = list(zip(found, limits, strict=True))
    if any(each.difference.low > limit or each.difference.high < -limit for each, limit in pairs):
        return "refuted"
    return "held" if all(_is_within(each, limit) for each, limit in pairs) else "not decided"


def _is_within(found: _Found, limit: float) -> bool:
    return -limit <= found.difference.low and found.difference.high <= limit


_JUDGES: Mapping[str, tuple[_Gather, _Judge]] = {
    "median": (_designs(P50, ("threads",), clients=1), _claims("higher")),
    "tail": (_designs(P99, ("threads",), clients=64), _claims("lower")),
    "throughput": (_designs(THROUGHPUT, clients=64), _claims_small),
    "isolation": (_isolations, _claims_no_less),
    "switches": (_designs(SWITCHES), _claims("lower")),
    "failover": (_designs(ELECTED, fault="leader killed"), _claims_equal),
    "fsync": (_designs(THROUGHPUT, storage="sqlite"), _claims_none),
}
"""For each hypothesis by its name: the differences that it speaks of, and what it claims of them."""
