"""Names of peers: each is given once, and a directory remembers all of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.errors import NameTaken, WrongArguments
from actors.roster import Roster
from actors.storage.port import CorruptStorage
from actors.storage.record import RECORD_NAME, note_started, open_record, read_record, refuse_lost_log

NAMES = ("n1", "n2", "n3")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Of a cluster that was started once."""
    open_record(tmp_path, "counter", NAMES, "")
    note_started(tmp_path)
    return tmp_path


def test_a_new_peer_gets_the_number_after_the_highest_that_ever_was() -> None:
    roster = Roster(("n1", "n10", "other"))
    assert roster.claim(None) == "n11"
    roster.remove("n11")
    assert roster.claim(None) == "n12"
    assert roster.number("n12") == 5


@pytest.mark.parametrize("name", ["n1", "n3"])
def test_a_name_that_somebody_has_or_had_is_taken(name: str) -> None:
    roster = Roster(NAMES)
    roster.remove("n3")
    with pytest.raises(NameTaken, match=name):
        roster.claim(name)


@pytest.mark.parametrize("name", ["", "a/b", "..", "control.sock", "-n", "n" * 64, "n\n"])
def test_what_cannot_be_a_directory_beside_ours_cannot_be_a_name(name: str) -> None:
    with pytest.raises(WrongArguments):
        Roster(NAMES).claim(name)


def test_a_directory_remembers_every_name(directory: Path) -> None:
    roster = Roster(NAMES, directory)
    roster.claim("extra")
    roster.claim(None)
    roster.remove("n2")
    later = Roster(("n1", "n3", "extra", "n4"), directory)
    assert later.claim(None) == "n5"
    assert later.was_removed("n2")
    with pytest.raises(NameTaken):
        later.claim("n2")
    record = read_record(directory)
    assert record is not None
    assert record.nodes == NAMES, "with these the log begins, whoever came later"
    assert record.present == ("n1", "n3", "extra", "n4", "n5")


def test_a_new_peer_may_lack_its_log_until_it_was_up_once(directory: Path) -> None:
    """A crash may come between writing its name down and its start."""
    roster = Roster(NAMES, directory)
    database = directory / roster.claim(None) / "raft.sqlite3"
    refuse_lost_log(database)
    roster.born("n4")
    with pytest.raises(CorruptStorage, match="is gone"):
        refuse_lost_log(database)


def test_when_all_are_up_all_must_find_their_logs(directory: Path) -> None:
    name = Roster(NAMES, directory).claim(None)
    note_started(directory)
    with pytest.raises(CorruptStorage, match="is gone"):
        refuse_lost_log(directory / name / "raft.sqlite3")


def test_a_record_that_vanished_is_not_made_again_without_its_past(directory: Path) -> None:
    roster = Roster(NAMES, directory)
    (directory / RECORD_NAME).unlink()
    with pytest.raises(CorruptStorage, match="is gone"):
        roster.claim(None)
    assert not (directory / RECORD_NAME).exists()
