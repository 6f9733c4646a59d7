"""The error contract holds in every module: ports and stores define errors of their own beside `actors/errors.py`."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from actors.errors import ActorumError, error_from_json

ROOT = Path(__file__).parents[2]
DOCUMENTED_EXIT_CODES = set(range(1, 8))
"""1 bug, 2 usage, 3 no quorum or time-out, 4 condition false, 5 outcome unknown, 6 safety violation, 7 no access."""


def import_all_that_define_errors() -> None:
    for file in sorted((ROOT / "actors").rglob("*.py")):
        if re.search(r"^class \w+\(\w*Error\):", file.read_text(encoding="utf-8"), flags=re.MULTILINE):
            import_module(".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"))


def subclasses(kind: type[ActorumError]) -> Iterator[type[ActorumError]]:
    for child in kind.__subclasses__():
        if child.__module__.startswith("actors."):  # other tests may define their own
            yield child
            yield from subclasses(child)


import_all_that_define_errors()
KINDS = tuple(sorted(set(subclasses(ActorumError)), key=lambda kind: (kind.__module__, kind.__name__)))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_error_has_a_code_of_capitals_and_hyphens_an_exit_code_and_a_meaning(kind: type[ActorumError]) -> None:
    assert re.fullmatch(r"[A-Z]+(-[A-Z]+)*", kind.code)
    assert kind.exit_code in DOCUMENTED_EXIT_CODES
    assert (vars(kind).get("__doc__") or "").strip()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_error_survives_the_way_through_json(kind: type[ActorumError]) -> None:
    error = kind("n1 is gone", why="it was killed", fix="actorum up", docs="docs/errors.md")
    again = error_from_json(json.loads(json.dumps(error.as_json())))
    assert type(again) is kind
    assert str(again) == str(error)


def test_no_code_has_two_classes() -> None:
    counted = Counter(kind.code for kind in KINDS)
    assert [code for code, times in counted.items() if times > 1] == []


def test_the_errors_of_the_storage_port_are_among_them() -> None:
    assert {"StorageError", "NoQuorum"} <= {kind.__name__ for kind in KINDS}
