"""Golden scripts as files: where they are, how far one is from its own play, and how it is written anew."""

from __future__ import annotations

from difflib import unified_diff
from pathlib import Path

from raft_core.verify.script import play

FOLDER = Path(__file__).parent


def scripts(folder: Path = FOLDER) -> list[Path]:
    """All scripts of a folder, by name."""
    return sorted(folder.glob("*.txt"))


def difference(script: Path) -> str:
    """A unified diff from what stands in the file to what the core does; empty if they agree."""
    text = script.read_text(encoding="utf-8")
    written, played = text.splitlines(keepends=True), play(text, script.name).splitlines(keepends=True)
    return "".join(unified_diff(written, played, f"{script.name} as written", f"{script.name} as played"))


def rewrite(script: Path) -> bool:
    """Write down what the core does; was that anything new?"""
    text = script.read_text(encoding="utf-8")
    played = play(text, script.name)
    if played != text:
        script.write_text(played, encoding="utf-8")
    return played != text
