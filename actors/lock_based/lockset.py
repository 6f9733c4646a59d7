"""A checker of locking discipline, for debugging: is everything that threads share guarded by a lock, always the same?

It is Eraser (Savage, Burrows, Nelson, Sobalvarro, Anderson: "Eraser: A Dynamic Data Race Detector for Multithreaded
Programs", 1997).  Every access of a watched field is noted with the locks its thread holds.  A field is *virgin*, then
*exclusive* to the thread that first touches it (so initialisation needs no lock), *shared* once a second thread reads
it, *shared-modified* once a second thread writes it or anybody writes it while shared.  From the second thread on, its
candidate locks are those held at every access.  Shared-modified without a candidate is a `Race`, in whatever order the
threads happened to run: it is the discipline that is checked, not the accident of one run.

What is a field:

1. An attribute of a watched object: reading it is a read, setting or deleting it a write.
2. A watched object as a whole: a call of any of its methods, or the use of a property, is a write of the whole, unless
   its name is in `reads`.  What the method does inside is not seen.  So watch an object that somebody else's lock
   guards, and not one that has a lock of its own.
3. The contents of a dict, list, deque or set that is an attribute of a watched object, or is watched itself.  When
   another container takes its place in the attribute, it has left the object and belongs to whoever uses it next.

Views and iterators of a container are watched as the container is: each step is a read of it.  What is not seen: what
holds the bare object, what C code does with a bare container, and values inside containers, unless they are watched.

A queue or the start of a thread hands something over without a lock; say so with `hand_over`.

Rejected: annotations ("guarded by", as Clang checks them; no checker for Python knows them, and they say what was
meant, not what happens); ThreadSanitizer (finds races on memory; the interpreter lock orders those, and a race between
two bytecodes is none to it); happens-before clocks (no false alarm at a hand-over, but they find a race only if it
nearly happened in this run); `sys.settrace` (sees lines, not objects, and slows down all rather than what is watched).
"""

from __future__ import annotations

import sys
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Iterator
from enum import Enum
from functools import cached_property
from types import BuiltinMethodType, FrameType, MethodType, TracebackType
from typing import Any, NamedTuple, TypeVar, cast

from actors.lock_based.locks import name_of
from actors.lock_based.threads import Lock

T = TypeVar("T")

DEPTH = 12
"""Frames of a stack that are kept."""
SHOWN = 4
"""Frames of each stack that the text of a race shows."""

# --- What is reported ------------------------------------------------------------------------------------------------


class Place(NamedTuple):
    """A line of the program."""

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} in {self.function}"


class Access(NamedTuple):
    """That a thread used a field."""

    thread: str
    deed: str
    """What it did: "reads it", "calls append()"."""
    is_write: bool
    lockset: frozenset[WatchedLock]
    stack: tuple[Place, ...]
    """Innermost first; without the frames of this module."""

    @property
    def locks(self) -> tuple[str, ...]:
        """Names of the locks it held."""
        return tuple(sorted(lock.name for lock in self.lockset))

    def __str__(self) -> str:
        places = "".join(f"\n    {place}" for place in self.stack[:SHOWN])
        kind = "write" if self.is_write else "read"
        return f"thread {self.thread} {self.deed} (a {kind}), holding {', '.join(self.locks) or 'no lock'}:{places}"


class Race(NamedTuple):
    """A field that threads share and change without one lock for all of them."""

    field: str
    earlier: Access
    """By another thread; the latest that conflicts, if possible with no lock in common."""
    later: Access
    """After which no candidate lock was left."""

    def __str__(self) -> str:
        return f"race on {self.field}: no lock guards every access\n  {self.later}\n  after {self.earlier}"


def _stack() -> tuple[Place, ...]:
    """Where the program is.  `traceback.extract_stack` would look for the source of each line, at each access."""
    places: list[Place] = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and len(places) < DEPTH:
        code = frame.f_code
        if code.co_filename != __file__:
            places.append(Place(code.co_filename, frame.f_lineno, code.co_qualname))
        frame = frame.f_back
    return tuple(places)


# --- A field and its states ------------------------------------------------------------------------------------------


class State(Enum):
    """Figure 4 of the paper."""

    VIRGIN = "virgin"
    EXCLUSIVE = "exclusive"
    SHARED = "shared"
    SHARED_MODIFIED = "shared-modified"


