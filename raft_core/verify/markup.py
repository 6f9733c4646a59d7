"""What the pages of this package have in common: text that stays text, whatever it says."""

from __future__ import annotations

from collections.abc import Iterable


def page(title: str, style: str, body: Iterable[str]) -> str:
    """One page of HTML, complete without any other file."""
    head = f'<meta charset="utf-8"><title>{escaped(title)}</title><style>{style}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n' + "\n".join(body) + "\n</body></html>\n"


def shortened(text: str, most: int) -> str:
    """At most so many characters."""
    return text if len(text) <= most else text[: max(most - 1, 0)] + "…"


def escaped(text: str) -> str:
    """Text that stays text, between tags and in attributes; what HTML cannot hold becomes a question mark."""
    shown = "".join(character if character.isprintable() or character == "\n" else "?" for character in text)
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;"), ("'", "&#39;")):
        shown = shown.replace(character, entity)
    return shown
