"""Writes the reference pages that are tables of what the code says of itself: API, errors, settings, effects, CLI.

python docs/generate.py          write them
python docs/generate.py --check  exit 1 if one of them is not what would be written
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from enum import Enum
from importlib import import_module
from pathlib import Path

import click
import msgspec

import actors
import raft_core
from actors import errors
from actors.administrator import Administrator
from actors.bound import BoundCommand, BoundQuery
from actors.cli import COMMANDS, app
from actors.cli.check import CHECKS
from actors.remote_administration import RemoteAdministrator
from actors.replicated import ClusterStarter
from actors.sim import SimCluster
from docs.trace_format import described_fields, trace_page

REFERENCE = Path(__file__).parent / "reference"
NOTE = "<!-- Written by docs/generate.py from the code; change it there. -->\n"


def errors_page() -> str:
    """Every error: code, exit code, meaning."""
    places = [command.place.partition(":")[0] for command in (*COMMANDS.values(), *CHECKS.values())]
    for module in ("actors.storage.port", "actors.demo", *places):
        import_module(module)  # they have errors of their own
    kinds = sorted(_subclasses(errors.ActorumError), key=lambda kind: kind.code)
    rows = [f"| `{k.code}` | `{k.__name__}` | {int(k.exit_code)} | {_first_lines(k)} |" for k in kinds]
    return "\n".join(
        [
            NOTE,
            "# Errors",
            "",
            "Every error has a stable code, one exception class, and the same text in a terminal and in a program:",
            "what happened, why, and what to do. `-o json` gives it to programs. All classes derive from",
            "`actors.ActorumError`; most are in `actors.errors`, those of storage in `actors.storage.port`.",
            "",
            "Exit codes: 0 ok, 1 bug or failure, 2 usage, 3 no quorum or time-out (safe to retry), 4 condition false,",
            "5 outcome unknown, 6 safety violation, 7 authentication, 130 interrupted.",
            "",
            "| code | class | exit | meaning |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )


def _subclasses(kind: type[errors.ActorumError]) -> Iterator[type[errors.ActorumError]]:
    for sub in kind.__subclasses__():
        if sub.__module__.startswith("actors"):
            yield sub
            yield from _subclasses(sub)


def settings_page() -> str:
    """Every setting with its default."""
    defaults = raft_core.Settings()
    described = described_fields(raft_core.Settings)
    rows = [
        f"| `{field.name}` | {getattr(defaults, field.name):,} | {described[field.name]} |"
        for field in msgspec.structs.fields(raft_core.Settings)
    ]
    use = "`Counter.cluster(settings=Settings(...))`. Durations are milliseconds, sizes bytes."
    head = [NOTE, "# Settings", "", use, ""]
    return "\n".join([*head, "| setting | default | meaning |", "|---|---|---|", *rows, ""])


def effects_page() -> str:
    """The events that go into `step` and the effects that come out."""
    lines = [NOTE, "# Events and effects", "", "What goes into `raft_core.step` and what comes out of it.", ""]
    modules = {"Events": raft_core.events, "Effects": raft_core.effects, "Messages": raft_core.messages}
    for title, module in modules.items():
        lines += [f"## {title}", "", "| name | fields | meaning |", "|---|---|---|"]
        for name, kind in vars(module).items():
            if inspect.isclass(kind) and issubclass(kind, msgspec.Struct) and kind.__module__ == module.__name__:
                fields = ", ".join(f"`{field.name}`" for field in msgspec.structs.fields(kind))
                lines.append(f"| `{name}` | {fields} | {_first_lines(kind)} |")
        lines.append("")
    contract = inspect.cleandoc(raft_core.effects.__doc__ or "").split("---\n", 1)[1].strip()
    lines += ["## The order contract", "", contract, ""]
    return "\n".join(lines)


def cli_page() -> str:
    """Every command with its options."""
    lines = [NOTE, "# The command line", "", "`actorum` and `python -m actors` are the same program.", ""]
    context = click.Context(app)
    for name in COMMANDS:
        command = app.get_command(context, name)
        assert command is not None
        lines += _about(command, f"actorum {name}")
    return "\n".join(lines)


def _about(command: click.Command, path: str) -> list[str]:
    if isinstance(command, click.Group):
        context = click.Context(command)
        names = list(command.commands) or command.list_commands(context)  # a list that is not lazy would be sorted
        subs = [(name, command.get_command(context, name)) for name in names]
        return [line for name, sub in subs if sub is not None for line in _about(sub, f"{path} {name}")]
    named = [p for p in command.params if isinstance(p, click.Argument) and p.name]
    arguments = [f" {p.name.upper()}" if p.required else f" [{p.name.upper()}]" for p in named if p.name]
    lines = [f"## {path}{''.join(arguments)}", "", " ".join((command.help or "").replace("\b", "").split()), ""]
    options = [p for p in command.params if isinstance(p, click.Option)]
    if options:
        lines += ["| option | meaning |", "|---|---|"]
        lines += [f"| `{', '.join(option.opts)}` | {_about_option(option)} |" for option in options]
        lines.append("")
    return lines


def _about_option(option: click.Option) -> str:
    parts = [" ".join((option.help or "").split())]
    if isinstance(option.type, click.Choice):
        parts.append(f"One of {', '.join(_plain(choice) for choice in option.type.choices)}.")
    if option.show_default is True and option.default is not None:
        parts.append(f"Default: {_plain(option.default)}.")
    return " ".join(filter(None, parts))


def _plain(value: object) -> str:
    return str(value.value if isinstance(value, Enum) else value)


def api_page() -> str:
    """What programs import: `actors` and the functions of `raft_core`."""
    lines = [NOTE, "# Programming interface", "", "Everything here is typed; mypy knows arguments and results.", ""]
    lines += ["## `from actors import ...`", "", "| name | meaning |", "|---|---|"]
    lines += [f"| `{name}` | {_first_lines(getattr(actors, name))} |" for name in actors.__all__]
    lines += ["", "## Starting a cluster: `Machine.cluster(...)`", ""]
    lines += ["A context manager that gives a bound instance. All options are keywords.", "", "| option | meaning |"]
    lines += ["|---|---|", *_cluster_options(), ""]
    for kind, title in CLASSES.items():
        lines += [f"## {title}: `{kind.__name__}`", "", _first_lines(kind), "", "| member | meaning |", "|---|---|"]
        lines += [*_members(kind), ""]
    lines += ["## The pure core: `from raft_core import ...`", ""]
    lines += ["Events, effects and messages have [a page of their own](events-and-effects.md).", ""]
    lines += ["| name | meaning |", "|---|---|", *_core_names(), ""]
    return "\n".join(lines)


def _cluster_options() -> list[str]:
    parameters = inspect.signature(ClusterStarter.__call__).parameters
    known = {name: parameter for name, parameter in parameters.items() if name != "self"}
    assert set(known) == set(CLUSTER_OPTIONS), set(known) ^ set(CLUSTER_OPTIONS)
    return [f"| `{name}={known[name].default!r}` | {CLUSTER_OPTIONS[name]} |" for name in known]


def _members(kind: type) -> list[str]:
    """Public members that say what they are for; of a subclass, only its own."""
    rows = []
    for name, member in vars(kind).items():
        function = member.fget if isinstance(member, property) else member
        if (name.startswith("_") and name != "__call__") or not inspect.isfunction(function) or not function.__doc__:
            continue
        shown = name if isinstance(member, property) else f"{name.replace('__call__', '')}({_parameters(function)})"
        rows.append(f"| `{shown}` | {_first_lines(function)} |")
    return rows


def _parameters(function: Callable[..., object]) -> str:
    shown: list[str] = []
    for name, parameter in inspect.signature(function).parameters.items():
        star = STARS.get(parameter.kind, "")
        default = "" if parameter.default is parameter.empty else f"={parameter.default!r}"
        if parameter.kind is parameter.KEYWORD_ONLY and not any(one.startswith("*") for one in shown):
            shown.append("*")
        shown.append(f"{star}{name}{default}")
    return ", ".join(one for one in shown if one != "self")


def _core_names() -> Iterator[str]:
    elsewhere = {raft_core.events.__name__, raft_core.effects.__name__, raft_core.messages.__name__}
    for name in raft_core.__all__:
        thing = getattr(raft_core, name)
        if inspect.isfunction(thing):
            yield f"| `{name}({_parameters(thing)})` | {_first_lines(thing)} |"
        elif inspect.isclass(thing) and thing.__module__ not in {*elsewhere, "builtins"}:
            yield f"| `{name}` | {_first_lines(thing)} |"


def _first_lines(kind: object) -> str:
    text = " ".join(inspect.cleandoc(kind.__doc__ or "").split("\n\n")[0].split())
    assert text, f"{kind} does not say what it is for"
    return text.replace("|", "\\|")


STARS: dict[object, str] = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}

CLASSES: dict[type, str] = {
    BoundCommand: "A command of a bound instance, as `counter.incr`",
    BoundQuery: "A query of a bound instance, as `counter.get`",
    actors.Call: "An answer that may not have come yet",
    actors.Cluster: "A running cluster, `counter.cluster`",
    Administrator: "The same, for who takes care of it",
    actors.Network: "What may happen to messages between peers, `counter.cluster.network`",
    SimCluster: 'The same with `engine="sim"`, and in addition',
    actors.RemoteCluster: "A cluster that another program runs, from `connect`",
    RemoteAdministrator: "The same, for who takes care of it",
}

CLUSTER_OPTIONS = {
    "nodes": "How many servers.",
    "engine": '`"processes"`, `"threads"` (of this process) or `"sim"` (deterministic, virtual time).',
    "runtime": '`"actors"` (a mailbox for each peer) or `"locks"` (threads around one lock for each peer): see '
    "[the same peer twice](../explanation/the-same-peer-twice.md).",
    "data": 'Directory of the logs, kept afterwards; without it nothing is kept. Not with `engine="sim"`.',
    "storage": '`"sqlite"` (the default with `data`) or `"memory"` (the default without): see '
    "[storage](../explanation/storage.md).",
    "seed": 'Of the randomness of election time-outs; with `engine="sim"` of the whole run.',
    "timeout": "Seconds that a call waits unless it says otherwise.",
    "settings": "The protocol's [settings](settings.md).",
    "allow_code": "Take code commands; by default only without `data`.",
    "check_determinism": "Apply everything twice and compare: slow, for debugging.",
    "record": "Directory for a trace of each peer: everything that happens to its server, to be "
    "[replayed](../how-to/replay-a-failure.md).",
    "chaos": "`cluster.network` can lose, delay, double and cut what peers say to each other; always so with "
    '`engine="sim"`.',
}
"""Each option of `ClusterStarter.__call__`; the page is not written if one is missing here."""

PAGES: dict[str, Callable[[], str]] = {
    "api.md": api_page,
    "errors.md": errors_page,
    "settings.md": settings_page,
    "events-and-effects.md": effects_page,
    "cli.md": cli_page,
    "trace-format.md": lambda: NOTE + trace_page(),
}


def main() -> int:
    """Write or check."""
    REFERENCE.mkdir(exist_ok=True)
    stale = [name for name, page in PAGES.items() if _read(name) != page()]
    if "--check" in sys.argv:
        print(f"stale: {', '.join(stale)}; run `make docs`" if stale else "the reference is what the code says")
        return 1 if stale else 0
    for name in stale:
        (REFERENCE / name).write_text(PAGES[name]())
    return 0


def _read(name: str) -> str:
    path = REFERENCE / name
    return path.read_text() if path.exists() else ""


if __name__ == "__main__":
    sys.exit(main())