class _Field:
    """What is known of one field.  It belongs to the checker's lock."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.reset()

    def reset(self) -> None:
        """Whoever uses it next has it alone."""
        self.state = State.VIRGIN
        self._owner: Hashable = None
        self._candidates: frozenset[WatchedLock] | None = None
        self._latest: dict[tuple[Hashable, bool], Access] = {}
        """The latest read and the latest write of each thread, oldest first."""

    def take(self, thread: Hashable, access: Access) -> Race | None:
        """`thread` makes this access: a race?"""
        self._move(thread, access)
        race = None
        if self.state is State.SHARED_MODIFIED and not self._candidates:
            race = Race(self.name, self._other_side(thread, access), access)
        self._latest.pop((thread, access.is_write), None)  # so that it becomes the last
        self._latest[thread, access.is_write] = access
        return race

    def _move(self, thread: Hashable, access: Access) -> None:
        if self.state is State.VIRGIN:
            self.state, self._owner = State.EXCLUSIVE, thread
        elif self.state is not State.EXCLUSIVE or self._owner != thread:
            known = self._candidates
            self._candidates = access.lockset if known is None else known & access.lockset
            if access.is_write:
                self.state = State.SHARED_MODIFIED
            elif self.state is State.EXCLUSIVE:
                self.state = State.SHARED

    def _other_side(self, thread: Hashable, access: Access) -> Access:
        def blame(numbered: tuple[int, Access]) -> tuple[bool, bool, int]:
            index, other = numbered
            conflicts = access.is_write or other.is_write
            return conflicts and access.lockset.isdisjoint(other.lockset), conflicts, index

        others = [other for (by, _), other in self._latest.items() if by != thread]
        return max(enumerate(others), key=blame)[1]


# --- The checker -----------------------------------------------------------------------------------------------------


class WatchedLock:
    """A plain lock (not a re-entrant one) of which the checker knows who holds it."""

    def __init__(self, checker: LocksetChecker, inner: Lock, name: str) -> None:
        self.name = name
        self.holder: Hashable = None
        self._checker = checker
        self._inner = inner

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Wait for the lock (at most `timeout` seconds, unless negative) and take it; False if it was not got."""
        is_taken = self._inner.acquire(blocking, timeout)
        if is_taken:
            self._checker._note_taken(self)
        return is_taken

    def release(self) -> None:
        """Give it up."""
        self._checker._note_given_up(self)  # first: afterwards it may be another thread's
        self._inner.release()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()


class LocksetChecker:
    """Notes who uses what while holding which locks.

    `current` gives the calling thread and must never give two threads the same value, not even one after the other:
    `threading.get_ident` may.
    """

    def __init__(self, current: Callable[[], Hashable] = threading.current_thread) -> None:
        self._current = current
        self._lock = threading.RLock()  # re-entrant: a finalizer may run anywhere, and use a watched object
        self._held: dict[Hashable, frozenset[WatchedLock]] = {}
        self._races: dict[str, Race] = {}

    @property
    def races(self) -> list[Race]:
        """What was found: the first race of each field, in the order found.  Fields of one name count as one."""
        with self._lock:
            return list(self._races.values())

    def lock(self, inner: Lock, name: str) -> WatchedLock:
        """`inner`, watched.  Two locks may have one name; they are still two."""
        return WatchedLock(self, inner, name)

    def watch(self, watched: T, name: str, reads: frozenset[str] = frozenset()) -> T:
        """A stand-in for `watched` of which every use is noted.

        `reads` names the methods and properties that change nothing; of dicts, lists, deques and sets they are known.
        """
        return cast(T, _proxy(self, watched, name, reads, is_content=False))

    def hand_over(self, watched: object) -> None:
        """Whoever uses `watched` (which `watch` gave, or a container in an attribute of that) next has it alone.

        For what a lock has no part in: before a thread is started that gets it, after one was joined that had it.
        """
        with self._lock:
            _state(cast(_Proxy, watched)).reset()

    def _note(self, field: _Field, is_write: bool, deed: str) -> None:
        thread, stack = self._current(), _stack()
        with self._lock:
            access = Access(name_of(thread), deed, is_write, self._held.get(thread, frozenset()), stack)
            race = field.take(thread, access)
            if race is not None:
                self._races.setdefault(race.field, race)

    def _note_taken(self, lock: WatchedLock) -> None:
        thread = self._current()
        with self._lock:
            self._held[thread] = self._held.get(thread, frozenset()) | {lock}
            lock.holder = thread

    def _note_given_up(self, lock: WatchedLock) -> None:
        with self._lock:
            thread = lock.holder  # a plain lock may be given up by another thread
            self._held[thread] = self._held.get(thread, frozenset()) - {lock}


