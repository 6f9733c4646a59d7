"""The harness of MIT's Raft lab: what its `config.go` does, for our peers, whatever runs them.

Servers are numbered from 0.  *Positions* are the lab's indices: they count commands, from 1, and leave out the no-op
with which each of our leaders opens its term.  Times are lab seconds (see `ports`).

What is always checked, in every scenario, is in `witness`.

Not from the lab: its calls to a dead server fail only after 0-7 s, to catch leaders that wait for an answer.  Here
messages go one way and nobody can wait for one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from functools import partial
from itertools import count
from random import Random

from actors.network import Network
from actors.protocol import (
    Administered,
    Delivered,
    FollowLog,
    InspectPeer,
    OfferCommand,
    Offered,
    PeerMessage,
    Restored,
    Status,
)
from raft_core import ServerId, Term
from tests.lab.ports import Port
from tests.lab.service import Service
from tests.lab.stage import MOMENT, Stage, Task
from tests.lab.witness import ServerRecord, Witness

TIME_LIMIT = 120.0
"""Seconds, real or virtual, within which every scenario must end."""
STATE_LIMIT = 2000
"""Bytes that a server's persisted Raft state must stay below, in part D."""

_PATIENCE = 60.0
"""Lab seconds that any server which is up may take to answer."""


class Question:
    """What a server was asked."""

    def __init__(self, server: int) -> None:
        self.server = server
        self.answer: Offered | Status | None = None
        self.position = 0
        """Where the command that was offered was appended; 0 if it was not."""
        self.is_over = False
        """It was answered, or the server is gone."""


def _is_over(question: Question) -> bool:
    return question.is_over


def _is_there(record: ServerRecord) -> bool:
    return record.is_up


def _is_down(record: ServerRecord) -> bool:
    return not record.is_up


