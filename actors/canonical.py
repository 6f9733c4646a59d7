"""One spelling for equal states: the bytes behind a state digest.

Two replicas are compared by a hash of what they hold.  Neither PYTHONHASHSEED, nor the order in which a dict was
filled, nor the identity of objects may show in it; types must, for 1, 1.0 and True behave differently later on.

Every value becomes `tag length content`, so no two different values share a spelling.  Sets and dicts are sorted by
the spelling of their elements.  Other objects say by the pickle protocol (`__reduce_ex__`) what they are made of;
nothing is pickled, and nothing is ever read back.

Rejected: `repr` (addresses, set order), pickle (memo and dict order show), `hash` (differs between processes).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from types import BuiltinFunctionType, FunctionType


def digest(value: object) -> str:
    """SHA-256 of the canonical spelling of `value`, in hexadecimal.  Raises TypeError for what has no content."""
    return hashlib.sha256(canonical(value)).hexdigest()


def canonical(value: object) -> bytes:
    """Spell `value` such that equal values of equal types have equal bytes, in every process."""
    match value:
        case None | bool() | int() | float() | complex() if type(value).__module__ == "builtins":
            return _spell(value, repr(value).encode())
        case str() if type(value) is str:
            return _spell(value, value.encode("utf-8", "surrogatepass"))
        case bytes() | bytearray() if type(value).__module__ == "builtins":
            return _spell(value, bytes(value))
        case list() | tuple() if type(value).__module__ == "builtins":
            return _spell(value, _all(value))
        case set() | frozenset():
            return _spell(value, b"".join(sorted(map(canonical, value))) + canonical(getattr(value, "__dict__", None)))
        case dict():
            pairs = sorted(canonical(key) + canonical(held) for key, held in value.items())
            return _spell(value, b"".join(pairs) + canonical(getattr(value, "__dict__", None)))
        case type() | FunctionType() | BuiltinFunctionType():
            return _spell(value, f"{value.__module__}.{value.__qualname__}".encode())
        case _:
            return _spell(value, _parts(value))


def _parts(value: object) -> bytes:
    reduced = value.__reduce_ex__(4)
    if isinstance(reduced, str):
        return canonical(reduced)
    maker, arguments, *rest = reduced
    state, items, pairs = (*rest, None, None, None)[:3]
    return _all((maker, arguments, state, list(items or ()), dict(pairs or ())))


def _all(values: Iterable[object]) -> bytes:
    return b"".join(map(canonical, values))


def _spell(value: object, content: bytes) -> bytes:
    kind = type(value)
    return f"{kind.__module__}.{kind.__qualname__} {len(content)} ".encode() + content
