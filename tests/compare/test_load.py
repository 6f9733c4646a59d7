"""What a loader notes of the commands it sends: when they were due, and what became of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

import pytest

from actors import Settings
from actors.calls import Call, SubmitOptions
from actors.cluster import peer_specs, run_peers
from actors.compare.load import SAMPLED, Loader, StampingClient
from actors.compare.measured import Measured, ThreadProbes
from actors.compare.payloads import Payloads, numbers_in
from actors.errors import NoQuorum, OutcomeUnknown
from actors.replies import encode_result


class Clock:
    """Time that passes only for who waits."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def nanoseconds(self) -> int:
        return round(self.seconds * 1e9)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("actors.compare.load.monotonic_ns", clock.nanoseconds)
    return clock


class Counter:
    """A client without a cluster: a counter that answers each command `after` so many seconds, and stands still now and
    then."""

    def __init__(self, clock: Clock, after: float = 0.001, still: tuple[float, float] = (0.0, 0.0)) -> None:
        """`still`: from when until when nothing is answered, in seconds since it was made."""
        self._clock = clock
        self._after, self._made = after, clock.seconds
        self._still = still
        self.under_way: list[tuple[float, Call[Any], bytes]] = []
        self.lost: Call[Any] | None = None
        self.count = 0
        self.arguments: list[bytes] = []

    def submit_command(self, name: str, arguments: bytes, decoder: Any, options: SubmitOptions) -> Call[Any]:
        call: Call[Any] = Call(decoder, self, options.timeout, name)
        self.count += 1
        self.arguments.append(arguments)
        begin, end = self._still
        due = self._clock.seconds + self._after
        if begin <= due - self._made < end:
            due = self._made + end
        self.under_way.append((due, call, encode_result(self.count)))
        return call

    def wait(self, call: Call[Any], deadline: float | None) -> None:
        while not call.done() and call is not self.lost:
            self.read(self.under_way[0][0] - self._clock.seconds)

    def attend(self, call: Call[Any]) -> None:
        pass

    def read(self, seconds: float) -> None:
        until = self._clock.seconds + seconds
        while self.under_way and self.under_way[0][0] <= until:
            due, call, reply = self.under_way.pop(0)
            self._clock.seconds = max(self._clock.seconds, due)
            call._resolve(reply)
        self._clock.seconds = max(self._clock.seconds, until)


def loader_of(client: Any, payload: int = 16) -> Loader:
    return Loader(client, payload)


def latencies(loader: Loader) -> list[float]:
    return [(loader.returned[number] - loader.intended[number]) / 1e9 for number in loader.completed]


# --- the open loop ----------------------------------------------------------------------------------------------------


def test_a_system_that_stands_still_pays_for_all_that_came_meanwhile(clock: Clock) -> None:
    """It stands still from 0.1 s to 0.3 s; a command that was due at 0.15 s has waited 0.15 s then, and so on."""
    loader = loader_of(Counter(clock, still=(0.1, 0.3)))
    loader.open(rate=200, seconds=0.4)
    assert len(loader.completed) == 80
    due = [(intended - loader.began_ns) / 1e9 for intended in loader.intended]
    waited = dict(zip(due, latencies(loader), strict=True))
    late = {moment: latency for moment, latency in waited.items() if 0.0995 < moment < 0.2985}
    assert len(late) == 40
    for moment, latency in late.items():
        assert latency == pytest.approx(0.3 - moment, abs=0.001)
    assert all(waited[moment] == pytest.approx(0.001, abs=1e-6) for moment in waited.keys() - late.keys())


def test_a_sender_that_was_held_up_counts_from_when_it_was_due(clock: Clock) -> None:
    """Reading an answer takes until long after the next command was due: it is sent late, and its latency says so."""

    class Busy(Counter):
        def read(self, seconds: float) -> None:
            super().read(seconds + (0.1 if self.count == 10 else 0.0))

    loader = loader_of(Busy(clock))
    loader.open(rate=200, seconds=0.2)
    assert loader.invoked[10] - loader.intended[10] == pytest.approx(100e6)
    assert latencies(loader)[10] == pytest.approx(0.101)
    assert latencies(loader)[-1] == pytest.approx(0.001)  # it has caught up


def test_arrivals_do_not_wait_for_answers(clock: Clock) -> None:
    loader = loader_of(Counter(clock, after=0.15))
    loader.open(rate=100, seconds=0.1)
    assert loader.invoked[9] < loader.returned[0]


