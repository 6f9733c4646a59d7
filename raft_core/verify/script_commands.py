"""The commands of the script language: a table from word to what it does and how it is written.

A command acts on a `Cluster` and says what happened in the cluster's `lines`.  What makes no sense is a `CommandError`:
a command never does nothing in silence.  `COMMANDS`, at the end, is the whole language but for the two prefixes
(`quietly`, `breaks`) and `cluster`, which comes first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from raft_core.configuration import configuration
from raft_core.events import (
    Applied,
    ConfigurationProposed,
    ElectionTimeout,
    HeartbeatTimeout,
    LeaderContactExpired,
    LeaseExpired,
    LeaseExtended,
    PeerRestarted,
    Proposed,
    ReadMode,
    ReadRequested,
    SettingsChanged,
    TransferRequested,
)
from raft_core.roles import Leader
from raft_core.types import Settings
from raft_core.verify.script_arguments import (
    CommandError,
    Line,
    chosen,
    entries,
    host_of,
    links,
    name_of,
    number,
    settings,
    up,
    yes_or_no,
)
from raft_core.verify.script_cluster import Cluster, Packet
from raft_core.verify.script_shows import SHOWS, disk_words
from raft_core.verify.script_words import members_words, name_words, state_words

SETTLED_AFTER = 1_000
"""Messages after which a cluster that is still talking is taken for one that never stops."""


def make_cluster(line: Line) -> Cluster:
    """All servers as followers with empty disks."""
    if not line.words:
        raise CommandError("a cluster needs servers")
    if len(set(line.words)) != len(line.words):
        raise CommandError("two servers of one name")
    timers = yes_or_no("timers", line.take("timers", "no"))
    voters = line.take("voters", ",".join(line.words)).split(",")
    if unknown := set(voters) - set(line.words):
        raise CommandError(f"no such server: {', '.join(sorted(unknown))}")
    cluster = Cluster(line.words, voters, settings(line.options), timers=timers)
    cluster.lines.append(f"{' '.join(cluster.names)}: follower, term 0")
    return cluster


def _given(cluster: Cluster, line: Line) -> None:
    name = line.words[0]
    host = host_of(cluster, name)
    term = number("term", line.take("term", str(host.disk.term)))
    vote = line.take("vote", name_words(host.disk.vote))
    log = entries(line.take("log", "")) if "log" in line.options else host.disk.entries
    if log and log[-1].term > term:
        raise CommandError("the log has a higher term than the server")
    host.disk.term, host.disk.vote, host.disk.entries = term, None if vote == "none" else name_of(cluster, vote), log
    if host.server is not None:
        cluster.crash(name)
        cluster.start(name)
    cluster.lines.append(f"{name}: {disk_words(host)}")


def _timeout(cluster: Cluster, line: Line) -> None:
    name = up(cluster, line.words[0]).server_id
    randomness = number("randomness", line.take("randomness", "0"))
    cluster.happens(name, ElectionTimeout(randomness), f"{name}: election timeout")


def _elect(cluster: Cluster, line: Line) -> None:
    """An election that nothing disturbs, and a heartbeat, so that all know of it: the usual way to a beginning."""
    name = line.words[0]
    for run, arguments in ((_timeout, [name]), (_settle, []), (_heartbeat, [name]), (_settle, [])):
        run(cluster, Line(list(arguments), {}))
    if not isinstance(up(cluster, name).role, Leader):
        raise CommandError(f"{name} was not elected")


def _heartbeat(cluster: Cluster, line: Line) -> None:
    name = up(cluster, line.words[0]).server_id
    cluster.happens(name, HeartbeatTimeout(), f"{name}: heartbeat timeout")


def _contact_expires(cluster: Cluster, line: Line) -> None:
    name = up(cluster, line.words[0]).server_id
    cluster.happens(name, LeaderContactExpired(), f"{name}: nothing from a leader for the shortest election timeout")


def _propose(cluster: Cluster, line: Line) -> None:
    name, *commands = line.words
    up(cluster, name)
    cluster.proposals += 1
    event = Proposed(cluster.proposals, tuple(command.encode() for command in commands))
    cluster.happens(name, event, f"{name}: proposal p{cluster.proposals}: {', '.join(commands)}")


def _read(cluster: Cluster, line: Line) -> None:
    name = up(cluster, line.words[0]).server_id
    count = line.number(1, "count", 1)
    read_ids = tuple(range(cluster.reads + 1, cluster.reads + count + 1))
    cluster.reads += count
    mode = line.take("mode", ReadMode.LEADER)
    if mode not in set(ReadMode):
        raise CommandError(f"a read is of mode {', '.join(ReadMode)}, not {mode}")
    event = ReadRequested(read_ids, ReadMode(mode))
    cluster.happens(name, event, f"{name}: read {' '.join(f'r{read_id}' for read_id in read_ids)}")


def _lease(cluster: Cluster, line: Line) -> None:
    name, number_of_round = up(cluster, line.words[0]).server_id, line.number(1, "round", 0)
    cluster.happens(name, LeaseExtended(number_of_round), f"{name}: round {number_of_round} was sent lately: a lease")


def _lease_expires(cluster: Cluster, line: Line) -> None:
    name = up(cluster, line.words[0]).server_id
    cluster.happens(name, LeaseExpired(), f"{name}: its lease is over")


def _deliver(cluster: Cluster, line: Line) -> None:
    for packet in chosen(cluster, line):
        cluster.deliver(packet)


def _deliver_together(cluster: Cluster, line: Line) -> None:
    packets = chosen(cluster, line)
    receivers = sorted({packet.link[1] for packet in packets})
    if len(receivers) > 1:
        raise CommandError(f"together they arrive at one server, not at {' '.join(receivers)}")
    cluster.deliver_together(up(cluster, receivers[0]).server_id, packets)


def _drop(cluster: Cluster, line: Line) -> None:
    cluster.lose(chosen(cluster, line))


def _duplicate(cluster: Cluster, line: Line) -> None:
    for packet in chosen(cluster, line):
        cluster.packets.append(Packet(packet.link, packet.message))
        cluster.lines.append(f"{packet.words()} (twice)")


def _hold(cluster: Cluster, line: Line) -> None:
    for packet in chosen(cluster, line):
        packet.is_held = True
        cluster.lines.append(f"{packet.words()} (held)")


def _release(cluster: Cluster, line: Line) -> None:
    for packet in chosen(cluster, line, is_held=True):
        packet.is_held = False
        cluster.packets.remove(packet)
        cluster.packets.append(packet)
        cluster.lines.append(f"{packet.words()} (released)")


def _settle(cluster: Cluster, line: Line) -> None:
    among = {name_of(cluster, name) for name in line.words} or set(cluster.names)
    inside = [link for link in cluster.all_links() if among.issuperset(link)]
    for _ in range(SETTLED_AFTER):
        packets = cluster.on(inside)
        if not packets:
            return
        cluster.deliver(packets[0])
    raise CommandError(f"still not quiet after {SETTLED_AFTER} messages")


def _cut(cluster: Cluster, line: Line) -> None:
    there = links(cluster, line.words[0])
    cluster.cut.update(there)
    cluster.lose(cluster.on(there))


def _isolate(cluster: Cluster, line: Line) -> None:
    _cut(cluster, Line([f"{name_of(cluster, line.words[0])}<->*"], {}))


def _heal(cluster: Cluster, line: Line) -> None:
    cluster.cut.difference_update(links(cluster, line.words[0] if line.words else "*->*"))


def _new_link(cluster: Cluster, line: Line) -> None:
    for name, peer in links(cluster, line.words[0]):
        up(cluster, name)
        cluster.happens(name, PeerRestarted(peer), f"{name}: its link to {peer} is a new one")


def _slow_disk(cluster: Cluster, line: Line) -> None:
    host_of(cluster, line.words[0]).is_disk_slow = True


def _persist(cluster: Cluster, line: Line) -> None:
    host = host_of(cluster, line.words[0])
    if not host.waiting:
        raise CommandError(f"no write of {line.words[0]} is under way")
    left = line.number(1, "count", len(host.waiting))
    while host.waiting and left:
        cluster.persist(line.words[0])
        left -= 1


def _fast_disk(cluster: Cluster, line: Line) -> None:
    host = host_of(cluster, line.words[0])
    while host.waiting:
        cluster.persist(line.words[0])
    host.is_disk_slow = False


def _snapshot(cluster: Cluster, line: Line) -> None:
    cluster.take_snapshot(up(cluster, line.words[0]).server_id)


def _spoil(cluster: Cluster, line: Line) -> None:
    host_of(cluster, line.words[0]).disk.spoils = True


def _members(cluster: Cluster, line: Line) -> None:
    name = up(cluster, line.words[0]).server_id
    words = [word.partition(":") for word in line.words[1:]]
    voters = [name_of(cluster, voter) for voter, _, _ in words]
    ranked = tuple((voter, number("a priority", value)) for voter, colon, value in words if colon)
    learners = [name_of(cluster, learner) for learner in line.take("learners", "").split(",") if learner]
    expected = number("expected", line.take("expected", "0")) if "expected" in line.options else None
    cluster.proposals += 1
    event = ConfigurationProposed(cluster.proposals, tuple(voters), tuple(learners), expected, ranked or None)
    wished = members_words(configuration(voters, learners, ranked))
    cluster.happens(name, event, f"{name}: wish c{cluster.proposals} for other members: {wished}")


def _transfer(cluster: Cluster, line: Line) -> None:
    name = up(cluster, line.words[0]).server_id
    target = name_of(cluster, line.words[1]) if len(line.words) > 1 else None
    cluster.proposals += 1
    event = TransferRequested(cluster.proposals, target)
    cluster.happens(name, event, f"{name}: transfer t{cluster.proposals} to {target or 'whom it likes'}")


def _settings(cluster: Cluster, line: Line) -> None:
    server = up(cluster, line.words[0])
    randomness = number("randomness", line.take("randomness", "0"))
    given = ", ".join(f"{name} {value}" for name, value in line.options.items())
    event = SettingsChanged(settings(line.options, server.settings), randomness)
    cluster.happens(server.server_id, event, f"{server.server_id}: settings: {given}")


def _slow_apply(cluster: Cluster, line: Line) -> None:
    host_of(cluster, line.words[0]).is_apply_slow = True


def _apply(cluster: Cluster, line: Line) -> None:
    host, name = host_of(cluster, line.words[0]), up(cluster, line.words[0]).server_id
    if not host.unapplied:
        raise CommandError(f"{name} has nothing to apply")
    index = line.number(1, "index", host.unapplied)
    if index > host.unapplied:
        raise CommandError(f"{name} may apply no more than {host.unapplied}")
    host.unapplied = 0 if index == host.unapplied else host.unapplied
    cluster.happens(name, Applied(index), f"{name}: has applied up to {index}")


def _crash(cluster: Cluster, line: Line) -> None:
    for name in line.words:
        up(cluster, name)
        cluster.crash(name)
        cluster.lines.append(f"{name}: down; {disk_words(cluster.hosts[name])}")


def _restart(cluster: Cluster, line: Line) -> None:
    for name in line.words:
        if host_of(cluster, name).server is not None:
            raise CommandError(f"{name} is up")
        cluster.start(name)
        cluster.lines.append(f"{name}: {state_words(up(cluster, name))}")


def _show(cluster: Cluster, line: Line) -> None:
    what, *names = line.words
    if what not in SHOWS:
        raise CommandError(f"cannot show {what!r}; there is: {', '.join(SHOWS)}")
    shown = [name_of(cluster, name) for name in names] or list(cluster.names)
    cluster.lines.extend(SHOWS[what](cluster, shown))


class Command(NamedTuple):
    """What a word of the language does."""

    usage: str
    """Arguments as the reference shows them."""
    least: int
    most: int | None
    """How many words it takes; None: as many as you like."""
    options: frozenset[str]
    run: Callable[[Cluster, Line], None]


def _command(usage: str, least: int, most: int | None, run: Callable[[Cluster, Line], None], *options: str) -> Command:
    return Command(usage, least, most, frozenset(options), run)


COMMANDS: dict[str, Command] = {
    "given": _command("NAME [term=N] [vote=NAME] [log=TERM[*COUNT],...]", 1, 1, _given, "term", "vote", "log"),
    "timeout": _command("NAME [randomness=N]", 1, 1, _timeout, "randomness"),
    "elect": _command("NAME", 1, 1, _elect),
    "heartbeat": _command("NAME", 1, 1, _heartbeat),
    "contact-expires": _command("NAME", 1, 1, _contact_expires),
    "propose": _command("NAME COMMAND...", 2, None, _propose),
    "read": _command("NAME [COUNT] [mode=MODE]", 1, 2, _read, "mode"),
    "lease": _command("NAME ROUND", 2, 2, _lease),
    "lease-expires": _command("NAME", 1, 1, _lease_expires),
    "deliver": _command("LINK [POSITION]", 1, 2, _deliver),
    "deliver-together": _command("LINK", 1, 1, _deliver_together),
    "settle": _command("[NAME...]", 0, None, _settle),
    "drop": _command("LINK [POSITION]", 1, 2, _drop),
    "duplicate": _command("LINK [POSITION]", 1, 2, _duplicate),
    "hold": _command("LINK [POSITION]", 1, 2, _hold),
    "release": _command("LINK [POSITION]", 1, 2, _release),
    "cut": _command("LINK", 1, 1, _cut),
    "isolate": _command("NAME", 1, 1, _isolate),
    "heal": _command("[LINK]", 0, 1, _heal),
    "new-link": _command("LINK", 1, 1, _new_link),
    "slow-disk": _command("NAME", 1, 1, _slow_disk),
    "persist": _command("NAME [COUNT]", 1, 2, _persist),
    "fast-disk": _command("NAME", 1, 1, _fast_disk),
    "slow-apply": _command("NAME", 1, 1, _slow_apply),
    "apply": _command("NAME [INDEX]", 1, 2, _apply),
    "snapshot": _command("NAME", 1, 1, _snapshot),
    "spoil": _command("NAME", 1, 1, _spoil),
    "members": _command(
        "NAME VOTER[:PRIORITY]... [learners=NAME,...] [expected=INDEX]", 1, None, _members, "learners", "expected"
    ),
    "transfer": _command("NAME [NAME]", 1, 2, _transfer),
    "settings": _command(
        "NAME SETTING=VALUE... [randomness=N]", 1, 1, _settings, "randomness", *Settings.__struct_fields__
    ),
    "crash": _command("NAME...", 1, None, _crash),
    "restart": _command("NAME...", 1, None, _restart),
    "show": _command("WHAT [NAME...]", 1, None, _show),
}
