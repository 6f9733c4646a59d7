"""Who is let in: tokens, addresses, and how many at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from starlette.types import Message, Receive, Scope, Send

from actors.errors import ExitCode, WrongArguments
from actors.http.binding import TOKEN_VARIABLE, ListeningUnprotected, check_binding, read_token
from actors.http.guard import Guard
from actors.http.serving import serve_app, serve_http
from actors.supervisor import Supervisor
from tests.http.asking import Answer, ask
from tests.http.machine import Book

TOKEN = "a token of twenty-eight chars"


@pytest.fixture(scope="module")
def guarded(book: Book) -> Iterator[str]:
    with serve_http(book, token=TOKEN) as url:
        assert ask(url, "GET", "/readyz").status == 200
        yield url


def _with_token(url: str, token: str, path: str = "/v1/queries/accounts") -> Answer:
    return ask(url, "POST", path, "{}", Authorization=token)


def test_who_holds_the_token_is_served(guarded: str) -> None:
    assert _with_token(guarded, f"Bearer {TOKEN}").status == 200


@pytest.mark.parametrize(
    "given",
    ["", TOKEN, "Bearer", "Bearer ", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}x", f"Basic {TOKEN}", "Bearer \xe9"],
)
def test_a_missing_or_wrong_token_is_401_everywhere_but_where_nothing_is_told(guarded: str, given: str) -> None:
    for path in ("/v1/queries/accounts", "/v1/commands/add", "/v1/sessions", "/nowhere", "/healthz/"):
        answer = _with_token(guarded, given, path)
        assert (answer.status, answer.body["code"]) == (401, "AUTHENTICATION-FAILED")
        assert answer.headers["www-authenticate"] == "Bearer"
        assert TOKEN not in str(answer)
    for path in ("/v1/status", "/v1/members", "/openapi.json"):
        assert ask(guarded, "GET", path, Authorization=given).status == 401
    for path in ("/healthz", "/readyz"):
        assert ask(guarded, "GET", path).status == 200


def test_the_description_says_that_a_token_is_needed(guarded: str) -> None:
    document = ask(guarded, "GET", "/openapi.json", Authorization=f"Bearer {TOKEN}").body
    assert document["security"] == [{"token": []}]
    assert document["paths"]["/healthz"]["get"]["security"] == []


def test_without_a_token_a_foreign_name_is_not_served(url: str) -> None:
    for name in ("evil.example", "evil.example:80", "127.0.0.1.evil.example", "[::2]", ""):
        assert ask(url, "GET", "/v1/status", Host=name).status in (400, 421)
    for name in ("localhost", "LOCALHOST:80", "127.0.0.1", "127.9.9.9:80", "[::1]:8080", "[::1]"):
        assert ask(url, "GET", "/healthz", Host=name).status == 200


def test_with_a_token_any_name_is_served(guarded: str) -> None:
    assert ask(guarded, "GET", "/v1/members", Host="db.example", Authorization=f"Bearer {TOKEN}").status == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_nobody_listens_beyond_this_machine_without_a_token(host: str, book: Book) -> None:
    with pytest.raises(ListeningUnprotected, match="no token is set") as caught, serve_http(book, host):
        pass
    assert caught.value.exit_code == ExitCode.USAGE
    assert check_binding(host, 80, TOKEN) == (host, 80)


def test_loopback_has_many_names() -> None:
    assert check_binding("127.0.0.1", 0, None) == ("127.0.0.1", 0)
    assert check_binding("127.9.9.9", 0, None) == ("127.9.9.9", 0)
    assert check_binding("::1", 0, None) == ("::1", 0)
    with pytest.raises(WrongArguments, match="no address"):
        check_binding("no such host.", 0, None)


def test_a_port_that_is_taken_is_told(book: Book, url: str) -> None:
    port = int(url.rpartition(":")[2])
    with pytest.raises(WrongArguments, match="cannot listen"), serve_http(book, port=port):
        pass


def test_a_token_comes_from_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    assert read_token(None) is None
    monkeypatch.setenv(TOKEN_VARIABLE, "from the environment")
    assert read_token(None) == "from the environment"
    (tmp_path / "token").write_text("from the file, with an end of line\n")
    assert read_token(tmp_path / "token") == "from the file, with an end of line"


@pytest.mark.parametrize(
    "content", [b"", b"short", b"\xff\xfe" * 20, "schlüsselschlüsselschlüssel".encode(), b"a" * 20 + b"\nb"]
)
def test_a_token_that_could_be_guessed_or_not_be_sent_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(WrongArguments, match="token"):
        read_token(tmp_path / "token")
    with pytest.raises(WrongArguments, match="cannot be read"):
        read_token(tmp_path / "not there")


def test_no_more_requests_are_under_way_than_may_be() -> None:
    async def check() -> list[int]:
        may_end = asyncio.Event()

        async def slow(scope: Scope, receive: Receive, send: Send) -> None:
            await may_end.wait()
            await send({"type": "http.response.start", "status": 204, "headers": []})

        guard = Guard(slow, None, max_under_way=2)
        statuses: list[int] = []

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])
                if message["status"] == 429:
                    assert (b"retry-after", b"1") in message["headers"]

        async def receive() -> Message:
            return {"type": "http.request"}

        scope = {"type": "http", "path": "/", "method": "GET", "headers": [(b"host", b"localhost")]}
        under_way = [asyncio.create_task(guard(scope, receive, send)) for _ in range(2)]
        await asyncio.sleep(0)
        await guard(scope, receive, send)
        may_end.set()
        await asyncio.gather(*under_way)
        await guard(scope, receive, send)
        return statuses

    assert asyncio.run(check()) == [429, 204, 204, 204]


def test_a_server_ends_with_its_block_and_gives_its_port_back() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    with serve_app(app) as url:
        port = int(url.rpartition(":")[2])
        assert ask(url, "GET", "/").status == 204
    with pytest.raises(ConnectionRefusedError):
        ask(url, "GET", "/")
    with serve_app(app, port=port) as again:
        assert ask(again, "GET", "/").status == 204


def test_an_answer_is_sent_at_once(url: str) -> None:
    """Not held back for 40 ms because the one before it is not acknowledged (Nagle)."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    connection = HTTPConnection(parts.hostname, parts.port)
    took: list[float] = []
    for _ in range(20):
        began = time.monotonic()
        connection.request("GET", "/healthz")
        connection.getresponse().read()
        took.append(time.monotonic() - began)
    connection.close()
    assert min(took[5:]) < 0.03


def test_a_server_that_has_ended_is_no_client_of_the_cluster_any_more(book: Book) -> None:
    supervisor = book.cluster.supervisor
    assert isinstance(supervisor, Supervisor)
    before = supervisor.clients
    with serve_http(book):
        assert len(supervisor.clients) == len(before) + 1
    assert supervisor.clients == before
