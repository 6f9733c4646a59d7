"""A confirmation of the disk speaks of the write that was asked for then, not of what stands in its place now (ABA)."""

from __future__ import annotations

from raft_core import AppendEntries, Entry
from tests.actors.test_interpreter import Bench


def test_an_old_write_that_is_confirmed_makes_nothing_durable_that_has_taken_its_place() -> None:
    bench = Bench(asynchronous=True)
    bench.turn(("n2", AppendEntries(1, "n2", 0, 0, (Entry(1, b"a"), Entry(1, b"b"), Entry(1, b"c")), 0)))
    bench.turn(("n3", AppendEntries(2, "n3", 1, 1, (Entry(2, b"B"),), 0)))
    bench.confirm()
    assert bench.interpreter.server.persisted_index == 0, "the second entry is not on the disk yet"
    bench.confirm()
    assert bench.interpreter.server.persisted_index == 2
