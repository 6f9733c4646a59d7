"""The stand-ins through which the lockset checker sees every use of an object (see `lockset`)."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from functools import cached_property
from types import BuiltinMethodType, MethodType
from typing import TYPE_CHECKING, Any, cast

from actors.lock_based.races import Field

if TYPE_CHECKING:
    from actors.lock_based.lockset import LocksetChecker

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
        self.whole = Field(f"the contents of {name}" if self.is_container else name)
        self._fields: dict[str, Field] = {}
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
            field = self._fields.setdefault(attribute, Field(f"{self.name}.{attribute}"))
        self._checker._note(field, is_write, deed)
        if not is_write:  # any method that changes something may have changed this
            self.use(False, f"reads {attribute}")

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


def stand_in_for(checker: LocksetChecker, watched: object, name: str, reads: frozenset[str]) -> object:
    """A stand-in of which `checker` is told every use."""
    return _proxy(checker, watched, name, reads, is_content=False)


def forget(stand_in: object) -> None:
    """Whoever uses it next is taken for its first user."""
    _state(cast(_Proxy, stand_in)).reset()


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
