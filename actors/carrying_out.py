"""Carrying one operation out on a machine: from arguments in bytes to a reply in bytes, whatever happens in between.

**Code commands.**  A machine with exactly one field *is* that field to a code command: the function gets the field's
value, and what it returns, unless None, becomes the new value and is the reply (`lambda value: value + 1`); None means
it only looked, or changed the value in place.  A machine with several fields is passed itself; the function assigns to
fields, and what it returns is only the reply.  Both the permission and the runtime tag are settings of the whole
cluster, never of one replica: replicas that refuse differently drift apart.

Rule of the file: it never raises, but for MemoryError and KeyboardInterrupt (see `machine`), and what it answers does
not depend on the process: no addresses of objects.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final, Protocol, get_type_hints

import msgspec

from actors.codec import DOCS, GARBAGE, code_tag
from actors.errors import BlockingCallInsideApply, WrongVersion
from actors.replies import RefusalKind, encode_refusal, encode_result
from actors.signatures import Signature

_ADDRESS: Final = re.compile(r" at 0x[0-9a-fA-F]+")


class Target(Protocol):
    """What must be known of a machine to run code on it."""

    _replicated_fields: ClassVar[tuple[str, ...]]
    _parts: ClassVar[Mapping[str, type[Any]]]


CarryOut = Callable[[Target, bytes], bytes]


def carrier(signature: Signature[Any]) -> CarryOut:
    """From arguments to reply, for one operation; a closure, because attribute look-ups would show in every command."""
    decode, call = signature.decode, signature.call

    def carry_out(machine: Target, arguments: bytes) -> bytes:
        try:
            decoded = decode(arguments)
        except GARBAGE as error:
            return encode_refusal(RefusalKind.WRONG_ARGUMENTS, str(error))
        try:
            return encode_result(call(machine, decoded))
        except MemoryError:
            raise
        except (Exception, SystemExit) as error:
            return failure(error)

    return carry_out


def failure(error: BaseException) -> bytes:
    """Word an exception as a reply, the same on every replica: without the addresses of objects."""
    if isinstance(error, BlockingCallInsideApply):
        return encode_refusal(RefusalKind.BLOCKING_CALL, error.what)
    try:
        message = str(error)
    except Exception:  # a broken __str__ of the user's exception
        message = ""
    return encode_refusal(RefusalKind.COMMAND_FAILED, _ADDRESS.sub("", message), type(error).__qualname__)


def agreed_code_tag(expected: str | None) -> str:
    if expected is not None and expected != code_tag():
        raise WrongVersion(
            f"this replica runs {code_tag()}, but the cluster's code commands are for {expected}",
            why="it could not carry out what the other replicas do, and would drift apart from them",
            fix=f"start it with {expected}",
            docs=DOCS,
        )
    return expected or code_tag()


def run_code(machine: Target, function: Callable[[Any], object]) -> bytes:
    try:
        if len(machine._replicated_fields) != 1 or machine._parts:
            return encode_result(function(machine))
        name = machine._replicated_fields[0]
        result = function(getattr(machine, name))
        if result is not None:
            # The field keeps its type: `len` on a dict must not make the dict a number.
            result = msgspec.convert(result, get_type_hints(type(machine)).get(name, Any))
        reply = encode_result(result)
        if result is not None:
            setattr(machine, name, result)
        return reply
    except MemoryError:
        raise
    except (Exception, SystemExit) as error:
        return failure(error)
