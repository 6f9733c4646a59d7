"""What `show` can show of a golden script's cluster; nothing here changes anything."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from raft_core.roles import Leader
from raft_core.state import Server
from raft_core.types import ServerId
from raft_core.verify.script_cluster import Cluster, Host
from raft_core.verify.script_words import (
    entries_words,
    log_words,
    members_words,
    name_words,
    progress_words,
    snapshot_words,
    state_words,
)


def disk_words(host: Host) -> str:
    """What a crash leaves."""
    disk = host.disk
    index, term = disk.last_included
    before = f"behind {index}@{term}: " if index else ""
    snapshot = f", {snapshot_words(disk.snapshot)}" if disk.snapshot is not None else ""
    log = f"{before}{entries_words(index + 1, disk.entries)}".rstrip()
    return f"on disk term {disk.term}, vote {name_words(disk.vote)}, log [{log}]{snapshot}"


def _show_each(words: Callable[[Server], str]) -> Callable[[Cluster, Sequence[ServerId]], Iterator[str]]:
    def shown(cluster: Cluster, names: Sequence[ServerId]) -> Iterator[str]:
        for name in names:
            server = cluster.servers.get(name)
            yield f"{name}: {'down' if server is None else words(server)}".rstrip()

    return shown


def _terms_words(server: Server) -> str:
    return " ".join(str(entry.term) for entry in server.log)


def _show_messages(cluster: Cluster, names: Sequence[ServerId]) -> Iterator[str]:
    shown = [packet for packet in cluster.packets if not set(packet.link).isdisjoint(names)]
    return (f"{packet.words()}{' (held)' if packet.is_held else ''}" for packet in shown)


def _show_progress(cluster: Cluster, names: Sequence[ServerId]) -> Iterator[str]:
    for name in names:
        server = cluster.servers.get(name)
        if server is not None and isinstance(server.role, Leader):
            yield from (f"{name} of {progress_words(progress)}" for progress in server.role.followers)


def _show_machine(cluster: Cluster, names: Sequence[ServerId]) -> Iterator[str]:
    for name in names:
        machine = cluster.hosts[name].machine
        yield f"{name}: {' '.join(machine.commands) or 'nothing'}, up to {machine.index}@{machine.term}"


def _members_shown(server: Server) -> str:
    """The configuration in force, and behind it those that would be in force again if its entry were truncated."""
    known = [f"{members_words(one.configuration)} of entry {one.index}" for one in reversed(server.configurations)]
    return ", before it ".join(known)


def _show_disk(cluster: Cluster, names: Sequence[ServerId]) -> Iterator[str]:
    return (f"{name}: {disk_words(cluster.hosts[name])}" for name in names)


SHOWS: dict[str, Callable[[Cluster, Sequence[ServerId]], Iterator[str]]] = {
    "state": _show_each(state_words),
    "log": _show_each(log_words),
    "terms": _show_each(_terms_words),
    "messages": _show_messages,
    "progress": _show_progress,
    "disk": _show_disk,
    "machine": _show_machine,
    "members": _show_each(_members_shown),
}
"""From the word to what it shows of the named servers."""
