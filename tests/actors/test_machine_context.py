"""Commands know where and when they are carried out, alike on every replica; and how time gets into the log."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from actors.codec import encode_command
from actors.context import HERE, Context, at, current
from actors.deadlines import NEVER, Deadlines
from actors.errors import WrongArguments
from actors.interpreter import EXPIRY_PAUSE, Interpreter
from actors.machine import OPEN_SESSION_COMMAND, MachineHost
from actors.machines.counter import Counter
from actors.machines.lock import Lock
from actors.replicated import Replicated, command, query
from actors.replicated_clock import STAMP, TICK, Stamps, decode_stamp, encode_stamp, stamps_of
from actors.replies import RefusalKind, encode_result
from actors.requests import Requests
from actors.storage.memory_snapshots import MemorySnapshots
from raft_core import (
    AppendToLog,
    Effect,
    Entry,
    EntryKind,
    Event,
    ProposalAccepted,
    ProposalRefused,
    Proposed,
    RefusalReason,
    Settings,
    follower,
    restore,
)
from tests.actors.test_machine import refusal
from tests.actors.test_requests import SERVER, Answered, commands
from tests.actors.test_requests import query as a_query


class Diary(Replicated):
    """Takes down what it is told of the world."""

    pages: list[str] = []  # noqa: RUF012
    drawn: list[float] = []  # noqa: RUF012

    @command
    def write(self, text: str, *, times: int = 1, context: Context = HERE) -> str:
        page = f"{context.index}/{context.term}/{context.clock} {text}"
        self.pages += [page] * times
        return page

    @command
    def twice(self, text: str) -> list[str]:
        return [self.write(text), self.write(text)]

    @command
    def draw(self, *, context: Context = HERE) -> float:
        self.drawn += [context.random.random(), context.random.random()]
        return self.drawn[-1]

    @query
    def now(self, *, context: Context = HERE) -> tuple[int, int, int]:
        return context.index, context.term, context.clock

    @query
    def fails(self, *, context: Context = HERE) -> None:
        raise LookupError

    def on_clock(self, context: Context) -> None:
        self.pages.append(f"{context.index}/{context.term} shows {context.clock}")


def a_command(index: int, name: str, *values: object, term: int = 1, **keywords: object) -> Entry:
    arguments = Diary._operations[name].signature.encode(values, keywords)
    return Entry(term, encode_command(1, index, 0, name, arguments))


def applied(*entries: Entry, **options: bool) -> MachineHost:
    host = MachineHost(Diary(), **options)  # type: ignore[arg-type]
    host.apply_batch(1, (Entry(1, OPEN_SESSION_COMMAND), *entries))
    return host


def pages(host: MachineHost) -> list[str]:
    assert isinstance(host.machine, Diary)
    return host.machine.pages


# --- what a command is told


def test_a_command_knows_the_index_and_the_term_of_its_entry() -> None:
    no_op = Entry(4, b"", EntryKind.NO_OP)
    host = applied(a_command(2, "write", "a", term=3), no_op, a_command(4, "write", "b", term=4))
    assert pages(host) == ["2/3/0 a", "4/4/0 b"]


def test_the_clock_is_the_latest_stamp_and_never_goes_back() -> None:
    stamps = [Entry(1, encode_stamp(clock)) for clock in (5_000, 4_000, 5_001)]
    host = applied(stamps[0], a_command(3, "write", "a"), stamps[1], a_command(5, "write", "b"), stamps[2])
    assert pages(host) == ["2/1 shows 5000", "3/1/5000 a", "5/1/5000 b", "6/1 shows 5001"]
    assert host.clock == 5_001


def test_a_stamp_that_is_garbage_changes_nothing() -> None:
    host = applied(Entry(1, encode_stamp(7)), Entry(1, encode_command(0, 0, 0, STAMP, b"\xc1")))
    assert host.clock == 7 and decode_stamp(b"") == 0


def test_a_client_cannot_set_the_clock_with_a_command_of_its_session() -> None:
    host = applied()
    reply = host.apply(2, encode_command(1, 1, 0, STAMP, encode_stamp(9)))
    assert refusal(reply) is RefusalKind.UNKNOWN_COMMAND and host.clock == 0


def test_a_machine_that_fails_when_the_clock_moves_refuses_the_stamp_and_goes_on() -> None:
    class Brittle(Diary):
        def on_clock(self, context: Context) -> None:
            raise ValueError("too late")

    host = MachineHost(Brittle())
    assert refusal(host.apply(1, encode_stamp(5))) is RefusalKind.COMMAND_FAILED
    assert host.clock == 5


def test_a_query_is_told_the_last_entry_that_was_applied() -> None:
    host = applied(Entry(2, encode_stamp(8)), a_command(3, "write", "a", term=2))
    assert host.query("now", Diary._operations["now"].signature.encode((), {})) == encode_result((3, 2, 8))


def test_a_command_inside_a_command_has_the_same_context() -> None:
    assert pages(applied(a_command(2, "twice", "a"))) == ["2/1/0 a", "2/1/0 a"]


def test_random_numbers_are_alike_on_every_replica_and_differ_between_entries() -> None:
    entries = [a_command(2, "draw"), a_command(3, "draw"), a_command(4, "draw", term=2)]
    one, other = applied(*entries), applied(*entries)
    assert one.save() == other.save()
    drawn = one.state()["drawn"]
    assert isinstance(drawn, list) and len(set(drawn)) == 6


def test_the_check_of_determinism_draws_the_same_numbers_twice() -> None:
    entries = [a_command(2, "draw"), a_command(3, "draw")]
    assert applied(*entries, check_determinism=True).state() == applied(*entries).state()


def test_after_a_restore_time_goes_on_where_it_was() -> None:
    host = applied(Entry(2, encode_stamp(8)), a_command(3, "write", "a", term=2))
    other = MachineHost(Diary())
    other.restore(host.save())
    assert other.query("now", b"\x90") == host.query("now", b"\x90")
    assert other.clock == 8


def test_outside_a_command_there_is_no_context_left() -> None:
    host = applied(Entry(1, encode_stamp(8)), a_command(3, "write", "a"))
    assert (current().index, current().clock) == (0, 0)
    host.query("fails", b"\x90")
    assert (current().index, current().clock) == (0, 0)


# --- what callers see


def test_on_a_plain_object_the_context_is_the_start_of_time_or_what_the_test_says() -> None:
    diary = Diary()
    assert diary.write("a") == "0/0/0 a"
    with at(index=3, term=2, clock=1) as context:
        assert diary.write("b") == "3/2/1 b" and diary.now() == (3, 2, 1)
        assert context.after(1.5) == 1_501 and repr(context) == "Context(index=3, term=2, clock=1)"
    assert diary.now() == (0, 0, 0)


def test_the_context_is_no_argument() -> None:
    signature = Diary._operations["write"].signature
    assert [parameter.name for parameter in signature.parameters] == ["text", "times"]
    with pytest.raises(WrongArguments, match="parameter 'text' must be str"):
        signature.encode((5,), {})


def test_a_caller_may_choose_the_context_on_a_plain_object_and_nowhere_else() -> None:
    assert Diary().write("a", context=Context(clock=5)) == "0/0/5 a"
    with pytest.raises(WrongArguments, match="unexpected keyword argument 'context'"):
        Diary._operations["write"].signature.encode(("a",), {"context": Context(clock=5)})


def test_a_context_is_a_keyword_with_a_default() -> None:
    with pytest.raises(TypeError, match=r"declared in the end, as `\*, context: Context = HERE`"):

        class Early(Replicated):
            @command
            def early(self, context: Context, text: str) -> None: ...

    with pytest.raises(TypeError, match=r"declared in the end, as `\*, when: Context = HERE`"):

        class Positional(Replicated):
            @command
            def positional(self, when: "Context" = HERE) -> None: ...  # noqa: UP037


def test_a_context_under_another_name_of_the_class_is_one_and_another_class_is_none() -> None:
    class Renamed(Replicated):
        @query
        def index(self, *, when: "Other" = HERE) -> int:  # noqa: UP037
            return when.index

    host = MachineHost(Renamed())
    host.apply(1, OPEN_SESSION_COMMAND)
    assert host.query("index", b"\x90") == encode_result(1)

    class Mistaken(Replicated):
        @query
        def index(self, *, when: int = HERE) -> int:  # type: ignore[assignment]
            return when

    with pytest.raises(TypeError, match=r"it is actors\.context\.Context that is handed in"):
        MachineHost(Mistaken())


Other = Context


# --- stamps


class Clock:
    """A clock that the test sets."""

    def __init__(self, milliseconds: int = 0) -> None:
        self.milliseconds = milliseconds

    def __call__(self) -> float:
        return self.milliseconds / 1000


def proposed(events: list[Event]) -> list[tuple[bytes, ...]]:
    return [event.commands for event in events if isinstance(event, Proposed)]


def requests_with_clock(milliseconds: int) -> tuple[Requests, Clock, Answered]:
    clock, answered = Clock(milliseconds), Answered()
    return Requests(answered, Stamps(clock)), clock, answered


def test_a_machine_without_time_is_never_told_it() -> None:
    assert stamps_of(MachineHost(Counter()), Clock()) is None
    events, _ = Requests(Answered()).events([(1, commands(5, b"a"))], SERVER)
    assert proposed(events) == [(b"a",)] and Requests(Answered()).stamp() == []


def test_the_first_commands_of_a_term_have_a_stamp_in_front_and_then_one_for_each_tick() -> None:
    requests, clock, _ = requests_with_clock(5_000)
    first, _ = requests.events([(1, commands(5, b"a"))], SERVER)
    assert proposed(first) == [(encode_stamp(5_000),), (b"a",)]
    assert isinstance(first[0], Proposed)
    assert list(requests.accepted(ProposalAccepted(first[0].proposal_id, 6, 6, term=5), SERVER)) == []
    clock.milliseconds += TICK - 1
    assert proposed(requests.events([(1, commands(6, b"b"))], SERVER)[0]) == [(b"b",)]
    clock.milliseconds += 1
    assert proposed(requests.events([(1, commands(7, b"c"))], SERVER)[0]) == [(encode_stamp(5_000 + TICK),), (b"c",)]


def test_a_stamp_counts_while_its_term_lasts() -> None:
    requests, _, _ = requests_with_clock(5_000)
    (stamp, _), _ = requests.events([(1, commands(5, b"a"))], SERVER)
    assert isinstance(stamp, Proposed)
    assert list(requests.accepted(ProposalAccepted(stamp.proposal_id, 6, 6, term=5), SERVER)) == []
    assert proposed(requests.events([(1, commands(6, b"b"))], SERVER)[0]) == [(b"b",)]
    later = follower("n1", ["n1"], current_term=6)
    assert proposed(requests.events([(1, commands(8, b"d"))], later)[0])[0] == (encode_stamp(5_000),)


def test_a_stamp_that_was_refused_does_not_count_and_nobody_is_told() -> None:
    requests, _, answered = requests_with_clock(5_000)
    events, _ = requests.events([(1, commands(5, b"a"))], SERVER)
    assert isinstance(events[0], Proposed)
    requests.refused(ProposalRefused(events[0].proposal_id, RefusalReason.OVERLOADED, None), SERVER)
    assert answered.said == []
    assert len(proposed(requests.events([(1, commands(6, b"b"))], SERVER)[0])) == 2


def test_queries_need_no_stamp() -> None:
    requests, _, _ = requests_with_clock(5_000)
    assert proposed(requests.events([(1, a_query(5))], SERVER)[0]) == []


# --- what expires while nobody calls


class Bench:
    """A server alone in its cluster, and so its leader, with a machine that knows time."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.deadlines = Deadlines(Random(3))
        self.written: list[bytes] = []
        self.interpreter = Interpreter(
            restore("n1", ("n1",), Settings(election_timeout=300, heartbeat_interval=50), randomness=5),
            transport=self,  # type: ignore[arg-type]  # nobody to send to
            disk=self,  # type: ignore[arg-type]
            snapshots=MemorySnapshots(),
            applier=lambda work: None,
            replies=Answered(),
            deadlines=self.deadlines,
            stamps=Stamps(clock),
        )
        self.interpreter.start(0.0)

    def write(self, changes: list[Effect]) -> tuple[()]:
        self.written += [e.command for c in changes if isinstance(c, AppendToLog) for e in c.entries if e.command]
        return ()


