"""Part D of the lab: log compaction (paper 7).  Every server is given a snapshot after each ten applied commands, and
its log stays below 2000 bytes.
"""

from __future__ import annotations

from tests.lab.harness import STATE_LIMIT, Lab
from tests.lab.service import SNAPSHOT_INTERVAL
from tests.lab.variants import scenario


def _enough_for_a_snapshot(lab: Lab) -> int:
    """5 to 14 commands."""
    return SNAPSHOT_INTERVAL // 2 + lab.random.randrange(SNAPSHOT_INTERVAL)


def _common(lab: Lab, *, disconnect: bool = False, crash: bool = False) -> None:
    """Thirty rounds, or six: a victim misses commands past a snapshot, comes back, and all agree."""
    lab.one(lab.random_bytes(), lab.size, retry=True)
    leader = lab.check_one_leader()
    for round_ in range(6 if lab.is_brief else 30):
        victim, sender = (leader + 1) % lab.size, leader
        if round_ % 3 == 1:
            victim, sender = sender, victim
        _take_away(lab, victim, disconnect, crash)
        lab.start_together(sender, [lab.random_bytes() for _ in range(_enough_for_a_snapshot(lab))])
        # If nobody is missing, all shall have caught up before the next snapshot: so nobody needs to be sent one.
        lab.one(lab.random_bytes(), lab.size - (disconnect or crash), retry=True)
        assert lab.log_size() < STATE_LIMIT
        leader = _bring_back(lab, victim, leader, disconnect, crash)
    assert bool(lab.snapshots_installed()) == (disconnect or crash)


def _take_away(lab: Lab, victim: int, disconnect: bool, crash: bool) -> None:
    if crash:
        lab.crash(victim)
    elif disconnect:
        lab.disconnect(victim)
    if crash or disconnect:
        lab.one(lab.random_bytes(), lab.size - 1, retry=True)


def _bring_back(lab: Lab, victim: int, leader: int, disconnect: bool, crash: bool) -> int:
    """Who leads then."""
    if not (disconnect or crash):
        return leader
    if crash:
        lab.start(victim)
    lab.connect(victim)
    lab.one(lab.random_bytes(), lab.size, retry=True)
    return lab.check_one_leader()


@scenario(servers=3, seeds=3, with_snapshots=True)
def test_snapshot_basic(lab: Lab) -> None:
    """Everyone keeps up: no snapshot needs to be sent."""
    _common(lab)


@scenario(servers=3, seeds=3, ordinary=("sim", "processes"), with_snapshots=True)
def test_snapshot_install(lab: Lab) -> None:
    """Who was cut off catches up by a snapshot."""
    _common(lab, disconnect=True)


@scenario(servers=3, unreliable=True, seeds=3, ordinary=("sim", "threads"), with_snapshots=True)
def test_snapshot_install_unreliable(lab: Lab) -> None:
    """The same over a network that loses and delays."""
    _common(lab, disconnect=True)


@scenario(servers=3, seeds=3, ordinary=("sim", "processes"), with_snapshots=True)
def test_snapshot_install_crash(lab: Lab) -> None:
    """Who crashed catches up by a snapshot."""
    _common(lab, crash=True)


@scenario(servers=3, unreliable=True, seeds=3, ordinary=("sim", "threads"), with_snapshots=True)
def test_snapshot_install_unreliable_crash(lab: Lab) -> None:
    """The same over a network that loses and delays."""
    _common(lab, crash=True)


@scenario(servers=3, unreliable=True, seeds=3, ordinary=("sim", "threads"), with_snapshots=True)
def test_snapshot_all_crash(lab: Lab) -> None:
    """Five times, or twice, all crash: the next position is beyond the last one, so nothing is forgotten."""
    lab.one(lab.random_bytes(), lab.size, retry=True)
    for _ in range(2 if lab.is_brief else 5):
        for _ in range(_enough_for_a_snapshot(lab)):
            lab.one(lab.random_bytes(), lab.size, retry=True)
        before = lab.one(lab.random_bytes(), lab.size, retry=True)
        _restart_all(lab)
        assert lab.one(lab.random_bytes(), lab.size, retry=True) >= before + 1


@scenario(servers=3, unreliable=True, seeds=3, ordinary=("sim", "processes"), with_snapshots=True)
def test_snapshot_init(lab: Lab) -> None:
    """A snapshot that was read back is not dropped by the next thing that is persisted."""
    lab.one(lab.random_bytes(), lab.size, retry=True)
    for _ in range(SNAPSHOT_INTERVAL + 1):
        lab.one(lab.random_bytes(), lab.size, retry=True)
    _restart_all(lab)
    lab.one(lab.random_bytes(), lab.size, retry=True)  # something to persist
    _restart_all(lab)
    lab.one(lab.random_bytes(), lab.size, retry=True)


def _restart_all(lab: Lab) -> None:
    lab.start(*range(lab.size))
    lab.connect(*range(lab.size))
