"""One cluster and one HTTP server for the tests that hurt neither."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from actors.http.serving import serve_http
from tests.http.asking import QUICK, ask
from tests.http.machine import Book


@pytest.fixture(scope="session")
def book() -> Iterator[Book]:
    """Bound to a running cluster."""
    with Book.cluster(engine="threads", settings=QUICK) as book:
        book.accounts.submit().result()
        yield book


@pytest.fixture(scope="session")
def url(book: Book) -> Iterator[str]:
    """Of a server on loopback, without a token."""
    with serve_http(book) as url:
        assert ask(url, "GET", "/readyz").status == 200  # and the thread that looks at peers is there
        yield url