def test_the_leader_tells_the_time_when_something_expires_and_asks_again_if_that_did_not_help() -> None:
    clock = Clock(10_000)
    bench = Bench(clock)
    bench.interpreter.serve(1.0, [])
    assert bench.interpreter.server.role_name == "leader"
    bench.interpreter.expires(10_500, now=1.0)
    assert bench.deadlines.expiry == 1.5 and bench.deadlines.next <= 1.5
    bench.interpreter.serve(1.49, [])
    assert bench.written == []
    clock.milliseconds = 10_500
    bench.interpreter.serve(1.5, [])
    bench.interpreter.serve(1.5, [])
    assert bench.written == [encode_stamp(10_500)]
    bench.interpreter.serve(1.5 + EXPIRY_PAUSE, [])
    assert bench.written == [encode_stamp(10_500)] * 2
    bench.interpreter.expires(None, now=2.0)
    assert bench.deadlines.expiry == NEVER


def test_who_does_not_lead_tells_nothing() -> None:
    bench = Bench(Clock(10_000))
    bench.interpreter.expires(10, now=0.0)
    bench.interpreter.serve(0.001, [])
    assert bench.written == [] and bench.deadlines.expiry == 0.001 + EXPIRY_PAUSE


def test_the_deadline_of_a_machine_is_the_earliest_of_its_parts() -> None:
    class Pair(Replicated):
        left: Lock = Lock()
        right: Lock = Lock()
        counter: Counter = Counter()

    pair = Pair()
    host = MachineHost(pair)
    assert host.is_timed and host.next_deadline is None
    pair.left.acquire("ann", ttl=2.0)
    pair.right.acquire("bob", ttl=1.0)
    assert host.next_deadline == 1_000
    host.apply(1, encode_stamp(1_000))
    assert host.next_deadline == 2_000 and pair.right.holding is None
    assert not MachineHost(Counter()).is_timed and MachineHost(Counter()).next_deadline is None
