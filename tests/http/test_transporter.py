"""Peers over HTTP: whole clusters, single messages, and whatever else may be posted to a server."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from socket import create_server
from threading import Thread
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from actors.client import Client
from actors.cluster import Cluster, ClusterHandle, peer_specs
from actors.codec import encode_message
from actors.errors import WrongArguments
from actors.hosts import ThreadHost
from actors.http.links import HttpLinks
from actors.http.serving import serve_app
from actors.http.transporter import (
    CLUSTER_HEADER,
    CONTENT_TYPE,
    MAX_WAITING,
    PATHS,
    SENDER_HEADER,
    HttpTransporter,
)
from actors.links import LinkClosed, LinkReader
from actors.machines.counter import Counter
from actors.supervisor import Supervisor
from raft_core import (
    AppendEntries,
    AppendEntriesResult,
    Configured,
    Entry,
    EntryKind,
    InstallSnapshot,
    InstallSnapshotResult,
    Message,
    RequestPreVote,
    RequestPreVoteResult,
    RequestReadIndex,
    RequestReadIndexResult,
    RequestVote,
    RequestVoteResult,
    ServerId,
    Snapshot,
    TimeoutNow,
    configuration,
)
from tests.http.asking import QUICK, Answer, ask

TOKEN = "a token of twenty-eight chars"
LIMIT = 10_000
PATIENCE = 20.0

MESSAGES: list[Message] = [
    AppendEntries(3, "n1", 7, 2, (Entry(3, b"\x00command"), Entry(3, b"", EntryKind.NO_OP)), 6, 4),
    AppendEntriesResult(3, True, 7, 9, round=4),
    RequestVote(4, "n1", 9, 3),
    RequestVoteResult(4, True),
    RequestPreVote(5, "n1", 9, 3),
    RequestPreVoteResult(4, 5, False),
    InstallSnapshot(3, "n1", Snapshot(5, 2, Configured(0, configuration(["n1", "n2"])), 3, "ab"), 0, b"\x00ab"),
    InstallSnapshotResult(3, 5, 3, True),
    RequestReadIndex(3, (7, 8)),
    RequestReadIndexResult(3, (7, 8), 5),
    TimeoutNow(3, "n1"),
]


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, "it did not become so in time"
        time.sleep(0.005)


class Inbox:
    """A server that only remembers what it got."""

    def __init__(self) -> None:
        self.got: list[tuple[ServerId, Message]] = []
        self.takes = True

    def receive(self, sender: ServerId, message: Message) -> bool:
        if self.takes:
            self.got.append((sender, message))
        return self.takes


@contextmanager
def serving(inbox: Inbox, token: str | None = None) -> Iterator[str]:
    """The URL of server n2, which knows n1 and takes messages up to LIMIT bytes."""
    app = Starlette()
    with serve_app(app, token=token) as url:
        own = HttpTransporter("n2", {"n1": url, "n2": url}, cluster_id="c", token=token, max_bytes=LIMIT)
        own.install(inbox, app)
        try:
            yield url
        finally:
            own.close()


@contextmanager
def sending(url: str, *, token: str | None = None, keep_alive: bool = True) -> Iterator[HttpTransporter]:
    """Server n1's transporter, which knows n2."""
    transporter = HttpTransporter("n1", {"n2": url}, cluster_id="c", token=token, timeout=0.5, keep_alive=keep_alive)
    try:
        yield transporter
    finally:
        transporter.close()


def post(url: str, body: bytes, path: str = "/raft/appendEntries", **headers: str) -> Answer:
    named = {"Content_Type": CONTENT_TYPE, SENDER_HEADER: "n1", CLUSTER_HEADER: "c"} | headers
    return ask(url, "POST", path, body, **named)


# --- whole peers ------------------------------------------------------------------------------------------------------


