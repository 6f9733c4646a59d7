"""A broken rule, by its name."""

from __future__ import annotations


class Violation(AssertionError):
    """A property that must always hold does not."""

    def __init__(self, rule: str, explanation: str) -> None:
        super().__init__(f"{rule}: {explanation}")
        self.rule = rule
        """Name of the property, as in Figure 3 where it is one of those."""
        self.explanation = explanation

    def __reduce__(self) -> tuple[type[Violation], tuple[str, str]]:
        """Violations travel between processes."""
        return Violation, (self.rule, self.explanation)


def fallen_over(error: Exception) -> Violation:
    """What runs the core must never have to catch anything: an exception is a finding, under its own name."""
    where, trace = "", error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        where = f"{trace.tb_frame.f_globals['__name__']}, line {trace.tb_lineno}, in {code.co_name}"
        trace = trace.tb_next
    return Violation(type(error).__name__, f"{error} ({where})")
