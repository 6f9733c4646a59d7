"""Fixtures of these tests."""

from __future__ import annotations

from tests.runtimes import each_runtime as each_runtime
