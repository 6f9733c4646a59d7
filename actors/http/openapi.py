"""The OpenAPI description of one machine's API, made from its operations when the application is made."""

from __future__ import annotations

from typing import Final

from actors.http.operations import JSON, JsonOperation, Operations
from actors.http.problems import PROBLEM

_PROBLEM_SCHEMA: Final[JSON] = {
    "type": "object",
    "required": ["title", "status", "code", "what", "why", "fix", "docs", "outcome"],
    "properties": {
        **{name: {"type": "string"} for name in ("title", "code", "what", "why", "fix", "docs")},
        "status": {"type": "integer"},
        "outcome": {"enum": ["not applied", "applied", "unknown"], "description": "What became of the command."},
    },
}
_REFUSALS: Final = {
    "400": "The body or a parameter is not what it should be; nothing was sent.",
    "401": "The token is missing or wrong.",
    "408": "The body did not arrive in time.",
    "413": "The body is too large.",
    "415": "The body is not application/json.",
    "422": "It was carried out, and the method raised; what it had changed before stays changed.",
    "429": "There is too much work under way; nothing was accepted.",
    "503": "No leader took it; nothing was changed, and a retry is safe.",
    "504": "It was sent and not answered in time: the outcome is unknown.",
}
_TIMEOUT: Final[JSON] = {
    "name": "timeout",
    "in": "query",
    "description": "Seconds to wait for the answer.",
    "schema": {"type": "number", "exclusiveMinimum": 0, "maximum": 60, "default": 10},
}
_CONSISTENCY: Final[JSON] = {
    "name": "consistency",
    "in": "query",
    "description": "How fresh: as of this request (from the leader, any peer, or by lease), or what a peer has.",
    "schema": {"enum": ["linearizable", "follower", "lease", "stale"], "default": "linearizable"},
}
_MAX_STALENESS: Final[JSON] = {
    "name": "max_staleness",
    "in": "query",
    "description": "Seconds: a stale read sees at least what was acknowledged so long before it.",
    "schema": {"type": "number", "exclusiveMinimum": 0},
}


def _number_header(name: str, description: str) -> JSON:
    schema = {"type": "integer", "minimum": 1}
    return {"name": name, "in": "header", "description": description, "schema": schema}


_NUMBERED: Final = [
    _number_header("Actorum-Session", "From POST /v1/sessions.  With it, a retry is safe."),
    _number_header("Actorum-Sequence", "Number of this command in its session; a retry has the same."),
    _number_header(
        "Actorum-Lowest-Pending",
        "You have the answers to all commands below (default: the sequence itself, for one command at a time).",
    ),
]


def description(operations: Operations, *, has_token: bool) -> JSON:
    """The whole document, as OpenAPI 3.1."""
    schemas, components = operations.schemas()
    document: JSON = {
        "openapi": "3.1.0",
        "info": {
            "title": operations.title,
            "version": operations.title.rpartition("@")[2],
            "description": "A replicated state machine: commands change it and are applied once on every replica.",
        },
        "paths": _fixed_paths(),
        "components": {"schemas": {**components, "Problem": _PROBLEM_SCHEMA}},
    }
    for one in operations.all.values():
        arguments, result = schemas[one.name]
        prefix = "/v1/commands/" if one.kind == "command" else "/v1/queries/"
        document["paths"][prefix + one.name] = {"post": _operation(one, arguments, result)}
    if has_token:
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"token": []}]
    return document


def _operation(one: JsonOperation, arguments: JSON, result: JSON) -> JSON:
    answer = {"type": "object", "required": ["result"], "properties": {"result": result}}
    return {
        "operationId": one.name,
        "tags": ["commands" if one.kind == "command" else "queries"],
        "summary": one.documentation.partition("\n")[0],
        "description": one.documentation,
        "parameters": [_TIMEOUT, *(_NUMBERED if one.kind == "command" else [_CONSISTENCY, _MAX_STALENESS])],
        "requestBody": {"content": {"application/json": {"schema": arguments}}},
        "responses": {"200": _answer("What the method returned.", answer), **_problems()},
    }


def _problems() -> JSON:
    reference = {"$ref": "#/components/schemas/Problem"}
    return {
        status: {"description": words, "content": {PROBLEM: {"schema": reference}}}
        for status, words in _REFUSALS.items()
    }


def _answer(words: str, schema: JSON) -> JSON:
    return {"description": words, "content": {"application/json": {"schema": schema}}}


def _fixed_paths() -> JSON:
    anything: JSON = {"type": "object"}
    session = {"type": "object", "required": ["session"], "properties": {"session": {"type": "integer"}}}
    open_session = {
        "operationId": "$open_session",
        "summary": "Open a session, in which numbered commands are applied once however often they are sent.",
        "responses": {"201": _answer("Its number.", session), **_problems()},
    }
    return {
        "/v1/sessions": {"post": open_session},
        "/v1/status": {"get": _read("$status", "Who leads, who trails, who is down.", anything)},
        "/v1/members": {"get": _read("$members", "The peers and what each of them is.", anything)},
        "/healthz": {"get": {**_read("$healthz", "This server is alive.", anything), "security": []}},
        "/readyz": {
            "get": {**_read("$readyz", "The cluster has a leader (503: it has none).", anything), "security": []}
        },
    }


def _read(name: str, summary: str, schema: JSON) -> JSON:
    return {"operationId": name, "summary": summary, "responses": {"200": _answer(summary, schema)}}
