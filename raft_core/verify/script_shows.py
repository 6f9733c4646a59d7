"""What `show` can show of a golden script's cluster; nothing here changes anything."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from raft_core.state import Leader, Server
from raft_core.types import ServerId
from raft_core.verify.script_cluster import Cluster, Host
from raft_core.verify.script_words import entries_words, log_words, name_words, progress_words, state_words


def disk_words(host: Host) -> str:
    """What a crash leaves."""
    disk = host.disk
    return f"on disk term {disk.term}, vote {name_words(disk.vote)}, log [{entries_words(1, disk.entries)}]"


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


def _show_disk(cluster: Cluster, names: Sequence[ServerId]) -> Iterator[str]:
    return (f"{name}: {disk_words(cluster.hosts[name])}" for name in names)


SHOWS: dict[str, Callable[[Cluster, Sequence[ServerId]], Iterator[str]]] = {
    "state": _show_each(state_words),
    "log": _show_each(log_words),
    "terms": _show_each(_terms_words),
    "messages": _show_messages,
    "progress": _show_progress,
    "disk": _show_disk,
}
"""From the word to what it shows of the named servers."""
