"""The same seed as two space-time diagrams: both designs in the simulation, from an election to the first results.

Links, disks and clocks are simulated alike, and drawn from the same seed.  But the designs ask for chance in a
different order, so the same seed does not mean the same delays: what is to be seen is that the same messages do the
same work, not that one design takes less of a time that was drawn by lot.

This figure needs no measurement; it is of the code that draws it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from actors.compare.figures.house import COLOURS, GREY, Shown, Table, Value, canvas
from actors.compare.payloads import Payloads
from actors.compare.plan import RUNTIMES
from actors.sim import start_sim_cluster
from actors.spec import RuntimeName
from actors.testing.table import Watch, what_changed
from raft_core import ElectionTimeout, Message, Received, Send, Server, ServerId, Settings
from raft_core.verify.simulation import Turn
from raft_core.verify.spacetime import happened_words, state_words

NAMES: tuple[ServerId, ...] = ("n1", "n2", "n3")
COMMANDS = 2
NAME = "two-diagrams"
_LINE = 0.7
"""Milliseconds that a line of text is high, about."""
_BEFORE = 1.0
"""Milliseconds that are shown before the first election timeout."""


class Arrow(NamedTuple):
    """A message on its way; times in virtual milliseconds since the first election timeout."""

    sender: ServerId
    sent: float
    receiver: ServerId
    arrived: float
    message: Message


class Simulated(NamedTuple):
    """What one design did."""

    runtime: RuntimeName
    turns: list[Turn]
    began: int
    """When the first election timed out: virtual microseconds."""

    def at(self, turn: Turn) -> float:
        """Milliseconds since then."""
        return (turn.at - self.began) / 1e3


def two_diagrams(seed: int) -> Shown:
    """Both designs, beside each other."""
    both = [simulated(runtime, seed) for runtime in RUNTIMES]
    title = f"The same seed ({seed}) as two space-time diagrams"
    said = " ".join([*map(_sentence, both), _agreement(both)])
    alternative = (
        "Two panels, a lifeline for each server, time runs downwards, an arrow for each message; thick: it leads. "
        + said
    )
    return Shown(NAME, title, said, alternative, _table(both), partial(_drawn, both))


def simulated(runtime: RuntimeName, seed: int) -> Simulated:
    """Let one design elect a leader and carry out `COMMANDS`."""
    watch = Watch(is_on=True)
    with start_sim_cluster(
        Payloads,
        nodes=len(NAMES),
        seed=seed,
        timeout=10.0,
        settings=Settings(),
        allow_code=False,
        check_determinism=False,
        runtime=runtime,
        recorder_of=watch.recorder_of,
    ) as payloads:
        for _ in range(COMMANDS):
            payloads.put(b"")
    began = min(turn.at for turn in watch.turns if any(isinstance(event, ElectionTimeout) for event in turn.events))
    turns = [turn for turn in watch.turns if turn.at >= began - _BEFORE * 1e3]
    return Simulated(runtime, turns, began)


# --- in words ---------------------------------------------------------------------------------------------------------


def _elected(simulated: Simulated) -> Turn:
    return next(turn for turn in simulated.turns if turn.after.role_name == "leader")


def _sentence(simulated: Simulated) -> str:
    leads, last = _elected(simulated), simulated.turns[-1]
    return (
        f"{simulated.runtime.capitalize()}: {leads.server_id} leads in term {leads.after.current_term} after "
        f"{simulated.at(leads):.1f} virtual ms; {COMMANDS} commands have their results after "
        f"{simulated.at(last):.1f} ms and {len(list(arrows(simulated)))} messages."
    )


def _agreement(both: Sequence[Simulated]) -> str:
    first, second = (_log_of(simulated) for simulated in both)
    return (
        "Both committed the same entries, in the same terms."
        if first == second
        else "What they committed differs: chance was drawn in another order, and another history came of it."
    )


def _log_of(simulated: Simulated) -> list[tuple[int, object]]:
    """The committed entries of the last that led: term and kind; the commands bear the client's own numbers."""
    leader = next(turn.after for turn in reversed(simulated.turns) if turn.after.role_name == "leader")
    return [(entry.term, entry.kind) for entry in leader.log.entries(1, leader.commit_index)]