@contextmanager
def cluster_over_http(token: str | None, keep_alive: bool) -> Iterator[tuple[Counter, Cluster, HttpLinks]]:
    names = ("n1", "n2", "n3")
    specs = peer_specs(Counter, 3, QUICK, None, "sqlite")
    assert tuple(spec.config.server_id for spec in specs) == names
    with ExitStack() as at_end:
        links = at_end.enter_context(HttpLinks(names, token=token, keep_alive=keep_alive))
        supervisor = Supervisor(specs, ThreadHost(Counter), links.link_pair)
        at_end.callback(supervisor.close)
        supervisor.start(PATIENCE)
        client = Client(timeout=PATIENCE, health=supervisor.health)
        at_end.callback(client.close)
        supervisor.add_client(client)
        cluster = Cluster(supervisor, client, data=None, timeout=PATIENCE)
        yield Counter._bound(ClusterHandle(client, cluster)), cluster, links


@pytest.mark.parametrize(("token", "keep_alive"), [(None, True), (TOKEN, False)])
def test_three_peers_over_http_elect_commit_and_survive_the_death_of_their_leader(
    token: str | None, keep_alive: bool
) -> None:
    with cluster_over_http(token, keep_alive) as (counter, cluster, _):
        assert [counter.incr() for _ in range(20)] == list(range(1, 21))
        killed = cluster.kill_leader()
        assert counter.incr() == 21
        assert cluster.leader() != killed
        cluster.restart(killed)
        assert counter.incr() == 22
        assert {digest.applied_index for digest in cluster.wait_until_equal(PATIENCE).values()} != {0}


def test_a_server_that_comes_later_is_met_and_the_others_may_leave() -> None:
    """Only the newcomer stays: it can have all this from nowhere but over HTTP."""
    with cluster_over_http(TOKEN, True) as (counter, cluster, links):
        assert counter.incr() == 1
        assert cluster.add() == "n4"
        assert counter.incr() == 2
        cluster.wait_until_equal(PATIENCE)
        cluster.remove("n1", "n2", "n3")
        assert cluster.leader() == "n4"
        assert counter.incr() == 3
        assert set(links.urls) == {"n1", "n2", "n3", "n4"}


def test_peers_that_cannot_reach_each_other_commit_nothing() -> None:
    """Else the tests above would show nothing about HTTP."""
    with cluster_over_http(None, True) as (counter, cluster, links):
        assert counter.incr() == 1
        for transporter in links.transporters.values():
            transporter.close()
        _until(lambda: all(s is not None and s.role != "leader" for s in cluster.status().values()))


def test_when_a_sender_is_gone_its_receiver_finds_out() -> None:
    with HttpLinks(("n1", "n2")) as links:
        reading, writing = links.link_pair("n1", "n2")
        writing.close()
        assert reading.poll(PATIENCE)
        reader = LinkReader(reading)
        with pytest.raises(LinkClosed):
            reader.get_available()
        reader.close()


# --- single messages --------------------------------------------------------------------------------------------------


def test_every_message_has_a_path_and_so_would_a_new_one() -> None:
    assert set(PATHS) == set(get_args(Message)) == {type(message) for message in MESSAGES}


@pytest.mark.parametrize("keep_alive", [True, False])
def test_every_message_arrives_as_it_was_sent_and_in_order(keep_alive: bool) -> None:
    inbox = Inbox()
    with serving(inbox, TOKEN) as url, sending(url, token=TOKEN, keep_alive=keep_alive) as transporter:
        for message in MESSAGES:
            transporter.send("n2", message)
        _until(lambda: len(inbox.got) == len(MESSAGES))
    assert inbox.got == [("n1", message) for message in MESSAGES]
    assert transporter.dropped == 0


def test_the_paths_can_be_read() -> None:
    transporter = HttpTransporter("n1", {}, prefix="/a/cluster/")
    assert transporter.prefix == "/a/cluster"
    assert transporter.append_entries_path == "/a/cluster/appendEntries"
    assert transporter.request_vote_path == "/a/cluster/requestVote"
    assert transporter.request_pre_vote_path == "/a/cluster/requestPreVote"


def test_nobody_waits_for_a_server_that_hangs_and_what_cannot_wait_is_dropped() -> None:
    with create_server(("127.0.0.1", 0)) as hanging, sending(f"http://127.0.0.1:{hanging.getsockname()[1]}") as sender:
        began = time.monotonic()
        for _ in range(MAX_WAITING + 10):
            sender.send("n2", MESSAGES[2])
        assert time.monotonic() - began < 0.4, "less than the time-out of the first message"
        assert sender.dropped >= 8
        _until(lambda: "n2" in sender.problems())


