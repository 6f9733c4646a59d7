"""A set of words and numbers.

>>> colours = Set()
>>> colours.add("red"), colours.add("red"), colours.discard("blue"), "red" in colours.members()
(True, False, False, True)
"""

from __future__ import annotations

from typing import TypeAlias

from actors.replicated import Replicated, command, query

Element: TypeAlias = int | str


class Set(Replicated):
    """A set, of which every member is there once."""

    elements: set[Element] = set()  # noqa: RUF012  # each instance gets its own copy

    @command
    def add(self, element: Element) -> bool:
        """Put `element` in; False if it was there."""
        size = len(self.elements)
        self.elements.add(element)
        return len(self.elements) > size

    @command
    def discard(self, element: Element) -> bool:
        """Take `element` out; False if it was not there."""
        size = len(self.elements)
        self.elements.discard(element)
        return len(self.elements) < size

    @query
    def contains(self, element: Element) -> bool:
        """Is it there?"""
        return element in self.elements

    @query
    def members(self) -> list[Element]:
        """All, numbers before words, in order: a set's own order is another one on every replica."""
        return sorted(self.elements, key=lambda element: (isinstance(element, str), element))

    @query
    def size(self) -> int:
        """How many there are."""
        return len(self.elements)
