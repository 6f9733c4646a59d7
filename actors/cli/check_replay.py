"""`actorum check replay`: play a recorded run through the core again, and look into it.

What is found out is in `replay_runs`, its words are in `replay_words`; here it is decided what was asked for, and where
the answer goes.  With `-o jsonl` each event is one line, in the schema of docs/reference/trace-format.md: that is the
way for checkers written elsewhere.
"""

from __future__ import annotations

import re
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from shutil import get_terminal_size

import click
from msgspec import to_builtins

from actors.cli.output import Format, Output, is_terminal, output_option, say
from actors.cli.replay_export import write_test
from actors.cli.replay_runs import (
    Comparison,
    RunReader,
    RunsDiffer,
    Stretch,
    Verdict,
    compare,
    event_of,
    happenings,
    stretch_of,
    verdict,
)
from actors.cli.replay_words import compared, listed, shown
from actors.errors import ActorumError
from actors.storage.trace import trace_files
from raft_core.verify.moments import Happening, Moment, as_record

EXAMPLES = """
Examples:

\b
  actorum check replay ./traces                     does every run come out again?
  actorum check replay ./traces/n1.trace --show 40:60
  actorum check replay ./traces/n1.trace --show -20:     the last twenty events
  actorum check replay ./traces/n1.trace --at 42    the state, and what the event did to it
  actorum check replay ./traces --diff ./others     where do two runs first differ?
  actorum check replay ./traces --to-test tests/test_incident.py
  actorum check replay ./traces/n1.trace -o jsonl   every event, for other programs

Exit codes: 6 if a run does not come out again, 4 if --diff finds a difference, 2 if a file cannot be read as a trace.
"""

_FOR_PROGRAMS = ("whole_bytes", "torn_bytes", "gaps")
"""Of a verdict; people are told in words, if there is something to tell."""
WIDEST = 120
"""Characters in a line at most, where lines are wrapped."""


def stretch_asked(context: click.Context, parameter: click.Parameter, value: str | None) -> Stretch | None:
    """The events that "40:60", "40:", ":60" mean; "-20:", the last twenty, has a negative first."""
    if value is None:
        return None
    found = re.fullmatch(r"(\d+)?:(\d+)?|(-\d+):", value)
    if found is None:
        raise click.BadParameter(f"{value!r} is not FIRST:LAST, as 40:60, 40:, :60, -20:", context, parameter)
    first, last, from_the_end = found.groups()
    stretch = Stretch(int(from_the_end or first or 1), None if last is None else int(last))
    if stretch.last is not None and stretch.first > stretch.last:
        raise click.BadParameter(f"{value!r} ends before it begins", context, parameter)
    return stretch


@click.command(epilog=EXAMPLES)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--at", type=click.IntRange(1), metavar="N", help="Stop at event N; show the state and its effects.")
@click.option(
    "--show", callback=stretch_asked, metavar="FIRST:LAST", help="List these events, each with the state after it."
)
@click.option(
    "--diff",
    "other",
    type=click.Path(path_type=Path),
    metavar="OTHER",
    help="Compare with another run of the same servers; say where they first differ.",
)
@click.option(
    "--to-test",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="TEST",
    help="Write a test file that replays the run; a long trace is copied beside it.",
)
@output_option
def replay(
    file: Path, at: int | None, show: Stretch | None, other: Path | None, to_test: Path | None, output: Output
) -> None:
    """Replay FILE: the trace of one server, or a directory with those of all.

    Every recorded event goes through the core again; states and effects must come out as they were recorded, bit for
    bit.  Events are counted from 1, over all incarnations of the server.
    """
    if sum(option is not None for option in (at, show, other, to_test)) > 1:
        raise click.UsageError("--at, --show, --diff and --to-test are asked for one at a time")
    if at is not None:
        _show_event(_the_one(file), at, output)
    elif show is not None:
        _list_events(_the_one(file), show, output)
    elif other is not None:
        _compare(file, other, output)
    elif to_test is not None:
        _write_test(file, to_test, output)
    elif output.format is Format.JSONL:
        _tell_everything(trace_files(file), output)
    else:
        _judge(trace_files(file), output)


def _the_one(file: Path) -> Path:
    paths = trace_files(file)
    if len(paths) > 1:
        raise click.UsageError(f"say whose events: {' or '.join(map(str, paths))}")
    return paths[0]


def _quiet() -> bool:
    """A bar on stderr would disturb what scrolls by on the same terminal."""
    return is_terminal(sys.stdout)


# --- Does it replay?


def _judge(paths: Iterable[Path], output: Output) -> None:
    """All of them, also behind one that fails; the gravest failure is the one that is raised."""
    verdicts: list[Verdict] = []
    failures: list[ActorumError] = []
    for path in paths:
        try:
            verdicts.append(verdict(path))
        except ActorumError as error:
            failures.append(error)
    _tell_verdicts(verdicts, output)
    _warn(verdicts)
    if failures:
        gravest = max(failures, key=lambda failure: failure.exit_code)
        for failure in failures:
            if failure is not gravest:
                say(str(failure).partition("\n")[0])
        raise gravest
    runs = "the run replays" if len(verdicts) == 1 else f"all {len(verdicts)} runs replay"
    if output.is_table:
        say(f"{runs} bit for bit: every state and every effect came out as it was recorded")


