"""What an HTTP client is told when something cannot be done: the error contract as `application/problem+json`.

The body is RFC 9457's (`title`, `status`) with the parts of `ActorumError.as_json` and one more, `outcome`: what became
of the command.  "not applied": nothing changed, a retry is safe.  "applied": it took effect, and this is what came of
it.  "unknown": it was sent, and nobody said more; never is that called a failure.

The table below is the whole mapping.  A class without a row has that of its parent; `ActorumError` itself is a 500, for
what nobody foresaw is a bug.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final, Literal, NamedTuple, TypeAlias

import msgspec
from starlette.responses import Response

from actors import errors
from actors.errors import ActorumError

Outcome: TypeAlias = Literal["not applied", "applied", "unknown"]

PROBLEM: Final = "application/problem+json"
RETRY_AFTER: Final = "1"
"""Seconds that a client is asked to wait when it may try again: longer than an election."""


class Meaning(NamedTuple):
    """What an error is in HTTP."""

    status: int
    outcome: Outcome = "not applied"


MEANINGS: Final[dict[type[ActorumError], Meaning]] = {
    errors.WrongArguments: Meaning(400),
    errors.AuthenticationFailed: Meaning(401),
    errors.UnknownCommand: Meaning(404),
    errors.NoSuchNode: Meaning(404),
    errors.SessionExpired: Meaning(410, "unknown"),
    errors.CommandFailed: Meaning(422, "applied"),
    errors.Overloaded: Meaning(429),
    errors.NoQuorum: Meaning(503),
    errors.CallTimeout: Meaning(503),
    errors.ClusterNotRunning: Meaning(503),
    # A command that had been sent ends like this too when this program is stopped.
    errors.ClusterClosed: Meaning(503, "unknown"),
    errors.OutcomeUnknown: Meaning(504, "unknown"),
    ActorumError: Meaning(500, "unknown"),
}


class Refusal(Exception):
    """A request that is refused for what it is in HTTP, before anybody looks at what it asks."""

    def __init__(self, status: int, error: ActorumError, headers: dict[str, str] | None = None) -> None:
        super().__init__(error.what)
        self.status = status
        self.error = error
        self.headers = headers or {}


def meaning_of(error: ActorumError) -> Meaning:
    """The row of the nearest class."""
    return next(MEANINGS[kind] for kind in type(error).__mro__ if kind in MEANINGS)


def problem(error: ActorumError) -> Response:
    """The answer that tells `error`."""
    meaning = meaning_of(error)
    return told(error, meaning.status, meaning.outcome)


def refused(refusal: Refusal) -> Response:
    """The answer to a request that was not even looked at."""
    return told(refusal.error, refusal.status, "not applied", refusal.headers)


def told(error: ActorumError, status: int, outcome: Outcome, headers: dict[str, str] | None = None) -> Response:
    """A problem document with these words."""
    body = {"title": HTTPStatus(status).phrase, "status": status, **error.as_json(), "outcome": outcome}
    more = dict(headers or {})
    if status in (429, 503):
        more["Retry-After"] = RETRY_AFTER
    if status == 401:
        more["WWW-Authenticate"] = "Bearer"
    return Response(msgspec.json.encode(body), status, more, PROBLEM)
