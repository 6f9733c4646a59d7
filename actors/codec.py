"""Bytes and back: log entries, RPC messages and code commands.  (`replies` has the answers.)

A command becomes bytes once, at the client, and stays opaque on the wire, in the log and in storage; only the state
machine opens it again.  There are two kinds.  A *data command* is a registered name and msgspec-encoded arguments
(`signatures`).  A *code command* is a function, pickled by dill; it runs wherever it lands, so it belongs into a
cluster whose clients are all trusted, and a peer refuses it unless it was told otherwise.

Rules of the file:

1. It is the only importer of dill, and imports it when the first code command appears: others do not pay for it.
2. RPCs and envelopes are never unpickled.  Strict msgspec decoders read them, within a size limit; whatever
   is not exactly right is `BadFrame`, never another exception.
3. A pickle is not touched before its tag (Python minor version, dill version) was compared: loading code objects across
   minor versions crashes the interpreter.

Rejected: JSON (60 % larger, as bytes become base64); pickling RPCs (a peer could run code in another); `msgspec.Raw`
for the arguments (`bytes` measured 28 % cheaper to encode, 14 % to decode, and holds no reference to the frame); dill
without the search for live objects (it happily ships a copy of a lock, which then guards nothing).
"""

from __future__ import annotations

import builtins
import dis
import io
import sys
from collections.abc import Callable, Iterator
from functools import cache, lru_cache
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Annotated, Any, Final, cast

from msgspec import Meta, MsgspecError, Struct, msgpack

from actors.errors import BadFrame, GlobalInLambda, UnpicklableCommand, WrongArguments, WrongVersion
from raft_core.messages import Message

Natural = Annotated[int, Meta(ge=0)]

MAX_COMMAND_BYTES: Final = 1 << 20
"""Largest command a client may submit, in bytes, unless it says otherwise."""
MAX_FRAME_BYTES: Final = 64 << 20
"""Largest RPC message that is looked at, in bytes."""
OPEN_SESSION: Final = "$open"
"""Command that opens a client session; the session's id is the index of its log entry (thesis 6.3)."""
RUN_CODE: Final = "$code"
"""Command whose argument is a pickled function."""

_encode: Final = msgpack.Encoder().encode
DOCS: Final = "docs/reference/errors.md"
# What a strict decoder may raise for bytes from anywhere.  UnicodeDecodeError is a ValueError, as is DecodeError.
GARBAGE: Final = (MsgspecError, ValueError, OverflowError, RecursionError)


# --- log entries ------------------------------------------------------------------------------------------------------


class CommandEnvelope(Struct, array_like=True, frozen=True, gc=False, forbid_unknown_fields=True):
    """The payload of one log entry: which session asks for what, for the how-many-th time (thesis 6.3)."""

    session: Natural
    sequence: Natural
    lowest_pending: Natural
    """Lowest sequence of this session that has no answer yet: answers below it need not be kept."""
    name: str
    arguments: bytes = b""


_decode_envelope: Final = msgpack.Decoder(CommandEnvelope).decode


def encode_command(
    session: int,
    sequence: int,
    lowest_pending: int,
    name: str,
    arguments: bytes,
    *,
    max_bytes: int = MAX_COMMAND_BYTES,
) -> bytes:
    """Make the bytes of a log entry.  Raises `WrongArguments` if they are more than `max_bytes`."""
    command = _encode(CommandEnvelope(session, sequence, lowest_pending, name, arguments))
    if len(command) > max_bytes:
        raise WrongArguments(
            f"command {name} is {len(command)} bytes long, {max_bytes} are allowed",
            why="every replica keeps every command in its log, and one large command delays all behind it",
            fix="split the command, or raise max_command_bytes for the whole cluster",
            docs=DOCS,
        )
    return command


def decode_command(command: bytes) -> CommandEnvelope:
    """Read the bytes of a log entry.  Raises `BadFrame` for anything `encode_command` cannot have made."""
    try:
        envelope = _decode_envelope(command)
    except GARBAGE as error:
        raise bad_frame("command", command, error) from None
    if envelope.lowest_pending > envelope.sequence:
        raise bad_frame("command", command, "it claims to be answered already")
    return envelope


# --- RPC messages -----------------------------------------------------------------------------------------------------

_decode_message: Final = cast(Callable[[bytes], Message], msgpack.Decoder(Message).decode)


def encode_message(message: Message) -> bytes:
    """Make the bytes of one RPC message of Figure 2."""
    return _encode(message)


