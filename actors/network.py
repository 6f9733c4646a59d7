"""A network that can misbehave: what becomes of each message between peers, as data that can be changed while it runs.

Faults live between the peers, so no peer, no runtime and no client knows of them: a simulation asks here on the way of
a message through virtual time, a real cluster that was started with `chaos=True` asks in the router through which its
links then go.  Each *directed* link has its own faults; requests and results may have different ones.

Not among them: damage to a message (links carry frames whole or not at all), and faults between clients and peers
(clients retry; what a lost answer means is tested by killing peers).
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable
from math import inf
from random import Random

from msgspec import Struct
from msgspec.structs import replace

from actors.errors import NoSuchNode, WrongArguments
from raft_core import ServerId

LONGEST_DELAY = 3600.0
"""Seconds that a message may be late at most: what is under way is kept in memory."""

REQUESTS = frozenset(
    {"AppendEntries", "RequestVote", "RequestPreVote", "InstallSnapshot", "RequestReadIndex", "TimeoutNow"}
)
"""Messages that ask; every other one answers, and "one RPC" is one message that asks."""


class Faults(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What may happen to a message.  Shares are probabilities from 0 to 1, times are seconds."""

    drop: float = 0.0
    """Share of messages that are lost."""
    delay: tuple[float, float] = (0.0, 0.0)
    """Each message takes a time between these two longer, evenly drawn; so some overtake others."""
    hold_back: float = 0.0
    """Share of messages that are held back on top of that, as by a link that was down for a moment."""
    hold_back_delay: tuple[float, float] = (0.2, 2.2)
    """For how long: most of them near the shorter end."""
    duplicate: float = 0.0
    """Share of messages that arrive twice."""

    def __post_init__(self) -> None:
        for name in ("drop", "hold_back", "duplicate"):
            if not _is_ascending(0.0, getattr(self, name), 1.0):
                raise WrongArguments(f"{name}={getattr(self, name)!r} is no share", why="it must lie in 0 to 1")
        for name in ("delay", "hold_back_delay"):
            seconds = getattr(self, name)
            if not isinstance(seconds, tuple) or len(seconds) != 2 or not _is_ascending(0.0, *seconds, LONGEST_DELAY):
                raise WrongArguments(
                    f"{name}={seconds!r} is no range of seconds",
                    why=f"it must be (shortest, longest), at most {LONGEST_DELAY:.0f}",
                    fix=f"{name}=(0.0, 0.026)",
                )

    def fates(self, random: Random) -> tuple[float, ...]:
        """How many seconds later each copy of a message arrives; none: it is lost."""
        if self.drop and random.random() < self.drop:
            return ()
        copies = 2 if self.duplicate and random.random() < self.duplicate else 1
        return tuple(self._delay(random) for _ in range(copies))

    def _delay(self, random: Random) -> float:
        seconds = random.uniform(*self.delay) if self.delay[1] else 0.0
        if self.hold_back and random.random() < self.hold_back:
            shortest, longest = self.hold_back_delay
            seconds += shortest + random.uniform(0.0, random.uniform(0.0, longest - shortest))
        return seconds


def _is_ascending(*numbers: object) -> bool:
    latest = -inf
    for number in numbers:
        if not isinstance(number, int | float) or not number >= latest:
            return False
        latest = number
    return True


NO_FAULTS = Faults()
_AT_ONCE = (0.0,)


