"""Part C of the lab: what survives a crash (Figure 2, persistent state), and what a bad network does."""

from __future__ import annotations

from tests.lab.harness import Lab
from tests.lab.stage import Task
from tests.lab.variants import scenario


@scenario(servers=3)
def test_persist1(lab: Lab) -> None:
    """All crash, then the leader twice, then a follower: nothing that was committed is lost."""
    lab.one(b"11", lab.size, retry=True)

    lab.start(*range(lab.size))
    lab.connect(*range(lab.size))
    lab.one(b"12", lab.size, retry=True)

    leader1 = lab.check_one_leader()
    lab.start(leader1)
    lab.connect(leader1)
    lab.one(b"13", lab.size, retry=True)

    leader2 = lab.check_one_leader()
    lab.disconnect(leader2)
    lab.one(b"14", lab.size - 1, retry=True)
    lab.start(leader2)
    lab.connect(leader2)
    lab.wait(4, lab.size)  # the leader that came back has 14 as well, before anything else is agreed

    follower = (lab.check_one_leader() + 1) % lab.size
    lab.disconnect(follower)
    lab.one(b"15", lab.size - 1, retry=True)
    lab.start(follower)
    lab.connect(follower)
    lab.one(b"16", lab.size, retry=True)
    # Each is there, in order; what had to be offered again may be there twice.
    assert list(dict.fromkeys(lab.delivered())) == [b"11", b"12", b"13", b"14", b"15", b"16"]


@scenario(servers=5, ordinary=("sim", "processes"))
def test_persist2(lab: Lab) -> None:
    """Five rounds of two servers down, then the other three, then some of each up again."""
    position = 1
    for _ in range(5):
        lab.one(b"%d" % (10 + position), lab.size, retry=True)
        position += 1
        leader1 = lab.check_one_leader()
        lab.disconnect(leader1 + 1, leader1 + 2)
        lab.one(b"%d" % (10 + position), lab.size - 2, retry=True)
        position += 1
        lab.disconnect(leader1, leader1 + 3, leader1 + 4)

        lab.start(leader1 + 1, leader1 + 2)
        lab.connect(leader1 + 1, leader1 + 2)
        lab.sleep(1.0)
        lab.start(leader1 + 3)
        lab.connect(leader1 + 3)
        lab.one(b"%d" % (10 + position), lab.size - 2, retry=True)
        position += 1
        lab.connect(leader1 + 4, leader1)
    lab.one(b"1000", lab.size, retry=True)


@scenario(servers=3)
def test_persist3(lab: Lab) -> None:
    """Leader and follower commit 102 and crash; a server that never saw it comes back with the leader: 102 is there."""
    lab.one(b"101", 3, retry=True)
    leader = lab.check_one_leader()
    lab.disconnect(leader + 2)
    lab.one(b"102", 2, retry=True)

    lab.crash(leader, leader + 1)
    lab.connect(leader + 2)
    lab.start(leader)
    lab.connect(leader)
    lab.one(b"103", 2, retry=True)

    lab.start(leader + 1)
    lab.connect(leader + 1)
    lab.one(b"104", 3, retry=True)
    assert b"102" in lab.delivered()


def _pause_of_figure8(lab: Lab) -> float:
    """Mostly shorter than it takes to agree, sometimes much longer."""
    if lab.random.random() < 0.1:
        return lab.random.random() * 0.5
    return lab.random.random() * 0.013


@scenario(servers=5, seeds=3, ordinary=("sim", "processes"))
def test_figure8(lab: Lab) -> None:
    """The leader crashes soon after it was offered something, so that logs end in entries of many terms (figure 8):
    an entry of an old term that is on a majority of disks is not yet committed (paper 5.4.2).

    1000 iterations in a simulation, as in the lab; 150 in real time.
    """
    lab.one(lab.random_bytes(), 1, retry=True)
    for _ in range(150 if lab.is_real else 1000):
        leader = _offer_to_all(lab)
        lab.sleep(_pause_of_figure8(lab))
        if leader is not None:
            lab.crash(leader)
        if sum(record.is_up for record in lab.servers) < 3:
            server = lab.random.randrange(lab.size)
            if not lab.servers[server].is_up:
                lab.start(server)
                lab.connect(server)
    down = [server for server, record in enumerate(lab.servers) if not record.is_up]
    lab.start(*down)
    lab.connect(*range(lab.size))
    lab.one(lab.random_bytes(), lab.size, retry=True)


def _offer_to_all(lab: Lab) -> int | None:
    """Offer a command to everyone; who accepted it (the last of them, if several think they lead)."""
    answers = lab.start_on_all(range(lab.size), lab.random_bytes())
    leaders = [server for server, (position, _, _) in enumerate(answers) if position]
    return leaders[-1] if leaders else None


@scenario(servers=5, unreliable=True, seeds=5)
def test_unreliable_agree(lab: Lab) -> None:
    """49 times five commands at the same time over a network that loses and delays."""
    under_way = []
    for round_ in range(1, 50):
        for number in range(4):
            under_way.append(lab.spawn(lab.one_task(b"%d" % (100 * round_ + number), 1, retry=True)))
        lab.one(b"%d" % round_, 1, retry=True)
    lab.set_reliable()
    assert lab.until(lambda: all(task.is_over for task in under_way), 60.0)
    lab.one(b"100", lab.size, retry=True)