def _tell_verdicts(verdicts: Iterable[Verdict], output: Output) -> None:
    rows: list[dict[str, object]] = [to_builtins(one) for one in verdicts]
    if output.is_table:
        rows = [{key: value for key, value in row.items() if key not in _FOR_PROGRAMS} for row in rows]
    output.rows(rows)


def _warn(verdicts: Iterable[Verdict]) -> None:
    for one in verdicts:
        for incarnation in one.gaps:
            say(
                f"{one.server}: turns are missing before incarnation {incarnation}, which begins with more than the "
                f"trace explains: its end was lost with the power, or the server was started on other data"
            )
        if one.torn_bytes:
            say(
                f"{one.server}: the trace ends with {one.torn_bytes} bytes of a turn whose recording was cut off, by a "
                f"kill or a full disk, or goes on right now; nothing of that turn was carried out"
            )


def _tell_everything(paths: Iterable[Path], output: Output) -> None:
    """Each event as one line, and a line at the end of each run."""
    for path in paths:
        run = RunReader(path, quiet=_quiet())
        incarnations = turns = events = 0
        for happening in happenings(run):
            output.record(as_record(happening))
            if isinstance(happening, Moment):
                events, server = happening.number, happening.after
                turns += happening.carried_out is not None
            else:
                incarnations, server = happening.incarnation, happening.server
        end = run.verdict(server, incarnations, turns, events)
        output.record({"record": "end", **to_builtins(end)})


# --- What is in it?


def _list_events(path: Path, stretch: Stretch, output: Output) -> None:
    """Where the run breaks off, what stands before that is listed all the same."""
    found: deque[Happening] = deque(maxlen=-stretch.first if stretch.first < 0 else None)
    try:
        for happening in stretch_of(_happenings(path), stretch):
            found.append(happening)  # one by one: an error must not take away what came before it
    finally:
        _tell_events(found, output)
    if not any(isinstance(happening, Moment) for happening in found):
        event_of(_happenings(path), stretch.first, path)  # it says what there is


def _tell_events(found: Sequence[Happening], output: Output) -> None:
    if not output.is_table:
        output.rows([as_record(happening) for happening in found])
        return
    width = get_terminal_size().columns if is_terminal(sys.stdout) else None
    for number, line in enumerate(listed(found, width)):
        output.line(click.style(line, bold=True) if number == 0 else line)


def _show_event(path: Path, number: int, output: Output) -> None:
    moment = event_of(_happenings(path), number, path)
    if output.is_table:
        output.line("\n".join(shown(moment, _width())))
    else:
        output.record(as_record(moment))


def _happenings(path: Path) -> Iterator[Happening]:
    return happenings(RunReader(path, quiet=_quiet()))


def _width() -> int:
    return min(get_terminal_size((WIDEST, 24)).columns, WIDEST)


# --- Is it the same as another?


def _compare(file: Path, other: Path, output: Output) -> None:
    comparisons = [compare(one, two) for one, two in _pairs(file, other)]
    if output.is_table:
        _tell_comparisons(comparisons, (str(file), str(other)), output)
    else:
        output.rows([_compared_record(comparison) for comparison in comparisons])
    if different := [comparison for comparison in comparisons if comparison.where]:
        first = different[0]
        raise RunsDiffer(
            f"the runs of {first.server} differ at {first.where}",
            why=f"up to there {first.equal_events} events are the same, with their states and effects",
        )


def _pairs(file: Path, other: Path) -> list[tuple[Path, Path]]:
    left, right = ({path.name: path for path in trace_files(place)} for place in (file, other))
    if file.is_dir() != other.is_dir():
        raise click.UsageError("--diff compares two traces, or two directories of traces")
    if not file.is_dir():
        return [(file, other)]
    if lonely := sorted(left.keys() ^ right.keys()):
        raise click.UsageError(f"only one of the two directories has {', '.join(lonely)}")
    return [(path, right[name]) for name, path in left.items()]


def _compared_record(comparison: Comparison) -> dict[str, object]:
    differences = [
        {"what": difference.what, "first": difference.recorded, "second": difference.replayed}
        for difference in comparison.differences
    ]
    return {
        "server": comparison.server,
        "equal_events": comparison.equal_events,
        "differs_at": comparison.where or None,
        "differences": differences,
    }


def _tell_comparisons(comparisons: Iterable[Comparison], names: tuple[str, str], output: Output) -> None:
    for comparison in comparisons:
        events = f"{comparison.server}: {comparison.equal_events} equal events"
        if not comparison.where:
            output.line(f"{events}, no difference")
            continue
        output.line(f"{events}, then {comparison.where} differs:")
        output.line("\n".join(compared(comparison.differences, names, _width())))


# --- A test of it.


def _write_test(file: Path, target: Path, output: Output) -> None:
    runs = {path: verdict(path) for path in trace_files(file)}
    _warn(runs.values())
    written = [str(path) for path in write_test(target, runs)]
    if output.is_table:
        say(f"written: {', '.join(written)}; run it: pytest {target}")
    else:
        output.record({"written": written})
