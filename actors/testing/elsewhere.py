"""The log once more, in other processes: what differs only between processes shows there.

The commonest mistake in a replicated machine cannot be seen from inside one process: the order in which a set of words
is iterated, `hash`, `id`, what a module has computed at import.  Replicas are processes, so there it does differ.  New
interpreters, each with a hash seed of its own, are given the log entry by entry, and must agree on states and answers.
The hash seeds are always the same ones: a failure can be had again.  There are three, as two words stand in the same
order in every second process.

Run as a program this module is such a process.  It finds the class by the file of its module, as a test file cannot
always be imported by name; a class made inside a function cannot be found, and is not judged here.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from functools import reduce
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType
from typing import IO

from msgspec import Struct, msgpack

from actors.canonical import digest
from actors.errors import WrongArguments
from actors.machine import MachineHost
from actors.replicated import Replicated
from actors.replies import decode_refusal
from raft_core import Entry

HASH_SEEDS = ("1", "2", "5")


class Place(Struct, frozen=True):
    """Where a class is found."""

    path: list[str]
    """`sys.path`."""
    module: str
    file: str
    name: str


def place_of(kind: type[Replicated]) -> Place | None:
    """Where to find it in another process; None if it cannot be found."""
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    if file is None or "<locals>" in kind.__qualname__:
        return None
    return Place(list(sys.path), kind.__module__, os.path.abspath(file), kind.__qualname__)


class Elsewhere:
    """Interpreters that know the machine; started when they are needed, ended by `close`."""

    def __init__(self, kind: type[Replicated]) -> None:
        self._kind = kind
        self._processes: list[subprocess.Popen[bytes]] = []

    def first_difference(self, log: Sequence[Entry]) -> int | None:
        """Index of the first entry on which they do not agree; None if there is none."""
        place = place_of(self._kind)
        if place is None:
            return None
        if not self._processes:
            self._processes = [_started(place, seed) for seed in HASH_SEEDS]
        for process in self._processes:
            _put(process.stdin, msgpack.encode(list(log)))
        answers = zip(*(self._answer(process) for process in self._processes), strict=True)
        return next((index for index, answer in enumerate(answers, 1) if len(set(answer)) > 1), None)

    def _answer(self, process: subprocess.Popen[bytes]) -> list[str]:
        answer = _take(process.stdout)
        if answer is None:
            raise WrongArguments(
                f"another process could not load {self._kind.__qualname__} from {place_of(self._kind)}",
                why="check() carries the log out in other processes, too, as replicas are processes",
                fix="make the file importable by itself, or use check(processes=False)",
            )
        return msgpack.decode(answer, type=list[str])

    def close(self) -> None:
        """End the processes."""
        with ExitStack() as all_of_them:
            for process in self._processes:
                all_of_them.enter_context(process)  # waits for its end and closes the pipes
                process.kill()
        self._processes = []


def _started(place: Place, hash_seed: str) -> subprocess.Popen[bytes]:
    environment = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(filter(None, place.path))}
    process = subprocess.Popen(
        [sys.executable, "-m", "actors.testing.elsewhere"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    )
    _put(process.stdin, msgpack.encode(place))
    return process


def _put(stream: IO[bytes] | None, frame: bytes) -> None:
    assert stream is not None
    try:
        stream.write(len(frame).to_bytes(8, "big") + frame)
        stream.flush()
    except BrokenPipeError:
        pass  # that it is gone shows when its answer is wanted


def _take(stream: IO[bytes] | None) -> bytes | None:
    """The next frame; None at the end."""
    assert stream is not None
    head = stream.read(8)
    return stream.read(int.from_bytes(head, "big")) if len(head) == 8 else None


# --- the other side ---------------------------------------------------------------------------------------------------


def _load(place: Place) -> type[Replicated]:
    module = _imported(place) or _read(place)
    kind: type[Replicated] = reduce(getattr, place.name.split("."), module)  # type: ignore[assignment]
    return kind


def _imported(place: Place) -> ModuleType | None:
    """By its name, if that leads to the file."""
    try:
        module = import_module(place.module) if place.module != "__main__" else None
    except ImportError:
        return None
    file = getattr(module, "__file__", None)
    return module if file is not None and os.path.abspath(file) == place.file else None


def _read(place: Place) -> ModuleType:
    spec = spec_from_file_location(place.module.replace("__main__", "__machine__"), place.file)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def outcomes(kind: type[Replicated], log: Iterable[Entry]) -> list[str]:
    """For each entry what came of it: a digest of answer and state."""
    host = MachineHost(kind())
    found = []
    for index, entry in enumerate(log, 1):
        (reply,) = host.apply_batch(index, (entry,))
        refused = decode_refusal(reply) if reply else None
        found.append(digest((reply if refused is None else refused.exception, vars(host.machine))))
    return found


def main() -> None:
    """Answer until nobody asks any more."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the user's module prints must not get between the frames
    first = _take(sys.stdin.buffer)
    kind = _load(msgpack.decode(first or b"", type=Place))
    while (frame := _take(sys.stdin.buffer)) is not None:
        _put(answers, msgpack.encode(outcomes(kind, msgpack.decode(frame, type=list[Entry]))))


if __name__ == "__main__":
    main()