@scenario(servers=5, unreliable=True, seeds=3, ordinary=("sim", "threads"))
def test_figure8_unreliable(lab: Lab) -> None:
    """As figure 8, with leaders that are cut off instead of crashing, and results that overtake each other by seconds.

    1000 iterations in a simulation, long reordering from the 200th, as in the lab; 300 and 60 in real time.
    """
    lab.one(b"%d" % lab.random.randrange(10_000), 1, retry=True)
    iterations, reordered_from = (300, 60) if lab.is_real else (1000, 200)
    for iteration in range(iterations):
        if iteration == reordered_from:
            lab.set_long_reordering()
        leader = _offer_to_connected_leader(lab)
        lab.sleep(_pause_of_figure8(lab))
        if leader is not None and lab.random.random() < 0.5:
            lab.disconnect(leader)
        if len(lab.connected()) < 3:
            lab.connect(lab.random.randrange(lab.size))
    lab.connect(*range(lab.size))
    lab.one(b"%d" % lab.random.randrange(10_000), lab.size, retry=True)


def _offer_to_connected_leader(lab: Lab) -> int | None:
    answers = lab.start_on_all(range(lab.size), b"%d" % lab.random.randrange(10_000))
    leaders = [server for server, (position, _, _) in enumerate(answers) if position and server in lab.connected()]
    return leaders[-1] if leaders else None


ROUNDS_TO_SUCCEED = 3
"""Rounds of 0.7 seconds that a majority must be together for something to be committed, over any network."""


@scenario(servers=5, seeds=5, ordinary=("sim", "processes"))
def test_reliable_churn(lab: Lab) -> None:
    """Three clients offer commands while servers are cut off, reconnected, killed and started at random."""
    _churn(lab)


@scenario(servers=5, unreliable=True, seeds=5, ordinary=("sim", "threads"))
def test_unreliable_churn(lab: Lab) -> None:
    """As `test_reliable_churn`, over a network that loses and delays."""
    _churn(lab)


def _churn(lab: Lab) -> None:
    clients = [_Client(number) for number in range(3)]
    under_way = [lab.spawn(client.run(lab)) for client in clients]
    together = longest = 0
    for _ in range(20):
        if lab.random.random() < 0.2:
            lab.disconnect(lab.random.randrange(lab.size))
        if lab.random.random() < 0.5:
            server = lab.random.randrange(lab.size)
            if not lab.servers[server].is_up:
                lab.start(server)
            lab.connect(server)
        if lab.random.random() < 0.2:
            server = lab.random.randrange(lab.size)
            if lab.servers[server].is_up:
                lab.crash(server)
        together = together + 1 if _is_majority_together(lab) else 0
        longest = max(longest, together)
        # Often enough that peers can keep up, not so rarely that everything has settled down.
        lab.sleep(0.7)
    lab.sleep(1.0)
    lab.set_reliable()
    lab.start(*[server for server, record in enumerate(lab.servers) if not record.is_up])
    lab.connect(*range(lab.size))
    for client in clients:
        client.shall_stop = True
    assert lab.until(lambda: all(task.is_over for task in under_way), 60.0)
    lab.sleep(1.0)
    _every_client_was_told_the_truth(lab, clients)
    # In a few of a thousand schedules no majority is ever together for long enough to elect anybody.
    assert longest < ROUNDS_TO_SUCCEED or any(client.saw_committed for client in clients), "nothing was ever done"


def _is_majority_together(lab: Lab) -> bool:
    """Of the servers, more than half are up and connected."""
    return sum(lab.servers[server].is_up for server in lab.connected()) > lab.size // 2


def _every_client_was_told_the_truth(lab: Lab, clients: list[_Client]) -> None:
    last = lab.one(lab.random_bytes(), lab.size, retry=True)
    final = [lab.wait(position, lab.size) for position in range(1, last + 1)]
    seen = [command for client in clients for command in client.saw_committed]
    missing = set(seen) - set(final)
    assert not missing, f"{missing} were committed and are not in the final log"


class _Client:
    """Offers one command after the other to whoever accepts it, and remembers which it saw committed."""

    def __init__(self, number: int) -> None:
        self._number = number
        self.saw_committed: list[bytes] = []
        self.shall_stop = False

    def run(self, lab: Lab) -> Task[None]:
        """Go on until `shall_stop`."""
        while not self.shall_stop:
            command = lab.random_bytes()
            questions = [lab.offer(server, command) for server in range(lab.size)]
            while not all(question.is_over for question in questions):
                yield 0.001
            positions = [question.position for question in questions if question.position]
            if positions:
                yield from self._look(lab, positions[-1], command)
            else:
                yield 0.079 + self._number * 0.017

    def _look(self, lab: Lab, position: int, command: bytes) -> Task[None]:
        """The leader may commit it or not; do not wait for ever."""
        for pause in (0.01, 0.02, 0.05, 0.1, 0.2):
            number, applied = lab.n_committed(position)
            if number:
                if applied == command:
                    self.saw_committed.append(command)
                return
            yield pause
