"""The report in a real browser: it shows itself, complains of nothing, and asks nobody for anything.

The one condition under which this is left out: no Chromium is installed here (`apt-get install chromium`).  Then
`test_report` holds the same by reading the page: nothing in it refers to anything that would be loaded.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from msgspec import json

import actors.compare
from tests.compare.an_experiment import cells_of, experiment_in

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # what the browser wants for itself, it does not get
    "--enable-logging=stderr",
    "--hide-scrollbars",
    "--window-size=1100,4000",
)
PATIENCE = 110.0
"""Seconds for a browser on a machine that does much else."""
BROKEN = '<img src="http://127.0.0.1:9/picture.png" alt=""><script>console.error("complaint")</script>'
pytestmark = [
    pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed here: apt-get install chromium"),
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.usefixtures("open_fonts"),
]


def opened(page: Path, beside: Path) -> tuple[list[str], list[str], bytes]:
    """What the page asked for, what the browser had to complain of, and a picture of the page."""
    log, picture = beside / "net.json", beside / "page.png"
    words = [f"--user-data-dir={beside / 'profile'}", f"--log-net-log={log}", f"--screenshot={picture}", page.as_uri()]
    said = _run([str(BROWSER), *OPTIONS, *words])
    complaints = [line for line in said.splitlines() if ":CONSOLE" in line]
    return _asked_for(json.decode(log.read_bytes())), complaints, picture.read_bytes()


def _run(command: Sequence[str]) -> str:
    """A browser is many processes: they are a group of their own, and end together."""
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    ) as browser:
        try:
            return browser.communicate(timeout=PATIENCE)[1].decode(errors="replace")
        finally:
            with suppress(ProcessLookupError):
                os.killpg(browser.pid, signal.SIGKILL)


def _asked_for(log: Mapping[str, Any]) -> list[str]:
    """Addresses of the requests that a page made; what the browser asks for itself has no origin."""
    begins = log["constants"]["logEventTypes"]["URL_REQUEST_START_JOB"]
    found = [event["params"] for event in log["events"] if event["type"] == begins and "url" in event.get("params", {})]
    return [request["url"] for request in found if request["initiator"] != "not an origin"]


def test_the_page_is_drawn_without_a_complaint_and_asks_nobody(tmp_path: Path) -> None:
    directory, beside = tmp_path / "report", tmp_path / "browser"
    beside.mkdir()
    experiment_in(directory, cells_of([{}], 2))
    page = actors.compare.read_report(directory).write()
    asked, complaints, picture = opened(page, beside)
    assert asked == []
    assert complaints == []
    assert len(picture) > 50_000  # a page full of figures, not a white one


def test_a_page_that_asks_or_complains_would_be_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(f"<!doctype html><title>broken</title>{BROKEN}")
    asked, complaints, _ = opened(page, tmp_path)
    assert asked == ["http://127.0.0.1:9/picture.png"]
    assert any("complaint" in line for line in complaints)
