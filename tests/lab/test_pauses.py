"""Beyond the lab: processes that stand still (SIGSTOP) and go on later (SIGCONT), as a machine that swaps does.

Unlike a cut link, a pause stops the clock as well: who wakes up believes that no time has passed.
"""

from __future__ import annotations

from tests.lab.harness import Lab
from tests.lab.variants import scenario


@scenario(servers=3, engines=("processes",))
def test_paused_leader(lab: Lab) -> None:
    """The leader stands still; another one is elected and commits.  What the first was asked meanwhile it answers when
    it goes on, in vain: at that place is another command."""
    lab.one(b"1", lab.size, retry=True)
    leader1 = lab.check_one_leader()
    lab.pause(leader1)
    doomed = [lab.offer(leader1, b"doomed %d" % number) for number in range(3)]
    lab.disconnect(leader1)  # so that nobody waits for its answers; its links are cut and healed while it sleeps
    leader2 = lab.check_one_leader()
    assert leader2 != leader1
    lab.one(b"2", lab.size - 1, retry=True)
    lab.connect(leader1)
    lab.resume(leader1)

    position = lab.one(b"3", lab.size, retry=True)
    assert lab.until(lambda: all(question.is_over for question in doomed), 60.0)
    assert lab.n_committed(position) == (lab.size, b"3")
    assert lab.delivered()[:2] == [b"1", b"2"], lab.delivered()


@scenario(servers=3, engines=("processes",))
def test_paused_follower(lab: Lab) -> None:
    """A follower stands still for two seconds.  Nobody misses it, and its return disturbs nobody."""
    lab.one(b"1", lab.size, retry=True)
    leader = lab.check_one_leader()
    follower = (leader + 1) % lab.size
    lab.pause(follower)
    others = [server for server in range(lab.size) if server != follower]
    term = lab.states(others)[leader].term
    for number in range(2, 52):
        assert lab.start_command(leader, b"%d" % number)[2]
    lab.sleep(2.0)
    assert lab.n_committed(51) == (lab.size - 1, b"51")

    lab.resume(follower)
    lab.one(b"52", lab.size, retry=True)
    assert lab.states(others)[leader].term == term
