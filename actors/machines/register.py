"""A register: one value, read, written, compared and set.  What consensus is about, and nothing else.

>>> register = Register()
>>> register.write("a"), register.cas("b", "c"), register.cas("a", "c"), register.read()
(None, False, True, 'c')
"""

from __future__ import annotations

from typing import Any

from actors.replicated import Replicated, command, query


class Register(Replicated):
    """One value; None until it is written."""

    value: Any = None

    @command
    def write(self, value: Any) -> None:
        """Set it."""
        self.value = value

    @command
    def cas(self, expected: Any, value: Any) -> bool:
        """Set it if it is `expected`; whether it was."""
        if self.value != expected:
            return False
        self.value = value
        return True

    @query
    def read(self) -> Any:
        """The value."""
        return self.value
