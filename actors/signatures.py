"""From a method's signature to bytes and back: the arguments and results of data commands.

For every `@command` and `@query` a msgspec struct is made from the parameters, in order, with their annotations and
defaults.  The client fills and encodes it and reads it back at once with the strict decoder, so that a bad argument
fails there, and in exactly the way it would fail on the replicas; these decode it strictly again, since the log may
hold what another version wrote.  A parameter with a default may be added at the end later: older log entries, which do
not have it, still decode.

A parameter annotated `Context` is no argument: it is not sent, and whoever carries the operation out fills it in.

Rules of the file: types are looked up when first needed (annotations may be names of classes that come later), compiled
once, and kept.  A parameter without an annotation takes anything msgspec can carry.

Measured (CPython 3.11): encoding one small argument 0.21 us with its check, decoding 0.05 us.
Rejected: `inspect.Signature.bind` for every call (1.1 us); msgspec's `convert` as the check (it sees the objects, not
what becomes of them on the wire).
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from copy import copy, deepcopy
from functools import cached_property
from inspect import Parameter
from operator import attrgetter
from typing import Any, Final, Generic, Literal, NoReturn, ParamSpec, Self, TypeAlias, TypeVar, get_type_hints

from msgspec import MsgspecError, Struct, ValidationError, defstruct, field, msgpack
from msgspec.structs import astuple

from actors.codec import DOCS
from actors.context import Context, current
from actors.errors import WrongArguments
from actors.replies import decode_reply

P = ParamSpec("P")
R = TypeVar("R")
Kind: TypeAlias = Literal["command", "query"]

_encode: Final = msgpack.Encoder().encode
_IMMUTABLE: Final = (int, float, str, bytes, bool, type(None))
_ENCODING_ERRORS: Final = (MsgspecError, TypeError, ValueError, OverflowError, RecursionError)
_POSITION: Final = re.compile(r"(?P<problem>.*) - at `\$\[(?P<position>\d+)\](?P<inside>.*)`", re.DOTALL)


class Operation(Generic[P, R]):
    """A method of a machine that the whole cluster carries out: its name, its kind, its types."""

    kind: Kind

    def __init__(self, function: Callable[..., R]) -> None:
        self.function = function
        self.name = function.__name__
        self.label = function.__qualname__
        self.__doc__ = function.__doc__
        self._definition = function
        parameters = tuple(inspect.signature(function).parameters.values())[1:]
        self.parameters = tuple(parameter for parameter in parameters if not _is_context(parameter))
        """The arguments; a `Context` is none."""
        self.context = next((parameter.name for parameter in parameters if _is_context(parameter)), None)
        """Name of the parameter that takes the `Context`, if one does."""
        self._refuse_unusable()

    def _refuse_unusable(self) -> None:
        if inspect.iscoroutinefunction(self.function) or inspect.isgeneratorfunction(self.function):
            raise TypeError(f"{self.label} is async or a generator: write a plain def, done in one step")
        for parameter in self.parameters:
            if parameter.kind in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD):
                raise TypeError(f"{self.label}: parameter *{parameter.name} cannot be replicated, name each parameter")

    def run(self, machine: object, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Carry it out on `machine`, here and now."""
        if self.context is not None:
            kwargs.setdefault(self.context, current())
        return self.function(machine, *args, **kwargs)

    def of_part(self, part: str, whole: str) -> Self:
        """The same operation for a machine of class `whole` that has the machine of this one as its `part`."""
        outer = copy(self)
        vars(outer).pop("signature", None)
        outer.name, outer.label = f"{part}.{self.name}", f"{whole}.{part}.{self.name}"
        function = self.function
        outer.function = lambda machine, *args, **kwargs: function(vars(machine)[part], *args, **kwargs)
        return outer

    @cached_property
    def signature(self) -> Signature[R]:
        """The compiled types, made on first use.  Two threads may both make it; the results are alike."""
        return Signature(self, self._definition)


