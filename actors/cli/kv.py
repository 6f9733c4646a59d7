"""`actorum kv`: use the replicated key-value store of a running cluster.  Keys and values are text."""

from __future__ import annotations

from pathlib import Path

import click

from actors.cli.calling import call, tell, timeout_option
from actors.cli.output import Output, output_option
from actors.cli.shared import data_option

ttl_option = click.option("--ttl", type=float, metavar="SECONDS", help="Let the key expire after so long.")


@click.group(
    epilog="\b\nExamples:\n  actorum up kv &\n  actorum kv put colour red --ttl 60\n  actorum kv cas colour red blue\n"
    "  actorum kv list co\n\n  Exit code 4: no such key, or another value than expected.\n"
)
def kv() -> None:
    """Use a running cluster's key-value store."""


@kv.command()
@click.argument("key")
@click.argument("value")
@ttl_option
@timeout_option
@data_option
@output_option
def put(key: str, value: str, ttl: float | None, timeout: float, data: Path, output: Output) -> None:
    """Set a key, and print the revision of the change."""
    from actors.machines.key_value import KeyValue

    revision = call(KeyValue, data, timeout, output, lambda store: store.put(key, value, ttl))
    tell(output, {"revision": revision}, str(revision))


@kv.command()
@click.argument("key")
@timeout_option
@data_option
@output_option
def get(key: str, timeout: float, data: Path, output: Output) -> None:
    """Print the value of a key."""
    from actors.machines.key_value import KeyValue

    item = call(KeyValue, data, timeout, output, lambda store: store.item(key))
    value, revision = (None, 0) if item is None else (item.value, item.revision)
    tell(output, {"value": value, "revision": revision}, "" if item is None else str(value), holds=item is not None)


@kv.command()
@click.argument("key")
@timeout_option
@data_option
@output_option
def delete(key: str, timeout: float, data: Path, output: Output) -> None:
    """Remove a key."""
    from actors.machines.key_value import KeyValue

    there = call(KeyValue, data, timeout, output, lambda store: store.delete(key))
    tell(output, {"deleted": there}, "deleted" if there else "not there", holds=there)


@kv.command()
@click.argument("key")
@click.argument("expected")
@click.argument("value")
@ttl_option
@timeout_option
@data_option
@output_option
def cas(key: str, expected: str, value: str, ttl: float | None, timeout: float, data: Path, output: Output) -> None:
    """Set a key if it has the expected value, and not otherwise."""
    from actors.machines.key_value import KeyValue

    taken = call(KeyValue, data, timeout, output, lambda store: store.cas(key, expected, value, ttl))
    tell(output, {"swapped": taken}, "swapped" if taken else "another value", holds=taken)


@kv.command("list")
@click.argument("prefix", default="")
@timeout_option
@data_option
@output_option
def list_(prefix: str, timeout: float, data: Path, output: Output) -> None:
    """Print the keys that begin with a prefix, and their values."""
    from actors.machines.key_value import KeyValue

    listing = call(KeyValue, data, timeout, output, lambda store: store.prefix(prefix))
    rows = [{"key": key, "value": item.value, "revision": item.revision} for key, item in listing.items.items()]
    if rows or not output.is_table:
        output.rows(rows)
