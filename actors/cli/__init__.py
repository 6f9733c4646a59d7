"""`actorum`: the terminal's way into a cluster.

The group below knows every command's name and one line about it, and imports a command's module only when that command
runs: `--help` and a mistyped name cost click and nothing else.  It is also the one place where errors end: a command
raises, and here the error becomes its text on stderr (its JSON, if that was asked for) and its exit code.  Commands
never print errors and never call `sys.exit`.

Exit codes are those of `errors.ExitCode`; Ctrl-C is 130, as of any program that a signal ended.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import click

from actors.cli.output import FORMAT_KEY, Format, say
from actors.errors import ActorumError, ExitCode

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

PROGRAM = "actorum"
INTERRUPTED = 130
"""128 + SIGINT."""
ISSUES = "please report it, with the output of `actorum doctor`"


class UnexpectedError(ActorumError):
    """Something that nobody foresaw went wrong: a bug.  What was done before it stays done; a retry may fail alike."""

    code = "BUG"
    exit_code = ExitCode.BUG


class LazyCommand(NamedTuple):
    """Where a command is defined, and what it is for."""

    place: str
    """"module:attribute"."""
    summary: str


COMMANDS = {
    "demo": LazyCommand("actors.cli.demo:demo", "A replicated counter, killed and restarted before your eyes."),
    "up": LazyCommand("actors.cli.up:up", "Start a cluster and keep it running."),
    "down": LazyCommand("actors.cli.down:down", "Stop a running cluster."),
    "status": LazyCommand("actors.cli.status:status", "Who leads, who trails, who is down."),
    "events": LazyCommand("actors.cli.events:events", "Watch what happens to the peers, as it happens."),
    "log": LazyCommand("actors.cli.log:log", "Look at the entries of a peer's log."),
    "settings": LazyCommand("actors.cli.settings:settings", "Change timers, limits and logging while it runs."),
    "counter": LazyCommand("actors.cli.counter:counter", "Call a running cluster's replicated counter."),
    "kv": LazyCommand("actors.cli.kv:kv", "Use a running cluster's key-value store."),
    "lock": LazyCommand("actors.cli.lock:lock", "Take and give back a running cluster's lock."),
    "queue": LazyCommand("actors.cli.queue:queue", "Put jobs into a running cluster's queue, and take them."),
    "kill": LazyCommand("actors.cli.kill:kill", "Kill a peer (SIGKILL) and leave it down."),
    "restart": LazyCommand("actors.cli.restart:restart", "Start a peer again from its storage."),
    "members": LazyCommand("actors.cli.members:members", "Add, promote, remove and replace peers while it runs."),
    "transfer": LazyCommand("actors.cli.members:transfer", "Let another peer lead."),
    "snapshot": LazyCommand("actors.cli.members:snapshot", "Have a peer save its state and shorten its log."),
    "upgrade": LazyCommand("actors.cli.upgrade:upgrade", "Go over to a newer version of the machine."),
    "recover": LazyCommand("actors.cli.recover:recover", "Go on without a lost majority; loses data."),
    "chaos": LazyCommand("actors.cli.chaos:chaos", "Make the network between the peers misbehave."),
    "serve-http": LazyCommand("actors.cli.http:serve_http", "Serve a running cluster over HTTP."),
    "check": LazyCommand("actors.cli.check:check", "Replay recorded runs, look into them, make tests of them."),
    "compare": LazyCommand("actors.cli.compare:compare", "Measure message passing against locks, with figures."),
    "doctor": LazyCommand("actors.cli.doctor:doctor", "Versions, paths and disk speed: a block for bug reports."),
}

EXAMPLES = """
Examples:

\b
  actorum demo                     20000 increments, kill -9, recovery, proof
  actorum up counter --data ./demo &
  actorum counter incr --by 5
  actorum status -o json
  actorum kill --leader

\b
Completion for this shell:
  eval "$(_ACTORUM_COMPLETE=bash_source actorum)"     (or zsh_source, fish_source)
"""


class LazyCommands(click.Group):
    """A group whose commands are imported when they are used."""

    def __init__(self, *args: Any, lazy: dict[str, LazyCommand], **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self.lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order in which a newcomer meets them."""
        return list(self.lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; None if there is none of that name."""
        if cmd_name not in self.lazy:
            return None
        from importlib import import_module

        module, _, attribute = self.lazy[cmd_name].place.partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is meant; a mistyped one is told what it looks like."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from difflib import get_close_matches

            if near := get_close_matches(args[0], self.lazy):
                raise click.UsageError(f"{error.message} Did you mean {' or '.join(near)}?", ctx) from None
            raise

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The names that begin like that, out of what is known here, and the options."""
        from click.shell_completion import CompletionItem

        names = [CompletionItem(name, help=c.summary) for name, c in self.lazy.items() if name.startswith(incomplete)]
        return names + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, out of what is known here: nothing is imported."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.summary) for name, command in self.lazy.items()])


class LazyGroup(LazyCommands):
    """The group at the top, which also tells every error."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; however it fails, the error is told here."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise  # click's own way to end: usage, --help
        except BrokenPipeError:
            raise  # `actorum ... | head`: click ends quietly
        except KeyboardInterrupt:
            say("interrupted")
            ctx.exit(INTERRUPTED)
        except Exception as error:
            if ctx.params.get("debug"):
                _tell_traceback()
            ctx.exit(tell(error, ctx.meta.get(FORMAT_KEY, Format.TABLE)))


def tell(error: Exception, format: Format) -> int:
    """Print an error on stderr, as text or as JSON; the exit code that goes with it."""
    if not isinstance(error, ActorumError):
        error = UnexpectedError(
            f"{type(error).__name__}: {error}",
            why="this is a bug: nothing that goes wrong should end like this",
            fix=f"{ISSUES}; `actorum --debug ...` shows where it happened",
        )
    if format is Format.TABLE:
        head, _, rest = str(error).partition("\n")
        say("\n".join(filter(None, (click.style(head, fg="red"), rest))))
    else:
        import json

        say(json.dumps({"error": {**error.as_json(), "exit_code": int(error.exit_code)}}))
    return int(error.exit_code)


def _tell_traceback() -> None:
    import traceback

    say(traceback.format_exc().rstrip())


def version() -> str:
    """The installed version; without an installation there is none."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(PROGRAM)
    except PackageNotFoundError:
        return "not installed"


def _show_version(context: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        click.echo(f"{PROGRAM} {version()}")
        context.exit()


@click.group(cls=LazyGroup, lazy=COMMANDS, epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help="The version.")
@click.option("--debug", is_flag=True, envvar="ACTORUM_DEBUG", help="Show the traceback of an error.")
def app(debug: bool) -> None:
    """Raft as actors that share nothing: replicate a typed Python class over processes."""


def main() -> NoReturn:
    """The console script."""
    try:
        app.main(prog_name=PROGRAM)
    except KeyboardInterrupt:  # before the command began
        sys.exit(INTERRUPTED)
    sys.exit(ExitCode.OK)
