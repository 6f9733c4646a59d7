"""The user's class: what it means alone, what it means bound to a cluster, and what a type checker sees."""

from __future__ import annotations

import copy
import multiprocessing
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pytest

from actors.bound import Handle
from actors.calls import Call, EventWaiter, SubmitOptions
from actors.codec import encode_command
from actors.errors import (
    BlockingCallInsideApply,
    ClusterClosed,
    CommandFailed,
    CommandInMain,
    ProgramFromStdin,
    UnknownCommand,
    WrongArguments,
)
from actors.machine import OPEN_SESSION_COMMAND, MachineHost
from actors.machines.counter import Counter
from actors.machines.counters import Counters
from actors.replicated import Replicated, command, load_machine, machine_reference, query

R = TypeVar("R")


class OneReplica:
    """A cluster of one machine in this thread: a `Handle` that applies what it is given."""

    def __init__(self, machine: type[Replicated]) -> None:
        self.host = MachineHost(machine())
        self.host.apply(1, OPEN_SESSION_COMMAND)
        self.options: list[SubmitOptions] = []

    @property
    def cluster(self) -> Any:
        return self

    def submit_command(self, name: str, arguments: bytes, decoder: Any, options: SubmitOptions) -> Call[Any]:
        index = self.host.last_applied + 1
        reply = self.host.apply(index, encode_command(1, index, index, name, arguments))
        return self._answered(reply, decoder, options)

    def submit_query(self, name: str, arguments: bytes, decoder: Any, options: SubmitOptions) -> Call[Any]:
        return self._answered(self.host.query(name, arguments), decoder, options)

    def attend(self, call: Call[Any]) -> None:
        assert call.done(), "this cluster answers at once"

    def _answered(self, reply: bytes, decoder: Any, options: SubmitOptions) -> Call[Any]:
        self.options.append(options)
        call = Call(decoder, EventWaiter(), options.timeout)
        call._resolve(reply)
        return call


class Inventory(Replicated):
    """A machine with richer types."""

    version: ClassVar[int] = 3
    MAXIMUM: ClassVar[int] = 9
    stock: dict[str, list[int]] = {}  # noqa: RUF012

    @command
    def put(self, item: str, *, amounts: list[int], note: str | None = None) -> dict[str, list[int]]:
        self.stock.setdefault(item, []).extend(amounts)
        return self.stock

    @command
    def twice(self, item: str, defaults: list[int] = [1, 2]) -> int:  # noqa: B006
        self.put(item, amounts=defaults)
        self.put(item, amounts=defaults)
        return len(self.stock[item])

    @query
    def items(self) -> set[str]:
        return set(self.stock)


class BetterCounter(Counter):
    """Inherits a field and both operations."""

    wins: int = 0

    @command
    def incr(self, by: int = 1) -> int:
        self.wins += 1
        return super().incr(by * 2)


class Meddler(Replicated):
    @command
    def meddle(self) -> int:
        counter, _ = bound(Counter)
        return len([counter.incr.submit(1)])


class Liar(Replicated):
    @command
    def lie(self) -> int:
        return "not a number"  # type: ignore[return-value]


def bound(machine: type[Replicated]) -> tuple[Any, OneReplica]:
    handle = OneReplica(machine)
    typed: Handle = handle
    return machine._bound(typed), handle


# --- alone


def test_a_machine_alone_is_a_plain_object() -> None:
    counter = Counter()
    assert counter.incr(5) == 5 and counter.get() == 5 and counter.value == 5
    counter.value = 7
    assert counter.incr() == 8


def test_every_instance_has_its_own_defaults() -> None:
    first, second = Inventory(), Inventory()
    first.put("nut", amounts=[1])
    assert second.stock == {} == Inventory.stock


def test_commands_call_each_other_as_methods() -> None:
    assert Inventory().twice("nut") == 4
    assert BetterCounter().incr(2) == 4


def test_submit_alone_gives_a_finished_call_with_result_or_error() -> None:
    counter = Counter()
    assert counter.incr.submit(2).result() == 2
    assert counter.incr.using(timeout=1.0)(1) == 3
    failed = Counters().incr.submit("a", "b")  # type: ignore[arg-type]
    assert failed.done() and isinstance(failed.exception(), TypeError)


def test_a_machine_alone_has_no_cluster() -> None:
    with pytest.raises(ClusterClosed, match="plain object"):
        _ = Counter().cluster


# --- bound


def test_a_bound_instance_sends_commands_and_queries() -> None:
    counter, handle = bound(Counter)
    assert (counter.incr(5), counter.incr(by=2), counter.incr(), counter.get()) == (5, 7, 8, 8)
    assert counter.incr.submit(1).result() == 9
    assert handle.host.state() == {"value": 9}
    assert isinstance(counter, Counter) and id(counter.cluster) == id(handle)


def test_rich_arguments_and_results_travel_by_their_types() -> None:
    inventory, _ = bound(Inventory)
    assert inventory.put("nut", amounts=[1], note=None) == {"nut": [1]}
    assert inventory.twice("nut") == 5
    assert inventory.items() == {"nut"}


