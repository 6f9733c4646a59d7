"""The report as one page that needs nothing else: no script, no request, no font of its own.

Drawings stand in the page as they are, styles at its top; the only references lead to places in the page and to the
raw files beside it, and none is followed unless somebody clicks.  Everything that comes from the data is escaped.  The
styles are those of what is inside of `.actorum-report`, so that a notebook around it stays as it is.

On paper a figure is not torn apart, nothing is cut at the margin, and folded tables are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from actors.compare.figures.house import Lacking, Shown, Table, Value
from actors.compare.words import number
from raft_core.verify.markup import escaped

STYLE = """
.actorum-report { font: 16px/1.5 system-ui, sans-serif; color: #1b1b1f; background: #fff; max-width: 62rem;
  margin: 0 auto; padding: 1rem; }
.actorum-report h1 { font-size: 1.7rem; line-height: 1.2; }
.actorum-report h2 { font-size: 1.25rem; margin: 2.4rem 0 .4rem; border-top: 1px solid #d7d9de; padding-top: 1rem; }
.actorum-report h3 { font-size: 1.05rem; margin: 1rem 0 .2rem; }
.actorum-report p, .actorum-report li { max-width: 56rem; }
.actorum-report .small { font-size: .88rem; color: #4a4d55; }
.actorum-report figure { margin: 1.6rem 0; } .actorum-report figcaption { font-weight: 600; }
.actorum-report svg { width: 100%; height: auto; max-width: 56rem; display: block; margin: .5rem 0; }
.actorum-report table { border-collapse: collapse; font-size: .88rem; } .actorum-report .scroll { overflow-x: auto; }
.actorum-report th, .actorum-report td { text-align: left; vertical-align: top; padding: .25rem .8rem .25rem 0;
  border-bottom: 1px solid #d7d9de; } .actorum-report td.n { font-variant-numeric: tabular-nums; text-align: right; }
.actorum-report td.whole { white-space: nowrap; } .actorum-report td.prose { min-width: 12rem; }
.actorum-report caption { text-align: left; font-weight: 600; padding-bottom: .3rem; }
.actorum-report code { font: .88em ui-monospace, monospace; background: #f3f4f6; padding: .1em .3em;
  overflow-wrap: anywhere; }
.actorum-report details > summary { cursor: pointer; color: #0b5cad; font-size: .9rem; }
.actorum-report .lacking { border-left: 4px solid #d7d9de; padding: .2rem 0 .2rem 1rem; }
.actorum-report .summary { background: #f6f7f9; padding: .6rem 1.2rem; border-radius: 6px; }
.actorum-report .bad { color: #a3140c; font-weight: 600; }
@media print { .actorum-report { font-size: 9.5pt; max-width: none; padding: 0; }
  .actorum-report a { color: inherit; text-decoration: none; } .actorum-report details { display: none; }
  .actorum-report figure, .actorum-report tr { break-inside: avoid; } .actorum-report figure { margin: .8rem 0; }
  .actorum-report h2, .actorum-report h3 { break-after: avoid; } .actorum-report svg { max-width: 15.5cm; }
  .actorum-report .scroll { overflow: visible; } .actorum-report table { font-size: 7.5pt; }
  .actorum-report th, .actorum-report td { padding: .15rem .35rem .15rem 0; }
  .actorum-report td.prose { min-width: 0; } .actorum-report .summary { background: none; border: 1px solid #d7d9de; } }
"""
_SHORT = 26
"""Characters of a table's cell that is not broken into lines."""
# Nothing is asked for, not even the little picture that browsers ask every site for.
_HEAD = '<meta charset="utf-8"><meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">'


def page(title: str, body: str) -> str:
    """The whole file."""
    return (
        f'<!doctype html>\n<html lang="en"><head>{_HEAD}<title>{escaped(title)}</title></head>\n'
        f'<body style="margin:0">\n{body}\n</body></html>\n'
    )


def fragment(parts: Iterable[str]) -> str:
    """What stands in the page, or in a notebook."""
    return f'<style>{STYLE}</style>\n<main class="actorum-report">\n' + "\n".join(parts) + "\n</main>"


def section(name: str, heading: str, *parts: str) -> str:
    """A part of the report that can be referred to."""
    return f'<section id="{name}"><h2>{escaped(heading)}</h2>\n' + "\n".join(parts) + "\n</section>"


def _prose(text: str) -> str:
    """Numbers are not broken at the end of a line."""
    return re.sub(r"(?<=\d) (?=\d{3}(?!\d))", "&#8239;", escaped(text))


def paragraph(text: str, style: str = "") -> str:
    """Words."""
    return f'<p class="{style}">{_prose(text)}</p>' if style else f"<p>{_prose(text)}</p>"


def bullets(items: Sequence[str]) -> str:
    """A list."""
    return "<ul>" + "".join(f"<li>{_prose(item)}</li>" for item in items) + "</ul>"


def table(data: Table, caption: str = "", links: Sequence[Sequence[str]] = ()) -> str:
    """A table; `links`, if given, are HTML for the last cell of each row."""
    words = f"<caption>{escaped(caption)}</caption>" if caption else ""
    heads = "".join(f'<th scope="col">{escaped(head)}</th>' for head in data.heads)
    rows = [
        "<tr>" + "".join(map(_cell, row)) + (f"<td>{' '.join(links[place])}</td>" if links else "") + "</tr>"
        for place, row in enumerate(data.rows)
    ]
    if links:
        heads += '<th scope="col">raw data</th>'
    return (
        f'<div class="scroll"><table>{words}<thead><tr>{heads}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    )


def _cell(value: Value) -> str:
    match value:
        case None:
            return '<td class="n">-</td>'
        case str():
            return f'<td class="{"whole" if len(value) <= _SHORT else "prose"}">{escaped(value)}</td>'
        case int():
            return f'<td class="n">{value}</td>'
        case float():
            return f'<td class="n">{number(value)}</td>'


def folded(data: Table, words: str) -> str:
    """A table that is shown when it is asked for."""
    return f"<details><summary>{escaped(words)}</summary>{table(data)}</details>"


def figure(shown: Shown | Lacking) -> str:
    """A figure with its sentence and its data, or what would measure it."""
    if isinstance(shown, Lacking):
        return (
            f'<div class="lacking" id="{shown.name}"><h3>{escaped(shown.title)}</h3>'
            f"<p>Not measured: {escaped(shown.why)}. This measures it: <code>{escaped(shown.command)}</code></p></div>"
        )
    return (
        f'<figure id="{shown.name}"><figcaption>{escaped(shown.title)}</figcaption>\n{shown.svg}\n'
        f"{paragraph(shown.reading)}{folded(shown.table, 'the data of this figure')}</figure>"
    )


def link(address: str, words: str) -> str:
    """To a file beside the page."""
    return f'<a href="{escaped(address)}">{escaped(words)}</a>'