# --- the closed loop --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("clients", [1, 3])
def test_so_many_commands_are_under_way_as_there_are_clients(clock: Clock, clients: int) -> None:
    loader = loader_of(Counter(clock, after=0.002))
    loader.closed(clients, 0.1)
    assert len(loader.completed) == 50 * clients
    for number, invoked in enumerate(loader.invoked):
        assert sum(returned > invoked for returned in loader.returned[:number]) < clients


def test_a_closed_loop_forgives_a_system_that_stands_still(clock: Clock) -> None:
    """Why there is an open one: of a fifth of a second, one command of each client knows."""
    loader = loader_of(Counter(clock, after=0.001, still=(0.1, 0.3)))
    loader.closed(2, 0.4)
    assert sum(latency > 0.1 for latency in latencies(loader)) == 2


def test_a_command_without_an_answer_does_not_end_the_load(clock: Clock) -> None:
    class Deaf(Counter):
        def submit_command(self, name: str, arguments: bytes, decoder: Any, options: SubmitOptions) -> Call[Any]:
            call = super().submit_command(name, arguments, decoder, options)
            if self.count == 3:
                self.lost = self.under_way.pop()[1]
            return call

    loader = loader_of(Deaf(clock))
    loader.closed(1, 0.05)
    assert loader.unknown == 1
    assert len(loader.completed) > 3


# --- what is noted ----------------------------------------------------------------------------------------------------


def test_outcomes_are_told_apart(clock: Clock) -> None:
    class Moody(Counter):
        def submit_command(self, name: str, arguments: bytes, decoder: Any, options: SubmitOptions) -> Call[Any]:
            call = super().submit_command(name, arguments, decoder, options)
            if self.count == 2:
                call._fail(OutcomeUnknown("who knows"))
            if self.count == 3:
                call._fail(NoQuorum("not accepted"))
            return call

    loader = loader_of(Moody(clock))
    loader.open(rate=100, seconds=0.05)
    assert (len(loader.completed), loader.unknown, loader.refused) == (3, 1, 1)
    history = loader.history()
    assert len(history) == 4  # what was refused had no effect
    assert [operation.returned is None for operation in history] == [False, True, False, False]
    assert [operation.result for operation in history] == [1, None, 4, 5]


def test_one_in_so_many_commands_is_followed(clock: Clock) -> None:
    client = Counter(clock)
    loader = loader_of(client, payload=64)
    loader.open(rate=1000, seconds=0.1)
    assert len(client.arguments) == 100
    followed = {number: numbers_in(arguments) for number, arguments in enumerate(client.arguments)}
    assert [number for number, samples in followed.items() if samples] == list(range(0, 100, SAMPLED))
    assert loader.samples == {samples[0]: number for number, samples in followed.items() if samples}
    assert {len(arguments) for arguments in client.arguments} == {len(client.arguments[0])}


def test_samples_are_out_of_step_with_frames() -> None:
    """Else each would be the first command of its frame, which waits longest."""
    assert all(SAMPLED % together for together in range(2, SAMPLED))


# --- the client of the load -------------------------------------------------------------------------------------------


@contextmanager
def stamping_client() -> Iterator[StampingClient]:
    with run_peers(
        peer_specs(Payloads, 1, Settings(), None, "journal", 1), ThreadProbes(Measured(directory=".")).host(),
        timeout=10.0, data=None,
    ) as cluster:  # fmt: skip
        client = StampingClient(timeout=10.0, health=cluster.supervisor.health)
        cluster.supervisor.add_client(client)
        yield client
        client.close()


def test_the_links_of_the_load_have_no_other_reader(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with stamping_client() as client:
        loader = Loader(client, 16)
        loader.closed(4, 0.05)
        loader.open(200, 0.05)
        assert client._attendant is None
        assert len(loader.completed) == len(loader.invoked)


def test_frames_and_samples_are_stamped_when_they_are_written(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with stamping_client() as client:
        loader = Loader(client, 16)
        loader.closed(4, 0.05)
        for sample, number in loader.samples.items():
            assert loader.invoked[number] / 1e9 <= client.written[sample] <= loader.returned[number] / 1e9
        frames = client.frames["n1"]
        assert list(frames) == sorted(frames)
        assert set(client.written.values()) <= set(frames)


def test_waiting_for_nothing_takes_as_long_as_it_says(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with stamping_client() as client:
        began = monotonic()
        client.read(0.05)
        assert 0.05 <= monotonic() - began < 1