class Signature(Generic[R]):
    """The wire form of one operation's arguments and result."""

    def __init__(self, operation: Operation[..., R], definition: Callable[..., R]) -> None:
        """`definition` is the method as it was written, with its annotations."""
        label, parameters, context = operation.label, operation.parameters, operation.context
        hints = _hints(label, definition)
        if (context and hints[context] is not Context) or any(hints.get(p.name) is Context for p in parameters):
            raise TypeError(f"{label}: it is {Context.__module__}.Context that is handed in, under that name")
        self.label = label
        self.parameters = parameters
        self._keywords = tuple(p.name for p in parameters if p.kind is Parameter.KEYWORD_ONLY)
        self._types = [hints.get(p.name, Any) for p in parameters]
        self._struct = _arguments_struct(parameters, self._types, bool(self._keywords))
        self.decode: Callable[[bytes], Struct] = msgpack.Decoder(self._struct).decode
        self._decode_result: Callable[[bytes], R] = msgpack.Decoder(hints.get("return", Any)).decode
        self.call = self._caller(_in_context(operation.function, context) if context else operation.function)

    def encode(self, arguments: tuple[object, ...], keywords: Mapping[str, object]) -> bytes:
        """Encode the arguments of one call.  Raises `WrongArguments`, naming the parameter."""
        try:
            filled = self._struct(*arguments, **keywords) if not self._keywords else self._bind(arguments, keywords)
            encoded = _encode(filled)
            self.decode(encoded)
        except _ENCODING_ERRORS as error:
            self._explain(error, arguments, keywords)
        return encoded

    def decode_reply(self, reply: bytes) -> R:
        """The result in a reply of the state machine, or the error it stands for, raised."""
        return decode_reply(reply, self.label, self._decode_result)

    def _caller(self, function: Callable[..., R]) -> Callable[[object, Struct], R]:
        """How to call the method with decoded arguments: chosen once, because every applied command passes here."""
        if not self.parameters:
            return lambda machine, arguments: function(machine)
        if len(self.parameters) == 1 and not self._keywords:
            only = attrgetter(self.parameters[0].name)
            return lambda machine, arguments: function(machine, only(arguments))
        if not self._keywords:
            return lambda machine, arguments: function(machine, *astuple(arguments))
        positional = len(self.parameters) - len(self._keywords)

        def call(machine: object, arguments: Struct) -> R:
            values = astuple(arguments)
            keywords = dict(zip(self._keywords, values[positional:], strict=True))
            return function(machine, *values[:positional], **keywords)

        return call

    def _bind(self, arguments: tuple[object, ...], keywords: Mapping[str, object]) -> Struct:
        return self._struct(**inspect.Signature(self.parameters).bind(*arguments, **keywords).arguments)

    def _explain(self, error: Exception, arguments: tuple[object, ...], keywords: Mapping[str, object]) -> NoReturn:
        problem = self._arity_problem(arguments, keywords) or self._type_problem(error, arguments, keywords)
        text = ", ".join(map(str, self.parameters))
        raise WrongArguments(
            f"{self.label}: {problem}",
            why="arguments are checked against the annotations before anything is sent",
            fix=f"call {self.label}({text})",
            docs=DOCS,
        ) from None

    def _arity_problem(self, arguments: tuple[object, ...], keywords: Mapping[str, object]) -> str:
        try:
            inspect.Signature(self.parameters).bind(*arguments, **keywords)
        except TypeError as error:
            return str(error)
        return ""

    def _type_problem(self, error: Exception, arguments: tuple[object, ...], keywords: Mapping[str, object]) -> str:
        bound = inspect.Signature(self.parameters).bind(*arguments, **keywords).arguments
        found = _POSITION.match(str(error)) if isinstance(error, ValidationError) else None
        if found is None:
            return self._unencodable(bound) or str(error)
        parameter = self.parameters[int(found["position"])]
        where = f" (at {found['inside'].lstrip('.')})" if found["inside"] else ""
        expected = inspect.formatannotation(self._types[int(found["position"])])
        return (
            f"parameter {parameter.name!r}{where} must be {expected}, "
            f"not {_shown(bound.get(parameter.name))}: {found['problem']}"
        )

    def _unencodable(self, bound: Mapping[str, object]) -> str:
        for parameter, expected in zip(self.parameters, self._types, strict=True):
            try:
                _encode(bound.get(parameter.name))
            except _ENCODING_ERRORS as error:
                wanted, got = inspect.formatannotation(expected), _shown(bound.get(parameter.name))
                return f"parameter {parameter.name!r} must be {wanted}, not {got}: {error}"
        return ""


def _hints(label: str, function: Callable[..., object]) -> dict[str, Any]:
    try:
        return get_type_hints(function, include_extras=True)
    except NameError as error:
        raise TypeError(f"an annotation of {label} is unknown: {error}; define its type at module level") from None


def _is_context(parameter: Parameter) -> bool:
    """By its default: the annotation may be text, of a name that is unknown as yet.  `Signature` looks at it later."""
    annotation, is_context = parameter.annotation, isinstance(parameter.default, Context)
    named = annotation is Context or (isinstance(annotation, str) and annotation.rpartition(".")[2] == "Context")
    if (named or is_context) and not (is_context and parameter.kind is Parameter.KEYWORD_ONLY):
        raise TypeError(f"a Context is declared in the end, as `*, {parameter.name}: Context = HERE`")
    return is_context


def _in_context(function: Callable[..., R], name: str) -> Callable[..., R]:
    return lambda machine, *arguments, **keywords: function(machine, *arguments, **keywords, **{name: current()})


def _arguments_struct(parameters: tuple[Parameter, ...], types: list[Any], keyword_only: bool) -> type[Struct]:
    fields = [
        (p.name, kind) if p.default is Parameter.empty else (p.name, kind, _default(p.default))
        for p, kind in zip(parameters, types, strict=True)
    ]
    return defstruct("Arguments", fields, array_like=True, forbid_unknown_fields=True, kw_only=keyword_only)


def _default(value: Any) -> Any:
    return value if isinstance(value, _IMMUTABLE) else field(default_factory=lambda: deepcopy(value))


def _shown(value: object) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 40 else text[:37] + '...'}"
