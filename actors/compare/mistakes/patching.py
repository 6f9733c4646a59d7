"""A mistake put into the running program, and taken out again: functions get the code of a changed source.

A mistake is written as in `tests/mutants`: `old` stands exactly once in the source, `new` in its place breaks a rule.
The changed source is compiled, and each function of the module whose code differs gets the new code in place, whoever
has imported it.  So a mistake costs milliseconds, a search of hundreds of schedules for each of them minutes, and what
is searched is the shipped module but for one change.

Only what stands inside functions can be changed, and a function must keep the variables that it has from around it.

Rejected: a copy of the project for each mistake and a new interpreter in it (as the mutants' scoreboard has it: half a
second each time, and the installed package would have to be writable or copied); importing the packages a second time
under the same names (two classes of every message live side by side, and matching on them fails).
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import NamedTuple


class Patch(NamedTuple):
    """A change of the source."""

    where: str
    """A module; or a package, if it does not matter where in it `old` stands."""
    old: str
    new: str


class PatchFails(Exception):
    """The source is not what the patch was written for."""


@contextmanager
def applied(patches: Sequence[Patch]) -> Iterator[None]:
    """The program with `patches` in it."""
    sources: dict[str, str] = {}
    for patch in patches:
        module, text = _found(patch, sources)
        sources[module.__name__] = text.replace(patch.old, patch.new)
    before: list[tuple[FunctionType, CodeType]] = []
    try:
        for name, text in sources.items():
            before += _swapped(import_module(name), text)
        yield
    finally:
        for function, code in before:
            function.__code__ = code


def _found(patch: Patch, sources: dict[str, str]) -> tuple[ModuleType, str]:
    """The module that holds what is to be changed, and its text with the changes so far."""
    texts = [(module, sources.get(module.__name__) or _source(module)) for module in _modules(patch.where)]
    count = sum(text.count(patch.old) for _, text in texts)
    if count != 1:
        raise PatchFails(f"what is to be changed stands {count} times in {patch.where}:\n{patch.old}")
    return next((module, text) for module, text in texts if patch.old in text)


def _modules(where: str) -> Iterator[ModuleType]:
    module = import_module(where)
    yield module
    for found in pkgutil.iter_modules(getattr(module, "__path__", ())):
        yield import_module(f"{where}.{found.name}")


def _source(module: ModuleType) -> str:
    assert module.__file__ is not None
    return Path(module.__file__).read_text("utf-8")


def _swapped(module: ModuleType, text: str) -> list[tuple[FunctionType, CodeType]]:
    """Functions that were changed, and the code they had."""
    assert module.__file__ is not None
    new = dict(_codes(compile(text, module.__file__, "exec", dont_inherit=True)))
    before: list[tuple[FunctionType, CodeType]] = []
    for function in _functions(module):
        code = new.get(function.__qualname__)
        if code is not None and code != function.__code__:
            before.append((function, function.__code__))
            function.__code__ = code
    if not before:
        raise PatchFails(f"the change of {module.__name__} is in none of its functions")
    return before


def _codes(code: CodeType) -> Iterator[tuple[str, CodeType]]:
    """Of functions of the module and methods of its classes, by their names; what is inside functions comes with
    them."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            if constant.co_flags & 0x2:  # a function; a class body is none
                yield constant.co_qualname, constant
            else:
                yield from _codes(constant)


def _functions(module: ModuleType) -> Iterator[FunctionType]:
    for value in vars(module).values():
        yield from _functions_of(value, module.__name__)


def _functions_of(value: object, module: str) -> Iterator[FunctionType]:
    if getattr(value, "__module__", None) != module:
        return
    if isinstance(value, FunctionType):
        yield value
    elif isinstance(value, type):
        for member in vars(value).values():
            for candidate in _unwrapped(member):
                if isinstance(candidate, FunctionType) and candidate.__module__ == module:
                    yield candidate


def _unwrapped(member: object) -> Iterable[object]:
    if isinstance(member, property):
        return (member.fget, member.fset)
    return (getattr(member, "__func__", getattr(member, "func", member)),)
