"""`actorum lock`: take and give back the replicated lock of a running cluster."""

from __future__ import annotations

from pathlib import Path

import click

from actors.cli.calling import call, tell, timeout_option
from actors.cli.output import Output, output_option
from actors.cli.shared import data_option

ttl_option = click.option(
    "--ttl", type=float, default=60.0, show_default=True, metavar="SECONDS", help="Until the lock expires."
)


@click.group(
    epilog="\b\nExamples:\n  actorum up lock &\n  actorum lock acquire ann --ttl 30\n  actorum lock release ann 1\n"
    "\n  Exit code 4: another holds the lock, or it was lost.\n"
)
def lock() -> None:
    """Take and give back a running cluster's lock."""


@lock.command()
@click.argument("owner")
@ttl_option
@timeout_option
@data_option
@output_option
def acquire(owner: str, ttl: float, timeout: float, data: Path, output: Output) -> None:
    """Take the lock, and print its fencing token."""
    from actors.machines.lock import Lock

    token = call(Lock, data, timeout, output, lambda lock: lock.acquire(owner, ttl))
    tell(output, {"token": token}, "another holds it" if token is None else str(token), holds=token is not None)


@lock.command()
@click.argument("owner")
@click.argument("token", type=int)
@ttl_option
@timeout_option
@data_option
@output_option
def renew(owner: str, token: int, ttl: float, timeout: float, data: Path, output: Output) -> None:
    """Keep the lock for longer."""
    from actors.machines.lock import Lock

    kept = call(Lock, data, timeout, output, lambda lock: lock.renew(owner, token, ttl))
    tell(output, {"renewed": kept}, "renewed" if kept else "lost", holds=kept)


@lock.command()
@click.argument("owner")
@click.argument("token", type=int)
@timeout_option
@data_option
@output_option
def release(owner: str, token: int, timeout: float, data: Path, output: Output) -> None:
    """Give the lock back."""
    from actors.machines.lock import Lock

    released = call(Lock, data, timeout, output, lambda lock: lock.release(owner, token))
    tell(output, {"released": released}, "released" if released else "lost before", holds=released)


@lock.command()
@timeout_option
@data_option
@output_option
def holder(timeout: float, data: Path, output: Output) -> None:
    """Print who holds the lock."""
    from actors.machines.lock import Lock

    holding = call(Lock, data, timeout, output, lambda lock: lock.holder())
    owner, token = (None, None) if holding is None else (holding.owner, holding.token)
    tell(output, {"owner": owner, "token": token}, "free" if owner is None else f"{owner} (token {token})")
