"""What the tests of the comparison share."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def open_fonts() -> None:
    """The library that draws opens its fonts with the first figure and keeps them: no test leaves them behind."""
    from actors.compare.figures.house import Shown, Table, canvas

    shown = Shown("fonts", "", "", "", Table((), []), lambda: canvas(1)[0])
    assert shown.svg and shown.png