class LinkFaults(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """The faults of one directed link."""

    requests: Faults = NO_FAULTS
    results: Faults = NO_FAULTS
    cut: bool = False
    """Nothing gets through."""


WELL = LinkFaults()


class LinkCounts(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What went over one directed link, or over all of them."""

    requests: int
    """Messages that ask: the lab's number of RPCs."""
    results: int
    bytes: int
    """Of everything that was sent, and of results only if they arrived, as the lab counts."""
    lost: int
    """Messages that were cut off or dropped."""
    by_type: dict[str, int]
    delayed: int = 0
    """Messages of which at least one copy came late."""
    doubled: int = 0
    """Messages that arrived twice."""


class LinkState(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One directed link: what happens to it, and what has happened."""

    sender: ServerId
    receiver: ServerId
    faults: LinkFaults
    """Cut as well if one of its servers is disconnected."""
    counts: LinkCounts


class NetworkState(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """All links at one moment."""

    names: tuple[ServerId, ...]
    disconnected: tuple[ServerId, ...]
    links: tuple[LinkState, ...]

    def faults(self, sender: ServerId, receiver: ServerId) -> LinkFaults:
        """Of one link."""
        for name in (sender, receiver):
            refuse_unknown(name, self.names)
        return next((link.faults for link in self.links if (link.sender, link.receiver) == (sender, receiver)), WELL)

    def total(self) -> LinkCounts:
        """Of all links together."""
        every = [link.counts for link in self.links]
        by_type: Counter[str] = Counter()
        for counts in every:
            by_type.update(counts.by_type)
        return LinkCounts(
            sum(counts.requests for counts in every),
            sum(counts.results for counts in every),
            sum(counts.bytes for counts in every),
            sum(counts.lost for counts in every),
            dict(sorted(by_type.items())),
            sum(counts.delayed for counts in every),
            sum(counts.doubled for counts in every),
        )


class _Link:
    def __init__(self) -> None:
        self.faults = WELL
        self.bytes = self.lost = self.delayed = self.doubled = 0
        self.by_type: Counter[str] = Counter()

    def counts(self) -> LinkCounts:
        requests = sum(number for kind, number in self.by_type.items() if kind in REQUESTS)
        results = self.by_type.total() - requests
        by_type = dict(sorted(self.by_type.items()))
        return LinkCounts(requests, results, self.bytes, self.lost, by_type, self.delayed, self.doubled)


class Network:
    """All directed links between the servers of a cluster.  Any thread may use it."""

    def __init__(self, names: Iterable[ServerId]) -> None:
        self.names = tuple(names)
        self._lock = threading.Lock()
        self._links = {(one, other): _Link() for one in self.names for other in self.names if one != other}
        self._disconnected: set[ServerId] = set()

    def admit(self, *names: ServerId) -> None:
        """Servers that may be new: their links work well, as those of everybody else did at the beginning."""
        with self._lock:
            self.names = (*self.names, *(name for name in names if name not in self.names))
            for name in names:
                for other in self.names:
                    if other != name:
                        self._links.setdefault((name, other), _Link())
                        self._links.setdefault((other, name), _Link())

    # --- for who carries messages -------------------------------------------------------------------------------------

    def fates(self, sender: ServerId, receiver: ServerId, kind: str, size: int, random: Random) -> tuple[float, ...]:
        """How many seconds later each copy of a message of `size` bytes arrives; none: it is lost.

        `kind` is the name of the message's class.  No randomness is drawn where there are no faults.
        """
        with self._lock:
            link = self._links[sender, receiver]
            link.by_type[kind] += 1
            is_request = kind in REQUESTS
            faults = link.faults.requests if is_request else link.faults.results
            if link.faults.cut or sender in self._disconnected or receiver in self._disconnected:
                delays: tuple[float, ...] = ()
            else:
                delays = _AT_ONCE if faults is NO_FAULTS else faults.fates(random)
            if is_request or delays:
                link.bytes += size
            link.lost += not delays
            if delays is not _AT_ONCE:
                link.delayed += any(delays)
                link.doubled += len(delays) > 1
            return delays

    # --- for who makes trouble ----------------------------------------------------------------------------------------

    def set(
        self,
        *,
        sender: ServerId | None = None,
        receiver: ServerId | None = None,
        requests: Faults | None = None,
        results: Faults | None = None,
    ) -> None:
        """From now on, links from `sender` to `receiver` (None: any) have these faults; None: as they are."""
        with self._lock:
            for link in self._chosen(sender, receiver):
                if requests is not None:
                    link.faults = replace(link.faults, requests=requests)
                if results is not None:
                    link.faults = replace(link.faults, results=results)

    def cut(self, sender: ServerId | None = None, receiver: ServerId | None = None) -> None:
        """Let nothing through from `sender` to `receiver` (None: any).  The other direction still works."""
        self._set_cut(sender, receiver, True)

    def mend(self, sender: ServerId | None = None, receiver: ServerId | None = None) -> None:
        """Undo `cut`."""
        self._set_cut(sender, receiver, False)

    def _set_cut(self, sender: ServerId | None, receiver: ServerId | None, is_cut: bool) -> None:
        with self._lock:
            for link in self._chosen(sender, receiver):
                link.faults = replace(link.faults, cut=is_cut)

    def disconnect(self, server_id: ServerId) -> None:
        """Nothing gets through to this server or from it; it keeps running."""
        with self._lock:
            self._check(server_id)
            self._disconnected.add(server_id)

    def connect(self, server_id: ServerId) -> None:
        """Undo `disconnect`; a link works if both of its servers are connected."""
        with self._lock:
            self._check(server_id)
            self._disconnected.discard(server_id)

    def is_connected(self, server_id: ServerId) -> bool:
        """It was not disconnected."""
        with self._lock:
            self._check(server_id)
            return server_id not in self._disconnected

    def partition(self, *groups: Iterable[ServerId]) -> None:
        """Only links inside a group work; who is in no group is alone.  What was cut before is forgotten."""
        members = [set(group) for group in groups]
        with self._lock:
            for name in (name for group in members for name in group):
                self._check(name)
            for (one, other), link in self._links.items():
                together = any(one in group and other in group for group in members)
                link.faults = replace(link.faults, cut=not together)

    def reliable(self) -> None:
        """No message is lost, late or doubled; what is cut stays cut."""
        self.set(requests=NO_FAULTS, results=NO_FAULTS)

    def unreliable(self, *, longest_delay: float = 0.026) -> None:
        """The lab's unreliable network: requests up to 26 ms late, 10 % of them lost, and 10 % of the results."""
        self.set(requests=Faults(delay=(0.0, longest_delay), drop=0.1), results=Faults(drop=0.1))

    def reorder_results(self, *, hold_back_delay: tuple[float, float] = (0.2, 2.2)) -> None:
        """The lab's long reordering: two of three results are held back, so that those of different terms overtake."""
        with self._lock:
            for link in self._links.values():
                results = replace(link.faults.results, hold_back=2 / 3, hold_back_delay=hold_back_delay)
                link.faults = replace(link.faults, results=results)

    def heal(self) -> None:
        """Everything works again."""
        with self._lock:
            self._disconnected.clear()
            for link in self._links.values():
                link.faults = WELL

    def faults(self, sender: ServerId, receiver: ServerId) -> LinkFaults:
        """Of one link; it is cut as well if one of its servers is disconnected."""
        with self._lock:
            links = self._chosen(self._check(sender), self._check(receiver))
            return self._seen(sender, receiver, links[0]) if links else WELL

    def _seen(self, sender: ServerId, receiver: ServerId, link: _Link) -> LinkFaults:
        gone = sender in self._disconnected or receiver in self._disconnected
        return replace(link.faults, cut=True) if gone else link.faults

    # --- for who looks ------------------------------------------------------------------------------------------------

    def state(self) -> NetworkState:
        """Every link as it is now, with its counts since the beginning."""
        with self._lock:
            return NetworkState(
                self.names,
                tuple(name for name in self.names if name in self._disconnected),
                tuple(
                    LinkState(one, other, self._seen(one, other, link), link.counts())
                    for (one, other), link in self._links.items()
                ),
            )

    def counts(self) -> LinkCounts:
        """Of all links together, since the beginning."""
        return self.state().total()

    def link_counts(self) -> dict[tuple[ServerId, ServerId], LinkCounts]:
        """Of each link, (sender, receiver)."""
        with self._lock:
            return {ends: link.counts() for ends, link in self._links.items()}

    def _chosen(self, sender: ServerId | None, receiver: ServerId | None) -> list[_Link]:
        for name in (sender, receiver):
            if name is not None:
                self._check(name)
        return [
            link for (one, other), link in self._links.items() if sender in (None, one) and receiver in (None, other)
        ]

    def _check(self, server_id: ServerId) -> ServerId:
        return refuse_unknown(server_id, self.names)


def refuse_unknown(server_id: ServerId, names: tuple[ServerId, ...]) -> ServerId:
    """Raise `NoSuchNode` if it is none of `names`."""
    if server_id not in names:
        raise NoSuchNode(
            f"there is no node {server_id}", why=f"the nodes are {', '.join(names)}", fix="name one of them"
        )
    return server_id
