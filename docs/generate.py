"""Writes the reference pages that are tables of what the code says of itself: errors, settings, effects, events, CLI.

python docs/generate.py          write them
python docs/generate.py --check  exit 1 if one of them is not what would be written
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import click
import msgspec

import raft_core
from actors import errors
from actors.cli import COMMANDS, app

REFERENCE = Path(__file__).parent / "reference"
NOTE = "<!-- Written by docs/generate.py from the code; change it there. -->\n"


def errors_page() -> str:
    """Every error: code, exit code, meaning."""
    for module in ("actors.storage.port", "actors.demo", "actors.cli"):
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
            "`actors.ActorumError` and are in `actors.errors` (those of storage in `actors.storage.port`).",
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
    described = _described_fields(raft_core.Settings)
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
        return [line for name, sub in command.commands.items() for line in _about(sub, f"{path} {name}")]
    arguments = [f" [{p.name.upper()}]" for p in command.params if isinstance(p, click.Argument) and p.name]
    lines = [f"## {path}{''.join(arguments)}", "", " ".join((command.help or "").replace("\b", "").split()), ""]
    options = [p for p in command.params if isinstance(p, click.Option)]
    if options:
        lines += ["| option | meaning |", "|---|---|"]
        lines += [f"| `{', '.join(option.opts)}` | {' '.join((option.help or '').split())} |" for option in options]
        lines.append("")
    return lines


def _first_lines(kind: type) -> str:
    return " ".join(inspect.cleandoc(kind.__doc__ or "").split("\n\n")[0].split())


def _described_fields(kind: type) -> dict[str, str]:
    """The string that stands behind each field in the class body."""
    source = inspect.getsource(kind)
    found = re.findall(r'^    (\w+): [^\n]+\n    """(.*?)"""', source, flags=re.MULTILINE | re.DOTALL)
    return {name: " ".join(text.split()) for name, text in found}


PAGES: dict[str, Callable[[], str]] = {
    "errors.md": errors_page,
    "settings.md": settings_page,
    "events-and-effects.md": effects_page,
    "cli.md": cli_page,
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
