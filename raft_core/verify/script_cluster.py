"""The cluster that a golden script plays with: servers, their disks, and the messages under way between them.

It does what a runtime does with effects, and nothing happens by itself: no clock runs, no message moves, unless the
script says so.  The order contract of `raft_core.effects` is built literally.  Persist effects and the messages that
must wait for them stand in one queue, `Host.waiting`; a write that is done releases what stands behind it up to the
next write; AppendEntries never waits.

* A disk is fast at first: each write is durable at once, and `LogPersisted` comes at the end of the step that asked for
  it.  A slow disk writes when the script says `persist`.
* A state machine is fast at first, too, and tells `Applied` at the end of the step; a slow one waits for `apply`.
* A crash loses the memory, the writes that were not done and the messages that waited for them.  What was sent stays
  under way.
* A cut link loses what is on it and what is sent on it; what the script holds back is elsewhere in the network.

The `Witness` looks on after every event.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from raft_core.batching import step_all
from raft_core.configuration import Configured, configuration
from raft_core.effects import (
    AppendToLog,
    ApplyCommitted,
    CompactLog,
    Effect,
    PersistEffect,
    PersistTermAndVote,
    ReceiveSnapshotChunk,
    RestoreSnapshot,
    Send,
    SendSnapshotChunk,
)
from raft_core.events import Applied, Event, Received, SnapshotTaken, SnapshotUnreadable
from raft_core.messages import AppendEntries, InstallSnapshot, Message, TimeoutNow
from raft_core.state import Server, restore
from raft_core.types import LogIndex, ServerId, Settings
from raft_core.verify.script_disk import Disk, ScriptMachine
from raft_core.verify.script_safety import Durable, Witness
from raft_core.verify.script_words import change_words, effect_words, message_words

Link: TypeAlias = tuple[ServerId, ServerId]
"""One direction between two servers: (from, to)."""


@dataclass
class Host:
    """A machine with its disk; `server` is None while it is down."""

    server: Server | None
    machine: ScriptMachine
    disk: Disk = field(default_factory=Disk)
    is_disk_slow: bool = False
    is_apply_slow: bool = False
    waiting: deque[PersistEffect | Send] = field(default_factory=deque)
    """Writes that are not done, and behind each of them the messages that wait for it."""
    unapplied: LogIndex = 0
    """Last index that was handed to a slow state machine."""
    due: deque[tuple[Event, ...]] = field(default_factory=deque)
    """What is still to happen, batch by batch: what disk and state machine have to say at the end of a step."""


@dataclass(eq=False)
class Packet:
    """A message under way."""

    link: Link
    message: Message
    is_held: bool = False

    def words(self) -> str:
        """`n1 -> n2: message`."""
        return f"{self.link[0]} -> {self.link[1]}: {message_words(self.message)}"


class Cluster:
    """All servers of a script; every method that does something says what it did in `lines`."""

    def __init__(
        self, names: Iterable[ServerId], voters: Iterable[ServerId], settings: Settings, *, timers: bool = False
    ) -> None:
        self.names = tuple(names)
        self.voters = tuple(voters)
        self.settings = settings
        self.lines: list[str] = []
        self.hosts: dict[ServerId, Host] = {}
        self.packets: list[Packet] = []
        self.cut: set[Link] = set()
        self.proposals = 0
        self.reads = 0
        self._timers = timers
        self._witness = Witness()
        for name in self.names:
            self.hosts[name] = Host(None, self._new_machine())
            self.start(name)

    @property
    def servers(self) -> Mapping[ServerId, Server]:
        """The servers that are up."""
        return {name: host.server for name, host in self.hosts.items() if host.server is not None}

    def _new_machine(self) -> ScriptMachine:
        return ScriptMachine(Configured(0, configuration(self.voters)))

    def start(self, name: ServerId) -> None:
        """Start the server from what its disk holds."""
        host, disk = self.hosts[name], self.hosts[name].disk
        host.machine = self._new_machine()
        if disk.snapshot is not None:
            host.machine.restore(disk.snapshot, disk.contents[disk.snapshot.checksum])
        host.server = restore(
            name,
            self.voters,
            self.settings,
            randomness=0,
            current_term=disk.term,
            voted_for=disk.vote,
            entries=disk.entries,
            snapshot=disk.snapshot,
            last_included=disk.last_included,
        )
        host.unapplied = 0

    def crash(self, name: ServerId) -> None:
        """Lose the memory, the writes under way and what waited for them."""
        host = self.hosts[name]
        host.server = None
        host.waiting.clear()

    def happens(self, name: ServerId, event: Event, title: str) -> None:
        """One event at a server that is up, and what follows from it there; `title` opens what is said of it."""
        self.lines.append(title)
        self._handle(self.hosts[name], (event,))

    def _handle(self, host: Host, events: tuple[Event, ...]) -> None:
        host.due.append(events)
        self._work_off(host)

    def _work_off(self, host: Host) -> None:
        while host.due:
            assert host.server is not None
            before = host.server
            host.server, effects = step_all(before, host.due.popleft())
            self._witness.see_step(before, host.server)
            self._say(change_words(before, host.server))
            for effect in effects:
                self._carry_out(host, effect)
        self._witness.see_states(self.servers)

    def _carry_out(self, host: Host, effect: Effect) -> None:
        words = effect_words(effect, timers=self._timers)
        note = ""
        match effect:
            case PersistTermAndVote() | AppendToLog() | CompactLog() | ReceiveSnapshotChunk():
                host.waiting.append(effect)
                note = " (under way)" if host.is_disk_slow else ""
            case Send() if host.waiting and not isinstance(effect.message, AppendEntries | TimeoutNow):
                host.waiting.append(effect)
                note = " (waits for the disk)"
            case Send():
                note = self._send(host, effect)
            case SendSnapshotChunk():
                note = self._send_chunk(host, effect)
            case RestoreSnapshot():
                host.machine.restore(effect.snapshot, host.disk.contents[effect.snapshot.checksum])
                host.unapplied = effect.snapshot.last_included_index
            case ApplyCommitted():
                host.machine.apply(effect.entries)
                host.unapplied = effect.first_index + len(effect.entries) - 1
                note = " (under way)" if host.is_apply_slow else ""
        self._say(f"{words}{note}" if words else "")
        self._let_fast_parts_finish(host)

    def _let_fast_parts_finish(self, host: Host) -> None:
        if not host.is_disk_slow and host.waiting:
            self._write_next(host)
        if not host.is_apply_slow and host.unapplied:
            host.due.append((Applied(host.unapplied),))
            host.unapplied = 0

    def _say(self, line: str) -> None:
        """A line below the title; sends of one message to several servers share a line."""
        *_, last = self.lines
        to, _, message = line.partition(": ")
        so_far, _, last_message = last.partition(": ")
        name = to.removeprefix("sends ")
        if name != to and so_far.startswith("  sends ") and last_message == message and name not in so_far.split():
            self.lines[-1] = f"{so_far} {name}: {message}"
        elif line:
            self.lines.append(f"  {line}")

    def _send(self, host: Host, send: Send) -> str:
        """Put a message on its link; what becomes of it, if it is lost."""
        assert host.server is not None
        link = (host.server.server_id, send.to)
        durable = Durable(host.disk.term, host.disk.vote, host.disk.last_index)
        self._witness.see_sent(*link, send.message, durable)
        if link in self.cut:
            return " (lost: cut)"
        self.packets.append(Packet(link, send.message))
        return ""

    def _send_chunk(self, host: Host, effect: SendSnapshotChunk) -> str:
        """Read a part of a snapshot from the disk and put it on its link."""
        assert host.server is not None
        content = host.disk.contents.get(effect.snapshot.checksum)
        if content is None:
            host.due.append((SnapshotUnreadable(effect.snapshot),))
            return " (it is gone)"
        data = content[effect.offset : effect.offset + effect.length]
        message = InstallSnapshot(effect.term, host.server.server_id, effect.snapshot, effect.offset, data)
        return self._send(host, Send(effect.to, message))

    def take_snapshot(self, name: ServerId) -> None:
        """The state machine's state goes to the disk, whose earlier snapshots are removed."""
        host = self.hosts[name]
        snapshot, content = host.machine.snapshot()
        host.disk.contents.clear()
        host.disk.keep(snapshot, content)
        where = f"{snapshot.last_included_index}@{snapshot.last_included_term}"
        self.happens(name, SnapshotTaken(snapshot), f"{name}: has taken a snapshot at {where}, {len(content)} bytes")

    def persist(self, name: ServerId) -> None:
        """A slow disk does its next write."""
        self.lines.append(f"{name}: its disk is done with a write")
        host = self.hosts[name]
        effect = self._write_next(host)
        self._say(f"{effect_words(effect, timers=False)} (durable)")
        while host.waiting and isinstance(send := host.waiting[0], Send):
            host.waiting.popleft()
            self._say(f"{effect_words(send, timers=False)}{self._send(host, send)}")
        self._work_off(host)

    def _write_next(self, host: Host) -> PersistEffect:
        effect = host.waiting.popleft()
        assert not isinstance(effect, Send)
        answer = host.disk.write(effect)
        if answer is not None:
            host.due.append((answer,))
        return effect

    def on(self, links: Iterable[Link], *, is_held: bool = False) -> list[Packet]:
        """What is under way on the links, in the order of sending; what is held back only if asked for."""
        wanted = set(links)
        return [packet for packet in self.packets if packet.link in wanted and packet.is_held == is_held]

    def deliver(self, packet: Packet) -> None:
        """The message arrives, unless the link is cut or nobody is there."""
        self.packets.remove(packet)
        sender, to = packet.link
        if packet.link in self.cut:
            self.lines.append(f"{packet.words()} (lost: cut)")
        elif self.hosts[to].server is None:
            self.lines.append(f"{packet.words()} (lost: {to} is down)")
        else:
            self.happens(to, Received(sender, packet.message), packet.words())

    def deliver_together(self, to: ServerId, packets: Iterable[Packet]) -> None:
        """The messages arrive as one batch: a mailbox that is emptied at once."""
        arrived = []
        for packet in packets:
            self.packets.remove(packet)
            is_lost = packet.link in self.cut
            self.lines.append(f"{packet.words()} (lost: cut)" if is_lost else packet.words())
            arrived += [] if is_lost else [Received(packet.link[0], packet.message)]
        if arrived:
            self._handle(self.hosts[to], tuple(arrived))

    def lose(self, packets: Iterable[Packet]) -> None:
        """The messages never arrive."""
        for packet in packets:
            self.packets.remove(packet)
            self.lines.append(f"{packet.words()} (lost)")

    def all_links(self) -> Iterator[Link]:
        """Every link there is, by sender."""
        return ((one, other) for one in self.names for other in self.names if one != other)
