"""Simple values for the typed parameters of a machine's operations, from few, so that calls meet each other's data.

Rejected: the strategies of hypothesis (their values do not follow from a seed that is passed in, and a schedule of
thousands of calls is more than they are made for).
"""

from __future__ import annotations

import inspect
from enum import Enum
from random import Random
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

from actors.errors import WrongArguments
from actors.signatures import Operation

Arguments: TypeAlias = tuple[object, ...]

_SIMPLE: dict[object, tuple[object, ...]] = {
    bool: (False, True),
    int: (0, 1, 2, 3, 5, 10, 100, -1),
    float: (0.0, 0.5, 1.0, -2.0, 100.0),
    str: ("ann", "bob", "carl", ""),
    bytes: (b"", b"a", b"bb"),
    Any: (0, 1, "ann", None),
    NoneType: (None,),
}


def arguments_for(operation: Operation[..., Any], random: Random) -> tuple[Arguments, dict[str, object]]:
    """Arguments for one call: by position, and by keyword.  Raises `WrongArguments` for a type it has no values of."""
    hints = get_type_hints(operation.function, include_extras=True)
    by_position: list[object] = []
    by_keyword: dict[str, object] = {}
    for parameter in operation.parameters:
        value = draw(hints.get(parameter.name, Any), random, f"{operation.label}: parameter {parameter.name!r}")
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            by_keyword[parameter.name] = value
        else:
            by_position.append(value)
    return tuple(by_position), by_keyword


def draw(kind: Any, random: Random, where: str) -> object:
    """A value of a type."""
    if kind in _SIMPLE:
        return random.choice(_SIMPLE[kind])
    if isinstance(kind, type) and issubclass(kind, Enum):
        return random.choice(list(kind))
    origin, inside = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return draw(inside[0], random, where)
    if origin is Literal:
        return random.choice(inside)
    if origin in (Union, UnionType):
        return draw(random.choice(inside), random, where)
    return _collection(kind, origin or kind, inside, random, where)


def _collection(kind: Any, origin: Any, inside: tuple[Any, ...], random: Random, where: str) -> object:
    if origin is dict:
        key, value = inside or (str, int)
        return {draw(key, random, where): draw(value, random, where) for _ in range(random.randrange(4))}
    if origin is tuple and inside and inside[-1] is not Ellipsis:
        return tuple(draw(item, random, where) for item in inside)
    if origin in (list, set, frozenset, tuple):
        return origin(draw(inside[0] if inside else int, random, where) for _ in range(random.randrange(4)))
    raise WrongArguments(
        f"{where}: there are no simple values of {inspect.formatannotation(kind)}",
        why="chaos draws arguments by the types of the parameters",
        fix='arguments={"deposit": lambda random: ("ann", random.randrange(10))}',
    )
