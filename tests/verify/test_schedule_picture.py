"""The picture of a schedule: every turn, arrow and gap is there, complete without any other file, read without eyes."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from raft_core import AppendEntries, Entry, Follower, Leader, RequestVote, Send, Server, Settings
from raft_core.events import ElectionTimeout, Received
from raft_core.messages import RequestVoteResult
from raft_core.state import restore
from raft_core.step import step
from raft_core.types import ServerId
from raft_core.verify.exploration_turns import turns_of
from raft_core.verify.recording import recorded
from raft_core.verify.rerun import rerun
from raft_core.verify.schedule_picture import schedule_page
from raft_core.verify.simulation import Turn
from raft_core.verify.situations import Action, Bounds
from raft_core.verify.spacetime import space_time_table

NAMES = ("n1", "n2", "n3")
VOID = {"meta", "rect", "line", "path", "circle"}


class _Page(HTMLParser):
    """Collects what a page contains, and fails if tags do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[int] = []
        self.found: list[tuple[str, dict[str, str | None], str]] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(len(self.found))
        self.found.append((tag, dict(attrs), ""))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs), ""))

    def handle_endtag(self, tag: str) -> None:
        assert self.found[self.open.pop()][0] == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            tag, attributes, text = self.found[self.open[-1]]
            self.found[self.open[-1]] = (tag, attributes, text + data)

    def all(self, tag: str, style: str | None = None) -> list[tuple[dict[str, str | None], str]]:
        return [
            (given, text) for name, given, text in self.found if name == tag and style in (None, given.get("class"))
        ]

    def texts(self, style: str) -> list[str]:
        return [text for _, text in self.all("text", style)]


def fresh(name: ServerId) -> Server:
    settings = Settings(pre_vote=False)
    return restore(name, NAMES, settings, randomness=0, current_term=0, voted_for=None, entries=())


def an_election() -> list[Turn]:
    """n1 asks for votes, n2's is late and arrives twice, n3 never hears of it."""
    candidate, asked = step(fresh("n1"), ElectionTimeout(0))
    request = next(e.message for e in asked if isinstance(e, Send) and isinstance(e.message, RequestVote))
    voter, voted = step(fresh("n2"), Received("n1", request))
    answer = next(e.message for e in voted if isinstance(e, Send) and isinstance(e.message, RequestVoteResult))
    leader, sent = step(candidate, Received("n2", answer))
    again, nothing = step(leader, Received("n2", answer))
    assert isinstance(leader.role, Leader)
    return [
        Turn(1_000, "n1", (ElectionTimeout(0),), asked, candidate),
        Turn(2_000, "n2", (Received("n1", request),), voted, voter),
        Turn(3_000, "n1", (Received("n2", answer),), sent, leader),
        Turn(4_000, "n1", (Received("n2", answer),), nothing, again),
    ]


def with_a_fall() -> list[Turn]:
    voter = an_election()[1].after
    back = restore("n2", NAMES, voter.settings, randomness=0, current_term=1, voted_for="n1", entries=())
    assert isinstance(back.role, Follower)
    return [
        *an_election(),
        Turn(5_000, "n2", (), (), voter, "falls"),
        Turn(6_000, "n2", (), (), back, "starts"),
    ]


def drawn(turns: list[Turn], violation: str = "") -> _Page:
    return _Page(schedule_page(turns, NAMES, title="Four turns", violation=violation))


def test_every_server_has_a_lifeline_and_every_turn_its_own_strip() -> None:
    page = drawn(an_election())
    assert page.texts("name") == ["n1", "n1", "n2", "n2", "n3", "n3"]
    assert page.texts("number") == ["1", "2", "3", "4"]
    heights = [int(given["y"] or 0) for style in ("happened", "state", "lost") for given, _ in page.all("text", style)]
    assert len(set(heights)) == len(heights), "no two texts on one line"
    assert page.texts("happened") == ["election timeout", "n1 RequestVote t1 last 0@0", *["n2 granted t1"] * 2]


def test_a_message_is_an_arrow_from_the_turn_that_sent_it_to_the_turn_it_arrived_in() -> None:
    page = drawn(an_election())
    first, answer, again = [given["d"] or "" for given, _ in page.all("path") if "marker-end" in given]
    assert re.fullmatch(r"M310 62L605 \d+", first), "n1 to n2"
    assert re.fullmatch(r"M610 \d+L315 \d+", answer) and answer.split("L")[0] == again.split("L")[0]
    assert [given["class"] for given, _ in page.all("path") if "marker-end" in given] == [
        "message",
        "message",
        "message again",
    ]
    down = [list(map(int, re.findall(r" (\d+)", way))) for way in (first, answer, again)]
    assert all(start < end for start, end in down), "time runs downwards"


def test_what_never_arrives_is_marked_with_its_receivers() -> None:
    page = drawn(an_election())
    assert page.texts("lost") == ["n3: RequestVote t1 last 0@0", "n2,n3: Append t1 after 0@0 [1] c0"]
    assert len(page.all("path", "cross")) == 2


