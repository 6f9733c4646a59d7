"""`Replicated`, `@command` and `@query`: the user's machine, once as a plain object and once as a face of a cluster.

    class Counter(Replicated):
        value: int = 0

        @command
        def incr(self, by: int = 1) -> int:
            self.value += by
            return self.value

Annotated class attributes are the replicated fields; each instance gets deep copies of the defaults.  The same method
means two things:

- On an instance the user made, `counter.incr(5)` simply runs.  So a machine is tested without a cluster, and inside a
  command `self.incr()` is a method call.  The replicas hold such instances.
- On the one that `Counter.cluster(...)` gives, a *bound* instance, it sends the command and waits;
  `counter.incr.submit(5)` returns a `Call` at once.  A bound instance has no state: reading a field is an error.

A field whose default is a machine makes it a *part*: many machines in one cluster, each with its names to itself.  Its
operations are called `shop.stock.put(...)`, on the wire "stock.put"; a command of the whole may use several parts, and
is one step for all who look.

Rules of the file: a mistake in the class is a TypeError when the class is made, as for dataclasses, not a surprise in a
replica later.  A bound instance is made from a hidden subclass whose fields are descriptors that raise, so that
instances with state pay nothing for the distinction.  Descriptors carry the types: `ParamSpec` for the arguments,
overloads of `__get__` for class and instance.

Rejected: a proxy by `__getattr__` (nothing for a type checker to see); a generated stub class (a second name to learn);
a `__setattr__` on the machine (0.1 us for each assignment).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from copy import deepcopy
from importlib import import_module
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Concatenate,
    Generic,
    Literal,
    NoReturn,
    ParamSpec,
    Self,
    TypeVar,
    cast,
    overload,
)

from actors.bound import BoundCommand, BoundQuery, Handle, Local, Remote
from actors.class_body import fields_of, operations_of, parts_of, within
from actors.codec import DOCS
from actors.context import Context
from actors.errors import ClusterClosed, CommandInMain, ProgramFromStdin, UnknownCommand
from actors.signatures import Operation
from actors.versions import check_replaces

if TYPE_CHECKING:
    from actors.cluster import Cluster
    from actors.spec import RuntimeName
    from raft_core.types import Settings

P = ParamSpec("P")
R = TypeVar("R")
M = TypeVar("M", bound="Replicated")


# --- the decorators ---------------------------------------------------------------------------------------------------


class Command(Operation[P, R]):
    """What `@command` makes of a method."""

    kind = "command"

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...

    @overload
    def __get__(self, instance: object, owner: type) -> BoundCommand[P, R]: ...

    def __get__(self, instance: object | None, owner: type) -> Self | BoundCommand[P, R]:
        return self if instance is None else BoundCommand(self, Local(instance))


class Query(Operation[P, R]):
    """What `@query` makes of a method."""

    kind = "query"

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...

    @overload
    def __get__(self, instance: object, owner: type) -> BoundQuery[P, R]: ...

    def __get__(self, instance: object | None, owner: type) -> Self | BoundQuery[P, R]:
        return self if instance is None else BoundQuery(self, Local(instance))


def command(function: Callable[Concatenate[Any, P], R]) -> Command[P, R]:
    """Make a method a command: it may change the fields, and runs on every replica in the same order.

    It must be deterministic: no clock, no randomness but those of a `Context`, no files, no sets iterated into a list.
    """
    _refuse_twice(function.__name__, sys._getframe(1).f_locals)
    return Command(function)


def query(function: Callable[Concatenate[Any, P], R]) -> Query[P, R]:
    """Make a method a query: it must change nothing, and runs on one replica."""
    _refuse_twice(function.__name__, sys._getframe(1).f_locals)
    return Query(function)


def _refuse_twice(name: str, class_body: Mapping[str, object]) -> None:
    # Python would silently let the second definition win; the body of the class still has the first one.
    if isinstance(class_body.get(name), Operation):
        raise TypeError(f"{name!r} is defined twice in one machine: give one of them another name")


# --- the cluster of a class, or of an instance ------------------------------------------------------------------------


class ClusterStarter(Generic[M]):
    """`Counter.cluster`: call it to start a cluster of `Counter` machines."""

    def __init__(self, machine: type[M]) -> None:
        self._machine = machine

    def __call__(
        self,
        *,
        nodes: int = 3,
        engine: Literal["processes", "threads", "sim"] = "processes",
        runtime: RuntimeName = "actors",
        data: str | Path | None = None,
        storage: Literal["sqlite", "memory"] | None = None,
        seed: int | None = None,
        timeout: float = 10.0,
        settings: Settings | None = None,
        allow_code: bool | None = None,
        check_determinism: bool = False,
        chaos: bool = False,
        record: str | Path | None = None,
    ) -> AbstractContextManager[M]:
        """Start `nodes` replicas; use it in `with`, which gives a bound instance and stops the cluster at the end."""
        from actors.cluster import start_cluster  # not before it is needed: a machine alone needs no cluster

        return start_cluster(
            self._machine,
            nodes=nodes,
            engine=engine,
            runtime=runtime,
            data=data,
            storage=storage,
            seed=seed,
            timeout=timeout,
            settings=settings,
            allow_code=allow_code,
            check_determinism=check_determinism,
            chaos=chaos,
            record=record,
        )


class _ClusterAccess:
    """Class: how to start one.  Bound instance: the running one."""

    @overload
    def __get__(self, instance: None, owner: type[M]) -> ClusterStarter[M]: ...

    @overload
    def __get__(self, instance: Replicated, owner: type[M]) -> Cluster: ...

    def __get__(self, instance: Replicated | None, owner: type[M]) -> ClusterStarter[M] | Cluster:
        if instance is None:
            return ClusterStarter(owner)
        if isinstance(instance, Proxy):
            return cast(Handle, vars(instance)["_handle"]).cluster
        raise ClusterClosed(
            f"this {owner.__name__} is a plain object and belongs to no cluster",
            why="only the instance that a started cluster gives is bound to it",
            fix=f"with {owner.__name__}.cluster(nodes=3) as machine: ...",
            docs=DOCS,
        )


class Replicated:
    """Base of every machine.  See the module for what may stand in its body.

    `version` is shown beside the name ("counter@1"); raise it when a command's meaning or a field changes.
    `replaces` is the class of the version before, if a running cluster is to go over to this one (see `versions`).
    """

    version: ClassVar[int] = 1
    replaces: ClassVar[type[Replicated] | None] = None
    _stateless: ClassVar[bool] = False
    _machine_name: ClassVar[str] = "replicated"
    _replicated_fields: ClassVar[tuple[str, ...]] = ()
    _operations: ClassVar[Mapping[str, Operation[Any, Any]]] = {}
    _parts: ClassVar[Mapping[str, type[Replicated]]] = {}

    cluster: ClassVar[_ClusterAccess] = _ClusterAccess()

    def __init_subclass__(cls, name: str | None = None, **keywords: Any) -> None:
        """`class Account1(Replicated, name="account")`: what the machine is called, if not as the class."""
        super().__init_subclass__(**keywords)
        if not cls._stateless:
            cls._machine_name = (
                name or re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", cls.__name__).lower()
            )
            cls._parts = parts_of(cls, Replicated)
            cls._replicated_fields = fields_of(cls, Replicated)
            cls._operations = operations_of(cls)
            check_replaces(cls)

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        # Here and not in __init__: a subclass that forgets super().__init__() must not share the class's defaults.
        machine = super().__new__(cls)
        for name in (*cls._replicated_fields, *cls._parts):
            if hasattr(cls, name):
                vars(machine)[name] = deepcopy(getattr(cls, name))
        return machine

    def __init__(self) -> None:
        """Takes nothing: every replica starts from the defaults."""

    def on_clock(self, context: Context) -> None:
        """The replicated clock has moved: let go what has expired.  For machines with an operation that takes a
        `Context`; called between commands, on every replica alike."""

    def next_deadline(self) -> int | None:
        """The time on the replicated clock, in milliseconds, when `on_clock` has something to do; None if never.

        The leader sees to it that the clock moves then even if nobody sends a command.  Called after every batch."""
        return None

    @classmethod
    def migrate(cls, state: dict[str, Any], from_version: int) -> dict[str, Any]:
        """The fields that the older `from_version` saved, made into those of this version; plain values by name.

        Override it when a field changes its name, type or meaning.  A field that is new takes its default if it is not
        in what this returns.
        """
        return state

    @classmethod
    def _bound(cls, handle: Handle, operations: Mapping[str, Operation[Any, Any]] | None = None) -> Self:
        """The face of a running cluster: an instance without state whose operations go to `handle`.

        `operations` are those of a part, as the whole names them; else the class's own."""
        known = cls._operations if operations is None else operations
        proxy = object.__new__(_proxy_type(cls))
        remote = Remote(handle)
        vars(proxy)["_handle"] = handle
        for name, operation in known.items():
            kind = BoundCommand if operation.kind == "command" else BoundQuery
            vars(proxy)[name] = kind(operation, remote)
        for name, part in cls._parts.items():
            vars(proxy)[name] = part._bound(handle, within(name, known))
        return cast("Self", proxy)


