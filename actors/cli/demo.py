"""`actorum demo`: draws what `actors.demo` does, as lines for people or as one JSON document.

The only directory it touches is marked as its own (`.actorum-demo`, which is also its lock): a directory that holds
anything else is refused, and what an earlier run left is removed.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from time import monotonic
from typing import Any, Literal, assert_never

import click
from msgspec import to_builtins

from actors.cli import COMMANDS
from actors.cli.output import Format, Output, is_terminal, output_option, say
from actors.cli.shared import record_option, runtime_option
from actors.demo import happenings as scenario
from actors.demo import run
from actors.errors import ActorumError, DataDirectoryInUse, ExitCode, SafetyViolation
from actors.spec import RuntimeName
from actors.storage.files import FileLock, make_directory
from actors.storage.port import StorageInUse

MARKER = ".actorum-demo"
NEXT = ("up counter", "compare", "dash", "tutorial")
"""What to try after it, as far as this version has it."""
_TURNS = {"actors": "actors", "locks": "threads around one lock each"}
_NEWS_EVERY = 5.0
"""Seconds between lines of progress where there is no terminal."""

EXAMPLES = """
Examples:

\b
  actorum demo
  actorum demo --increments 100000 --clients 8
  actorum demo --nodes 5 --keep --data ./five
  actorum demo --runtime locks
  actorum demo --record ./traces      and then: actorum check replay ./traces
  actorum demo -o json | jq .proven

Exit code 6: something that Raft promises did not hold; the data directory is kept.
"""


class NotADemoDirectory(ActorumError):
    """The directory holds something that no demonstration left there.  Nothing was touched; a retry fails alike."""

    code = "NOT-A-DEMO-DIRECTORY"
    exit_code = ExitCode.USAGE


@click.command(epilog=EXAMPLES)
@click.option("--increments", type=click.IntRange(1), default=20_000, show_default=True, help="Calls to measure.")
@click.option("--clients", type=click.IntRange(1, 64), default=4, show_default=True, help="Clients calling at once.")
@click.option("--nodes", type=click.IntRange(3, 9), default=3, show_default=True, help="Peers.")
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("demo-data"),
    show_default=True,
    help="Directory for the logs: new, empty, or of an earlier demo.",
)
@click.option("--keep", is_flag=True, help="Leave the logs there.")
@click.option(
    "--engine",
    type=click.Choice(["processes", "threads"]),
    default="processes",
    show_default=True,
    help="Where the peers live.",
)
@record_option
@runtime_option
@output_option
def demo(
    increments: int,
    clients: int,
    nodes: int,
    data: Path,
    keep: bool,
    engine: Literal["processes", "threads"],
    record: Path | None,
    runtime: RuntimeName,
    output: Output,
) -> None:
    """A replicated counter, killed and restarted before your eyes.

    Starts peers, lets clients increment a counter, kills the leader with SIGKILL, restarts it, kills all peers and
    restarts them from disk.  Then it proves, out of everything the clients saw, that no increment was lost or doubled
    and that the whole history is linearizable.
    """
    if record is not None and record.resolve().is_relative_to(data.resolve()):
        raise click.UsageError(f"the demo empties {data}, and would take the traces with it: record elsewhere")
    draw = _Lines(output, engine) if output.is_table else _Document(output)
    with demo_directory(data, keep=keep) as directory:
        plan = scenario.Plan(
            data=directory,
            increments=increments,
            clients=clients,
            nodes=nodes,
            engine=engine,
            runtime=runtime,
            record=record,
        )
        with closing(run(plan)) as happenings, draw:
            for event in happenings:
                draw.show(event)
    if keep:
        say(f"the logs are in {data}")
    if record is not None:
        say(f"recorded in {record}: actorum check replay {record}")


@contextmanager
def demo_directory(path: Path, *, keep: bool) -> Iterator[Path]:
    """An empty directory that nobody else uses, removed afterwards unless it is to be kept or is evidence."""
    marker = path / MARKER
    if path.is_dir() and any(path.iterdir()) and not marker.is_file():
        raise NotADemoDirectory(
            f"{path} holds something that no demo left there",
            why="the demo empties its data directory, and will not empty this one",
            fix="actorum demo --data ./another-directory",
        )
    make_directory(path)
    lock = _locked(marker)
    try:
        _empty(path)
        yield path
    except SafetyViolation:
        keep = True
        raise
    finally:
        if not keep:
            shutil.rmtree(path, ignore_errors=True)
        lock.release()


def _locked(marker: Path) -> FileLock:
    try:
        return FileLock(marker)
    except StorageInUse as error:
        raise DataDirectoryInUse(
            f"another demo is running in {marker.parent}",
            why=error.what,
            fix="wait for it, or: actorum demo --data ./another-directory",
        ) from None


def _empty(path: Path) -> None:
    for entry in path.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name != MARKER:
            entry.unlink()


class _Document:
    """Everything as JSON: one document at the end, or a line for each event as it happens."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._events: dict[str, Any] = {}

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        if kind is None and self._output.format is Format.JSON:
            self._output.record(self._events)

    def show(self, event: scenario.Happening) -> None:
        """Write it, or keep it for the document, where the last event of a kind stands under its name."""
        if isinstance(event, scenario.Progress):
            return
        fields = to_builtins(event)
        if self._output.format is Format.JSONL:
            self._output.record(fields)
        else:
            self._events[fields.pop("event")] = fields