def message_kind(frame: bytes) -> str:
    """Name of the class of a message that `encode_message` made: its tag, which stands first."""
    return frame[2 : 2 + (frame[1] & 0x1F)].decode()


def decode_message(frame: bytes) -> Message:
    """Read one RPC message.  Raises `BadFrame` for anything else, however it is broken."""
    if len(frame) > MAX_FRAME_BYTES:
        raise bad_frame("message", frame, f"more than {MAX_FRAME_BYTES} bytes")
    try:
        return _decode_message(frame)
    except GARBAGE as error:
        raise bad_frame("message", frame, error) from None


def bad_frame(what: str, frame: bytes, reason: object) -> BadFrame:
    return BadFrame(
        f"{len(frame)} bytes are not a {what}: {reason}",
        why="the other side runs another version of this program, or is not this program at all",
        fix="install the same version of actorum everywhere",
        docs=DOCS,
    )


# --- code commands ----------------------------------------------------------------------------------------------------


class _Code(Struct, array_like=True, frozen=True, gc=False, forbid_unknown_fields=True):
    tag: str
    pickled: bytes


_decode_code: Final = msgpack.Decoder(_Code).decode

# Types (and whole packages) whose instances are tied to this process, written as text so that none gets imported.
_LIVE_TYPES: Final = {
    "_thread": {"lock", "RLock", "_local"},
    "threading": {"Thread", "Event", "Condition", "Semaphore", "Barrier"},
    "_io": {"_IOBase"},
    "_socket": {"socket"},
    "select": {"epoll", "poll"},
    "selectors": {"BaseSelector"},
    "logging": {"Filterer"},
    "queue": {"Queue"},
    "_queue": {"SimpleQueue"},
    "sqlite3": {"Connection", "Cursor"},
    "subprocess": {"Popen"},
    "builtins": {"generator", "coroutine", "async_generator", "frame", "traceback", "memoryview"},
    "actors.calls": {"Call"},
    "actors.replicated": {"Proxy"},
}
_LIVE_PACKAGES: Final = frozenset({"pykka", "multiprocessing", "_multiprocessing", "asyncio", "_asyncio", "concurrent"})
_CONSTANTS: Final = (int, float, complex, str, bytes, type(None), type(...), range)


class _LiveObject(Exception):
    """Thrown out of the pickler; its argument names the type it met."""


@cache
def code_tag() -> str:
    """Which runtime wrote a code command: it can be read by this very one only."""
    import dill  # type: ignore[import-untyped]

    return f"Python {sys.version_info.major}.{sys.version_info.minor}, dill {dill.__version__}"


def encode_code(function: Callable[..., object]) -> bytes:
    """Pickle a function with what it captured.

    Captured values are *copied* as they are now.  Raises `UnpicklableCommand` if one is alive (a lock, a file, a
    thread, ...) or cannot be pickled, `GlobalInLambda` if a global is used that could change or does not exist.
    """
    if not callable(function):
        raise WrongArguments(
            f"a code command must be a function, not {type(function).__name__}",
            why="it is called with the state of the machine",
            fix="cluster.submit(lambda state: state + 1)",
            docs=DOCS,
        )
    _refuse_captured(function, set())
    return _encode(_Code(code_tag(), _pickle(function, "the function")))


def decode_code(payload: bytes, expected_tag: str) -> Callable[[Any], object]:
    """Unpickle a function.  Raises `WrongVersion`, before it unpickles anything, unless the tags are equal."""
    import dill

    try:
        code = _decode_code(payload)
    except GARBAGE as error:
        raise bad_frame("code command", payload, error) from None
    if code.tag != expected_tag:
        raise WrongVersion(
            f"code command was made by {code.tag}; this cluster runs {expected_tag}",
            why="byte code of another version can crash the interpreter",
            fix="run the client with the cluster's Python and dill, or use a data command",
            docs=DOCS,
        )
    return cast(Callable[[Any], object], dill.loads(code.pickled))


@cache
def _pickler() -> Any:
    import dill

    class LiveObjectsRefused(dill.Pickler):  # type: ignore[misc]  # dill is untyped
        def save(self, obj: object, save_persistent_id: bool = True) -> None:
            if _is_live(obj):
                raise _LiveObject(_type_name(type(obj)))
            super().save(obj, save_persistent_id)

    return LiveObjectsRefused


