"""`RaftMachine`: a machine on a simulated cluster beside the same machine as a plain object, driven by hypothesis.

    class BankMachine(RaftMachine):
        machine = Bank
        arguments = {"deposit": {"amount": st.integers(1, 100)}}

    TestBank = BankMachine.TestCase

Hypothesis calls the operations, lets servers crash and come back, cuts, heals, lets time pass, and shrinks what fails.
After every step, and once more when all trouble is over:

* *The model agrees.*  The plain object is given every command once, in the order of the log; each answer that a client
  got must be the one that the object gives.
* *Real time is kept.*  A command that was answered before another one was submitted stands before it in the log.  With
  the first rule that is linearizability: the log is the order that the definition asks for.
* *Queries see it all.*  While nothing is under way, a query answers what the object does.

At the end everything that `verdict` says must hold: replicas are equal, nothing is lost, nothing is done twice.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin, get_type_hints

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from msgspec import msgpack

from actors.codec import OPEN_SESSION, CommandEnvelope, decode_command
from actors.replicated import Replicated
from actors.replies import SUCCESS, decode_refusal, encode_result
from actors.signatures import Operation
from actors.testing.chaos import ChaosCluster, chaos_cluster
from actors.testing.failure import watched
from actors.testing.steps import Ask, Crash, Cut, Disturb, Heal, Isolate, Restart, Step, Wait
from actors.testing.table import Watch
from actors.testing.verdict import Violation, described
from raft_core import Entry, EntryKind

PATIENCE = 2.0
"""Virtual seconds to wait for an answer before the next step."""


class RaftMachine(RuleBasedStateMachine):
    """Give `machine`; the rest has defaults."""

    machine: ClassVar[type[Replicated]]
    nodes: ClassVar[int] = 3
    arguments: ClassVar[Mapping[str, Mapping[str, st.SearchStrategy[Any]]]] = {}
    """For an operation, strategies of its parameters; those that are not named follow from the annotations."""

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        if "machine" not in vars(cls):
            return
        troubles = _troubles([f"n{number}" for number in range(1, cls.nodes + 1)])
        for name, (kind, strategies) in troubles.items():
            setattr(cls, name, _troubling(name, kind, strategies))
        for name, operation in cls.machine._operations.items():
            free = f"call_{name}" if name in troubles or hasattr(RaftMachine, name) else name
            setattr(cls, free, _calling(operation, cls.arguments.get(name, {}), free))

    def __init__(self) -> None:
        super().__init__()
        self._at_end = ExitStack()
        self._chaos: ChaosCluster[Replicated] | None = None
        self._model = _Model(self.machine)
        self._watch = Watch(is_on=True)
        self._is_broken = False

    @initialize(seed=st.integers(0, 99))
    def start(self, seed: int) -> None:
        """A cluster begins; the seed decides how long things take."""
        chaos = self._at_end.enter_context(
            chaos_cluster(self.machine, nodes=self.nodes, seed=seed, recorder_of=self._watch.recorder_of)
        )
        self._watch.clock = lambda: chaos.cluster.now
        self._chaos = chaos

    @property
    def chaos(self) -> ChaosCluster[Replicated]:
        """The cluster."""
        assert self._chaos is not None, "hypothesis begins with `start`"
        return self._chaos

    def teardown(self) -> None:
        """All trouble ends, and the last word is spoken; then the cluster is closed."""
        with self._at_end:
            if self._chaos is not None and not self._is_broken:
                self._watch.end_of_trouble()
                self._judged(lambda: self.chaos.check(processes=False))
                self._look()

    # --- what the rules do --------------------------------------------------------------------------------------------

    def _call(self, ask: Ask) -> None:
        cluster, is_quiet, answered = self.chaos.cluster, self.chaos.is_quiet, self._answered()
        call = getattr(self.chaos.machine, ask.name).submit(*ask.by_position, **ask.by_keyword)
        is_query = self.machine._operations[ask.name].kind == "query"
        self._watch.step(ask)
        if not is_query:
            self._model.submitted(len(self.chaos.commands), answered)
        end = cluster.now + PATIENCE
        while not call.done() and cluster.now < end:
            cluster.run_for(0.02)
        self._look()
        if is_query and is_quiet and call.done():
            self._judged(lambda: self._model.asked(ask, call.result))

    def _trouble(self, step: Step) -> None:
        self.chaos.perform([step], self._watch.step)
        self._look()

    def _answered(self) -> frozenset[int]:
        """Sequence numbers of the commands whose answers have come."""
        return frozenset(number for number, asked in enumerate(self.chaos.commands, 1) if asked.call.done())

    def _look(self) -> None:
        """Let the model do what was committed meanwhile, and compare the answers."""
        self._judged(lambda: self._model.follow(self.chaos.committed_after(self._model.index)))
        for number in self._answered():
            asked = self.chaos.commands[number - 1]
            if asked.acknowledged(0.0) and asked.reply is not None:
                self._judged(lambda: self._model.answered(number, asked.reply or b""))  # noqa: B023  (called at once)

    def _judged(self, judge: Callable[[], object]) -> None:
        __tracebackhide__ = True
        try:
            judge()
        except Violation as violation:
            self._is_broken = True
            steps = len(self.chaos.steps)
            violation.failure = watched(violation, self._watch, self.chaos.cluster.nodes, steps, steps)
            raise violation.with_traceback(None) from None


class _Model:
    """The plain object."""

    def __init__(self, kind: type[Replicated]) -> None:
        self.index = 0
        """The last log entry it has been given."""
        self._machine = kind()
        self._answers: dict[int, tuple[CommandEnvelope, bytes | str]] = {}
        """Of each command what the object gave: an encoded result, or the name of an exception."""
        self._before: dict[int, frozenset[int]] = {}
        self._compared: set[int] = set()

    def submitted(self, number: int, answered: frozenset[int]) -> None:
        """A command was submitted when these had been answered."""
        self._before[number] = answered

    def follow(self, entries: tuple[Entry, ...]) -> None:
        """More was committed."""
        for entry in entries:
            self.index += 1
            if entry.kind is not EntryKind.COMMAND:
                continue
            envelope = decode_command(entry.command)
            if envelope.name != OPEN_SESSION and envelope.sequence not in self._answers:
                self._do(envelope)

    def _do(self, envelope: CommandEnvelope) -> None:
        late = self._before.get(envelope.sequence, frozenset()) - self._answers.keys()
        if late:
            raise Violation(
                "Real Time Is Kept",
                f"{described(envelope)}, command {envelope.sequence}, is in the log before command {min(late)}, which "
                "was answered before it was submitted",
            )
        signature = self._machine._operations[envelope.name].signature
        try:
            answer: bytes | str = encode_result(signature.call(self._machine, signature.decode(envelope.arguments)))
        except Exception as error:
            answer = type(error).__qualname__
        self._answers[envelope.sequence] = envelope, answer

    def answered(self, number: int, reply: bytes) -> None:
        """A client was answered."""
        if number in self._compared:
            return
        self._compared.add(number)
        if number not in self._answers:
            raise Violation("Acknowledged Is Kept", f"command {number} was answered, and is not committed")
        envelope, answer = self._answers[number]
        refused = decode_refusal(reply)
        if answer != (reply if refused is None else refused.exception):
            raise Violation(
                "The Model Agrees",
                f"{described(envelope)} was answered {_shown(reply)}, the plain object says {_shown(answer)}",
            )

    def asked(self, ask: Ask, result: Callable[[], Any]) -> None:
        """A query was answered while nothing was under way."""
        ours = getattr(self._machine, ask.name)
        said, expected = _outcome(result), _outcome(lambda: ours(*ask.by_position, **ask.by_keyword))
        if isinstance(said, Exception) and isinstance(expected, Exception):
            return
        if said != expected:
            raise Violation("Queries See It All", f"{ask} says {said!r}, the plain object {expected!r}")


def _shown(answer: bytes | str) -> str:
    """A result, or the name of an exception."""
    if isinstance(answer, str):
        return answer
    refused = decode_refusal(answer)
    return refused.exception if refused else repr(msgpack.decode(answer[len(SUCCESS) :]))


def _outcome(result: Callable[[], Any]) -> Any:
    try:
        return result()
    except Exception as error:
        return error


# --- rules ------------------------------------------------------------------------------------------------------------

_rule: Any = rule  # its overloads cannot be told that no strategy is called "target"


def _calling(operation: Operation[..., Any], given: Mapping[str, st.SearchStrategy[Any]], name: str) -> Any:
    hints = get_type_hints(operation.function, include_extras=True)
    strategies = {
        _as_argument(name): given[name] if name in given else values_of(hints.get(name, Any))
        for name in (parameter.name for parameter in operation.parameters)
    }

    def call(self: RaftMachine, **arguments: Any) -> None:
        self._call(Ask(operation.name, *_arranged(operation, arguments)))

    call.__name__ = name
    return _rule(**strategies)(call)


def _as_argument(name: str) -> str:
    """Two names mean something else to `rule`."""
    return f"{name}_" if name in ("target", "targets") else name


def _arranged(operation: Operation[..., Any], arguments: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """By position, and by keyword those that can be given only so."""
    by_position, by_keyword = [], {}
    for parameter in operation.parameters:
        value = arguments[_as_argument(parameter.name)]
        if parameter.kind is parameter.KEYWORD_ONLY:
            by_keyword[parameter.name] = value
        else:
            by_position.append(value)
    return tuple(by_position), by_keyword


def _troubles(names: list[str]) -> dict[str, tuple[Callable[..., Step], dict[str, st.SearchStrategy[Any]]]]:
    server = st.sampled_from(names)
    pair = st.permutations(names).map(lambda order: Cut(order[0], order[-1]))
    every: dict[str, tuple[Callable[..., Step], dict[str, st.SearchStrategy[Any]]]] = {
        "wait": (Wait, {"seconds": st.sampled_from((0.05, 0.001, 0.4, 2.0))}),
        "crash": (Crash, {"server_id": server}),
        "restart": (Restart, {"server_id": server}),
        "isolate": (Isolate, {"server_id": server}),
        "cut": (lambda link: link, {"link": pair}),
        "disturb": (Disturb, {}),
        "heal": (Heal, {}),
    }
    return every


def _troubling(name: str, kind: Callable[..., Step], strategies: Mapping[str, st.SearchStrategy[Any]]) -> Any:
    def happen(self: RaftMachine, **arguments: Any) -> None:
        self._trouble(kind(**arguments))

    happen.__name__ = name
    return _rule(**strategies)(happen)


# --- values -----------------------------------------------------------------------------------------------------------

_SIMPLE: dict[object, st.SearchStrategy[Any]] = {
    int: st.integers(-10, 100),
    float: st.floats(-100, 100, allow_nan=False),
    str: st.sampled_from(("ann", "bob", "carl")) | st.text("ab \u00e9", max_size=3),
    bytes: st.binary(max_size=3),
    bool: st.booleans(),
    Any: st.integers(-10, 100) | st.sampled_from(("ann", "bob", None)),
    NoneType: st.none(),
}


def values_of(kind: Any) -> st.SearchStrategy[Any]:
    """Small values of a type, from few, so that calls meet each other's data; others as hypothesis knows them."""
    origin, inside = get_origin(kind), get_args(kind)
    if kind in _SIMPLE:
        return _SIMPLE[kind]
    if inspect.isclass(kind) and issubclass(kind, Enum):
        return st.sampled_from(kind)
    if origin is Annotated:
        return values_of(inside[0])
    if origin is Literal:
        return st.sampled_from(inside)
    if origin in (Union, UnionType):
        return st.one_of(*map(values_of, inside))
    return _collections(kind, origin, inside)


def _collections(kind: Any, origin: Any, inside: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    if origin is dict:
        return st.dictionaries(*map(values_of, inside), max_size=3)
    if origin is tuple and inside[-1] is not Ellipsis:
        return st.tuples(*map(values_of, inside))
    if origin in (list, set, frozenset, tuple):
        return st.lists(values_of(inside[0]), max_size=3).map(origin)
    return st.from_type(kind)