# --- Stand-ins -------------------------------------------------------------------------------------------------------

_VIEWS: tuple[type, ...] = (type({}.keys()), type({}.values()), type({}.items()))
_CONTAINERS = (dict, list, deque, set)
_CONTAINER_READS = frozenset({"copy", "count", "get", "index", "items", "keys", "values"}) | {
    *("difference", "intersection", "isdisjoint", "issubset", "issuperset", "symmetric_difference", "union")
}


def _specials(*words: str) -> frozenset[str]:
    return frozenset(f"__{word}__" for word in words)


_ITERATING = _specials("iter", "reversed")
_LOOKING = _specials("len", "getitem", "contains", "bool", "repr", "str", "hash")
_COMPARING = _specials("eq", "ne", "lt", "le", "gt", "ge")
_OPERATING = _specials("add", "sub", "mul", "and", "or", "xor")
_IN_PLACE = _specials("iadd", "isub", "imul", "iand", "ior", "ixor")
_CHANGING = _specials("setitem", "delitem", "call", "enter", "exit", "next") | _IN_PLACE


class _Proxy:
    """The stand-in; a subclass for each type has that type's special methods, for Python looks for them there."""

    __slots__ = ("_state_of_proxy",)

    def __init__(self, state: _Watched) -> None:
        object.__setattr__(self, "_state_of_proxy", state)

    def __getattribute__(self, attribute: str) -> Any:
        return _state(self).get(self, attribute)

    def __setattr__(self, attribute: str, value: object) -> None:
        _state(self).set(attribute, value)

    def __delattr__(self, attribute: str) -> None:
        _state(self).delete(attribute)

    def __repr__(self) -> str:
        return f"<watched {_state(self).name}>"