def _table(both: Sequence[Simulated]) -> Table:
    rows: list[tuple[Value, ...]] = []
    for simulated in both:
        before: dict[ServerId, Server] = {}
        for turn in what_changed(simulated.turns):
            changes = [words.removeprefix("= ") for words in state_words(before.get(turn.server_id), turn.after)]
            before[turn.server_id] = turn.after
            what = "; ".join(happened_words(turn))
            rows.append((simulated.runtime, round(simulated.at(turn), 3), turn.server_id, what, "; ".join(changes)))
    return Table(("design", "at (virtual ms)", "server", "what happened", "what changed"), rows)


# --- the drawing ------------------------------------------------------------------------------------------------------


def arrows(simulated: Simulated) -> Iterator[Arrow]:
    """Each message that arrived, from the turn that sent it: the first of the same kind that is still on its way."""
    under_way: dict[tuple[ServerId, ServerId, Message], list[float]] = {}
    for turn in simulated.turns:
        for event in turn.events:
            if isinstance(event, Received):
                sent = under_way.get((event.sender, turn.server_id, event.message))
                if sent:
                    yield Arrow(event.sender, sent.pop(0), turn.server_id, simulated.at(turn), event.message)
        for effect in turn.effects:
            if isinstance(effect, Send):
                key = (turn.server_id, effect.to, effect.message)
                under_way.setdefault(key, []).append(simulated.at(turn))


def _drawn(both: Sequence[Simulated]) -> Figure:
    figure, panels = canvas(7.2, len(both), sharey=True)
    last = max(simulated.at(simulated.turns[-1]) for simulated in both)
    for panel, simulated in zip(panels, both, strict=True):
        _lifelines(panel, simulated, last)
        for arrow in arrows(simulated):
            ends = ((NAMES.index(arrow.sender), arrow.sent), (NAMES.index(arrow.receiver), arrow.arrived))
            look = {"arrowstyle": "-|>", "color": COLOURS[simulated.runtime], "linewidth": 1.0, "alpha": 0.75}
            panel.annotate("", ends[1], ends[0], arrowprops=look | {"shrinkA": 0, "shrinkB": 1})
        _labels(panel, simulated)
        panel.set_xticks(range(len(NAMES)), NAMES)
        panel.xaxis.tick_top()
        panel.set(title=simulated.runtime, xlim=(-0.3, len(NAMES) + 0.2), ylim=(last + 0.5, -_BEFORE))
        panel.grid(visible=False, axis="x")
        panel.tick_params(length=0)
        panel.spines[["bottom", "left"]].set_visible(False)
    panels[0].set_ylabel("virtual ms since the first election timeout")
    return figure


def _lifelines(panel: Axes, simulated: Simulated, last: float) -> None:
    for place, name in enumerate(NAMES):
        mine = [turn for turn in simulated.turns if turn.server_id == name]
        panel.vlines(place, -_BEFORE, last + 0.5, color=GREY, linewidth=1)
        leads = [simulated.at(turn) for turn in mine if turn.after.role_name == "leader"]
        if leads:
            panel.vlines(place, leads[0], last + 0.5, color=GREY, linewidth=5, alpha=0.55)
        panel.plot([place] * len(mine), [simulated.at(turn) for turn in mine], "o", color="#000000", markersize=3)


def _labels(panel: Axes, simulated: Simulated) -> None:
    """Who times out, who leads, and what is committed there: beside the last lifeline, where no arrow is."""
    committed, lowest = 0, -_BEFORE
    for turn in simulated.turns:
        words = ""
        if any(isinstance(event, ElectionTimeout) for event in turn.events):
            words = "times out"
        elif turn is _elected(simulated):
            words = f"leads, term {turn.after.current_term}"
        elif turn.after.role_name == "leader" and turn.after.commit_index > committed:
            committed = turn.after.commit_index
            words = f"commits {committed}"
        if words:
            lowest = max(simulated.at(turn), lowest + _LINE)
            panel.text(len(NAMES) - 0.9, lowest, f"{turn.server_id} {words}", fontsize=9, va="center")
