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
