"""What a probe adds to a peer: it counts and delays what is below both designs, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path
from time import monotonic

import pytest

from actors.cluster import peer_specs, run_peers
from actors.compare.measured import BEGIN, END, Measured, ProcessProbes
from actors.compare.payloads import MARK, Payloads, marked, measured_payloads, number_in, numbers_in, unmarked
from actors.compare.probe import MeasuredStorage, Probe, resident_bytes
from actors.storage.memory import MemoryStorage
from actors.storage.port import Stored
from raft_core import PersistEffect, PersistTermAndVote, Settings
from tests.signalling import signal_another_thread

TERM: list[PersistEffect] = [PersistTermAndVote(1, "n1")]


class Synced(MemoryStorage):
    blocking = True


@pytest.mark.parametrize(("storage", "fsyncs"), [(Synced(), 3), (MemoryStorage(), 0)])
def test_only_a_disk_that_is_waited_for_counts(storage: MemoryStorage, fsyncs: int) -> None:
    measured = MeasuredStorage(storage, 0.0)
    for _ in range(3):
        measured.write(TERM)
    assert measured.fsyncs == fsyncs
    assert measured.blocking == storage.blocking
    assert isinstance(measured.load(), Stored)
    assert measured.load().current_term == 1


def test_a_slow_disk_is_slow_and_must_not_hold_up_who_answers_heartbeats() -> None:
    measured = MeasuredStorage(MemoryStorage(), 0.02)
    began = monotonic()
    measured.write(TERM)
    assert monotonic() - began >= 0.02
    assert measured.blocking
    assert measured.fsyncs == 0


def test_a_peer_measures_from_signal_to_signal_whichever_thread_takes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probes = ProcessProbes(Measured(directory=str(tmp_path)))
    specs = peer_specs(Payloads, 1, Settings(), tmp_path / "data", "journal", 1)
    with run_peers(specs, probes.host(), timeout=10.0, data=None) as cluster:
        process_ids = {name: process_id for name, (_, _, process_id) in cluster.supervisor.members().items()}
        taken = []

        def taken_by_another(process_id: int, number: int) -> None:
            signal_another_thread(process_id, number)
            taken.append(number)

        with monkeypatch.context() as patch:
            patch.setattr(os, "kill", taken_by_another)
            probes.begin(process_ids)
            assert probes.end(process_ids).keys() == {"n1"}
    assert taken == [BEGIN, END]


def test_a_mark_travels_in_the_argument() -> None:
    assert number_in(marked(513, 16)) == 513
    assert (len(marked(7, 16)), len(unmarked(16))) == (16, 16)
    assert number_in(unmarked(1024)) is None
    assert numbers_in(b"x" + marked(1, 16) + unmarked(16) + marked(65535, 64)) == [1, 65535]


def test_a_number_that_looks_like_a_line_end_is_found() -> None:
    assert numbers_in(marked(0x0A0A, 16)) == [0x0A0A]


def test_a_mark_beyond_the_head_of_a_command_is_somebody_elses() -> None:
    assert number_in(bytes(200) + MARK + b"\0\1") is None


def test_a_measured_machine_counts_as_the_plain_one() -> None:
    seen: list[int] = []
    plain, measured = Payloads(), measured_payloads(0.0, seen.append)()
    for data in (unmarked(16), marked(5, 16), unmarked(16)):
        assert plain.put(data) == measured.put(data)
    assert seen == [5]
    assert measured._machine_name == plain._machine_name


def test_a_slow_machine_keeps_a_processor_busy() -> None:
    slow = measured_payloads(0.01, lambda number: None)()
    began = monotonic()
    slow.put(unmarked(16))
    assert monotonic() - began >= 0.01


def test_each_replica_notes_its_own_applying() -> None:
    """In one process there are several; who is first must not speak for the others."""
    probes = [Probe(f"n{number}", None, MeasuredStorage(MemoryStorage(), 0.0)) for number in (1, 2)]
    machines = [measured_payloads(0.0, probe.note_applied)() for probe in probes]
    for probe in probes:
        probe.begin()
    machines[0].put(marked(3, 16))
    assert [sorted(probe.applied) for probe in probes] == [[3], []]


def test_nothing_is_noted_before_the_measurement_begins() -> None:
    probe = Probe("n1", None, MeasuredStorage(MemoryStorage(), 0.0))
    probe.note_applied(1)
    assert probe.applied == {}


def test_there_is_nothing_to_look_at_in_what_is_neither() -> None:
    with pytest.raises(TypeError, match="nothing to look at in a object"):
        Probe("n1", None, MeasuredStorage(MemoryStorage(), 0.0)).watch(object())  # type: ignore[arg-type]


def test_a_process_has_a_size() -> None:
    assert resident_bytes() > 1 << 20
