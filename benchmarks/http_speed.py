"""How fast HTTP is: calls of a cluster through its API, and messages between peers through the transporter.

    python benchmarks/http_speed.py [--seconds 3] [--clients 8] [--json FILE]

The same counter is called in three ways: by Python calls, by HTTP, and by HTTP with numbered commands.  Then one peer
sends AppendEntries to another, and the codec alone encodes and decodes them.  Peers are processes, without waiting for
the disk; clients are threads of this program, each with a connection that it keeps.
"""

from __future__ import annotations

import argparse
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from statistics import quantiles
from time import perf_counter
from typing import NamedTuple
from urllib.parse import urlsplit

from starlette.applications import Starlette

from actors.codec import decode_message, encode_message
from actors.http.serving import serve_app, serve_http
from actors.http.transporter import HttpTransporter
from actors.machines.counter import Counter
from raft_core import AppendEntries, Entry, Message, ServerId

JSON = {"Content-Type": "application/json"}
TOKEN = "a token of twenty-eight chars"


class Speed(NamedTuple):
    """One measurement; latencies are microseconds."""

    name: str
    per_second: float
    p50: float
    p99: float


def measure(name: str, clients: int, seconds: float, make: Callable[[], Callable[[], object]]) -> Speed:
    """Each client makes its call again and again."""
    latencies: list[list[float]] = [[] for _ in range(clients)]
    deadline = perf_counter() + seconds

    def run(mine: list[float]) -> None:
        call = make()
        while (began := perf_counter()) < deadline:
            call()
            mine.append(perf_counter() - began)

    threads = [threading.Thread(target=run, args=(mine,)) for mine in latencies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    every = [latency for mine in latencies for latency in mine]
    cuts = quantiles(every, n=100)
    return Speed(name, len(every) / seconds, cuts[49] * 1e6, cuts[98] * 1e6)


def always(call: Callable[[], object]) -> Callable[[], Callable[[], object]]:
    """All clients make the same call."""
    return lambda: call


def poster(url: str, path: str, *, numbered: bool = False) -> Callable[[], Callable[[], object]]:
    """Makes clients that post to `path`, each over a connection of its own."""

    def make() -> Callable[[], object]:
        parts = urlsplit(url)
        assert parts.hostname is not None
        connection = HTTPConnection(parts.hostname, parts.port)
        headers = JSON | {"Authorization": f"Bearer {TOKEN}"}

        def post(where: str) -> bytes:
            connection.request("POST", where, "{}", headers)
            response = connection.getresponse()
            content = response.read()
            assert response.status < 300, content
            return content

        if numbered:
            headers["Actorum-Session"] = str(json.loads(post("/v1/sessions"))["session"])
        sequence = iter(range(1, 1 << 40))

        def call() -> bytes:
            if numbered:
                headers["Actorum-Sequence"] = str(next(sequence))
            return post(path)

        return call

    return make


def calls(clients: int, seconds: float) -> Iterator[Speed]:
    """Of a cluster of three processes."""
    with Counter.cluster(storage="memory", timeout=30) as counter, serve_http(counter, token=TOKEN) as url:
        counter.incr()
        yield measure("command, called from Python", clients, seconds, always(counter.incr))
        yield measure("command, HTTP", clients, seconds, poster(url, "/v1/commands/incr"))
        yield measure("command, HTTP, numbered", clients, seconds, poster(url, "/v1/commands/incr", numbered=True))
        yield measure("query, called from Python", clients, seconds, always(counter.get))
        yield measure("query, HTTP", clients, seconds, poster(url, "/v1/queries/get"))
        yield measure("stale query, HTTP", clients, seconds, poster(url, "/v1/queries/get?consistency=stale"))


class Inbox:
    """Counts what it gets."""

    def __init__(self) -> None:
        self.arrived = threading.Semaphore(0)

    def receive(self, sender: ServerId, message: Message) -> bool:
        self.arrived.release()
        return True


@contextmanager
def two_servers(keep_alive: bool) -> Iterator[Callable[[Message], None]]:
    """Sends a message from n1 to n2 and waits until it is there."""
    inbox, app = Inbox(), Starlette()
    with serve_app(app, token=TOKEN) as url:
        urls = {"n1": url, "n2": url}
        receiver = HttpTransporter("n2", {"n1": url}, token=TOKEN)
        receiver.install(inbox, app)
        sender = HttpTransporter("n1", urls, token=TOKEN, keep_alive=keep_alive)

        def send(message: Message) -> None:
            sender.send("n2", message)
            inbox.arrived.acquire()

        yield send
        sender.close()
        receiver.close()


def messages(seconds: float) -> Iterator[Speed]:
    """Of one and of a hundred entries, one after the other."""
    for entries in (1, 100):
        message = AppendEntries(3, "n1", 7, 2, tuple(Entry(3, b"x" * 64) for _ in range(entries)), 6, 4)
        frame = encode_message(message)
        described = f"AppendEntries, {entries} x 64 bytes"
        yield measure(f"encode {described}", 1, seconds / 3, always(partial(encode_message, message)))
        yield measure(f"decode {described}", 1, seconds / 3, always(partial(decode_message, frame)))
        for keep_alive in (True, False):
            how = "kept connection" if keep_alive else "a connection each"
            with two_servers(keep_alive) as send:
                yield measure(f"post {described}, {how}", 1, seconds / 3, always(partial(send, message)))


def main() -> None:
    """Measure, print a table, write JSON if that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    speeds: list[Speed] = []
    print(f"{'':56} {'per second':>12} {'p50 us':>10} {'p99 us':>10}")
    for speed in (*calls(options.clients, options.seconds), *messages(options.seconds)):
        speeds.append(speed)
        print(f"{speed.name:56} {speed.per_second:12,.0f} {speed.p50:10,.1f} {speed.p99:10,.1f}", flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps([speed._asdict() for speed in speeds], indent=2) + "\n")


if __name__ == "__main__":
    main()
