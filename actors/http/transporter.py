"""A transporter between peers over HTTP, in the shape of goraft's: POST <prefix>/appendEntries, /requestVote, ...

    transporter = HttpTransporter("n1", {"n2": "http://10.0.0.2:8080", "n3": "http://10.0.0.3:8080"}, token=token)
    transporter.install(server, app)            # what others post goes to `server`
    transporter.send("n2", message)             # a `Transport`: never waits, drops what cannot be sent

Rules of the file:

1. A message is one POST, requests and results alike, and the answer says only whether it was taken: 204.  Results are
   messages of their own here as everywhere (`raft_core.messages`), so no connection waits for another server's disk.
2. The body is the codec's.  What it cannot read is 400, what is too long 413, a wrong token 401, a server of another
   cluster or one that nobody knows 403; a server that takes nothing is 503.  None of it reaches the server.
3. Each destination has a thread, a connection and a bounded queue of its own: one that hangs delays nobody else.  After
   a failure what waits behind it is dropped, for it is old: Raft asks again.

`PATHS` has a row for every message, and a test sees to it.  goraft's fourth path, /snapshotRecovery, has no
counterpart: its two calls left a follower in a state of its own between them; here each part of a snapshot says what
the whole is.

Rejected: the result in the response, as in goraft (a server would have to remember whose request its next message
answers, and a request that is rightly ignored has no answer); one thread for all (TCP's time-outs are seconds);
JSON (a third longer, and slower to read than to send).
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from queue import Empty, Full, Queue
from typing import Final, Protocol
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, request_response

from actors.codec import MAX_FRAME_BYTES, decode_message, encode_message
from actors.errors import ActorumError, AuthenticationFailed, BadFrame, Overloaded, WrongArguments
from actors.http.guard import Guard, read_body
from actors.http.problems import Refusal, refused
from raft_core import (
    AppendEntries,
    AppendEntriesResult,
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
    TimeoutNow,
)

CONTENT_TYPE: Final = "application/vnd.msgpack"
SENDER_HEADER: Final = "Actorum-Server"
CLUSTER_HEADER: Final = "Actorum-Cluster"
MAX_WAITING: Final = 256
"""Messages that wait for one destination; more are dropped."""

PATHS: Final[dict[type[Message], str]] = {
    AppendEntries: "/appendEntries",
    AppendEntriesResult: "/appendEntries",
    RequestVote: "/requestVote",
    RequestVoteResult: "/requestVote",
    RequestPreVote: "/requestPreVote",
    RequestPreVoteResult: "/requestPreVote",
    InstallSnapshot: "/snapshot",
    InstallSnapshotResult: "/snapshot",
    RequestReadIndex: "/requestReadIndex",
    RequestReadIndexResult: "/requestReadIndex",
    TimeoutNow: "/timeoutNow",
}
"""Where each message is posted, below the prefix: a result goes where its request went."""


class Receiver(Protocol):
    """Who gets what the others send."""

    def receive(self, sender: ServerId, message: Message) -> bool:
        """Take a message without waiting; False if it cannot be taken.  Called in the event loop."""


class HttpTransporter:
    """One server's way to the others and theirs to it.  Any thread may use it."""

    def __init__(
        self,
        server_id: ServerId,
        urls: Mapping[ServerId, str],
        *,
        prefix: str = "/raft",
        cluster_id: str = "",
        token: str | None = None,
        timeout: float = 1.0,
        keep_alive: bool = True,
        max_bytes: int = MAX_FRAME_BYTES,
    ) -> None:
        """`urls`: of the other servers, "http://HOST:PORT".  `timeout`: seconds after which a message is given up.

        `keep_alive`: one connection for many messages, or one for each.  `max_bytes`: of a message that is taken.
        """
        self.prefix = prefix.rstrip("/")
        """What all paths begin with."""
        self._token = token
        self._server_id = server_id
        self._cluster_id = cluster_id
        self._max_bytes = max_bytes
        self._timeout = timeout
        self._headers = {"Content-Type": CONTENT_TYPE, SENDER_HEADER: server_id, CLUSTER_HEADER: cluster_id}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        if not keep_alive:
            self._headers["Connection"] = "close"
        self._lines: dict[ServerId, _Line] = {}  # replaced, never changed: others look
        self._meeting = threading.Lock()
        for name, url in urls.items():
            self.meet(name, url)

    @property
    def append_entries_path(self) -> str:
        """Where AppendEntries and its result are posted."""
        return self.prefix + PATHS[AppendEntries]

    @property
    def request_vote_path(self) -> str:
        """Where RequestVote and its result are posted."""
        return self.prefix + PATHS[RequestVote]

    @property
    def snapshot_path(self) -> str:
        """Where InstallSnapshot and its result are posted."""
        return self.prefix + PATHS[InstallSnapshot]

    @property
    def request_pre_vote_path(self) -> str:
        """Where RequestPreVote and its result are posted."""
        return self.prefix + PATHS[RequestPreVote]

    @property
    def dropped(self) -> int:
        """Messages that were not taken by their destination, or never sent."""
        return sum(line.dropped for line in self._lines.values())

    def problems(self) -> dict[ServerId, str]:
        """Why the latest message to each server was not taken; only of those that have such trouble now."""
        return {name: line.problem for name, line in self._lines.items() if line.problem}

    def meet(self, server_id: ServerId, url: str) -> None:
        """A server that is new, or has moved, is at `url`: it is sent to there, and what it posts is taken.

        If it has moved, this returns when nothing goes to its old address any more, which takes `timeout` at most."""
        if server_id == self._server_id:
            return
        line = _Line(url, self._headers, self._timeout)
        with self._meeting:
            earlier = self._lines.get(server_id)
            self._lines = {**self._lines, server_id: line}
        if earlier is not None:
            earlier.close()
            earlier.join()

    def send(self, to: ServerId, message: Message) -> None:
        """Send without waiting, or drop."""
        line = self._lines.get(to)
        if line is not None:
            line.put(self.prefix + PATHS[type(message)], encode_message(message))

    def install(self, server: Receiver, app: Starlette) -> None:
        """Let `app` take what the other servers post, and give it to `server`.

        The token is checked here, whatever else `app` serves; without one only this machine is listened to.
        """
        for path in dict.fromkeys(PATHS.values()):
            guarded = Guard(request_response(self._endpoint(server, path)), self._token)
            app.router.routes.append(Route(self.prefix + path, guarded, methods=["POST"]))

    def close(self) -> None:
        """Send no more; returns when every thread has ended, which takes `timeout` at most."""
        for line in self._lines.values():
            line.close()
        for line in self._lines.values():
            line.join()

    def _endpoint(self, server: Receiver, path: str) -> _Endpoint:
        async def take(request: Request) -> Response:
            try:
                sender = self._sender_of(request)
                frame = await read_body(request, CONTENT_TYPE, self._max_bytes)
                message = _message_for(path, frame)
            except Refusal as refusal:
                return refused(refusal)
            if server.receive(sender, message):
                return Response(status_code=204)
            return refused(Refusal(503, Overloaded("the server takes nothing now", fix="Raft sends again by itself")))

        return take

    def _sender_of(self, request: Request) -> ServerId:
        sender = request.headers.get(SENDER_HEADER, "")
        if sender not in self._lines:
            raise Refusal(403, _stranger(f"{sender[:80]!r} is none of the servers known here"))
        if request.headers.get(CLUSTER_HEADER, "") != self._cluster_id:
            raise Refusal(403, _stranger(f"{sender} belongs to another cluster"))
        return sender


