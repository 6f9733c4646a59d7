"""A machine's commands and queries as JSON: arguments in, results out, and what both look like.

The arguments are one JSON object, by the names of the parameters.  They are read by a strict decoder made from the
annotations, and then encoded as `Signature` would for a caller in Python; so the log holds the same bytes, and what is
ill-typed is refused here, before anything is sent.  What JSON lacks is written as msgspec writes it: bytes as base64,
dates as RFC 3339.

Rejected: `convert` on plain JSON values (it would take a text for bytes, and see floats where an int was too large).
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from inspect import Parameter
from typing import Any, Final, TypeAlias, get_type_hints

import msgspec
from msgspec import Struct, defstruct, field

from actors.codec import GARBAGE
from actors.errors import CommandFailed, UnknownCommand, WrongArguments
from actors.replicated import Replicated
from actors.signatures import Kind, Operation

JSON: TypeAlias = dict[str, Any]

REF: Final = "#/components/schemas/{name}"
_UNSAYABLE: Final = (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError)


class JsonOperation:
    """One command or query."""

    def __init__(self, operation: Operation[..., Any]) -> None:
        hints = get_type_hints(operation.function, include_extras=True)
        self.name = operation.name
        self.kind = operation.kind
        self.documentation = inspect.getdoc(operation) or ""
        self.signature = operation.signature
        self._keyword_only = {p.name for p in operation.parameters if p.kind is Parameter.KEYWORD_ONLY}
        self.arguments_type = _arguments_type(operation, hints)
        self.result_type = hints.get("return", Any)
        self._decode = msgspec.json.Decoder(self.arguments_type).decode

    def read_arguments(self, body: bytes) -> bytes:
        """The arguments as a command carries them.  Raises `WrongArguments`, whatever `body` is."""
        try:
            filled = self._decode(body or b"{}")
        except GARBAGE as error:
            raise WrongArguments(
                f"{self.name}: the body is not what it takes: {error}",
                why="arguments are one JSON object by the names of the parameters, and are checked against their types",
                fix=f"GET /openapi.json, and look for {self.name}",
            ) from None
        values = {name: getattr(filled, name) for name in filled.__struct_fields__}
        keywords = {name: values.pop(name) for name in self._keyword_only}
        return self.signature.encode(tuple(values.values()), keywords)

    def write_result(self, result: object) -> bytes:
        """The body of an answer.  Raises `CommandFailed` if JSON cannot say it."""
        try:
            return msgspec.json.encode({"result": result})
        except _UNSAYABLE as error:
            raise CommandFailed(
                f"{self.name} was carried out, but its result cannot be written as JSON: {error}",
                why="JSON has texts as keys, and no types of a program's own",
                fix="let the method return something simpler",
            ) from None


class Operations:
    """All of one machine's."""

    def __init__(self, machine: type[Replicated]) -> None:
        self.title = f"{machine._machine_name}@{machine.version}"
        self.all = {name: JsonOperation(operation) for name, operation in machine._operations.items()}

    def find(self, kind: Kind, name: str) -> JsonOperation:
        """Raises `UnknownCommand`, naming those that are there."""
        found = self.all.get(name)
        if found is None or found.kind != kind:
            names = ", ".join(sorted(one.name for one in self.all.values() if one.kind == kind)) or "none"
            raise UnknownCommand(f"{self.title} has no {kind} {name[:80]!r}; it has: {names}", fix="GET /openapi.json")
        return found

    def schemas(self) -> tuple[dict[str, tuple[JSON, JSON]], JSON]:
        """JSON schemas of arguments and result by operation, and the components that they refer to."""
        kinds = [kind for one in self.all.values() for kind in (one.arguments_type, one.result_type)]
        schemas, components = _schemas(kinds)
        return dict(zip(self.all, zip(schemas[::2], schemas[1::2], strict=True), strict=True)), components


def _schemas(kinds: list[Any]) -> tuple[list[JSON], JSON]:
    """A type that msgspec can carry and no JSON schema describes is described as anything at all."""
    describable = [kind if _is_describable(kind) else Any for kind in kinds]
    schemas, components = msgspec.json.schema_components(describable, ref_template=REF)
    return list(schemas), components


def _is_describable(kind: Any) -> bool:
    try:
        msgspec.json.schema(kind)
    except TypeError:
        return False
    return True


def _arguments_type(operation: Operation[..., Any], hints: Mapping[str, Any]) -> type[Struct]:
    fields = []
    for parameter in operation.parameters:
        kind = hints.get(parameter.name, Any)
        required = parameter.default is Parameter.empty
        fields.append((parameter.name, kind) if required else (parameter.name, kind, _default(parameter.default)))
    return defstruct(f"{operation.name}_arguments", fields, kw_only=True, forbid_unknown_fields=True)


def _default(value: Any) -> Any:
    """msgspec takes immutable defaults and empty containers as they are; others it wants made each time."""
    return value if isinstance(value, (int, float, str, bytes, type(None))) else field(default_factory=lambda: value)