class Proxy(Replicated):
    """What the hidden subclasses of bound instances have in common."""

    _stateless = True

    def __setattr__(self, name: str, value: object) -> None:
        raise _has_no_state(type(self), name, "set")

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(f"a bound {type(self).__name__} stands for a running cluster and cannot be copied or pickled")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} bound to {vars(self)['_handle']!r}>"


class _RemoteField:
    """A field of a bound instance: it is on the replicas, not here."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, instance: object | None, owner: type) -> NoReturn:
        raise _has_no_state(owner, self._name, "read")

    def __set__(self, instance: object, value: object) -> NoReturn:
        raise _has_no_state(type(instance), self._name, "set")


def _proxy_type(cls: type[Replicated]) -> type[Replicated]:
    fields = {name: _RemoteField(name) for name in cls._replicated_fields}
    return type(cls.__name__, (Proxy, cls), {**fields, "__module__": cls.__module__, "__qualname__": cls.__qualname__})


def _has_no_state(cls: type, name: str, verb: str) -> UnknownCommand:
    operations: Mapping[str, Operation[Any, Any]] = cls._operations  # type: ignore[attr-defined]  # a Proxy
    wanted = "query" if verb == "read" else "command"
    names = ", ".join(f".{o.name}()" for o in operations.values() if o.kind == wanted) or "none yet"
    return UnknownCommand(
        f"{cls.__name__}.{name} cannot be {verb} here: it is a field on the replicas",
        why="a bound instance has no state of its own; each replica has, and they agree only through the log",
        fix=f"use a method with @{wanted} ({names})",
        docs=DOCS,
    )


# --- finding the class again in another process -----------------------------------------------------------------------


def machine_reference(cls: type[Replicated]) -> str:
    """How another process finds the class: "module:Class".

    A class of the program's main module works: multiprocessing imports that module again in the child, and puts it in
    `__main__`'s place.  Raises `ProgramFromStdin` if there is no file to import, `CommandInMain` if the name does not
    lead to the class, because it was made inside a function.
    """
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    if cls.__module__ == "__main__" and (file is None or file.startswith("<")):  # "<stdin>": piped into python
        raise ProgramFromStdin(
            f"the other processes cannot import {cls.__qualname__}: this program was not read from a file",
            why="each replica is a process of its own and imports the machine by module and name",
            fix='save the program as a file, or use engine="threads"',
            docs=DOCS,
        )
    if _find(cls.__module__, cls.__qualname__) is not cls:
        raise _not_importable(cls.__module__, cls.__qualname__)
    return f"{cls.__module__}:{cls.__qualname__}"


def load_machine(reference: str) -> type[Replicated]:
    """The class behind a `machine_reference`.  Raises `CommandInMain` if there is none."""
    module, _, qualname = reference.partition(":")
    try:
        import_module(module)
    except (ImportError, ValueError):
        raise _not_importable(module, qualname) from None
    found = _find(module, qualname)
    if not (isinstance(found, type) and issubclass(found, Replicated)):
        raise _not_importable(module, qualname)
    return found


def _find(module: str, qualname: str) -> object:
    found: object = sys.modules.get(module)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return found


def _not_importable(module: str, qualname: str) -> CommandInMain:
    return CommandInMain(
        f"there is no machine {qualname!r} to import from module {module!r}",
        why="each replica is a process of its own and imports the machine by module and name",
        fix="define the class at the top level of a module, not inside a function or under the __main__ guard",
        docs=DOCS,
    )
