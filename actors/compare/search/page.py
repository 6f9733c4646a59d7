"""The results of a search as Markdown: the part of `docs/explanation/schedule-search.md` below its mark."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from actors.compare.search.hunting import CORRECT, Row

MARK = "<!-- written by `python -m actors.compare.search`; change nothing below -->\n"


def with_results(page: str, rows: Sequence[Row]) -> str:
    """`page` with these results below its mark."""
    head, mark, _ = page.partition(MARK)
    if not mark:
        raise ValueError("the page has no mark below which results are written")
    return head + mark + results(rows)


def results(rows: Sequence[Row]) -> str:
    """The tables."""
    correct = [row for row in rows if row.mistake == CORRECT.name]
    mistaken = [row for row in rows if row.mistake != CORRECT.name]
    names = list(dict.fromkeys(row.mistake for row in mistaken))
    both = [name for name in names if len({row.design for row in mistaken if row.mistake == name}) > 1]
    parts = ["", "## The designs as they are", "", *_designs(correct), "", "## Mistakes in both designs", ""]
    parts += [*_shared([row for row in mistaken if row.mistake in both], both), ""]
    for design in ("locks", "actors"):
        alone = [row for row in mistaken if row.mistake not in both and row.design == design]
        parts += [f"## Mistakes that only {design} can make", "", *_alone(alone), ""]
    return "\n".join(parts)


def _designs(rows: Sequence[Row]) -> Iterator[str]:
    yield "| design | schedules tried | found | by |"
    yield "|---|---|---|---|"
    for row in rows:
        tried = row.found_after or row.schedules
        yield f"| {row.design} | {tried} | {row.how or 'nothing'} | {row.detail or '-'} |"


def _shared(rows: Sequence[Row], names: Sequence[str]) -> Iterator[str]:
    yield "| mistake | the rule | actors: found by schedule | locks: found by schedule |"
    yield "|---|---|---|---|"
    found = {(row.mistake, row.design): row for row in rows}
    notes: list[str] = []
    for name in names:
        actors, locks = found[name, "actors"], found[name, "locks"]
        if locks.harmless and locks.harmless not in notes:
            notes.append(locks.harmless)
        mark = f" ({notes.index(locks.harmless) + 1})" if locks.harmless else ""
        yield f"| {name} | {actors.rule} | {_found(actors)} | {_found(locks)}{mark} |"
    for number, note in enumerate(notes, 1):
        yield f"\n({number}) The twin can live with it: {note}."


def _alone(rows: Sequence[Row]) -> Iterator[str]:
    yield "| mistake | the rule | found by schedule |"
    yield "|---|---|---|"
    for row in rows:
        yield f"| {row.mistake} | {row.rule} | {_found(row)} |"


def _found(row: Row) -> str:
    return f"not in {row.schedules}" if row.found_after is None else f"{row.found_after}: {row.how}"
