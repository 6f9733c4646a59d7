"""How the words of a golden script's command are read: names, numbers, links, settings, logs.

Whatever cannot be read is a `CommandError` with a sentence for the author of the script.  A link is written `n1->n2`,
both directions `n1<->n2`, and `*` stands for all servers on its side.
"""

from __future__ import annotations

from typing import NamedTuple

from msgspec import convert
from msgspec.structs import asdict

from raft_core.state import Server
from raft_core.types import Entry, ServerId, Settings, Term
from raft_core.verify.script_cluster import Cluster, Host, Link, Packet


class CommandError(ValueError):
    """A command that cannot be carried out, and why."""


class Line(NamedTuple):
    """A command as it was written, in its parts: words, then `name=value` options."""

    words: list[str]
    options: dict[str, str]

    def take(self, option: str, default: str) -> str:
        """The value of an option, which is thereby dealt with."""
        return self.options.pop(option, default)

    def number(self, position: int, name: str, default: int) -> int:
        """The number that stands as the word at `position`, if one does."""
        return number(name, self.words[position]) if len(self.words) > position else default


def split(text: str) -> Line:
    """The words and options of a line."""
    words, options = [], {}
    for word in text.split():
        name, equals, value = word.partition("=")
        if not equals:
            words.append(word)
        elif name in options:
            raise CommandError(f"{name} is there twice")
        else:
            options[name] = value
    return Line(words, options)


def number(name: str, value: str) -> int:
    """A whole number, not negative."""
    if not (value.isascii() and value.isdigit()):
        raise CommandError(f"{name} is a number, not {value!r}")
    return int(value)


def yes_or_no(name: str, value: str) -> bool:
    """The value of a switch."""
    if value not in ("yes", "no"):
        raise CommandError(f"{name} is yes or no, not {value!r}")
    return value == "yes"


def settings(options: dict[str, str], base: Settings | None = None) -> Settings:
    """`Settings` with the given fields in place of those of `base`, or of the defaults."""
    given = dict(_setting(name, value) for name, value in options.items())
    return convert({**asdict(base or Settings()), **given}, Settings)


def _setting(name: str, value: str) -> tuple[str, int | bool]:
    if name not in Settings.__struct_fields__:
        raise CommandError(f"no such setting: {name}")
    is_switch = isinstance(getattr(Settings(), name), bool)
    return name, yes_or_no(name, value) if is_switch else number(name, value)


def entries(text: str) -> list[Entry]:
    """A log by its terms, as Figure 7 draws it: `1*3,4` has the terms 1 1 1 4."""
    terms = [term for part in text.split(",") if part for term in _run(part)]
    if terms != sorted(terms):
        raise CommandError("the terms of a log never fall")
    return [Entry(term) for term in terms]


def _run(part: str) -> list[Term]:
    term, _, count = part.partition("*")
    return [number("log", term)] * number("log", count or "1")


def name_of(cluster: Cluster, name: str) -> ServerId:
    """The name of a server that exists."""
    if name not in cluster.hosts:
        raise CommandError(f"no such server: {name}")
    return name


def host_of(cluster: Cluster, name: str) -> Host:
    """The machine of a server that exists."""
    return cluster.hosts[name_of(cluster, name)]


def up(cluster: Cluster, name: str) -> Server:
    """A server that is up."""
    server = host_of(cluster, name).server
    if server is None:
        raise CommandError(f"{name} is down")
    return server


def links(cluster: Cluster, text: str) -> list[Link]:
    """All links that `text` stands for, in the order of the cluster."""
    both_ways = "<->" in text
    left, arrow, right = text.partition("<->" if both_ways else "->")
    if not arrow:
        raise CommandError(f"a link is written n1->n2 or n1<->n2, not {text!r}")
    senders, receivers = _side(cluster, left), _side(cluster, right)
    chosen = {(one, other) for one in senders for other in receivers}
    if both_ways:
        chosen |= {(other, one) for one, other in chosen}
    found = [link for link in cluster.all_links() if link in chosen]
    if not found:
        raise CommandError(f"{text} is no link")
    return found


def _side(cluster: Cluster, text: str) -> tuple[ServerId, ...]:
    return cluster.names if text == "*" else (name_of(cluster, text),)


def chosen(cluster: Cluster, line: Line, *, is_held: bool = False) -> list[Packet]:
    """`LINK [POSITION]`: the messages on it, or the one at that position, counted from 1."""
    packets = cluster.on(links(cluster, line.words[0]), is_held=is_held)
    if not packets:
        raise CommandError(f"nothing is {'held' if is_held else 'under way'} on {line.words[0]}")
    if len(line.words) == 1:
        return packets
    position = line.number(1, "position", 0)
    if not 1 <= position <= len(packets):
        raise CommandError(f"{len(packets)} under way on {line.words[0]}, there is no number {position}")
    return [packets[position - 1]]
