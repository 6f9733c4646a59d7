"""The error contract: one text for terminal and program, one class per code, and errors that cross processes."""

from __future__ import annotations

import json
import re

import pytest

import actors.errors
from actors.errors import ActorumError, ExitCode, NoQuorum, OutcomeUnknown, error_from_json

CLASSES = [
    value
    for value in vars(actors.errors).values()
    if isinstance(value, type) and issubclass(value, ActorumError) and value is not ActorumError
]


def a_quorum_error() -> NoQuorum:
    return NoQuorum(
        "2 of 3 peers are down: n2 (since 4.1 s), n3 (since 2.0 s)",
        why="a majority must store a command before it counts",
        fix="actorum restart n2",
        docs="docs/reference/errors.md",
    )


def test_the_text_has_the_code_and_what_happened_first_then_why_fix_and_docs() -> None:
    assert str(a_quorum_error()) == (
        "error[NO-QUORUM]: 2 of 3 peers are down: n2 (since 4.1 s), n3 (since 2.0 s)\n"
        "  why: a majority must store a command before it counts\n"
        "  fix: actorum restart n2\n"
        "  docs: docs/reference/errors.md"
    )


def test_lines_that_would_be_empty_are_left_out() -> None:
    assert str(NoQuorum("n2 is down")) == "error[NO-QUORUM]: n2 is down"
    assert str(NoQuorum("n2 is down", fix="restart n2")) == "error[NO-QUORUM]: n2 is down\n  fix: restart n2"


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_error_comes_back_from_json_as_its_own_class_with_the_same_text(kind: type[ActorumError]) -> None:
    error = kind("what", why="why", fix="fix", docs="docs")
    again = error_from_json(json.loads(json.dumps(error.as_json())))
    assert type(again) is kind
    assert str(again) == str(error)


def test_an_unknown_code_keeps_its_text_and_names_the_code() -> None:
    error = error_from_json({"code": "FROM-THE-FUTURE", "what": "the flux is low", "fix": "wait"})
    assert type(error) is ActorumError
    assert str(error) == "error[ERROR]: the flux is low [FROM-THE-FUTURE]\n  fix: wait"


def test_an_error_with_missing_parts_is_still_an_error() -> None:
    assert str(error_from_json({})) == "error[ERROR]: "
    assert type(error_from_json({"code": "OUTCOME-UNKNOWN"})) is OutcomeUnknown


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_class_has_a_code_of_its_own_in_upper_kebab_that_spells_its_name(kind: type[ActorumError]) -> None:
    assert "code" in vars(kind)
    assert kind.code == re.sub(r"(?<=.)(?=[A-Z])", "-", kind.__name__).upper()


def test_two_classes_cannot_claim_one_code() -> None:
    with pytest.raises(TypeError, match="claims the code NO-QUORUM of NoQuorum"):
        type("Impostor", (ActorumError,), {"code": "NO-QUORUM"})
    assert type(error_from_json(a_quorum_error().as_json())) is NoQuorum


def test_a_subclass_without_a_code_speaks_with_its_parents() -> None:
    kind = type("NoQuorumAtStart", (NoQuorum,), {})
    assert kind("n2 is down").as_json()["code"] == "NO-QUORUM"
    assert type(error_from_json(kind("n2 is down").as_json())) is NoQuorum


MEMBERS_NOT_CHANGED = {"QUORUM-AT-RISK", "CHANGE-UNDER-WAY", "NOT-CAUGHT-UP", "TRANSFER-FAILED"}


@pytest.mark.parametrize(
    ("exit_code", "codes"),
    [
        (3, {"NO-QUORUM", "CALL-TIMEOUT", "OVERLOADED", "CLUSTER-NOT-RUNNING", *MEMBERS_NOT_CHANGED}),
        (4, {"COMMAND-FAILED", "SNAPSHOT-FAILED", "MEMBERS-CHANGED"}),
        (5, {"OUTCOME-UNKNOWN", "SESSION-EXPIRED"}),
        (6, {"SAFETY-VIOLATION", "NON-DETERMINISTIC-COMMAND"}),
        (7, {"AUTHENTICATION-FAILED"}),
        (1, {"BAD-FRAME", "PEER-FAILED"}),
    ],
)
def test_scripts_can_tell_what_to_do_from_the_exit_code(exit_code: int, codes: set[str]) -> None:
    assert {kind.code for kind in CLASSES if kind.exit_code == exit_code} == codes


def test_whatever_is_left_is_a_mistake_of_use() -> None:
    assert {kind.exit_code for kind in CLASSES} == set(ExitCode) - {ExitCode.OK}


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_class_says_what_it_means(kind: type[ActorumError]) -> None:
    assert "__doc__" in vars(kind)
    assert len((kind.__doc__ or "").split()) >= 8