def test_behind_a_failure_nothing_waits_for_the_next_one() -> None:
    with create_server(("127.0.0.1", 0)) as hanging, sending(f"http://127.0.0.1:{hanging.getsockname()[1]}") as sender:
        hanging.setblocking(False)
        for _ in range(10):
            sender.send("n2", MESSAGES[2])
        _until(lambda: sender.dropped == 10)
        hanging.accept()[0].close()
        with pytest.raises(BlockingIOError):
            hanging.accept()


@pytest.mark.parametrize("waiting", [1, MAX_WAITING + 1])
def test_closing_ends_the_thread_even_while_a_message_fails(waiting: int) -> None:
    with create_server(("127.0.0.1", 0)) as hanging:
        url = f"http://127.0.0.1:{hanging.getsockname()[1]}"
        sender = HttpTransporter("n1", {"n2": url}, timeout=0.3)
        sender.send("n2", MESSAGES[2])
        with hanging.accept()[0]:  # it is under way, and will not be answered
            for _ in range(waiting):
                sender.send("n2", MESSAGES[2])
            closing = Thread(target=sender.close, daemon=True)
            closing.start()
            closing.join(PATIENCE)
            assert not closing.is_alive()


@pytest.mark.parametrize(("keep_alive", "connections"), [(True, 1), (False, 3)])
def test_a_connection_is_kept_for_the_next_message_or_not(keep_alive: bool, connections: int) -> None:
    inbox, app, ports = Inbox(), Starlette(), set[int]()

    async def counting(scope: Scope, receive: Receive, send: Send) -> None:
        ports.add(scope["client"][1])
        await app(scope, receive, send)

    with serve_app(counting) as url:
        own = HttpTransporter("n2", {"n1": url}, cluster_id="c")
        own.install(inbox, app)
        with sending(url, keep_alive=keep_alive) as sender:
            for _ in range(3):
                sender.send("n2", MESSAGES[2])
            _until(lambda: len(inbox.got) == 3)
        own.close()
    assert len(ports) == connections


def test_a_kept_connection_that_the_other_side_closed_loses_no_message() -> None:
    inbox, app = Inbox(), Starlette()
    with ExitStack() as at_end:
        with serve_app(app) as url:
            own = HttpTransporter("n2", {"n1": url}, cluster_id="c")
            at_end.callback(own.close)
            own.install(inbox, app)
            sender = at_end.enter_context(sending(url))
            sender.send("n2", MESSAGES[2])
            _until(lambda: len(inbox.got) == 1)
        at_end.enter_context(serve_app(app, port=int(url.rpartition(":")[2])))
        sender.send("n2", MESSAGES[2])
        _until(lambda: len(inbox.got) == 2)
        assert sender.dropped == 0


def test_after_a_failure_the_next_message_tries_again() -> None:
    inbox = Inbox()
    with ExitStack() as at_end:
        url = at_end.enter_context(serving(inbox))
        sender = at_end.enter_context(sending(url))
        inbox.takes = False
        sender.send("n2", MESSAGES[2])
        _until(lambda: sender.problems() == {"n2": "503 Service Unavailable"})
        inbox.takes = True
        sender.send("n2", MESSAGES[2])
        _until(lambda: sender.problems() == {} and len(inbox.got) == 1)
        assert sender.dropped == 1


def test_a_server_that_moved_is_found_at_its_new_address_and_no_more_at_the_old() -> None:
    before, after = Inbox(), Inbox()
    with serving(before) as old, serving(after) as new, sending(old) as transporter:
        transporter.send("n2", MESSAGES[0])
        _until(lambda: before.got == [("n1", MESSAGES[0])])
        transporter.meet("n2", new)
        transporter.send("n2", MESSAGES[1])
        _until(lambda: after.got == [("n1", MESSAGES[1])])
        assert len(before.got) == 1


