"""Part B of the lab: the log (paper 5.3, 5.4)."""

from __future__ import annotations

from tests.lab.harness import Lab
from tests.lab.variants import scenario


def _must_not_be_applied(lab: Lab, position: int) -> None:
    """Two seconds are plenty for a mistake to show."""
    lab.sleep(2.0)
    number, command = lab.n_committed(position)
    assert number == 0, f"{number} servers applied {command!r} at {position} without a majority"


@scenario(servers=3)
def test_basic_agree(lab: Lab) -> None:
    """Three commands land at 1, 2, 3, and nobody has applied one before it was offered."""
    for position in (1, 2, 3):
        assert lab.n_committed(position) == (0, None)
        assert lab.one(b"%d" % (position * 100), lab.size, retry=False) == position


@scenario(servers=3)
def test_rpc_bytes(lab: Lab) -> None:
    """Ten commands of 5000 bytes: each goes to each server about once."""
    lab.one(b"99", lab.size, retry=False)
    before = lab.bytes_total()
    sent = 0
    for position in range(2, 12):
        command = lab.random_bytes(5000)
        assert lab.one(command, lab.size, retry=False) == position
        sent += len(command)
    assert lab.bytes_total() - before <= lab.size * sent + 50_000


@scenario(servers=3)
def test_follower_failure(lab: Lab) -> None:
    """With one follower cut off commands are committed; with both, the leader accepts one and it is not applied."""
    lab.one(b"101", lab.size, retry=False)
    leader1 = lab.check_one_leader()
    lab.disconnect(leader1 + 1)
    lab.one(b"102", lab.size - 1, retry=False)
    lab.sleep(1.0)
    lab.one(b"103", lab.size - 1, retry=False)

    leader2 = lab.check_one_leader()
    lab.disconnect(leader2 + 1, leader2 + 2)
    position, _, is_leader = lab.start_command(leader2, b"104")
    assert is_leader
    assert position == 4
    _must_not_be_applied(lab, 4)


@scenario(servers=3)
def test_leader_failure(lab: Lab) -> None:
    """With the leader cut off commands are committed by its successor; with that one too, nothing is."""
    lab.one(b"101", lab.size, retry=False)
    leader1 = lab.check_one_leader()
    lab.disconnect(leader1)
    lab.one(b"102", lab.size - 1, retry=False)
    lab.sleep(1.0)
    lab.one(b"103", lab.size - 1, retry=False)

    leader2 = lab.check_one_leader()
    lab.disconnect(leader2)
    lab.start_on_all(range(lab.size), b"104")
    _must_not_be_applied(lab, 4)


@scenario(servers=3)
def test_fail_agree(lab: Lab) -> None:
    """A follower misses four commands and catches up after it is back."""
    lab.one(b"101", lab.size, retry=False)
    leader = lab.check_one_leader()
    lab.disconnect(leader + 1)
    lab.one(b"102", lab.size - 1, retry=False)
    lab.one(b"103", lab.size - 1, retry=False)
    lab.sleep(1.0)
    lab.one(b"104", lab.size - 1, retry=False)
    lab.one(b"105", lab.size - 1, retry=False)

    lab.connect(leader + 1)
    lab.one(b"106", lab.size, retry=True)
    lab.sleep(1.0)
    lab.one(b"107", lab.size, retry=True)


@scenario(servers=5)
def test_fail_no_agree(lab: Lab) -> None:
    """With three of five cut off nothing is agreed; what was accepted then may or may not survive their return."""
    lab.one(b"10", lab.size, retry=False)
    leader = lab.check_one_leader()
    lab.disconnect(leader + 1, leader + 2, leader + 3)
    position, _, is_leader = lab.start_command(leader, b"20")
    assert is_leader
    assert position == 2
    _must_not_be_applied(lab, 2)

    lab.connect(leader + 1, leader + 2, leader + 3)
    # The majority may have elected one of their own, and forgotten position 2.
    leader2 = lab.check_one_leader()
    position, _, is_leader = lab.start_command(leader2, b"30")
    assert is_leader
    assert position in (2, 3)
    lab.one(b"1000", lab.size, retry=True)


@scenario(servers=3)
def test_concurrent_starts(lab: Lab) -> None:
    """Five commands offered to the leader at the same time get places of their own, and all are committed."""
    for attempt in range(5):
        if attempt:
            lab.sleep(3.0)  # let the term settle
        if _concurrent_starts(lab):
            return
    raise lab.failure("the term changed too often")