class _Lines:
    """The events as sentences.  A line that says what is being done is finished by what came of it."""

    def __init__(self, output: Output, engine: str) -> None:
        self._output = output
        self._processes = engine == "processes"
        self._progress = _Bar() if is_terminal(sys.stderr) else _News()
        self._line_is_open = False

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        self._progress.close()
        if self._line_is_open:
            self._end("")

    def show(self, event: scenario.Happening) -> None:
        """Draw one event."""
        match event:
            case scenario.Progress(done=done, total=total):
                self._progress.show(done, total)
            case scenario.Loaded():
                self._progress.close()
                self._end(_loaded(event))
            case scenario.Starting() | scenario.Killing() | scenario.Restarting():
                self._begin(self._beginning(event))
            case scenario.Checking():
                pass  # takes no second
            case scenario.Ready() | scenario.TookOver() | scenario.CaughtUp() | scenario.Recovered():
                self._end(_came_of_it(event))
            case scenario.Proven():
                self._end(click.style(_proven(event), fg="green"))
                say(f"next: {' | '.join(f'actorum {words}' for words in _next())}")
            case _:
                assert_never(event)

    def _beginning(self, event: scenario.Starting | scenario.Killing | scenario.Restarting) -> str:
        match event:
            case scenario.Starting(nodes=nodes, runtime=runtime, data=data):
                home = "OS processes" if self._processes else "threads of this process"
                return (
                    f"starting {nodes} peers ({_TURNS[runtime]}, {home}, multiprocessing pipes, sqlite logs in {data})"
                )
            case scenario.Killing(servers=servers, leader=leader):
                whom = f"{leader} (the leader)" if len(servers) == 1 else f"all {len(servers)}, restart"
                return f"{'kill -9' if self._processes else 'kill'} {whom}"
            case scenario.Restarting(server=server):
                return f"restart {server}"
            case _:
                assert_never(event)

    def _begin(self, text: str) -> None:
        self._output.line(f"{text} ... ", end="")
        self._line_is_open = True

    def _end(self, text: str) -> None:
        self._output.line(text)
        self._line_is_open = False


def _came_of_it(event: scenario.Ready | scenario.TookOver | scenario.CaughtUp | scenario.Recovered) -> str:
    match event:
        case scenario.Ready(seconds=seconds, leader=leader, term=term):
            return f"ready in {seconds:.1f} s, leader {leader} (term {term})"
        case scenario.TookOver(leader=leader, seconds=seconds, term=term):
            return f"{leader} took over in {seconds:.2f} s (term {term}); {_calls(event)}"
        case scenario.CaughtUp(recovered=recovered, entries=entries, seconds=seconds):
            return f"{recovered} entries on its disk, caught up {entries} in {seconds:.2f} s"
        case scenario.Recovered(recovered_term=recovered_term, entries=entries, seconds=seconds):
            found = f"recovered term {recovered_term}, {entries} entries in {seconds:.1f} s"
            return f"{found}; leader {event.leader} (term {event.term}); {_calls(event)}"
        case _:
            assert_never(event)


def _calls(event: scenario.TookOver | scenario.Recovered) -> str:
    return f"{event.waited} calls waited, {event.failed} failed"


def _loaded(event: scenario.Loaded) -> str:
    load = f"incr x {event.increments} from {event.clients} clients"
    return f"{load}  {event.commits_per_second:,.0f} commits/s  p50 {event.p50_ms:.1f} ms  p99 {event.p99_ms:.1f} ms"


def _proven(event: scenario.Proven) -> str:
    unknown = f", {event.unknown} of unknown outcome" if event.unknown else ""
    value = f"value {event.value}, {event.acknowledged} acknowledged{unknown}"
    kept = f"{event.lost} lost, {event.doubled} doubled, state hash {event.digest[:8]}... equal"
    return f"all {event.replicas} replicas: {value}, {kept}; history of {event.operations} operations is linearizable"


def _next() -> list[str]:
    return [words for words in NEXT if words.split()[0] in COMMANDS]


class _Bar:
    """Progress on a terminal: a bar that goes away when it is done."""

    def __init__(self) -> None:
        self._update: Callable[[int, int], None] | None = None
        self._stop: Callable[[], None] | None = None

    def show(self, done: int, total: int) -> None:
        """So far."""
        if self._update is None:
            self._start(total)
        assert self._update is not None
        self._update(done, total)

    def _start(self, total: int) -> None:
        from rich.console import Console  # 0.1 s to import: only for those who see it
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("incr"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        bar = Progress(*columns, console=Console(stderr=True), transient=True)
        task = bar.add_task("incr", total=total)
        bar.start()
        self._update = lambda done, total: bar.update(task, completed=done, total=total)
        self._stop = bar.stop

    def close(self) -> None:
        """Take it away."""
        if self._stop is not None:
            self._stop()
            self._stop = None


class _News:
    """Progress where nobody watches: a line now and then."""

    def __init__(self) -> None:
        self._next = monotonic() + _NEWS_EVERY

    def show(self, done: int, total: int) -> None:
        """So far."""
        if monotonic() >= self._next:
            self._next = monotonic() + _NEWS_EVERY
            say(f"incr: {done}/{total}")

    def close(self) -> None:
        """Nothing to take away."""