def test_nobody_meets_itself() -> None:
    """Else whoever pretends to be the server itself would be listened to."""
    with serving(Inbox()) as url:
        assert post(url, encode_message(MESSAGES[0]), **{SENDER_HEADER: "n1"}).status == 204
        assert post(url, encode_message(MESSAGES[0]), **{SENDER_HEADER: "n2"}).status == 403


def test_a_message_to_a_server_that_nobody_knows_goes_nowhere() -> None:
    inbox = Inbox()
    with serving(inbox) as url, sending(url) as sender:
        sender.send("n9", MESSAGES[0])
        sender.send("n2", MESSAGES[0])
        _until(lambda: len(inbox.got) == 1)


@pytest.mark.parametrize("url", ["", "n2:80", "ftp://n2", "http://", "http://n2:port", "http://[n2"])
def test_an_address_that_is_none_is_told_at_once(url: str) -> None:
    with pytest.raises(WrongArguments, match="no URL"):
        HttpTransporter("n1", {"n2": url})


# --- what may be posted -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def inbox() -> Inbox:
    return Inbox()


@pytest.fixture(scope="module")
def server(inbox: Inbox) -> Iterator[str]:
    with serving(inbox) as url:
        yield url


def test_what_is_no_message_is_400_and_reaches_nobody(server: str, inbox: Inbox) -> None:
    frame = encode_message(MESSAGES[0])
    for body in (b"", b"garbage", frame[:-1], frame + b"\0", b"\xc1" * 100, b"\x91" * 5000):
        answer = post(server, body)
        assert (answer.status, answer.body["code"]) == (400, "BAD-FRAME")
    assert post(server, frame, "/raft/requestVote").status == 400
    assert post(server, encode_message(MESSAGES[2]), "/raft/requestPreVote").status == 400
    assert inbox.got == []


def test_what_is_too_long_of_another_type_or_to_nowhere_is_refused(server: str, inbox: Inbox) -> None:
    long = encode_message(AppendEntries(3, "n1", 7, 2, (Entry(3, b"x" * LIMIT),), 6, 4))
    assert post(server, long).status == 413
    frame = encode_message(MESSAGES[0])
    assert post(server, frame, Content_Type="application/json").status == 415
    assert post(server, frame, "/raft/snapshotRecovery").status == 404
    assert ask(server, "GET", "/raft/appendEntries").status == 405
    assert inbox.got == []


def test_strangers_and_servers_of_another_cluster_are_403(server: str, inbox: Inbox) -> None:
    frame = encode_message(MESSAGES[0])
    for headers in ({SENDER_HEADER: "n9"}, {SENDER_HEADER: "n2"}, {SENDER_HEADER: ""}, {CLUSTER_HEADER: "d"}):
        assert post(server, frame, **headers).status == 403
    assert inbox.got == []


def test_without_the_token_nothing_is_taken() -> None:
    inbox, frame = Inbox(), encode_message(MESSAGES[0])
    with serving(inbox, TOKEN) as url:
        assert post(url, frame).status == 401
        assert post(url, frame, Authorization="Bearer wrong").status == 401
        assert inbox.got == []
        assert post(url, frame, Authorization=f"Bearer {TOKEN}").status == 204
        assert len(inbox.got) == 1


def test_any_bytes_are_taken_as_the_message_they_are_or_refused(server: str, inbox: Inbox) -> None:
    frames = st.sampled_from([encode_message(message) for message in MESSAGES])
    damaged = st.tuples(frames, st.integers(0, 60), st.binary(max_size=4)).map(
        lambda parts: parts[0][: parts[1]] + parts[2] + parts[0][parts[1] + len(parts[2]) :]
    )

    @given(st.binary(max_size=40) | frames | damaged, st.sampled_from(sorted(set(PATHS.values()))))
    @settings(max_examples=100, deadline=None, database=None)
    def check(body: bytes, path: str) -> None:
        inbox.got.clear()
        answer = post(server, body, f"/raft{path}")
        assert answer.status in (204, 400)
        assert len(inbox.got) == (answer.status == 204)
        if inbox.got:
            assert PATHS[type(inbox.got[0][1])] == path

    check()
    inbox.got.clear()
