"""Every golden script says what the core does; `python -m tests.golden --rewrite [NAME...]` writes the answers anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from raft_core.verify.script import parse
from tests.golden.golden import difference, scripts


@pytest.mark.parametrize("script", scripts(), ids=lambda script: script.stem)
def test_the_script_says_what_the_core_does(script: Path) -> None:
    found = difference(script)
    assert not found, f"\n{found}"


@pytest.mark.parametrize("script", scripts(), ids=lambda script: script.stem)
def test_the_script_opens_with_what_it_shows_and_cites_its_source(script: Path) -> None:
    opening = parse(script.read_text(encoding="utf-8"), script.name)[0]
    assert opening.answer is None, "a comment of its own comes first"
    comment = " ".join(opening.text)
    assert any(source in comment for source in ("paper ", "thesis ", "Figure ")), comment


def test_there_are_at_least_forty_scripts() -> None:
    assert len(scripts()) >= 40
