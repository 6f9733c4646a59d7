"""Part A of the lab: leader election (paper 5.2)."""

from __future__ import annotations

from tests.lab.harness import Lab
from tests.lab.variants import scenario


@scenario(servers=3)
def test_initial_election(lab: Lab) -> None:
    """A leader is elected, all agree on the term, and there is still a leader when nothing has happened for 2 s.

    That the term changes meanwhile is only worth a warning in the lab; here it fails in a simulation, where nothing
    can be slow.
    """
    lab.check_one_leader()
    lab.sleep(0.05)
    term = lab.check_terms()
    assert term >= 1
    lab.sleep(2.0)
    if not lab.is_real:
        assert lab.check_terms() == term
    lab.check_one_leader()


@scenario(servers=3)
def test_re_election(lab: Lab) -> None:
    """The leader is cut off and comes back; then two of three are; then one comes back, then the other."""
    leader1 = lab.check_one_leader()

    lab.disconnect(leader1)
    leader2 = lab.check_one_leader()
    assert leader2 != leader1

    # The old leader's return does not disturb the new one.
    lab.connect(leader1)
    assert lab.check_one_leader() == leader2

    # Without a quorum nobody is elected.
    lab.disconnect(leader2, leader2 + 1)
    lab.sleep(2.0)
    lab.check_no_leader()

    lab.connect(leader2 + 1)
    lab.check_one_leader()

    # The last return does no harm.
    lab.connect(leader2)
    lab.check_one_leader()


@scenario(servers=7, ordinary=("sim", "threads"))
def test_many_elections(lab: Lab) -> None:
    """Nine times, three of seven servers, at random, are cut off: the other four keep or elect a leader."""
    lab.check_one_leader()
    for _ in range(9):
        cut = [lab.random.randrange(lab.size) for _ in range(3)]  # repeats are welcome
        lab.disconnect(*cut)
        lab.check_one_leader()
        lab.connect(*cut)
    lab.check_one_leader()
