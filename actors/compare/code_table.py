"""What the designs ask of whoever writes and reads them, counted in their source by one script.

Counted are the modules that only one design has: everything else they share.  Instruments are left out (the lockset
checker and its stand-ins): they are for finding mistakes, and no peer runs with them.

*Lines that must be right together* are those on which the absence of races rests: in the twin, every line inside a lock
or in a function that demands one (`..._locked`); with actors, every line of what other threads may call.  Some of the
sharing is behind Pykka's mailboxes, as some is behind `threading`: neither is counted.

The figures are counts, not qualities.  A lock site is not a mistake, it is a place where one can be made.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from actors.spec import RuntimeName

MODULES: dict[RuntimeName, tuple[str, ...]] = {
    "actors": ("actors.peer", "actors.mailbox", "actors.workers"),
    "locks": (
        "actors.lock_based.peer",
        "actors.lock_based.replication",
        "actors.lock_based.crew",
        "actors.lock_based.description",
        "actors.lock_based.shared",
        "actors.lock_based.mail",
        "actors.lock_based.locks",
        "actors.lock_based.threads",
        "actors.lock_based.wiring",
        "actors.lock_based.world",
    ),
}
CALLED_BY_OTHERS = {
    "Mailbox": ("put", "empty"),
    "DrainingInbox": ("put", "empty"),
    "PeerActor": ("_tell_self",),
    "RunningActor": ("fail", "bad_frames"),
}
"""Of the actors: what threads other than the actor's own call."""
GUARDED = ("Shared", "Life")
"""Classes of the twin of which every field is shared."""
_MAKES = {"Lock", "Condition", "Event", "Semaphore", "SimpleQueue", "Queue", "lock", "condition", "Mail", "pipe"}
_HOLDERS = {"deque", "dict", "list", "set", "SimpleQueue", "frozenset", "tuple"}
_STARTS = {"Thread", "start", "_start"}


class Counts(NamedTuple):
    """Of one design."""

    modules: int
    lines: int
    """Of code: no comments, no docstrings, no empty ones."""
    primitives: int
    """Places where a lock, condition, event, queue or wake-up pipe is made."""
    lock_sites: int
    """Places where a lock is taken, or demanded."""
    threads_started: int
    """Places where a thread or an actor is started."""
    shared_fields: int
    """Attributes that more than one thread uses."""
    lines_that_must_be_right: int


def code_table() -> dict[RuntimeName, Counts]:
    """Count both designs as they are installed here."""
    return {design: _counted([_source(module) for module in modules]) for design, modules in MODULES.items()}


def _source(module: str) -> str:
    spec = find_spec(module)
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).read_text(encoding="utf-8")


def _counted(sources: Sequence[str]) -> Counts:
    trees = [ast.parse(source) for source in sources]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    shared = {field for tree in trees for field in _shared_fields(tree)}
    return Counts(
        modules=len(sources),
        lines=sum(len(_code_lines(tree)) for tree in trees),
        primitives=sum(_called(call) in _MAKES for call in calls),
        lock_sites=sum(_takes_lock(node) for node in nodes),
        threads_started=sum(_called(call) in _STARTS for call in calls),
        shared_fields=len(shared),
        lines_that_must_be_right=sum(len(_delicate_lines(tree)) for tree in trees),
    )


def _called(call: ast.Call) -> str:
    match call.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def _is_lock(expression: ast.expr) -> bool:
    return isinstance(expression, ast.Attribute) and expression.attr in ("lock", "_lock")


def _takes_lock(node: ast.AST) -> bool:
    if isinstance(node, ast.With):
        return any(_is_lock(item.context_expr) for item in node.items)
    return isinstance(node, ast.Call) and _called(node) in ("acquire", "assert_owned", "wait", "notify_all", "notify")


def _code_lines(tree: ast.AST) -> set[int]:
    """Lines on which a statement, or a part of one, stands; docstrings are none."""
    lines: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt) and not _is_docstring(node):
            ends = node.end_lineno or node.lineno
            body = getattr(node, "body", None)
            last = body[0].lineno - 1 if isinstance(body, list) and body else ends
            lines.update(range(node.lineno, max(node.lineno, min(last, ends)) + 1))
    return lines - {line for node in ast.walk(tree) if _is_docstring(node) for line in _span(node)}


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _span(node: ast.AST) -> range:
    assert isinstance(node, ast.stmt | ast.expr)
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)


def _delicate_nodes(tree: ast.AST) -> Iterator[ast.stmt]:
    for node in ast.walk(tree):
        match node:
            case ast.With(items=items, body=body) if any(_is_lock(item.context_expr) for item in items):
                yield from body
            case ast.FunctionDef(name=name, body=body) if name.endswith("_locked"):
                yield from body
            case ast.ClassDef(name=name, body=members) if name in CALLED_BY_OTHERS:
                for member in members:
                    if isinstance(member, ast.FunctionDef) and member.name in CALLED_BY_OTHERS[name]:
                        yield from member.body


def _delicate_lines(tree: ast.AST) -> set[int]:
    code = _code_lines(tree)
    return {line for node in _delicate_nodes(tree) for line in _span(node)} & code


def _shared_fields(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """All attributes of guarded classes, and of others those that change and stand on delicate lines.  (What only
    refers to another object from the beginning to the end is no state.)"""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            if node.name in GUARDED:
                yield from ((node.name, field) for field, _, _ in _assignments(node))
                continue
            changing = {field for field, value, is_first in _assignments(node) if not is_first or _is_state(value)}
            for delicate in _delicate_nodes(node if node.name in CALLED_BY_OTHERS else ast.Module(node.body, [])):
                for inner in ast.walk(delicate):
                    if isinstance(inner, ast.Attribute) and _is_self(inner.value) and inner.attr in changing:
                        yield node.name, inner.attr


def _is_state(value: ast.expr | None) -> bool:
    """A value of its own: a number, a text, or something that holds others."""
    if isinstance(value, ast.Call):
        return _called(value) in _HOLDERS
    return isinstance(value, ast.Constant | ast.List | ast.Dict | ast.Set | ast.Tuple)


def _is_self(expression: ast.expr) -> bool:
    return isinstance(expression, ast.Name) and expression.id == "self"


def _assignments(class_: ast.ClassDef) -> Iterator[tuple[str, ast.expr | None, bool]]:
    """Each assignment to an attribute of `self`: its name, the value, and whether it is where the object is made."""
    for method in class_.body:
        for node in ast.walk(method):
            if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                is_first = isinstance(method, ast.FunctionDef) and method.name == "__init__"
                for target in targets:
                    for inner in ast.walk(target):
                        if isinstance(inner, ast.Attribute) and _is_self(inner.value):
                            yield inner.attr, node.value, is_first