class _Watched:
    """What a stand-in stands for."""

    def __init__(self, checker: LocksetChecker, raw: Any, name: str, reads: frozenset[str], is_content: bool) -> None:
        self.raw = raw
        self.name = name
        self.is_content = is_content
        """It stands for what is in an attribute, not for what somebody asked to watch."""
        self.is_container = isinstance(raw, _CONTAINERS)
        self._reads = reads | _CONTAINER_READS if self.is_container else reads
        self._checker = checker
        self.whole = _Field(f"the contents of {name}" if self.is_container else name)
        self._fields: dict[str, _Field] = {}
        self._contents: dict[str, _Proxy] = {}

    def reset(self) -> None:
        """All of it belongs to whoever uses it next."""
        self.whole.reset()
        for field in self._fields.values():
            field.reset()
        for content in self._contents.values():
            _state(content).reset()

    def use(self, is_write: bool, deed: str) -> None:
        """The whole is used."""
        self._checker._note(self.whole, is_write, deed)

    def get(self, proxy: _Proxy, attribute: str) -> Any:
        """`proxy.attribute`: a method is used when it is called, everything else now."""
        value = None
        if not self._is_property(attribute):
            value = getattr(self.raw, attribute)
            if attribute.startswith("__"):
                return object.__getattribute__(proxy, attribute) if attribute in type(proxy).__dict__ else value
            if isinstance(value, (MethodType, BuiltinMethodType)) and value.__self__ is self.raw:
                return self._method(proxy, attribute, value)
        self._use_attribute(attribute, False)
        return self._content(attribute, getattr(self.raw, attribute))

    def set(self, attribute: str, value: object) -> None:
        """`proxy.attribute = value`."""
        self._use_attribute(attribute, True)
        if isinstance(value, _Proxy) and _state(value).is_content:
            value = _state(value).raw
        setattr(self.raw, attribute, value)
        self._content(attribute, value)

    def delete(self, attribute: str) -> None:
        """`del proxy.attribute`."""
        self._use_attribute(attribute, True)
        delattr(self.raw, attribute)
        self._content(attribute, None)

    def _is_property(self, attribute: str) -> bool:
        return isinstance(_found(type(self.raw), attribute), (property, cached_property))

    def _use_attribute(self, attribute: str, is_write: bool) -> None:
        deed = "writes it" if is_write else "reads it"
        if self._is_property(attribute):
            self.use(is_write or attribute not in self._reads, f"uses {attribute}")
            return
        with self._checker._lock:
            field = self._fields.setdefault(attribute, _Field(f"{self.name}.{attribute}"))
        self._checker._note(field, is_write, deed)

    def _content(self, attribute: str, value: Any) -> Any:
        """`value`, which is in the attribute now; what was there before has left."""
        with self._checker._lock:
            known = self._contents.get(attribute)
            if known is not None and _state(known).raw is not value:
                _state(self._contents.pop(attribute)).reset()
            if isinstance(value, _Proxy) or not isinstance(value, _CONTAINERS):
                return value
            if attribute not in self._contents:
                name = f"{self.name}.{attribute}"
                self._contents[attribute] = _proxy(self._checker, value, name, frozenset(), is_content=True)
            return self._contents[attribute]

    def _method(self, proxy: _Proxy, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            self.use(name not in self._reads, f"calls {name}()")
            return self.wrapped(proxy, method(*arguments, **keywords))

        return call

    def wrapped(self, proxy: _Proxy, result: Any) -> Any:
        """What a method gave, still watched if it is the object itself or a view of it."""
        if result is self.raw:
            return proxy
        if self.is_container and isinstance(result, _VIEWS):
            view = _proxy(self._checker, result, self.name, frozenset({"isdisjoint"}), is_content=False)
            _state(view).whole = self.whole
            return view
        return result


def _state(proxy: _Proxy) -> _Watched:
    return cast(_Watched, object.__getattribute__(proxy, "_state_of_proxy"))


def _proxy(checker: LocksetChecker, raw: object, name: str, reads: frozenset[str], *, is_content: bool) -> _Proxy:
    return _class_for(type(raw))(_Watched(checker, raw, name, reads, is_content))


def _found(kind: type, name: str) -> object:
    """What instances of `kind` find in their class; `getattr` would look in the class of the class as well."""
    return next((vars(base)[name] for base in kind.__mro__ if name in vars(base)), None)


def _class_for(kind: type) -> type[_Proxy]:
    """The stand-ins of one type: with the special methods which that has and `object` has not."""
    specials: dict[str, Any] = {"__slots__": ()}
    for name in _ITERATING | _LOOKING | _COMPARING | _OPERATING | _CHANGING:
        if _found(kind, name) not in (None, vars(object).get(name)):
            specials[name] = _iterating(name) if name in _ITERATING else _special(name)
            if name in _OPERATING:
                specials[f"__r{name[2:]}"] = _reflected(name)
    return type(f"Watched{kind.__name__.capitalize()}", (_Proxy,), specials)


def _special(name: str) -> Callable[..., Any]:
    def special(self: _Proxy, *arguments: Any) -> Any:
        state = _state(self)
        state.use(name in _CHANGING or _fills_in(state.raw, name, arguments), f"calls {name}()")
        if name in _COMPARING | _OPERATING | _IN_PLACE:
            arguments = tuple(_bare(argument) for argument in arguments)
        return state.wrapped(self, getattr(type(state.raw), name)(state.raw, *arguments))

    return special


def _fills_in(raw: object, name: str, arguments: tuple[Any, ...]) -> bool:
    """A defaultdict is changed by looking for what it has not."""
    return name == "__getitem__" and isinstance(raw, defaultdict) and arguments[0] not in raw


def _reflected(name: str) -> Callable[[_Proxy, Any], Any]:
    """The bare object is the right operand of a bare left one."""
    return lambda self, other: getattr(type(other), name)(other, _bare(self))


def _iterating(name: str) -> Callable[[_Proxy], Iterator[Any]]:
    def iterating(self: _Proxy) -> Iterator[Any]:
        state, end = _state(self), object()
        state.use(False, "begins to iterate over it")
        iterator = getattr(type(state.raw), name)(state.raw)
        while (item := next(iterator, end)) is not end:
            yield item
            state.use(False, "iterates over it")

    return iterating


def _bare(operand: Any) -> Any:
    """An operand, which may be watched as well: then it is read."""
    if not isinstance(operand, _Proxy):
        return operand
    _state(operand).use(False, "reads it as an operand")
    return _state(operand).raw