def _pickle(value: object, described: str) -> bytes:
    import dill

    buffer = io.BytesIO()
    try:
        _pickler()(buffer, recurse=True).dump(value)
    except _LiveObject as live:
        raise _unpicklable(described, f"{described} holds a live {live}") from None
    except RecursionError:  # dill, asked to follow globals, follows a closure that calls itself for ever
        raise _unpicklable(described, f"{described} refers to itself, or is nested too deeply") from None
    except (dill.PicklingError, TypeError, ValueError, AttributeError, NotImplementedError) as error:
        raise _unpicklable(described, f"{described} cannot be pickled: {error}") from None
    return buffer.getvalue()


def _unpicklable(described: str, reason: str) -> UnpicklableCommand:
    return UnpicklableCommand(
        f"code command cannot be sent: {reason}",
        why="the function runs on every replica, in other processes, where a copy of such an object means nothing",
        fix=f"take the plain value you need out of it before, and capture that instead of {described}",
        docs=DOCS,
    )


def _is_live(value: object) -> bool:
    return _is_live_type(type(value))  # type: ignore[arg-type]  # every type is hashable


@lru_cache(maxsize=4096)
def _is_live_type(kind: type) -> bool:
    return any(
        base.__qualname__ in _LIVE_TYPES.get(base.__module__, ()) or base.__module__.partition(".")[0] in _LIVE_PACKAGES
        for base in kind.__mro__[:-1]
    )


def _type_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _refuse_captured(function: object, seen: set[int]) -> None:
    """Look at what a function takes along, by name, so that the error can say which variable it is."""
    if isinstance(function, MethodType):
        _pickle(function.__self__, f"the object {function.__qualname__} is bound to")
        function = function.__func__
    if not isinstance(function, FunctionType) or id(function) in seen or _is_importable(function):
        return
    seen.add(id(function))
    for name, value in _captured(function):
        if isinstance(value, FunctionType):
            _refuse_captured(value, seen)
        else:
            _pickle(value, f"{name} ({_type_name(type(value))})")
    for name in _globals_used(function.__code__):
        _refuse_global(function, name, seen)


def _captured(function: FunctionType) -> Iterator[tuple[str, object]]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        if _is_filled(cell):
            yield f"variable {name!r}", cell.cell_contents
    parameters = function.__code__.co_varnames[: function.__code__.co_argcount]
    defaults = function.__defaults__ or ()
    yield from ((f"default of {n!r}", v) for n, v in zip(parameters[::-1], defaults[::-1], strict=False))
    yield from ((f"default of {n!r}", v) for n, v in (function.__kwdefaults__ or {}).items())


def _is_filled(cell: CellType) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:
        return False


def _is_importable(function: FunctionType) -> bool:
    """Would dill write only its name?  (Then its globals stay where they are.)"""
    found: object = sys.modules.get(function.__module__ or "")
    for part in function.__qualname__.split("."):
        found = getattr(found, part, None)
    return function.__module__ != "__main__" and found is function


def _globals_used(code: CodeType) -> Iterator[str]:
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME", "STORE_GLOBAL", "DELETE_GLOBAL"):
            yield f"={instruction.argval}" if instruction.opname.startswith(("STORE", "DELETE")) else instruction.argval
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _globals_used(constant)


def _refuse_global(function: FunctionType, name: str, seen: set[int]) -> None:
    if name.startswith("="):
        raise _global_in_lambda(function, name[1:], "is assigned to")
    if name not in function.__globals__:
        if not hasattr(builtins, name):
            raise _global_in_lambda(function, name, "does not exist")
        return
    value = function.__globals__[name]
    if isinstance(value, FunctionType):
        _refuse_captured(value, seen)
        return
    if isinstance(value, ModuleType) and value.__name__ != "__main__":
        return
    if not _is_live(value) and not _is_constant(value):
        raise _global_in_lambda(function, name, f"is a {type(value).__name__}, which may change")
    _pickle(value, f"global {name!r} ({_type_name(type(value))})")


def _is_constant(value: object) -> bool:
    if isinstance(value, (tuple, frozenset)):
        return all(map(_is_constant, value))
    if isinstance(value, BuiltinFunctionType):  # of a C module; but `append = names.append` has a list
        return isinstance(value.__self__, ModuleType)
    return isinstance(value, (*_CONSTANTS, type))


def _global_in_lambda(function: FunctionType, name: str, problem: str) -> GlobalInLambda:
    return GlobalInLambda(
        f"code command {function.__name__} uses the global {name!r}, which {problem}",
        why="every replica would see a copy from the moment of sending, not the variable you are looking at",
        fix=f"pass it in as a default: lambda state, {name}={name}: ...",
        docs=DOCS,
    )