def test_a_lifeline_has_a_piece_for_each_role_and_says_the_role_in_words_too() -> None:
    page = drawn(an_election())
    pieces = {name: len(page.all("rect", name)) for name in ("follower", "candidate", "leader", "pre-candidate")}
    assert pieces == {"follower": 3, "candidate": 1, "leader": 1, "pre-candidate": 0}
    assert {"candidate, term 1", "leader, term 1", "follower, term 1", "voted for n1"} <= set(page.texts("state"))


def test_where_a_server_is_down_its_lifeline_is_broken() -> None:
    page = drawn(with_a_fall())
    ((line, _),) = page.all("line", "down")
    crosses = [given for given, _ in page.all("path", "message") if "marker-end" not in given]
    assert len(crosses) == 1 and f" {int(line['y1'] or 0) - 5}l" in (crosses[0]["d"] or ""), "a cross where it falls"
    assert int(line["y1"] or 0) < int(line["y2"] or 0)
    assert page.texts("happened")[-2:] == ["falls", "comes back"]
    assert len(page.all("rect", "follower")) == 4, "one more piece, after it came back"


def test_a_crash_of_an_explored_schedule_is_a_gap_too() -> None:
    bounds = Bounds(terms=1, crashes=1)
    turns = turns_of(bounds, (Action("timeout", 0, ElectionTimeout(0)), Action("crash", 0, None)))
    page = drawn(turns)
    assert page.texts("happened") == ["election timeout", "falls and comes back"]
    pieces = [
        given for style in ("candidate", "follower") for given, _ in page.all("rect", style) if (given["x"] or "") < "5"
    ]
    first = [given for given in pieces if int(given["x"] or 0) < 310]
    candidate, _, after = [(int(given["y"] or 0), int(given["height"] or 0)) for given in first]
    assert sum(candidate) + 16 == after[0]


def test_the_turn_that_breaks_the_rule_is_framed_and_named() -> None:
    page = drawn(an_election(), "Election Safety: two leaders")
    assert len(page.all("rect", "band")) == 1
    assert len(page.all("g", "left violating") + page.all("g", "right violating")) == 1
    assert page.all("p", "violation")[0][1] == "Election Safety: two leaders"
    assert len(page.all("tr", "violating")) == 1
    assert not drawn(an_election()).all("rect", "band"), "without a violation nothing is"
    late = _Page(schedule_page(an_election(), NAMES, violation="Progress: none", is_last_to_blame=False))
    assert late.all("p", "violation") and not late.all("rect", "band") + late.all("tr", "violating")


def test_the_picture_can_be_read_without_being_seen() -> None:
    page = drawn(with_a_fall(), "Election Safety: two leaders")
    ((drawing, _),) = page.all("svg")
    assert (drawing["role"], drawing["aria-labelledby"]) == ("img", "what how")
    assert [text for given, text in page.all("title") if given.get("id") == "what"] == ["6 turns of 3 servers"]
    assert "two leaders" in page.all("desc")[0][1]
    assert len(page.all("tr")) == 1 + 6
    cells = [text for _, text in page.all("td")]
    assert "leader, term 1\nlog 1@1" in cells and "n2,n3: Append t1 after 0@0 [1] c0" in cells


def test_nothing_is_loaded_and_nothing_runs() -> None:
    text = schedule_page(with_a_fall(), NAMES)
    page = _Page(text)
    assert not page.all("script") + page.all("link") + page.all("img") + page.all("iframe")
    assert not [name for _, given, _ in page.found for name in given if name.startswith("on") or name == "src"]
    assert re.findall(r"(?:https?:)?//[\w.]+", text) == ["http://www.w3.org"]  # the name of a name space
    assert "prefers-color-scheme: dark" in text


@pytest.mark.parametrize("evil", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "\x00\u202e"])
def test_what_names_and_violations_say_stays_text(evil: str) -> None:
    page = _Page(schedule_page([], (evil,), title=evil, violation=evil))
    assert not page.all("script") + page.all("img")
    assert not {"\x00", "\u202e"} & set("".join(text for _, _, text in page.found))


def test_a_long_label_is_cut_and_whole_where_one_points() -> None:
    entries = tuple(Entry(1, b"") for _ in range(30))
    turn = Turn(1_000, "n1", (), (Send("n2", AppendEntries(1, "n1", 0, 0, entries, 0)),), fresh("n1"))
    ((given, label),) = drawn([turn]).all("text", "lost")
    whole = "n2: Append t1 after 0@0 [" + " ".join(["1"] * 30) + "] c0"
    assert given["x"] == "344" and len(label) == 33
    assert label.endswith("…") and label.removesuffix("…") == whole[: len(label) - 1]
    assert whole in [text for _, text in drawn([turn]).all("title")]


def test_a_whole_run_can_be_drawn() -> None:
    turns: list[Turn] = []
    report, decisions, _ = recorded(7, 5, 600)
    assert report.violation is None
    rerun(decisions, 5, turns[0].after.settings if turns else Settings(), watcher=turns.append)
    names = [f"n{number}" for number in range(1, 6)]
    page = _Page(schedule_page(turns, names))
    assert len(page.texts("number")) == len(turns) > 300
    assert space_time_table(turns, names).count("comes back") == page.texts("happened").count("comes back") > 0
