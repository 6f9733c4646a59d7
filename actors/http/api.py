"""The client API: a machine's commands and queries as an ASGI application over a running cluster.

    POST /v1/commands/incr   {"by": 5}                       {"result": 5}
    POST /v1/queries/get?consistency=stale   {}              {"result": 5}
    POST /v1/sessions                                        {"session": 17}
    GET  /v1/status  /v1/members  /openapi.json              (and /healthz, /readyz, which need no token)

Whatever goes wrong is a problem document with its outcome (`problems`).  A command without a number is applied at most
once by each request: this server asks again behind the scenes, and the cluster tells those retries apart.  A *client's*
retry is a new command, unless the client numbers its commands in a session of its own (`exactly_once`).

Rules of the file: nothing blocks the event loop.  Calls are awaited; what may take a second (looking at all peers) has
a thread, and whoever asks meanwhile shares the answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

import msgspec
from anyio import to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from actors.calls import Call, SubmitOptions
from actors.errors import ActorumError, CallTimeout, OutcomeUnknown, UnknownCommand, WrongArguments
from actors.http.attached import Attached
from actors.http.exactly_once import Numbered
from actors.http.guard import Guard, read_body
from actors.http.openapi import description
from actors.http.operations import JSON, JsonOperation, Operations
from actors.http.problems import RETRY_AFTER, Refusal, problem, refused, told
from actors.protocol import Consistency
from actors.replicated import Replicated
from actors.service_protocol import ClusterReport

T = TypeVar("T")

MAX_BODY: Final = 2 << 20
"""Bytes of a body: the largest command, as base64, with room to spare."""
LONGEST_TIMEOUT: Final = 60.0
OPEN_PATHS: Final = ("/healthz", "/readyz")
_LARGEST_NUMBER: Final = 2**63 - 1


def make_app(
    machine: type[Replicated], cluster: Attached, *, token: str | None = None, timeout: float = 10.0
) -> ASGIApp:
    """The application.  `timeout`: seconds that a request waits for the cluster unless it says otherwise."""
    api = _Api(Operations(machine), cluster, timeout, has_token=token is not None)
    routes = [
        Route("/v1/commands/{name}", api.command, methods=["POST"]),
        Route("/v1/queries/{name}", api.query, methods=["POST"]),
        Route("/v1/sessions", api.open_session, methods=["POST"]),
        Route("/v1/status", api.status),
        Route("/v1/members", api.members),
        Route("/openapi.json", api.openapi),
        Route("/healthz", api.healthz),
        Route("/readyz", api.readyz),
    ]
    app = Starlette(
        routes=routes,
        exception_handlers={
            ActorumError: _tell_error,
            Refusal: _tell_refusal,
            HTTPException: _tell_http_error,
            Exception: _tell_bug,
        },
    )
    app.router.redirect_slashes = False
    return Guard(app, token, open_paths=OPEN_PATHS)


class _Api:
    def __init__(self, operations: Operations, cluster: Attached, timeout: float, *, has_token: bool) -> None:
        self._operations = operations
        self._cluster = cluster
        self._timeout = timeout
        self._openapi = msgspec.json.encode(description(operations, has_token=has_token))
        self._looking: asyncio.Task[ClusterReport] | None = None

    async def command(self, request: Request) -> Response:
        """Change the state."""
        operation = self._operations.find("command", request.path_params["name"])
        seconds = self._seconds(request)
        number = _number_of(request)
        arguments = operation.read_arguments(await read_body(request, "application/json", MAX_BODY))
        if number is not None:
            reply = await self._cluster.sessions.submit(number, operation.name, arguments, seconds)
            return _result(operation, operation.signature.decode_reply(reply))
        decode, options = operation.signature.decode_reply, SubmitOptions(seconds)
        call = self._cluster.client.submit_command(operation.name, arguments, decode, options)
        return _result(operation, await _answer_to(call, seconds))

    async def query(self, request: Request) -> Response:
        """Look at the state."""
        operation = self._operations.find("query", request.path_params["name"])
        seconds = self._seconds(request)
        options = _freshness(request, seconds)
        arguments = operation.read_arguments(await read_body(request, "application/json", MAX_BODY))
        decode = operation.signature.decode_reply
        call = self._cluster.client.submit_query(operation.name, arguments, decode, options)
        return _result(operation, await _answer_to(call, seconds))

    async def open_session(self, request: Request) -> Response:
        """A number under which commands are numbered."""
        return _json({"session": await self._cluster.sessions.open_session(self._seconds(request))}, 201)

    async def status(self, request: Request) -> Response:
        """Everything that is known of every peer."""
        return _json(_status(await self._report()))

    async def members(self, request: Request) -> Response:
        """The peers, in short."""
        report = await self._report()
        members = [
            {"node": node.server_id, "state": node.state, "role": node.status.role if node.status else None}
            for node in report.nodes
        ]
        return _json({"members": members, "leader": _leader(report)})

    async def openapi(self, request: Request) -> Response:
        """What can be asked here."""
        return Response(self._openapi, media_type="application/json")

    async def healthz(self, request: Request) -> Response:
        """This server is alive, whatever the cluster is."""
        return _json({"alive": True})

    async def readyz(self, request: Request) -> Response:
        """The cluster has a leader."""
        try:
            leader = _leader(await self._report())
        except ActorumError:  # who runs the cluster is gone
            leader = None
        return _json({"ready": leader is not None}, 200 if leader is not None else 503)

    def _seconds(self, request: Request) -> float:
        text = request.query_params.get("timeout")
        try:
            seconds = self._timeout if text is None else float(text)
        except ValueError:
            seconds = math.nan
        if not 0 < seconds <= LONGEST_TIMEOUT:
            raise WrongArguments(f"timeout={str(text)[:40]!r}", why=f"it is seconds, up to {LONGEST_TIMEOUT}")
        return seconds

    async def _report(self) -> ClusterReport:
        """How the peers are; who asks while somebody looks gets the same answer."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.ensure_future(_in_a_thread(self._cluster.report))
        try:
            return await asyncio.wait_for(asyncio.shield(self._looking), self._timeout)
        except TimeoutError:
            raise CallTimeout(
                f"nobody said within {self._timeout} s how the peers are", why="who runs the cluster hangs"
            ) from None


