"""The picture: complete without any other file, and safe whatever the history says."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from random import Random
from typing import Any

import pytest

from raft_core.verify.explanation import Explanation, explain
from raft_core.verify.history import Operation, RegisterModel
from raft_core.verify.picture import picture
from raft_core.verify.planted import PLANTS, spoiled_history

VOID = {"meta", "rect", "line", "stop"}


class _Page(HTMLParser):
    """Collects what a page contains, and fails if tags do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def all(self, tag: str, **attributes: str) -> list[dict[str, str | None]]:
        return [found for name, found in self.found if name == tag and attributes.items() <= found.items()]


def drawn(history: list[Operation], model: Any) -> tuple[_Page, Explanation]:
    explanation = explain(history, model)
    assert explanation is not None
    return _Page(picture(history, explanation)), explanation


def stale(value: Any = 1, client: str = "w") -> list[Operation]:
    write = Operation(client, "write", (value,), None, 0, 10)
    return [write, Operation("lost", "write", (2,), None, 5, None), Operation("r", "read", (), 0, 20, 30)]


def test_every_client_has_a_row_and_every_operation_a_bar() -> None:
    page, explanation = drawn(stale(), RegisterModel(0))
    assert {text for text in page.texts if text.startswith("client ")} == {"client w", "client r", "client lost"}
    assert len(page.all("rect")) == 3
    assert len(page.all("g", **{"class": "kept"})) == len(explanation.operations) - 1
    assert len(page.all("g", **{"class": "kept culprit"})) == 1
    assert len(page.all("g", **{"class": "other"})) == 1


def test_a_call_of_unknown_outcome_fades_and_says_so() -> None:
    page, _ = drawn(stale(), RegisterModel(0))
    fading = [rect for rect in page.all("rect") if "url(#fade" in (rect.get("style") or "")]
    assert len(fading) == 1
    assert any(text == "write(2) ?" for text in page.texts)
    assert "unknown" in page.texts


def test_the_picture_can_be_read_without_being_seen() -> None:
    page, explanation = drawn(stale(), RegisterModel(0))
    drawing = page.all("svg", role="img")[0]
    assert drawing["aria-labelledby"] == "what how"
    assert page.all("title", id="what")
    assert page.all("desc", id="how")
    assert explanation.sentence in page.texts
    assert str(explanation) in page.texts
    assert len(page.all("tr")) == 1 + 3


def test_nothing_is_loaded_and_nothing_runs() -> None:
    text = picture(stale(), drawn(stale(), RegisterModel(0))[1])
    page = _Page(text)
    assert not page.all("script") + page.all("link") + page.all("img") + page.all("iframe")
    assert not [name for _, attributes in page.found for name in attributes if name.startswith("on") or name == "src"]
    assert re.findall(r"(?:https?:)?//[\w.]+", text) == ["http://www.w3.org"]  # the name of a name space
    assert "prefers-color-scheme: dark" in text


@pytest.mark.parametrize(
    "evil", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "</svg></style>&amp;", "\x00\x1b[31m\u202e"]
)
def test_what_the_history_says_stays_text(evil: str) -> None:
    page, _ = drawn(stale(value=evil, client=evil), RegisterModel(0))
    assert not page.all("script") + page.all("img")
    assert "\x00" not in "".join(page.texts)
    assert "\u202e" not in "".join(page.texts)
    assert any(evil[:8].isprintable() and evil[:8] in text for text in page.texts) or not evil[:8].isprintable()


def test_of_a_long_history_only_the_neighbourhood_is_drawn() -> None:
    plant = next(plant for plant in PLANTS if plant.name == "stale read, register")
    history = spoiled_history(plant, Random(1), operations=2_000, unknown=0.01)
    page, explanation = drawn(history, plant.workload.model)
    assert len(page.all("rect")) == len(explanation.operations) + 24


def test_calls_of_one_client_that_overlap_do_not_cover_each_other() -> None:
    history = [
        Operation("w", "write", (1,), None, 0, 10),
        Operation("w", "write", (2,), None, 5, 15),
        Operation("w", "read", (), 0, 20, 30),
    ]
    page, _ = drawn(history, RegisterModel(0))
    tops = [rect["y"] for rect in page.all("rect")]
    assert len(set(tops)) == 2
    assert tops[0] != tops[1]
