"""Asking a server, as plainly as possible: one connection for each request."""

from __future__ import annotations

import json
from collections.abc import Iterable
from http.client import HTTPConnection
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from raft_core import Settings

QUICK = Settings(election_timeout=100, heartbeat_interval=20)


class Answer(NamedTuple):
    """What came back."""

    status: int
    body: Any
    headers: dict[str, str]


def ask(url: str, method: str, path: str, body: bytes | str | Iterable[bytes] | None = None, **headers: str) -> Answer:
    """One request.  Underscores in the names of headers stand for hyphens; a body is JSON unless it is said."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    connection = HTTPConnection(parts.hostname, parts.port, timeout=30)
    named = {"Content-Type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        connection.request(method, path, body, named)
        response = connection.getresponse()
        content = response.read()
        told = {name.lower(): value for name, value in response.getheaders()}
        is_json = "json" in told.get("content-type", "")
        return Answer(response.status, json.loads(content) if content and is_json else content, told)
    finally:
        connection.close()