def _concurrent_starts(lab: Lab) -> bool:
    """False if the term moved, so that nothing can be said."""
    leader = lab.check_one_leader()
    _, term, is_leader = lab.start_command(leader, b"1")
    if not is_leader:
        return False
    commands = [b"%d" % number for number in range(100, 105)]
    answers = [answer for answer in lab.start_together(leader, commands) if answer[1:] == (term, True)]
    if any(status.term != term for status in lab.states(range(lab.size)).values()):
        return False
    committed = [lab.wait(position, lab.size, term) for position, _, _ in answers]
    if None in committed:
        return False
    assert sorted(command for command in committed if command) == commands
    return True


@scenario(servers=3)
def test_rejoin(lab: Lab) -> None:
    """A leader that was cut off with three commands of its own comes back: they vanish."""
    lab.one(b"101", lab.size, retry=True)
    leader1 = lab.check_one_leader()
    lab.disconnect(leader1)
    doomed = [b"doomed 102", b"doomed 103", b"doomed 104"]
    assert all(is_leader for _, _, is_leader in lab.start_together(leader1, doomed))
    lab.one(b"103", 2, retry=True)

    leader2 = lab.check_one_leader()
    lab.disconnect(leader2)
    lab.connect(leader1)
    lab.one(b"104", 2, retry=True)

    lab.connect(leader2)
    lab.one(b"105", lab.size, retry=True)
    assert not set(doomed) & set(lab.delivered())


@scenario(servers=5, seeds=5, ordinary=("sim", "threads"))
def test_backup(lab: Lab) -> None:
    """Leaders come back to followers with fifty wrong entries, twice over: backing up by one entry at a time would not
    end within the time limit (paper 5.3, end)."""
    lab.one(lab.random_bytes(), lab.size, retry=True)

    # The leader and one follower get 50 commands that will not be committed.
    leader1 = lab.check_one_leader()
    lab.disconnect(leader1 + 2, leader1 + 3, leader1 + 4)
    lab.start_together(leader1, [lab.random_bytes() for _ in range(50)])
    lab.sleep(0.5)
    lab.disconnect(leader1, leader1 + 1)

    # The other three commit 50.
    lab.connect(leader1 + 2, leader1 + 3, leader1 + 4)
    for _ in range(50):
        lab.one(lab.random_bytes(), 3, retry=True)

    # One of them is cut off, and what is left of the three gets 50 more in vain.
    leader2 = lab.check_one_leader()
    other = (leader1 + 2) % lab.size
    if leader2 == other:
        other = (leader2 + 1) % lab.size
    lab.disconnect(other)
    lab.start_together(leader2, [lab.random_bytes() for _ in range(50)])
    lab.sleep(0.5)

    # The first two and that one are brought back to life, and commit 50.
    lab.disconnect(*range(lab.size))
    lab.connect(leader1, leader1 + 1, other)
    for _ in range(50):
        lab.one(lab.random_bytes(), 3, retry=True)

    lab.connect(*range(lab.size))
    lab.one(lab.random_bytes(), lab.size, retry=True)


@scenario(servers=3)
def test_count(lab: Lab) -> None:
    """Not too many RPCs: 1 to 30 for the first election, 42 for a dozen commands, 60 for a second of idleness."""
    lab.check_one_leader()
    assert 1 <= lab.rpc_count() <= 30
    for attempt in range(5):
        if attempt:
            lab.sleep(3.0)  # let the term settle
        if _count_agreement(lab):
            break
    else:
        raise lab.failure("the term changed too often")
    before = lab.rpc_count()
    lab.sleep(1.0)
    assert lab.rpc_count() - before <= 60


def _count_agreement(lab: Lab) -> bool:
    """False if the term moved, so that nothing can be said."""
    leader = lab.check_one_leader()
    before = lab.rpc_count()
    first, term, is_leader = lab.start_command(leader, b"1")
    if not is_leader:
        return False
    commands = [lab.random_bytes() for _ in range(11)]
    for place, command in enumerate(commands, 1):
        position, this_term, is_leader = lab.start_command(leader, command)
        if this_term != term or not is_leader:
            return False
        assert position == first + place
    for place, command in enumerate(commands[:10], 1):
        applied = lab.wait(first + place, lab.size, term)
        if applied is None:
            return False
        assert applied == command
    if any(status.term != term for status in lab.states(range(lab.size)).values()):
        return False
    assert lab.rpc_count() - before <= (10 + 1 + 3) * 3
    return True