class Lab(Stage):
    """A cluster under test (the lab's `config`; also a `RawListener`)."""

    def __init__(
        self,
        open_port: Callable[[Lab], Port],
        servers: int,
        *,
        seed: int,
        patience: float = 0.0,
        with_snapshots: bool = False,
        is_brief: bool = False,
    ) -> None:
        """`patience`: lab seconds that conditions which must come true get at least, however short the lab's are."""
        self.is_brief = is_brief
        """A scenario of many rounds may leave out most of them."""
        self.random = Random(seed)
        """Of the scenario: whom to cut, when to crash."""
        self.servers = [ServerRecord(f"n{number}") for number in range(1, servers + 1)]
        self._by_name = {record.name: number for number, record in enumerate(self.servers)}
        self._patience = patience
        self._numbers = count(1)
        self._service = Service(self._numbers) if with_snapshots else None
        self._questions: dict[int, Question] = {}
        self._witness = Witness(self.servers)
        self._next_to_ask = 0
        super().__init__(open_port(self))

    def begin(self) -> None:
        """Wait until all servers have started."""
        self.port.begin()
        self._require(lambda: all(record.is_up for record in self.servers), "not all servers have started")

    @property
    def size(self) -> int:
        """Number of servers."""
        return len(self.servers)

    @property
    def is_real(self) -> bool:
        """Time is that of the clock on the wall, and the machine may be slow."""
        return self._patience > 0

    @property
    def network(self) -> Network:
        """The links between the servers."""
        return self.port.network

    def failure(self, why: str) -> AssertionError:
        """What to raise when the scenario has failed."""
        return AssertionError(f"{why} ({self.port.now:.3f} lab seconds after the start)")

    def close(self) -> None:
        """End everything."""
        self.port.close()

    def random_bytes(self, size: int = 12) -> bytes:
        """A command that was never offered before."""
        return self.random.randbytes(size)

    # --- faults -------------------------------------------------------------------------------------------------------

    def disconnect(self, *servers: int) -> None:
        """Cut all links of these servers, in both directions; they keep running."""
        for server in servers:
            self.port.network.disconnect(self.servers[server % self.size].name)
            self.servers[server % self.size].is_connected = False

    def connect(self, *servers: int) -> None:
        """Undo `disconnect`."""
        for server in servers:
            self.port.network.connect(self.servers[server % self.size].name)
            self.servers[server % self.size].is_connected = True

    def crash(self, *servers: int) -> None:
        """Disconnect servers and kill them; what they have persisted stays."""
        self.disconnect(*servers)
        self._wait_for([self.port.kill(self.servers[server % self.size].name) for server in servers])
        for record in [self.servers[server % self.size] for server in servers]:
            self._require(partial(_is_down, record), f"{record.name} lives on")

    def start(self, *servers: int) -> None:
        """Start servers from what they have persisted, killing them first if they run.  They are not connected."""
        self.crash(*[server for server in servers if self.servers[server % self.size].is_up])
        records = [self.servers[server % self.size] for server in servers]
        self._wait_for([self.port.restart(record.name) for record in records])
        for record in records:
            self._require(partial(_is_there, record), f"{record.name} does not start")

    def set_unreliable(self) -> None:
        """Requests are up to 26 ms late, and a tenth of requests and results is lost."""
        self.network.unreliable(longest_delay=0.026 * self.port.second)

    def set_long_reordering(self) -> None:
        """Two of three results are held back for 0.2 to 2.2 s, so that those of different terms overtake each other."""
        self.network.reorder_results(hold_back_delay=(0.2 * self.port.second, 2.2 * self.port.second))

    def set_reliable(self) -> None:
        """No message is lost or late, unless it is cut."""
        self.network.reliable()

    def pause(self, server: int) -> None:
        """Let a process stand still (SIGSTOP)."""
        self.port.pause(self.servers[server].name)

    def resume(self, server: int) -> None:
        """Let it go on (SIGCONT)."""
        self.port.resume(self.servers[server].name)

    def _wait_for(self, deeds: list[Future[None]]) -> None:
        while not all(deed.done() for deed in deeds):
            self.sleep(0.005)
        for deed in deeds:
            deed.result()

    def _require(self, condition: Callable[[], bool], otherwise: str) -> None:
        if not self.until(condition, _PATIENCE):
            raise self.failure(otherwise)

    # --- questions ----------------------------------------------------------------------------------------------------

    def offer(self, server: int, command: bytes) -> Question:
        """Offer a command to a server (the lab's `Start`), without waiting for the answer."""
        return self._ask(server, lambda number: OfferCommand(number, command))

    def _inspect(self, server: int) -> Question:
        return self._ask(server, lambda number: InspectPeer(number, False))

    def _ask(self, server: int, message: Callable[[int], OfferCommand | InspectPeer]) -> Question:
        number = next(self._numbers)
        question = Question(server)
        if self.servers[server].is_up:
            self._questions[number] = question
            self.port.send(self.servers[server].name, message(number))
        else:
            question.is_over = True
        return question

    def _until_over(self, questions: Iterable[Question]) -> None:
        for question in questions:
            self._require(partial(_is_over, question), f"{self.servers[question.server].name} does not answer")

    def start_command(self, server: int, command: bytes) -> tuple[int, Term, bool]:
        """Offer a command and wait for the answer: (position, term, is_leader); position 0 if it was not appended."""
        (answer,) = self.start_on_all([server], command)
        return answer

    def start_on_all(self, servers: Iterable[int], command: bytes) -> list[tuple[int, Term, bool]]:
        """Offer the same command to several servers, at the same time."""
        return self._all_offered([self.offer(server, command) for server in servers])

    def start_together(self, server: int, commands: Iterable[bytes]) -> list[tuple[int, Term, bool]]:
        """Offer several commands to one server, at the same time."""
        return self._all_offered([self.offer(server, command) for command in commands])

    def _all_offered(self, questions: list[Question]) -> list[tuple[int, Term, bool]]:
        self._until_over(questions)
        answers = [(question.position, question.answer) for question in questions]
        return [(place, a.term, a.is_leader) if isinstance(a, Offered) else (0, 0, False) for place, a in answers]

    def states(self, servers: Iterable[int]) -> dict[int, Status]:
        """How servers are; who is down is left out."""
        questions = [self._inspect(server) for server in servers]
        self._until_over(questions)
        return {q.server: q.answer for q in questions if isinstance(q.answer, Status)}

    def connected(self) -> list[int]:
        """The servers that are up and connected."""
        return [number for number, record in enumerate(self.servers) if record.is_up and record.is_connected]

    # --- what peers say (the `RawListener`) ---------------------------------------------------------------------------

    def attached(self, server_id: ServerId) -> None:
        """A new incarnation is there: it delivers everything anew."""
        self.servers[self._by_name[server_id]].starts()
        self.port.send(server_id, FollowLog(next(self._numbers)))

    def gone(self, server_id: ServerId) -> None:
        """It will say nothing any more.  What it delivered is remembered until it is started again, as in the lab."""
        server = self._by_name[server_id]
        self.servers[server].is_up = False
        for question in self._questions.values():
            question.is_over = question.is_over or question.server == server
        self._questions = {number: question for number, question in self._questions.items() if not question.is_over}

    def heard(self, server_id: ServerId, message: PeerMessage) -> None:
        """It said something."""
        server = self.servers[self._by_name[server_id]]
        match message:
            case Delivered():
                self._delivered(server, message)
            case Restored():
                self._witness.restored(server, message)
            case Administered() if self._service is not None:
                self._service.kept(server, message)
            case Offered():
                self._witness.in_term(server, message.term, leads=message.is_leader)
                server.too_early.append(message)
            case Status():
                self._witness.in_term(server, message.term, leads=message.role == "leader")
                self._answered(message)
            case _:
                return
        self._understand(server)

    def _delivered(self, server: ServerRecord, message: Delivered) -> None:
        before = len(server.applied)
        self._witness.delivered(server, message)
        if self._service is not None:
            for snapshot in self._service.snapshots(server, before):
                self.port.send(server.name, snapshot)

    def _understand(self, server: ServerRecord) -> None:
        """Where commands were appended, as far as enough of the server's log was heard to tell."""
        offers, server.too_early = server.too_early, []
        for offered in offers:
            position = server.following.position_of(offered)
            if position is None:
                server.too_early.append(offered)
            else:
                self._answered(offered).position = position

    def _answered(self, message: Offered | Status) -> Question:
        question = self._questions.pop(message.batch_id)
        question.answer, question.is_over = message, True
        return question

    # --- what scenarios look at ---------------------------------------------------------------------------------------

    def n_committed(self, position: int) -> tuple[int, bytes | None]:
        """How many servers have applied a command at `position`, and which."""
        return self._witness.n_committed(position)

    def delivered(self) -> list[bytes]:
        """All commands that anybody ever applied, in order."""
        return self._witness.commands()

    def check_one_leader(self) -> int:
        """Wait until a connected server leads; the one with the highest term."""
        deadline = self.now + max(5.0, self._patience)
        while self.now <= deadline:
            self.sleep(0.45 + self.random.random() * 0.1)
            states = self.states(self.connected())
            leaders = {status.term: server for server, status in states.items() if status.role == "leader"}
            if leaders:
                return leaders[max(leaders)]
        raise self.failure("nobody leads")

    def check_no_leader(self) -> None:
        """No connected server claims to lead."""
        leaders = [server for server, status in self.states(self.connected()).items() if status.role == "leader"]
        if leaders:
            raise self.failure(f"servers {leaders} lead without a majority")

    def check_terms(self) -> Term:
        """All connected servers are in the same term."""
        terms = {status.term for status in self.states(self.connected()).values()}
        if len(terms) != 1:
            raise self.failure(f"connected servers disagree on the term: {sorted(terms)}")
        return terms.pop()

    def one(self, command: bytes, expected_servers: int, retry: bool) -> int:
        """Have a command committed, and wait until `expected_servers` have applied it; its position.

        With `retry` it is offered again if that takes more than two seconds."""
        return self.run(self.one_task(command, expected_servers, retry))

    def one_task(self, command: bytes, expected_servers: int, retry: bool) -> Task[int]:
        """As `one`, to go on beside others."""
        deadline = self.now + max(10.0, self._patience)
        while self.now < deadline:
            position = yield from self._offer_to_any(command)
            if not position:
                yield 0.05
                continue
            enough = self.now + (2.0 if retry else max(2.0, self._patience))
            while self.now < enough:
                number, applied = self.n_committed(position)
                if number and number >= expected_servers and applied == command:
                    return position
                yield 0.02
            if not retry:
                raise self.failure(f"{command!r} was accepted and not applied by {expected_servers} servers")
        raise self.failure(f"no agreement on {command!r} by {expected_servers} servers")

    def _offer_to_any(self, command: bytes) -> Task[int]:
        """Offer to each connected server in turn until one accepts; the position, or 0."""
        for _ in self.servers:
            self._next_to_ask = (self._next_to_ask + 1) % self.size
            if self._next_to_ask in self.connected():
                question = self.offer(self._next_to_ask, command)
                while not question.is_over:
                    yield MOMENT
                if question.position:
                    return question.position
        return 0

    def wait(self, position: int, servers: int, start_term: Term | None = None) -> bytes | None:
        """The command that at least `servers` servers have applied at `position`; None if anybody has left
        `start_term` meanwhile: then it may never be."""
        pause = 0.01
        deadline = self.now + max(30.0, self._patience)
        while (number := self.n_committed(position)[0]) < servers and self.now < deadline:
            self.sleep(pause)
            pause = min(1.0, 2 * pause)
            if start_term is not None and any(s.term > start_term for s in self.states(self.connected()).values()):
                return None
        if number < servers:
            raise self.failure(f"only {number} of {servers} servers applied position {position}")
        return self.n_committed(position)[1]

    def rpc_count(self) -> int:
        """Requests that servers have sent each other so far: AppendEntries, RequestVote, pre-votes; not results."""
        return self.port.network.counts().requests

    def bytes_total(self) -> int:
        """Bytes of all requests, and of the results that arrived."""
        return self.port.network.counts().bytes

    # --- part D: snapshots --------------------------------------------------------------------------------------------

    def log_size(self) -> int:
        """Bytes of the longest log of any server that is up."""
        states = self.states(number for number, record in enumerate(self.servers) if record.is_up)
        return max(self._witness.size(status.first_index, status.last_index) for status in states.values())

    def snapshots_installed(self) -> int:
        """InstallSnapshot requests that servers have sent each other so far."""
        return self.port.network.counts().by_type.get("InstallSnapshot", 0)