class _Endpoint(Protocol):
    async def __call__(self, request: Request) -> Response: ...


def _stranger(what: str) -> ActorumError:
    return AuthenticationFailed(what, why="an address in the configuration is wrong", fix="give all servers the same")


def _message_for(path: str, frame: bytes) -> Message:
    """The message in a body.  Raises `Refusal` for anything that does not belong there."""
    try:
        message = decode_message(frame)
    except BadFrame as error:
        raise Refusal(400, error) from None
    if PATHS[type(message)] != path:
        raise Refusal(400, BadFrame(f"{type(message).__name__} is not posted to {path}"))
    return message


class _Line:
    """The way to one server: a queue, a thread that empties it, a connection."""

    def __init__(self, url: str, headers: Mapping[str, str], timeout: float) -> None:
        self._connection = _connection(url, timeout)
        self._base = urlsplit(url).path.rstrip("/")
        self._headers = dict(headers)
        self._waiting: Queue[tuple[str, bytes] | None] = Queue(MAX_WAITING)
        self._is_closed = False
        self.dropped = 0
        self.problem = ""
        self._thread = threading.Thread(target=self._run, name="actorum-http-line", daemon=True)
        self._thread.start()

    def put(self, path: str, frame: bytes) -> None:
        try:
            self._waiting.put_nowait((path, frame))
        except Full:
            self.dropped += 1

    def close(self) -> None:
        self._is_closed = True
        with contextlib.suppress(Full):  # then it is not asleep, and looks at `_is_closed` after its next message
            self._waiting.put_nowait(None)

    def join(self) -> None:
        self._thread.join()

    def _run(self) -> None:
        # Closed is looked at first: what is dropped behind a failure may be the None that should have ended the wait.
        while not self._is_closed and (message := self._waiting.get()) is not None:
            self.problem = self._post(*message)
            if self.problem:
                self._drop_all()
        self._connection.close()

    def _post(self, path: str, frame: bytes) -> str:
        """Empty, or why it was not taken.  A connection that was open may have been closed by the other side since:
        then a new one is tried, and a message that comes twice is none the worse."""
        was_open = self._connection.sock is not None
        try:
            return self._try(path, frame)
        except (ConnectionError, HTTPException) as error:
            self._connection.close()
            if not was_open:
                return f"{type(error).__name__}: {error}"
        except OSError as error:
            self._connection.close()
            return f"{type(error).__name__}: {error}"
        try:
            return self._try(path, frame)
        except (OSError, HTTPException) as error:
            self._connection.close()
            return f"{type(error).__name__}: {error}"

    def _try(self, path: str, frame: bytes) -> str:
        self._connection.request("POST", self._base + path, frame, self._headers)
        response = self._connection.getresponse()
        response.read()
        return "" if response.status == 204 else f"{response.status} {response.reason}"

    def _drop_all(self) -> None:
        self.dropped += 1
        with contextlib.suppress(Empty):
            while self._waiting.get_nowait() is not None:
                self.dropped += 1


def _connection(url: str, timeout: float) -> HTTPConnection:
    try:
        parts = urlsplit(url)
        kinds: dict[str, type[HTTPConnection]] = {"http": HTTPConnection, "https": HTTPSConnection}
        if not parts.hostname:
            raise ValueError("it has no host")
        return kinds[parts.scheme](parts.hostname, parts.port, timeout=timeout)
    except (ValueError, KeyError) as error:
        raise WrongArguments(f"{url!r} is no URL of a server: {error}", fix="http://10.0.0.2:8080") from None
