"""What stands in the body of a machine's class: operations, fields and parts, looked at when the class is made.

Rule of the file: whatever cannot work is a TypeError here, at import, and not a surprise on a replica.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from inspect import get_annotations
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar, get_origin

from actors.signatures import Operation

T = TypeVar("T")

_RESERVED = frozenset({"cluster", "version", "replaces", "migrate", "on_clock", "next_deadline"})
_MUTABLE = (list, dict, set, bytearray)


def operations_of(cls: type[Any]) -> dict[str, Operation[Any, Any]]:
    """Inherited operations and the class's own.  An operation may be overridden by one of its kind."""
    found: dict[str, Operation[Any, Any]] = {}
    for base in reversed(cls.__mro__):
        for name, value in vars(base).items():
            kind = found[name].kind if name in found else None
            if kind is not None and not (isinstance(value, Operation) and value.kind == kind):
                raise TypeError(f"{cls.__name__}.{name} overrides a {kind}: decorate it with @{kind}")
            if isinstance(value, Operation):
                _refuse_name(cls, name, value)
                found[name] = value
    for name, part in cls._parts.items():
        found.update({f"{name}.{inner}": o.of_part(name, cls.__qualname__) for inner, o in part._operations.items()})
    return found


def within(part: str, operations: Mapping[str, T]) -> dict[str, T]:
    """Those of `operations` that are a part's, by the names that the part itself has for them."""
    return {name.removeprefix(f"{part}."): held for name, held in operations.items() if name.startswith(f"{part}.")}


def parts_of(cls: type[Any], base: type[T]) -> Mapping[str, type[T]]:
    """The machines, all of them `base`, that `cls` and the classes above it are made of: by name, in order."""
    parts: dict[str, type[T]] = dict(getattr(cls, "_parts", {}))
    for name, value in vars(cls).items():
        if isinstance(value, base):
            if name not in get_annotations(cls):
                raise TypeError(f"{cls.__name__}.{name} would be shared by all instances: annotate it as a part")
            parts[name] = type(value)
        elif name in parts:
            raise TypeError(f"{cls.__name__}.{name} hides the part of that name: choose another one")
    return MappingProxyType(parts)


def _refuse_name(cls: type, name: str, operation: Operation[Any, Any]) -> None:
    if name.startswith(("_", "$")) or name in _RESERVED:
        raise TypeError(f"{cls.__name__}.{name} cannot be a {operation.kind}: the name is reserved")
    if name != operation.name:
        raise TypeError(f"{cls.__name__}.{name} is the {operation.kind} {operation.name!r} under another name")


def fields_of(cls: type[Any], base: type[Any]) -> tuple[str, ...]:
    own = [name for name, annotation in get_annotations(cls).items() if not _is_class_variable(annotation)]
    for name in own:
        if name in _RESERVED or name.startswith("__"):
            raise TypeError(f"{cls.__name__}.{name} cannot be a field: choose another name, or annotate a ClassVar")
        if not hasattr(cls, name) and cls.__init__ is base.__init__:
            raise TypeError(f"{cls.__name__}.{name} needs a default: every replica starts from the same state")
    for name, value in vars(cls).items():
        if isinstance(value, _MUTABLE) and name not in get_annotations(cls) and not name.startswith("__"):
            raise TypeError(f"{cls.__name__}.{name} would be shared by all instances: annotate it to make it a field")
    inherited = (name for base in cls.__mro__[1:] for name in getattr(base, "_replicated_fields", ()))
    return tuple(name for name in dict.fromkeys([*inherited, *own]) if name not in cls._parts)


def _is_class_variable(annotation: object) -> bool:
    if isinstance(annotation, str):
        return re.match(r"(\w+\.)?ClassVar\b", annotation) is not None
    return annotation is ClassVar or get_origin(annotation) is ClassVar
