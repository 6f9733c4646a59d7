"""Who may ask, from where, and how much: the door of every application of this package.

Rules of the file:

1. Nobody beyond this machine is served without a token: `binding` refuses to listen there.
2. A token is compared in constant time.  It is a secret in a header, so between machines it belongs into TLS; put a
   proxy in front, or give uvicorn a certificate.
3. Without a token, a browser on this machine is the danger: a page from anywhere may post to a loopback address.  So
   `Host` must name this machine (no DNS rebinding), and a body must say that it is JSON (no "simple" cross-origin
   request; the pre-flight of any other is not answered).
4. What is read is bounded in bytes and in seconds, and so is the number of requests under way.

Rejected: sessions and cookies (a program asks here, not a person); rate limits by address (a proxy's business).
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
from collections.abc import Collection
from typing import Final

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Receive, Scope, Send

from actors.errors import AuthenticationFailed, BadFrame, Overloaded
from actors.http.problems import Refusal, refused

MAX_UNDER_WAY: Final = 1024
"""Requests that may be under way at a time."""
BODY_TIMEOUT: Final = 10.0
"""Seconds within which a body must have arrived."""


class Guard:
    """ASGI middleware: lets in who holds the token; without a token, who asks this very machine."""

    def __init__(
        self,
        app: ASGIApp,
        token: str | None,
        *,
        open_paths: Collection[str] = (),
        max_under_way: int = MAX_UNDER_WAY,
    ) -> None:
        """`open_paths` are for everybody: they say nothing but that somebody is here."""
        self._app = app
        self._expected = None if token is None else f"Bearer {token}".encode()
        self._open_paths = frozenset(open_paths)
        self._limit = max_under_way
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request (or something that is none, which is passed on)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            self._check(scope)
        except Refusal as refusal:
            await refused(refusal)(scope, receive, send)
            return
        self._under_way += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._under_way -= 1

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        if self._expected is None:
            _check_host(headers.get("host", ""))
        elif scope["path"] not in self._open_paths:
            given = headers.get("authorization", "").encode("latin-1")
            if not hmac.compare_digest(given, self._expected):
                raise Refusal(401, AuthenticationFailed("the token is missing or wrong", fix=_HOW_TO_AUTHENTICATE))
        if self._under_way >= self._limit:
            raise Refusal(429, Overloaded(f"{self._limit} requests are under way", fix="wait, then ask again"))


_HOW_TO_AUTHENTICATE: Final = "send the header `Authorization: Bearer TOKEN`, with the token that the server was given"


def _check_host(host: str) -> None:
    name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
    if not _is_this_machine(name.strip("[]").lower()):
        raise Refusal(
            421,
            AuthenticationFailed(
                f"without a token only this machine is served, and {host[:80]!r} is not its name",
                why="a web page of another name may not speak through a browser on this machine",
                fix="ask 127.0.0.1 or localhost, or set a token",
            ),
        )


def _is_this_machine(name: str) -> bool:
    try:
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


async def read_body(request: Request, content_type: str, limit: int) -> bytes:
    """The body of a request, if it is of the right type and no longer than `limit`.  Raises `Refusal`."""
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != content_type:
        raise Refusal(415, BadFrame(f"a body of type {given or 'nothing'!r}", fix=f"Content-Type: {content_type}"))
    length = request.headers.get("content-length", "")
    if length.isdecimal() and (len(length) > 15 or int(length) > limit):
        raise _too_large(limit)
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            return await _read(request, limit)
    except TimeoutError:
        raise Refusal(408, BadFrame(f"the body did not arrive within {BODY_TIMEOUT} s")) from None
    except ClientDisconnect:
        raise Refusal(400, BadFrame("the body was cut short")) from None


async def _read(request: Request, limit: int) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise _too_large(limit)
    return bytes(body)


def _too_large(limit: int) -> Refusal:
    return Refusal(413, BadFrame(f"a body of more than {limit} bytes", fix="send less at a time"))