def test_options_reach_the_handle() -> None:
    counter, handle = bound(Counter)
    counter.incr.using(timeout=2.0)(5)
    counter.get.using(timeout=1.0, consistency="stale")()
    counter.get()
    assert handle.options == [SubmitOptions(2.0), SubmitOptions(1.0, "stale"), SubmitOptions()]


@pytest.mark.parametrize(
    ("arguments", "keywords", "message"),
    [
        (("five",), {}, "Counter.incr: parameter 'by' must be int, not str 'five'"),
        ((1.5,), {}, "parameter 'by' must be int, not float 1.5"),
        ((None,), {}, "parameter 'by' must be int, not NoneType None"),
        ((object(),), {}, "parameter 'by' must be int, not object"),
        ((2**70,), {}, "parameter 'by' must be int"),
        ((1, 2), {}, "too many positional arguments"),
        ((), {"to": 2}, "unexpected keyword argument 'to'"),
    ],
)
def test_bad_arguments_fail_at_the_client_by_name(arguments: Any, keywords: Any, message: str) -> None:
    counter, handle = bound(Counter)
    with pytest.raises(WrongArguments) as raised:
        counter.incr.submit(*arguments, **keywords)
    assert message in raised.value.what
    assert "Counter.incr(by: " in raised.value.fix
    assert handle.options == [], "nothing was sent"


def test_bad_keyword_only_and_nested_arguments_are_named_too() -> None:
    inventory, _ = bound(Inventory)
    with pytest.raises(WrongArguments, match=r"parameter 'amounts' \(at \[1\]\) must be list\[int\]"):
        inventory.put("nut", amounts=[1, "two"])
    with pytest.raises(WrongArguments, match="missing a required"):
        inventory.put("nut")


def test_a_command_cannot_submit_another_to_the_cluster() -> None:
    meddler, _ = bound(Meddler)
    with pytest.raises(BlockingCallInsideApply, match=r"Counter\.incr"):
        meddler.meddle()


def test_a_result_of_another_type_than_declared_is_a_failed_command() -> None:
    liar, _ = bound(Liar)
    with pytest.raises(CommandFailed, match="declared type"):
        liar.lie()


def test_a_field_of_a_bound_instance_can_be_neither_read_nor_set() -> None:
    counter, _ = bound(Counter)
    with pytest.raises(UnknownCommand, match=r"Counter\.value cannot be read here") as raised:
        _ = counter.value
    assert ".get()" in raised.value.fix
    for name in ("value", "other"):
        with pytest.raises(UnknownCommand, match="cannot be set here"):
            setattr(counter, name, 5)


def test_a_bound_instance_is_not_copied() -> None:
    counter, _ = bound(Counter)
    with pytest.raises(TypeError, match="stands for a running cluster"):
        copy.copy(counter)
    assert "bound to" in repr(counter)


def test_inheritance_reaches_the_cluster() -> None:
    counter, handle = bound(BetterCounter)
    assert counter.incr(2) == 4 and counter.get() == 4
    assert handle.host.state() == {"value": 4, "wins": 1}
    assert BetterCounter._replicated_fields == ("value", "wins")


def test_machines_are_named_in_snake_case_with_a_version() -> None:
    assert MachineHost(BetterCounter()).describe() == "better_counter@1"
    assert MachineHost(Inventory()).describe() == "inventory@3"
    assert Inventory._replicated_fields == ("stock",)


# --- mistakes in the class


MISTAKES = {
    "is defined twice": "@command\n    def a(self) -> int: ...\n    @query\n    def a(self) -> int: ...",
    "the name is reserved": "@command\n    def _a(self) -> int: ...",
    "version cannot be a field": "version: int = 2",
    "a needs a default": "a: int",
    "a would be shared by all instances": "a = []",
    "write a plain def": "@command\n    async def a(self) -> int: ...",
    "name each parameter": "@command\n    def a(self, *many: int) -> int: ...",
    "under another name": "@command\n    def a(self) -> int: ...\n    b = a",
}


@pytest.mark.parametrize(("message", "body"), MISTAKES.items(), ids=list(MISTAKES))
def test_a_mistake_in_the_class_is_found_when_it_is_made(message: str, body: str) -> None:
    scope = {"Replicated": Replicated, "command": command, "query": query}
    with pytest.raises(TypeError, match=message):
        exec(f"class Wrong(Replicated):\n    {body}", scope)


def test_an_operation_cannot_be_overridden_by_something_else() -> None:
    with pytest.raises(TypeError, match="overrides a command"):

        class Wrong(Counter):
            def incr(self, by: int = 1) -> int:  # type: ignore[override]
                return by


def test_an_annotation_that_leads_nowhere_stops_the_machine_from_starting() -> None:
    class Lost(Replicated):
        @command
        def a(self, b: Nowhere) -> int:  # type: ignore[name-defined]  # noqa: F821
            return 1

    with pytest.raises(TypeError, match=r"annotation of .*Lost\.a is unknown"):
        MachineHost(Lost())


