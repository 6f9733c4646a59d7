"""Keys and values with revisions, compare-and-set, expiry, ranges and a history to watch.

Every change has a *revision*, one more than the change before it, so that "what happened since" has an answer:
`changes` gives it from a bounded history, and `watch` makes an endless iterator of it on the client's side.

    >>> from actors.context import at
    >>> store = KeyValue()
    >>> store.put("colour", "red"), store.cas("colour", "red", "blue"), store.get("colour")
    (1, True, 'blue')
    >>> with at(clock=0):
    ...     store.put("session/7", "ann", ttl=30.0)
    3
    >>> with at(clock=30_000):
    ...     store.get("session/7"), store.put("session/8", "bob")
    (None, 5)
    >>> [(change.revision, change.kind, change.key) for change in store.changes(since=2).changes]
    [(3, 'put', 'session/7'), (4, 'expire', 'session/7'), (5, 'put', 'session/8')]

Rules of the file: None is no value, it means "no such key"; a value is whatever msgpack has (numbers, strings, bytes,
lists, dicts), and comparisons are Python's.  A key that has expired is gone for commands and queries alike, and its
going is a change as any other.

Rejected: keys kept in order (a range sorts what it found: cheap beside sending it, and puts stay cheap); a thread or
timer for each watch on the servers (they would have to survive changes of leader; who polls, survives by itself).
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from time import sleep
from typing import Any, ClassVar, Literal

from msgspec import Struct

from actors.context import HERE, Context
from actors.replicated import Replicated, command, query


class Item(Struct, frozen=True):
    """A key that is there."""

    value: Any
    revision: int
    """That of the latest change of the key."""
    deadline: int | None = None
    """When it expires, on the replicated clock, in milliseconds; None: never."""


class Change(Struct, frozen=True):
    """What happened to a key.  `lost`, without a key, says that older changes are forgotten: read everything anew."""

    revision: int
    kind: Literal["put", "delete", "expire", "lost"]
    key: str
    value: Any = None


class Changes(Struct, frozen=True):
    """Part of the history."""

    changes: list[Change]
    revision: int
    """Ask for what happened since this one next."""
    is_complete: bool
    """False: changes between the revision asked for and the first of these are forgotten."""


class Listing(Struct, frozen=True):
    """What there was at a revision."""

    items: dict[str, Item]
    """In the order of the keys."""
    revision: int


class KeyValue(Replicated):
    """A store of values by key."""

    HISTORY: ClassVar[int] = 1000
    """Changes that can be watched later; up to twice as many are kept."""

    items: dict[str, Item] = {}  # noqa: RUF012  # each instance gets its own copy
    revision: int = 0
    history: list[Change] = []  # noqa: RUF012
    """The latest changes, without gaps."""
    deadlines: list[tuple[int, str]] = []  # noqa: RUF012
    """A heap.  A key that got another deadline, or none, is in it with the old one until then."""

    # --- changing -----------------------------------------------------------------------------------------------------

    @command
    def put(self, key: str, value: Any, ttl: float | None = None, *, context: Context = HERE) -> int:
        """Set `key`, for `ttl` seconds if given; the revision of this change."""
        return self._put(context, key, value, self._begin(context, ttl))

    @command
    def delete(self, key: str, *, context: Context = HERE) -> bool:
        """Remove `key`; False if it was not there."""
        self._begin(context)
        return self._remove(key, "delete")

    @command
    def cas(self, key: str, expected: Any, value: Any, ttl: float | None = None, *, context: Context = HERE) -> bool:
        """Set `key` to `value` if its value is `expected`, where None is "no such key"; whether it was."""
        deadline = self._begin(context, ttl)
        if self._value(key) != expected:
            return False
        self._put(context, key, value, deadline)
        return True

    @command
    def cas_revision(
        self, key: str, revision: int, value: Any, ttl: float | None = None, *, context: Context = HERE
    ) -> int | None:
        """Set `key` if its latest change has this `revision`, where 0 is "no such key": the new one, or None."""
        deadline = self._begin(context, ttl)
        item = self.items.get(key)
        if (item.revision if item else 0) != revision:
            return None
        return self._put(context, key, value, deadline)

    @command
    def touch(self, key: str, ttl: float | None, *, context: Context = HERE) -> bool:
        """Let `key` expire `ttl` seconds from now, or never; False if it is not there.  No change of the key."""
        deadline = self._begin(context, ttl)
        item = self.items.get(key)
        if item is None:
            return False
        self._store(key, Item(item.value, item.revision, deadline))
        return True

    # --- looking ------------------------------------------------------------------------------------------------------

    @query
    def get(self, key: str, *, context: Context = HERE) -> Any:
        """The value of `key`; None if it is not there."""
        item = self._item(context, key)
        return None if item is None else item.value

    @query
    def item(self, key: str, *, context: Context = HERE) -> Item | None:
        """The value of `key` with its revision and its deadline."""
        return self._item(context, key)

    @query
    def ttl(self, key: str, *, context: Context = HERE) -> float | None:
        """Seconds until `key` expires, by the replicated clock; None if it never does, or is not there."""
        item = self._item(context, key)
        return None if item is None or item.deadline is None else (item.deadline - context.clock) / 1000

    @query
    def range(
        self, first: str = "", last: str | None = None, limit: int | None = None, *, context: Context = HERE
    ) -> Listing:
        """The keys from `first` on and before `last`, at most `limit` of them."""
        keys = (key for key in self.items if first <= key and (last is None or key < last))
        return self._listing(context, keys, limit)

    @query
    def prefix(self, prefix: str = "", limit: int | None = None, *, context: Context = HERE) -> Listing:
        """The keys that begin with `prefix`, at most `limit` of them."""
        return self._listing(context, (key for key in self.items if key.startswith(prefix)), limit)

    @query
    def latest(self) -> int:
        """The revision of the latest change; 0 if there was none."""
        return self.revision

    @query
    def changes(self, since: int, prefix: str = "", limit: int = 100) -> Changes:
        """What happened after revision `since` to keys that begin with `prefix`, at most `limit` changes."""
        oldest = self.revision - len(self.history)
        found: list[Change] = []
        for change in self.history[max(0, since - oldest) :]:
            if change.key.startswith(prefix):
                found.append(change)
            if len(found) >= max(1, limit):
                return Changes(found, change.revision, since >= oldest)
        return Changes(found, max(since, self.revision), since >= oldest)

    # --- time ---------------------------------------------------------------------------------------------------------

    def on_clock(self, context: Context) -> None:
        """What has expired goes."""
        while self.deadlines and self.deadlines[0][0] <= context.clock:
            deadline, key = heappop(self.deadlines)
            if key in self.items and self.items[key].deadline == deadline:
                self._remove(key, "expire")

    def next_deadline(self) -> int | None:
        """When the next key expires."""
        return self.deadlines[0][0] if self.deadlines else None

    def _begin(self, context: Context, ttl: float | None = None) -> int | None:
        deadline = None if ttl is None else context.after(ttl)
        self.on_clock(context)
        return deadline

    # --- the parts ----------------------------------------------------------------------------------------------------

    def _put(self, context: Context, key: str, value: Any, deadline: int | None) -> int:
        if value is None:
            raise ValueError("None means that there is no such key: use delete")
        revision = self._record("put", key, value)
        self._store(key, Item(value, revision, deadline))
        return revision

    def _store(self, key: str, item: Item) -> None:
        self.items[key] = item
        if item.deadline is None:
            return
        heappush(self.deadlines, (item.deadline, key))
        if len(self.deadlines) > 2 * len(self.items) + 64:
            self.deadlines = [(i.deadline, k) for k, i in self.items.items() if i.deadline is not None]
            heapify(self.deadlines)

    def _remove(self, key: str, kind: Literal["delete", "expire"]) -> bool:
        if self.items.pop(key, None) is None:
            return False
        self._record(kind, key)
        return True

    def _record(self, kind: Literal["put", "delete", "expire"], key: str, value: Any = None) -> int:
        self.revision += 1
        self.history.append(Change(self.revision, kind, key, value))
        if len(self.history) > 2 * self.HISTORY:
            del self.history[: -self.HISTORY]
        return self.revision

    def _value(self, key: str) -> Any:
        item = self.items.get(key)
        return None if item is None else item.value

    def _item(self, context: Context, key: str) -> Item | None:
        item = self.items.get(key)
        return None if item is None or (item.deadline is not None and item.deadline <= context.clock) else item

    def _listing(self, context: Context, keys: Iterator[str], limit: int | None) -> Listing:
        there = sorted(key for key in keys if self._item(context, key) is not None)
        chosen = there if limit is None else there[: max(0, limit)]
        return Listing({key: self.items[key] for key in chosen}, self.revision)


def watch(store: KeyValue, since: int | None = None, prefix: str = "", pause: float = 0.05) -> Iterator[Change]:
    """Every change of keys that begin with `prefix`, for ever, from after revision `since` on (None: from now on).

    Where changes are forgotten because nobody asked in time, `lost` comes first, and then a put for every key there is.
    `pause`: seconds between two questions when nothing has happened.
    """
    return _changes(store, store.latest() if since is None else since, prefix, pause)


def _changes(store: KeyValue, revision: int, prefix: str, pause: float) -> Iterator[Change]:
    while True:
        found = store.changes(revision, prefix)
        if not found.is_complete:
            listing = store.prefix(prefix)
            yield Change(listing.revision, "lost", "")
            for key, item in listing.items.items():
                yield Change(item.revision, "put", key, item.value)
            revision = listing.revision
            continue
        yield from found.changes
        if not found.changes:
            sleep(pause)
        revision = found.revision