def _freshness(request: Request, seconds: float) -> SubmitOptions:
    """Raises `WrongArguments` if there is no such read, or none over HTTP."""
    consistency, bound = (
        request.query_params.get("consistency", "linearizable"),
        request.query_params.get("max_staleness"),
    )
    if consistency == "session":
        raise WrongArguments(
            "there are no session reads over HTTP",
            why="all who ask here are one client of the cluster",
            fix="consistency=follower, which sees everything that was acknowledged to anybody",
        )
    try:
        max_staleness = None if bound is None else float(bound)
    except ValueError:
        raise WrongArguments(f"max_staleness={str(bound)[:40]!r}", why="it is seconds") from None
    return SubmitOptions(seconds, cast(Consistency, consistency), max_staleness)  # which refuses what is none


def _number_of(request: Request) -> Numbered | None:
    """The client's own number for this command; None if it gave none."""
    if "idempotency-key" in request.headers:
        raise WrongArguments(
            "Idempotency-Key is not understood here, and to ignore it would be a lie",
            why="the cluster remembers sessions and numbers, not keys",
            fix="POST /v1/sessions, then send Actorum-Session and Actorum-Sequence",
        )
    session, sequence = _natural(request, "actorum-session"), _natural(request, "actorum-sequence")
    lowest_pending = _natural(request, "actorum-lowest-pending")
    if session is None and sequence is None and lowest_pending is None:
        return None
    if session is None or sequence is None or (lowest_pending or sequence) > sequence:
        raise WrongArguments(
            "a numbered command needs Actorum-Session and Actorum-Sequence, and nothing above it can be answered",
            fix="Actorum-Session: 17, Actorum-Sequence: 1; then 2, 3, ...",
        )
    return Numbered(session, sequence, lowest_pending or sequence)


def _natural(request: Request, header: str) -> int | None:
    text = request.headers.get(header)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and 0 < int(text) <= _LARGEST_NUMBER):
        raise WrongArguments(f"{header} is {text[:40]!r}", why="it is a number, from 1")
    return int(text)


async def _in_a_thread(function: Callable[[], T]) -> T:
    """What may block, perhaps for ever: the server's end does not wait for it."""
    return await to_thread.run_sync(function, abandon_on_cancel=True)


async def _answer_to(call: Call[T], seconds: float) -> T:
    """As awaiting the call, but giving up (which asks all peers how they are) happens in a thread."""
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[None] = loop.create_future()

    def wake(_: Call[T]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_settle, answered)

    call.add_done_callback(wake)
    try:
        await asyncio.wait_for(answered, seconds)
    except TimeoutError:
        return await _given_up(call, seconds)
    return call.result()


async def _given_up(call: Call[T], seconds: float) -> T:
    try:
        return await _in_a_thread(lambda: call.result(0.0))
    except OutcomeUnknown as error:
        raise OutcomeUnknown(
            f"{call.label} was sent and not answered within {seconds} s",
            why=error.why,
            fix="query the machine before you send it again; commands that are numbered in a session can be sent again",
        ) from None


def _settle(answered: asyncio.Future[None]) -> None:
    if not answered.done():
        answered.set_result(None)


# --- what is answered -------------------------------------------------------------------------------------------------


def _json(body: JSON, status: int = 200) -> Response:
    headers = {"Retry-After": RETRY_AFTER} if status == 503 else None
    return Response(msgspec.json.encode(body), status, headers, "application/json")


def _result(operation: JsonOperation, result: object) -> Response:
    return Response(operation.write_result(result), media_type="application/json")


def _leader(report: ClusterReport) -> str | None:
    leaders = [node.status for node in report.nodes if node.status is not None and node.status.role == "leader"]
    return max(leaders, key=lambda status: status.term).server_id if leaders else None


def _status(report: ClusterReport) -> JSON:
    """Times are seconds, indices are log indices."""
    terms = [node.status.term for node in report.nodes if node.status is not None]
    return {
        "cluster": report.name,
        "machine": report.machine,
        "leader": _leader(report),
        "term": max(terms, default=0),
        "quorum": len(report.nodes) // 2 + 1,
        "nodes": [
            {
                "node": node.server_id,
                "state": node.state,
                "state_seconds": round(node.seconds, 3),
                "status": None if node.status is None else _fields(node.status),
                "error": node.error or None,
            }
            for node in report.nodes
        ],
    }


def _fields(status: msgspec.Struct) -> dict[str, Any]:
    return {key: value for key, value in msgspec.structs.asdict(status).items() if key not in ("batch_id", "server_id")}


async def _tell_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ActorumError)
    return problem(error)


async def _tell_refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return refused(error)


async def _tell_http_error(request: Request, error: Exception) -> Response:
    """No such path, or another method."""
    assert isinstance(error, HTTPException)
    what = f"{request.method} {request.url.path[:120]}: {error.detail}"
    headers = dict(error.headers) if error.headers else None
    return told(UnknownCommand(what, fix="GET /openapi.json"), error.status_code, "not applied", headers)


async def _tell_bug(request: Request, error: Exception) -> Response:
    """Nobody foresaw it; what it was stands in the server's log and not in the answer."""
    return problem(ActorumError("the server failed to answer", why="this is a bug", fix="see the server's log"))
