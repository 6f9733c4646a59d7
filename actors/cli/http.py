"""`actorum serve-http`: an HTTP API in front of a running cluster."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import click

from actors.cli.output import say
from actors.cli.shared import data_option
from actors.errors import ActorumError, ExitCode, WrongArguments
from actors.http.binding import read_token

EXAMPLES = """
\b
Examples:
  actorum serve-http
  actorum serve-http mypackage.ledger:Ledger --data ./ledger --listen 127.0.0.1:0
  actorum serve-http --listen 0.0.0.0:8080 --token-file ./token

\b
And then:
  curl -H 'Content-Type: application/json' -d '{"by": 5}' http://127.0.0.1:8080/v1/commands/incr

Several may serve one cluster; it goes on without any.  Ctrl-C or SIGTERM ends it in good order.
"""


class ExtraMissing(ActorumError):
    """A part of the program needs libraries that were not installed with it.  Nothing was done."""

    code = "EXTRA-MISSING"
    exit_code = ExitCode.USAGE


@click.command("serve-http", epilog=EXAMPLES)
@click.argument("machine", default="counter")
@click.option(
    "--listen", metavar="HOST:PORT", default="127.0.0.1:8080", show_default=True, help="Port 0 takes a free one."
)
@click.option(
    "--token-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Whoever asks must hold the token in it (or in ACTORUM_HTTP_TOKEN); needed beyond loopback.",
)
@click.option(
    "--timeout", type=click.FloatRange(0.1, 60.0), default=10.0, show_default=True, help="Of a call, seconds."
)
@data_option
def serve_http(machine: str, listen: str, token_file: Path | None, timeout: float, data: Path) -> None:
    """Serve a running cluster of MACHINE over HTTP: its commands and queries, status, and an OpenAPI description."""
    _need_the_extra()
    from actors.cli.up import find_machine
    from actors.http.serving import serve_http_at
    from actors.signals import asked_to_stop

    host, port = host_and_port(listen)
    token = read_token(token_file)
    kind = find_machine(machine)
    with asked_to_stop() as asked, serve_http_at(data, kind, host, port, token=token, timeout=timeout) as url:
        say(f"serving {machine} of {data} on {url}, {'with' if token else 'without'} a token; {url}/openapi.json")
        say(f"stopping: {asked.get()}")


def host_and_port(listen: str) -> tuple[str, int]:
    """Both halves of HOST:PORT; an IPv6 address stands in brackets."""
    host, _, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise WrongArguments(f"{listen!r} is no HOST:PORT", fix="127.0.0.1:8080, or [::1]:8080")
    return host, int(port)


def _need_the_extra() -> None:
    missing = [name for name in ("starlette", "uvicorn") if find_spec(name) is None]
    if missing:
        raise ExtraMissing(
            f"the HTTP API needs {' and '.join(missing)}, not installed here",
            why="they are an extra, for not everybody needs them",
            fix='pip install "actorum[http]"',
        )