# --- in another process


def load_in_child(reference: str, results: Any) -> None:
    machine = load_machine(reference)()
    assert isinstance(machine, Counter)
    results.send(machine.incr(3))


def test_a_class_is_found_again_in_a_spawned_process() -> None:
    receiving, sending = multiprocessing.get_context("spawn").Pipe(duplex=False)
    child = multiprocessing.get_context("spawn").Process(
        target=load_in_child, args=(machine_reference(BetterCounter), sending)
    )
    child.start()
    assert receiving.poll(30) and receiving.recv() == 6
    child.join()


def run_program(tmp_path: Path, program: str, *, stdin: bool = False) -> str:
    source = textwrap.dedent(program)
    path = tmp_path / "program.py"
    path.write_text(source)
    command_line = [sys.executable, *(["-"] if stdin else [str(path)])]
    done = subprocess.run(
        command_line, input=source if stdin else "", capture_output=True, text=True, check=False, cwd=tmp_path,
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    return done.stdout + done.stderr


IN_MAIN = """
    import multiprocessing
    from actors.replicated import Replicated, command, load_machine, machine_reference
    class Mine(Replicated):
        value: int = 0
        @command
        def incr(self) -> int:
            self.value += 1
            return self.value
    def child(reference):
        print("child counts", load_machine(reference)().incr())
    if __name__ == "__main__":
        reference = machine_reference(Mine)
        print(reference)
        process = multiprocessing.get_context("spawn").Process(target=child, args=(reference,))
        process.start()
        process.join()
"""


def test_a_class_of_the_main_module_works_in_a_spawned_process(tmp_path: Path) -> None:
    output = run_program(tmp_path, IN_MAIN)
    assert "__main__:Mine" in output and "child counts 1" in output


def test_a_program_from_standard_input_is_refused_by_name(tmp_path: Path) -> None:
    output = run_program(tmp_path, IN_MAIN, stdin=True)
    assert ProgramFromStdin.__name__ in output and "Mine" in output and "child counts" not in output


def test_a_class_made_in_a_function_is_refused() -> None:
    class Local(Replicated):
        pass

    with pytest.raises(CommandInMain, match="Local"):
        machine_reference(Local)


@pytest.mark.parametrize("reference", ["actors.machines.counter:Nothing", "no_such_module:A", "os:path", "garbage", ""])
def test_a_reference_that_leads_to_no_machine_is_refused(reference: str) -> None:
    with pytest.raises(CommandInMain):
        load_machine(reference)


def test_a_reference_leads_back_to_its_class() -> None:
    assert load_machine(machine_reference(Counters)) is Counters


# --- what a type checker sees


SNIPPET = """
    from actors.machines.counter import Counter
    from actors.replicated import Replicated, command, query

    class Store(Replicated):
        held: dict[str, int] = {}
        @command
        def put(self, key: str, *, number: int = 0) -> list[str]:
            return [key]
        @query
        def read(self, key: str) -> int | None:
            return self.held.get(key)

    async def program(counter: Counter, store: Store) -> None:
        reveal_type(counter.incr(5))
        reveal_type(counter.incr.submit(5))
        reveal_type(await counter.incr.submit(5))
        reveal_type(counter.incr.using(timeout=2.0)(5))
        reveal_type(counter.get.using(consistency="stale", timeout=1.0)())
        reveal_type(store.put("a", number=1))
        reveal_type(store.read.submit("a").result())
        reveal_type(counter.cluster)
        with Counter.cluster(nodes=3, engine="threads") as running:
            reveal_type(running)
        counter.incr("five")
        counter.incr.submit(by="five")
        store.put("a", 1)
        counter.incr.using(consistency="stale")
        counter.get.using(consistency="fresh")
        Counter.cluster(engine="warp")
        counter.incr(5).upper()
"""

REVEALED = [
    "int",
    "actors.calls.Call[int]",
    "int",
    "int",
    "int",
    "list[str]",
    "int | None",
    "actors.cluster.Cluster",
    "actors.machines.counter.Counter",
]
ERRORS = ["arg-type", "arg-type", "call-arg", "call-arg", "arg-type", "arg-type", "attr-defined"]


def test_mypy_knows_the_types_and_finds_the_mistakes(tmp_path: Path) -> None:
    snippet = tmp_path / "snippet.py"
    snippet.write_text(textwrap.dedent(SNIPPET))
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--cache-dir", str(tmp_path), str(snippet)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith(str(snippet))]
    revealed = [
        line.split('"')[1].replace("builtins.", "").replace("Union[int, None]", "int | None")
        for line in lines
        if "note: Revealed" in line
    ]
    errors = [line.rsplit("[", 1)[1].rstrip("]") for line in lines if ": error:" in line]
    assert revealed == REVEALED, done.stdout + done.stderr
    assert errors == ERRORS, done.stdout
