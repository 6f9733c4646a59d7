"""What the state machine answers: a result, or a refusal that every replica words alike.

A reply is `[0, result]` or `[1, kind, exception, message]` in msgpack.  The result is encoded as the method returned
it, and decoded at the client by the return annotation when somebody asks for it: whoever passes the reply on need not
look in.

Rule of the file: equal commands on equal states give equal bytes.  Replies are kept in the replicated sessions (thesis
6.3), so two replicas that word them differently have drifted apart; hence sorted sets and keys, and no memory
addresses.

Rejected: exceptions as pickles (a peer could run code in the client); a struct around the result (encoding twice).
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Final, NamedTuple, TypeVar

from msgspec import Struct, msgpack

from actors.codec import DOCS, GARBAGE, bad_frame
from actors.errors import (
    ActorumError,
    BadFrame,
    BlockingCallInsideApply,
    CommandFailed,
    NonDeterministicCommand,
    OutcomeUnknown,
    SessionExpired,
    UnknownCommand,
    WrongArguments,
    WrongVersion,
)

R = TypeVar("R")


class RefusalKind(IntEnum):
    """Why the state machine gave no result.  The numbers are on disk and on the wire: never reuse one."""

    UNREADABLE = 1
    UNKNOWN_COMMAND = 2
    WRONG_ARGUMENTS = 3
    COMMAND_FAILED = 4
    SESSION_EXPIRED = 5
    ALREADY_ANSWERED = 6
    CODE_REFUSED = 7
    NON_DETERMINISTIC = 8
    BLOCKING_CALL = 9


class Refused(Struct, array_like=True, frozen=True, gc=False, forbid_unknown_fields=True, tag=1):
    """The reply that is an error.  `exception` names that of the user's method, or is empty."""

    kind: RefusalKind
    exception: str
    message: str


SUCCESS: Final = b"\x92\x00"
"""How a reply with a result begins: an array of two, tag 0.  The encoded result follows."""

_encode: Final = msgpack.Encoder().encode
_encode_ordered: Final = msgpack.Encoder(order="deterministic").encode
_decode_refused: Final = msgpack.Decoder(Refused).decode


def encode_result(result: object) -> bytes:
    """Make the reply that carries a result; sets and string keys are sorted, so that replicas make equal bytes.

    Raises TypeError (and its like) for what msgspec cannot encode.
    """
    try:
        return SUCCESS + _encode_ordered(result)
    except TypeError:
        # msgspec sorts neither keys that are not strings nor sets of mixed types; dicts keep their own order then.
        return SUCCESS + _encode(result)


def encode_refusal(kind: RefusalKind, message: str, exception: str = "") -> bytes:
    """Make the reply that carries an error."""
    return _encode(Refused(kind, exception, message.encode("utf-8", "backslashreplace").decode()))


def decode_refusal(reply: bytes) -> Refused | None:
    """The error in a reply, or None if it carries a result.  Raises `BadFrame` if it is no reply."""
    if reply.startswith(SUCCESS):
        return None
    try:
        return _decode_refused(reply)
    except GARBAGE as error:
        raise bad_frame("reply", reply, error) from None


def decode_reply(reply: bytes, label: str, decode_result: Callable[[bytes], R]) -> R:
    """The result in a reply to `label` (for example "counter.incr"), or the typed error it stands for, raised."""
    if not reply.startswith(SUCCESS):
        refused = decode_refusal(reply)
        assert refused is not None, "what is no success is a refusal"
        raise refusal_error(refused, label)
    try:
        return decode_result(reply[len(SUCCESS) :])
    except GARBAGE as error:
        raise CommandFailed(
            f"{label} was carried out, but its result is not of the declared type: {error}",
            why="the annotation of the return value and what the method returns differ",
            fix="correct the annotation or the method",
            docs=DOCS,
        ) from None


class _Explanation(NamedTuple):
    error: type[ActorumError]
    why: str
    fix: str


_EXPLANATIONS: Final[dict[RefusalKind, _Explanation]] = {
    RefusalKind.UNREADABLE: _Explanation(
        BadFrame, "the client runs another version of this program", "install the same version of actorum everywhere"
    ),
    RefusalKind.UNKNOWN_COMMAND: _Explanation(
        UnknownCommand, "the machine has no such command or query", "use one of the names above"
    ),
    RefusalKind.WRONG_ARGUMENTS: _Explanation(
        WrongArguments, "the arguments do not fit the annotations of the method", "pass values of the annotated types"
    ),
    RefusalKind.COMMAND_FAILED: _Explanation(
        CommandFailed,
        "the method raised it, on every replica alike; what it had changed before stays changed",
        "check before you change: raise first, assign afterwards",
    ),
    RefusalKind.SESSION_EXPIRED: _Explanation(
        SessionExpired,
        "the cluster forgot this client because many others were active since",
        "open a new client; whether a command that was under way took effect has to be queried",
    ),
    RefusalKind.ALREADY_ANSWERED: _Explanation(
        OutcomeUnknown,
        "the command was applied once, its answer was acknowledged, and so it was dropped",
        "query the machine to learn the outcome; do not submit the command again",
    ),
    RefusalKind.CODE_REFUSED: _Explanation(
        WrongVersion,
        "a code command runs only in a trusted cluster of the very same Python and dill",
        "use a data command: a method with @command",
    ),
    RefusalKind.NON_DETERMINISTIC: _Explanation(
        NonDeterministicCommand,
        "applied twice to equal states it gave two different outcomes, so replicas would drift apart",
        "pass time, randomness and ids to the command as arguments",
    ),
    RefusalKind.BLOCKING_CALL: _Explanation(
        BlockingCallInsideApply,
        "the cluster cannot answer before this command is applied: it would wait for itself",
        "make the call outside and pass its result as an argument",
    ),
}


def refusal_error(refused: Refused, label: str) -> ActorumError:
    """The typed error a client raises for a refusal."""
    explanation = _EXPLANATIONS[refused.kind]
    reason = ": ".join(part for part in (refused.exception, refused.message) if part)
    return explanation.error(f"{label}: {reason}", why=explanation.why, fix=explanation.fix, docs=DOCS)
