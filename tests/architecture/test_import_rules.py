"""The rings, kept by reading every source file: who may use which module, and who may write files.

The rules are data, at the top; each of the tests below names the offending file and line.  `lint-imports` checks the
layers through chains of imports as well; these tests see single names, calls and imports inside functions.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import pytest

from tests.architecture.imports import Source, belongs_to, called_names, is_within, parse, sources, uses

ROOT = Path(__file__).resolve().parents[2]

# --- Ring 1 decides; it has no clock, no randomness, no I/O, no threads.

PURE = frozenset(
    {"__future__", "abc", "bisect", "collections", "copy", "dataclasses", "enum", "functools", "heapq", "itertools"}
    | {"math", "operator", "typing", "types"}
)
"""The standard library as far as it is pure: equal arguments, equal results, on every machine."""

CORE_MAY_IMPORT: dict[str, frozenset[str]] = {
    "raft_core/": PURE | {"msgspec", "raft_core"},
    # Seeded generators; reports as text; searches that remember millions of numbers.
    "raft_core/verify/": frozenset({"array", "random", "hashlib", "json", "textwrap"}),
    "raft_core/pytest_plugin.py": frozenset({"pytest", "random"}),
}
"""A file may import what every entry that holds it allows."""

IMPURE_BUILTINS = frozenset({"open", "print", "input", "breakpoint", "exec", "eval", "id", "globals"})


# --- Some modules have their rooms.


class Room(NamedTuple):
    """Only files in `places` may use `module`; the names in `elsewhere` may be used in those files, too."""

    module: str
    places: frozenset[str]
    why: str
    elsewhere: Mapping[str, frozenset[str]] = MappingProxyType({})


ROOMS = [
    Room(
        "pykka",
        frozenset({"actors/peer.py", "actors/mailbox.py", "actors/workers.py"}),
        "only ring 3 knows who takes turns",
    ),
    Room(
        "multiprocessing",
        frozenset(
            {
                "actors/links/",
                "actors/process.py",
                "actors/hosts.py",
                "actors/supervisor.py",
                "actors/cli/doctor.py",
                "actors/cli/doctor/",
            }
        ),
        "processes and links between them are made in one place",
        # A type: what a link is made of.  And:
        {
            "multiprocessing.connection.Connection": frozenset(
                {"actors/client.py", "actors/raw_client.py", "actors/remote.py", "actors/service.py"}
                | {"actors/compare/load.py"}
                | {"actors/http/attached.py", "actors/http/links.py"}
            ),
            # A pool for seeds of simulations: there are no peers in these processes.
            "multiprocessing.get_context": frozenset({"actors/cli/check_simulate.py"}),
        },
    ),
    Room("dill", frozenset({"actors/codec.py"}), "code commands are made and loaded behind one door"),
    Room(
        "sqlite3",
        frozenset({"actors/storage/", "actors/cli/doctor.py"}),
        "what is durable is decided in one place",
        {"sqlite3.sqlite_version": frozenset({"actors/compare/environment.py"})},
    ),
    Room(
        "threading",
        # The comparison is not the library: it stands outside both designs and watches them.
        frozenset(
            {
                "actors/lock_based/",
                "actors/calls.py",
                "actors/client.py",
                "actors/network.py",
                "actors/readers_place.py",
                "actors/compare/",
            }
        ),
        "nobody else shares memory between threads, so nobody else needs a lock",
        # Threads that own what they use, or wait for somebody outside.
        {
            "threading.Thread": frozenset(
                {
                    *("actors/supervisor.py", "actors/remote.py", "actors/service.py"),
                    *("actors/links/router.py", "actors/raw_client.py", "actors/lab.py", "actors/snapshot_saving.py"),
                    *("actors/watching.py", "actors/giving_way.py"),
                    *(f"actors/http/{name}.py" for name in ("attached", "links", "serving", "transporter")),
                }
            ),
            # Newcomers are met by whoever adds them, in any thread.
            "threading.Lock": frozenset({"actors/http/links.py", "actors/http/transporter.py"}),
            # To wait for a disk, and to be woken when the peer ends.
            "threading.Event": frozenset({"actors/peer.py", "actors/workers.py"}),
        },
    ),
    *(
        Room(module, frozenset({"actors/http/"}), "the web framework is an extra that not everybody installs")
        for module in ("starlette", "uvicorn", "anyio", "h11", "httpx")
    ),
    *(
        Room(module, frozenset({"actors/compare/"}), "statistics and figures are an extra that not everybody installs")
        for module in ("numpy", "scipy", "matplotlib")
    ),
    Room("actors.http", frozenset({"actors/http/", "actors/cli/http.py"}), "it needs an extra: nobody relies on it"),
    Room(
        "actors.compare", frozenset({"actors/compare/", "actors/cli/compare.py"}), "it is about the library, not of it"
    ),
    *(
        Room(module, frozenset(), "bytes from elsewhere are never unpickled")
        for module in ("pickle", "_pickle", "cloudpickle", "marshal", "shelve", "copyreg")
    ),
]

RING_2 = frozenset(
    f"actors/{name}.py"
    for name in (
        "interpreter",
        "ports",
        "status",
        "requests",
        "applier",
        "deadlines",
        "leases",
        "machine",
        "raft_logger",
    )
)
RING_2_NEVER = ("pykka", "threading")

RUNTIMES: dict[str, tuple[str, ...]] = {
    "actors/lock_based/": ("actors.peer", "actors.mailbox", "actors.workers", "pykka"),
    "actors/peer.py": ("actors.lock_based",),
    "actors/mailbox.py": ("actors.lock_based",),
    "actors/workers.py": ("actors.lock_based",),
}
"""The two runtimes share rings 1 and 2 literally, and nothing of ring 3."""

# --- Files are written where it is decided what is durable; reports and demonstrations are for people.

WRITERS = frozenset({"actors/storage/", "actors/cli/", "actors/compare/", "actors/pytest_plugin.py"})
WRITING_METHODS = frozenset(
    {"write_text", "write_bytes", "mkdir", "touch", "unlink", "rmdir", "symlink_to", "hardlink_to"}
)
WRITING_OS = {"open", "fsync", "fdatasync", "truncate", "ftruncate", "mkdir", "makedirs", "rmdir", "remove", "unlink"}
WRITING_FUNCTIONS = frozenset(f"os.{name}" for name in WRITING_OS | {"rename", "replace", "link", "symlink"})
WRITING_MODULES = ("shutil", "tempfile")
MAY_USE_ELSEWHERE = {
    "actors/cluster.py": frozenset({"tempfile.mkdtemp", "shutil.rmtree"}),
    "actors/service_protocol.py": frozenset({"os.open"}),
}
"""A cluster without a data directory of its own has one for its lifetime; opening a directory names a socket in it."""

# --- Examples show what a user can write.

PUBLIC = frozenset({"actors", "actors.errors", "actors.lab", "raft_core"})
"""Modules whose own names, not those of modules below them, are what a user imports."""
PUBLIC_PACKAGES = frozenset({"actors.machines", "actors.testing", "raft_core.verify"})
"""Packages of which every module is public."""

TO_COME = frozenset({"actors/lock_based/", "actors/cli/doctor.py", "actors/cli/doctor/"})
"""What a rule may name although it is not there: the twin, and either form of the doctor."""

Rule = Callable[[Source], Iterator[str]]


def modules_of_others(source: Source) -> Iterator[str]:
    """raft_core imports msgspec and the pure standard library only."""
    if not source.path.startswith("raft_core/"):
        return
    places = [place for place in CORE_MAY_IMPORT if is_within(source.path, frozenset({place}))]
    allowed = frozenset[str]().union(*(CORE_MAY_IMPORT[place] for place in places))
    for use in uses(source):
        if use.name.partition(".")[0] not in allowed:
            yield f"{source.path}:{use.line}: {use.name} is not pure: raft_core may import {', '.join(sorted(allowed))}"


def impure_builtins(source: Source) -> Iterator[str]:
    """raft_core calls no builtin that does I/O or depends on the process, and has no global state."""
    if not source.path.startswith("raft_core/") or source.path == "raft_core/pytest_plugin.py":
        return
    for use in called_names(source):
        if use.name in IMPURE_BUILTINS:
            yield f"{source.path}:{use.line}: {use.name}() is not pure"
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Global):
            yield f"{source.path}:{node.lineno}: global {', '.join(node.names)}: state belongs into values"


def modules_out_of_their_rooms(source: Source) -> Iterator[str]:
    """pykka, multiprocessing, dill, sqlite3, threading and pickles stay where they belong."""
    for room in ROOMS:
        if is_within(source.path, room.places):
            continue
        for use in uses(source):
            excused = is_within(source.path, room.elsewhere.get(use.name, frozenset()))
            if belongs_to(use.name, room.module) and not excused:
                places = f"only in {', '.join(sorted(room.places))}" if room.places else "nowhere"
                yield f"{source.path}:{use.line}: {use.name}: {room.module} is used {places} ({room.why})"


def ring_2_taking_turns(source: Source) -> Iterator[str]:
    """The interpreter, the deadlines and the machine do not know whether an actor or a lock stands around them."""
    if source.path in RING_2:
        yield from _never(source, RING_2_NEVER, "ring 2 serves both runtimes")


def runtimes_that_know_each_other(source: Source) -> Iterator[str]:
    """The actors and their lock-based twin never import each other."""
    for place, forbidden in RUNTIMES.items():
        if is_within(source.path, frozenset({place})):
            yield from _never(source, forbidden, "the two runtimes share nothing of ring 3")


def _never(source: Source, modules: tuple[str, ...], why: str) -> Iterator[str]:
    for use in uses(source):
        if any(belongs_to(use.name, module) for module in modules):
            yield f"{source.path}:{use.line}: {use.name} must not be imported here: {why}"


def files_written_elsewhere(source: Source) -> Iterator[str]:
    """Only the storage writes files, beside what the command line writes for people."""
    if not source.path.startswith("actors/") or is_within(source.path, WRITERS):
        return
    excused = MAY_USE_ELSEWHERE.get(source.path, frozenset())
    for use in uses(source):
        writes = use.name in WRITING_FUNCTIONS or any(belongs_to(use.name, module) for module in WRITING_MODULES)
        if writes and use.name not in excused:
            yield f"{source.path}:{use.line}: {use.name}: files are written in {', '.join(sorted(WRITERS))} only"
    for line, what in _writing_calls(source):
        yield f"{source.path}:{line}: {what}: files are written in {', '.join(sorted(WRITERS))} only"


def _writing_calls(source: Source) -> Iterator[tuple[int, str]]:
    for node in ast.walk(source.tree):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="os"))):
                pass  # functions, not methods of a path: see WRITING_FUNCTIONS
            case ast.Call(func=ast.Attribute(attr=name)) if name in WRITING_METHODS:
                yield node.lineno, f".{name}()"
            case ast.Call(func=ast.Attribute(attr="open")) if _for_writing(node, 0):
                yield node.lineno, ".open() for writing"
            case ast.Call(func=ast.Name(id="open")) if _for_writing(node, 1):
                yield node.lineno, "open() for writing"


def _for_writing(call: ast.Call, position: int) -> bool:
    modes = [*call.args[position : position + 1], *(k.value for k in call.keywords if k.arg == "mode")]
    return any(not (isinstance(mode, ast.Constant) and set(str(mode.value)) <= set("rbt")) for mode in modes)


def private_names_in_examples(source: Source) -> Iterator[str]:
    """Examples import what is public."""
    if not source.path.startswith("examples/"):
        return
    for use in uses(source):
        if use.name.partition(".")[0] in ("actors", "raft_core") and not _is_public(use.name):
            places = ", ".join(sorted(PUBLIC | PUBLIC_PACKAGES))
            yield f"{source.path}:{use.line}: {use.name} is not public: import from {places}"


def _is_public(name: str) -> bool:
    module, _, last = name.rpartition(".")
    is_open = module in PUBLIC or any(belongs_to(name, package) for package in PUBLIC_PACKAGES)
    if module in PUBLIC and last in getattr(import_module(module), "__all__", ()):
        return True  # `raft_core.step` is a function to whoever imports it from there, and the module behind it as well
    is_module = (ROOT / f"{name.replace('.', '/')}.py").exists() and name not in PUBLIC
    return name in PUBLIC or (is_open and not last.startswith("_") and (not is_module or module not in PUBLIC))


RULES: list[Rule] = [
    modules_of_others,
    impure_builtins,
    modules_out_of_their_rooms,
    ring_2_taking_turns,
    runtimes_that_know_each_other,
    files_written_elsewhere,
    private_names_in_examples,
]


@pytest.fixture(scope="module")
def project() -> list[Source]:
    """Every source file the rules are about."""
    found = sources(ROOT, "raft_core", "actors", "examples")
    assert {"raft_core/step.py", "actors/peer.py"} <= {source.path for source in found}, "are these the right folders?"
    return found


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_project_is_free_of(rule: Rule, project: list[Source]) -> None:
    violations = [violation for source in project for violation in rule(source)]
    assert not violations, f"{rule.__doc__}\n" + "\n".join(violations)


def test_every_file_and_folder_that_a_rule_names_still_exists() -> None:
    named = {place for room in ROOMS for place in room.places} | RING_2 | set(RUNTIMES) | set(MAY_USE_ELSEWHERE)
    named |= {place for room in ROOMS for places in room.elsewhere.values() for place in places}
    missing = {place for place in named - TO_COME if not (ROOT / place).exists()}
    assert not missing, f"rules about files that are not there protect nothing: {sorted(missing)}"


# --- Each rule can fail: a planted violation is found, and its harmless neighbour is not.

PLANTED: list[tuple[Rule, str, str, str]] = [
    (modules_of_others, "raft_core/log.py", "import time", "from bisect import bisect"),
    (modules_of_others, "raft_core/log.py", "from os import path", "import collections.abc"),
    (modules_of_others, "raft_core/log.py", "from random import Random", "from math import ceil"),
    (modules_of_others, "raft_core/log.py", "def f():\n    import logging", "from raft_core.types import Term"),
    (modules_of_others, "raft_core/log.py", "from actors import peer", "from . import types"),
    (modules_of_others, "raft_core/log.py", "import asyncio.tasks as t", "from .types import Term"),
    (modules_of_others, "raft_core/verify/simulation.py", "import time", "from random import Random"),
    (impure_builtins, "raft_core/log.py", "print(1)", "len([])"),
    (impure_builtins, "raft_core/log.py", "def f():\n    global x\n    x = 1", "x = 1"),
    (modules_out_of_their_rooms, "actors/client.py", "import pykka", "import pykkalike"),
    (
        modules_out_of_their_rooms,
        "actors/hosts.py",
        "from pykka import ActorRef",
        "from actors.spec import RunningPeer",
    ),
    (modules_out_of_their_rooms, "actors/client.py", "import multiprocessing as m", "import selectors"),
    (modules_out_of_their_rooms, "actors/client.py", "from multiprocessing import Queue", "from queue import Queue"),
    (
        modules_out_of_their_rooms,
        "actors/client.py",
        "import multiprocessing.connection as c\nc.wait([])",
        "import multiprocessing.connection as c\nx: c.Connection",
    ),
    (modules_out_of_their_rooms, "actors/machine.py", "def f():\n    import dill", "x = 'import dill'"),
    (
        modules_out_of_their_rooms,
        "actors/cli/doctor.py",
        "from importlib import import_module\nimport_module('dill')",
        "from importlib.metadata import version\nversion('dill')",
    ),
    (modules_out_of_their_rooms, "actors/cluster.py", "import sqlite3", "import actors.storage.sqlite"),
    (
        modules_out_of_their_rooms,
        "actors/supervisor.py",
        "import threading\nthreading.Lock()",
        "import threading\nthreading.Thread()",
    ),
    (modules_out_of_their_rooms, "actors/supervisor.py", "from threading import Event", "from threading import Thread"),
    (modules_out_of_their_rooms, "actors/links/pipes.py", "import pickle", "import pickletools"),
    (modules_out_of_their_rooms, "actors/cli/http.py", "import uvicorn", "from actors.http.serving import serve_app"),
    (modules_out_of_their_rooms, "actors/service.py", "from actors.http import api", "import http.client"),
    (modules_out_of_their_rooms, "actors/cluster.py", "import actors.compare.naive", "import actors.machines"),
    (modules_out_of_their_rooms, "actors/cli/status.py", "import numpy as np", "import statistics"),
    (modules_out_of_their_rooms, "actors/codec.py", "from _pickle import loads", "from msgspec import msgpack"),
    (
        ring_2_taking_turns,
        "actors/interpreter.py",
        "from threading import current_thread",
        "from time import monotonic",
    ),
    (ring_2_taking_turns, "actors/machine.py", "import pykka", "import re"),
    (
        runtimes_that_know_each_other,
        "actors/lock_based/server.py",
        "from actors.mailbox import Mailbox",
        "from actors.interpreter import Interpreter",
    ),
    (runtimes_that_know_each_other, "actors/lock_based/server.py", "from .. import peer", "from .. import machine"),
    (runtimes_that_know_each_other, "actors/peer.py", "import actors.lock_based.server", "import actors.mailbox"),
    (files_written_elsewhere, "actors/machine.py", "open('x', 'w')", "open('x', 'rb')"),
    (files_written_elsewhere, "actors/machine.py", "open('x', mode='ab')", "open('x', encoding='ascii')"),
    (files_written_elsewhere, "actors/machine.py", "p.open('r+')", "p.read_text('ascii')"),
    (files_written_elsewhere, "actors/machine.py", "path.write_text('x')", "path.read_text()"),
    (files_written_elsewhere, "actors/machine.py", "import os\nos.replace(a, b)", "import os\nos.write(fd, b'')"),
    (
        files_written_elsewhere,
        "actors/cluster.py",
        "import shutil\nshutil.copy(a, b)",
        "import shutil\nshutil.rmtree(a)",
    ),
    (files_written_elsewhere, "actors/process.py", "d.mkdir()", "d.is_dir()"),
    (private_names_in_examples, "examples/counter.py", "from actors.peer import Peer", "from actors import Replicated"),
    (private_names_in_examples, "examples/counter.py", "from actors import _x", "from actors.errors import NoQuorum"),
    (
        private_names_in_examples,
        "examples/counter.py",
        "import raft_core.state",
        "from actors.machines.counter import Counter",
    ),
    (
        private_names_in_examples,
        "examples/counter.py",
        "from raft_core import replication",
        "from raft_core import step",
    ),
]


@pytest.mark.parametrize(("rule", "path", "violation", "harmless"), PLANTED)
def test_a_planted_violation_is_found_and_its_harmless_neighbour_is_not(
    rule: Rule, path: str, violation: str, harmless: str
) -> None:
    found = list(rule(parse(path, violation)))
    assert found, "not found"
    assert all(text.startswith(f"{path}:") for text in found)
    assert list(rule(parse(path, harmless))) == []


def test_every_rule_has_a_planted_violation() -> None:
    assert {rule for rule, *_ in PLANTED} == set(RULES)
