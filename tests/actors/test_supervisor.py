"""The supervisor starts peers, brings back what died unasked, leaves down what was told to go, and cleans up.

Processes where it matters what the operating system does, threads elsewhere, and for the pauses between restarts peers
that do nothing but die.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from time import monotonic, sleep

import pytest
from msgspec.structs import replace

from actors.control import ControlChannel, PeerEnded, PeerReady, control_pair
from actors.errors import ActorumError, ClusterClosed, NoSuchNode, PeerFailed
from actors.hosts import NO_MAIN_GUARD_EXIT, Host, Hosted, ProcessHost, ThreadHost
from actors.machines.counter import Counter
from actors.member import FIRST_PAUSE
from actors.replicated import machine_reference
from actors.spec import PeerConfig, PeerSpec
from actors.storage.port import CorruptStorage
from actors.supervisor import PeerState, Supervisor
from raft_core import ServerId, Settings
from tests.runtimes import runtime

PATIENCE = 30.0
NAMES = ("n1", "n2", "n3")

pytestmark = [pytest.mark.timeout(90), pytest.mark.usefixtures("each_runtime")]


def eventually(condition: Callable[[], bool], what: str) -> None:
    deadline = monotonic() + PATIENCE
    while not condition():
        assert monotonic() < deadline, f"not within {PATIENCE} s: {what}"
        sleep(0.005)


def specs(directory: Path | None = None, names: tuple[ServerId, ...] = NAMES) -> list[PeerSpec]:
    return [
        PeerSpec(
            config=PeerConfig(server_id=name, voters=names, settings=Settings()),
            cluster_id="supervised",
            machine=machine_reference(Counter),
            directory=None if directory is None else str(directory / name),
            storage="unsynced sqlite",
            runtime=runtime(),
        )
        for name in names
    ]


@contextmanager
def supervised(host: Host, peers: list[PeerSpec] | None = None) -> Iterator[Supervisor]:
    supervisor = Supervisor(peers or specs(), host)
    try:
        yield supervisor
    finally:
        if isinstance(host, Puppets):  # they do not listen
            for name in supervisor.members():
                supervisor.kill(name)
        supervisor.close()


def states(supervisor: Supervisor) -> list[PeerState]:
    return [state for state, _, _ in supervisor.members().values()]


class Puppet:
    """A peer that is whatever the test wants: it is ready at once, and ends when it is told to."""

    def __init__(self, host: Puppets) -> None:
        ours, theirs = control_pair()
        self.channel = ControlChannel(ours)
        self.theirs = ControlChannel(theirs)
        self._host = host

    def end(self, error: ActorumError | None = None) -> None:
        if error is not None:
            self.theirs.send(PeerEnded(error.as_json()))
        self.theirs.close()

    def obey(self) -> None:
        """Wait to be told to stop, and stop."""
        self.theirs.receive()
        self.end()

    def kill(self) -> None:
        self._host.killed += 1
        self.end()

    def join(self) -> int | None:
        self.theirs.close()
        return self._host.exit_code


class Puppets:
    """A host that notes when it had to launch."""

    def __init__(self, *, ready: bool = True, exit_code: int | None = None) -> None:
        """`exit_code`: peers end with it instead of becoming ready."""
        self.ready = ready
        self.exit_code = exit_code
        self.launched: list[tuple[float, Puppet]] = []
        self.killed = 0

    def launch(self, spec: PeerSpec) -> Hosted:
        puppet = Puppet(self)
        self.launched.append((monotonic(), puppet))
        if self.exit_code is not None:
            puppet.end()
        elif self.ready:
            puppet.theirs.send(PeerReady(4000 + len(self.launched), 17))
        return puppet

    @property
    def latest(self) -> Puppet:
        return self.launched[-1][1]


class Links:
    """A client that only counts the links it is given."""

    def __init__(self) -> None:
        self.given: list[ServerId] = []

    def attach(self, server_id: ServerId, ends: Mapping[str, Connection]) -> None:
        assert set(ends) == {"requests", "consensus", "applier"}
        self.given.append(server_id)
        for end in ends.values():
            end.close()


# --- starting ---------------------------------------------------------------------------------------------------------


def test_start_returns_when_all_peers_have_recovered() -> None:
    with supervised(ThreadHost()) as supervisor:
        supervisor.start(PATIENCE)
        assert states(supervisor) == [PeerState.UP] * 3
        assert supervisor.health() == ""
        assert all(process_id == os.getpid() for _, _, process_id in supervisor.members().values())


def test_a_peer_that_ends_before_it_is_ready_fails_the_start_with_a_reason() -> None:
    host = Puppets(exit_code=3)
    with supervised(host) as supervisor:
        with pytest.raises(PeerFailed, match=r"n1 ended while it was starting \(exit code 3\)"):
            supervisor.start(PATIENCE)
        assert states(supervisor) == [PeerState.FAILED] * 3
        assert len(host.launched) == 3, "what ended its first start will end the next one too"


def test_the_exit_code_of_a_missing_main_guard_is_understood() -> None:
    host = Puppets(exit_code=NO_MAIN_GUARD_EXIT)
    with supervised(host, specs(names=("n1",))) as supervisor:
        with pytest.raises(ActorumError) as caught:
            supervisor.start(PATIENCE)
        assert caught.value.code == "NO-MAIN-GUARD"


def test_peers_that_are_never_ready_fail_the_start_in_time_and_by_name() -> None:
    with supervised(Puppets(ready=False)) as supervisor:
        with pytest.raises(PeerFailed, match=r"within 0\.1 s") as caught:
            supervisor.start(0.1)
        assert "n3 is starting since" in caught.value.why


def test_a_machine_that_cannot_be_imported_fails_the_start_quickly(tmp_path: Path) -> None:
    broken = [replace(spec, machine="no_such_module:M") for spec in specs(tmp_path)]
    began = monotonic()
    with supervised(ProcessHost(), broken) as supervisor, pytest.raises(ActorumError, match="no_such_module") as caught:
        supervisor.start(PATIENCE)
    assert caught.value.code == "COMMAND-IN-MAIN"
    assert monotonic() - began < PATIENCE / 2


# --- deaths -----------------------------------------------------------------------------------------------------------


def test_a_process_that_dies_unasked_is_started_again_from_its_storage(tmp_path: Path) -> None:
    with supervised(ProcessHost(), specs(tmp_path, ("n1",))) as supervisor:
        supervisor.start(PATIENCE)
        ((_, _, first),) = supervisor.members().values()
        os.kill(first, signal.SIGKILL)
        eventually(lambda: supervisor.members()["n1"][2] not in (0, first), "another process")
        assert states(supervisor) == [PeerState.UP]


def test_pauses_before_restarts_double_with_each_death_in_a_row() -> None:
    host = Puppets()
    with supervised(host, specs(names=("n1",))) as supervisor:
        supervisor.start(PATIENCE)
        ended: list[float] = []
        for number in range(1, 4):
            ended.append(monotonic())
            host.latest.end()
            eventually(lambda n=number: len(host.launched) > n, "a restart")  # type: ignore[misc]
            eventually(lambda: states(supervisor) == [PeerState.UP], "up again")
    pauses = [began - end for (began, _), end in zip(host.launched[1:], ended, strict=True)]
    for pause, expected in zip(pauses, (FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE), strict=True):
        assert pause >= expected


def test_a_peer_whose_storage_is_unusable_stays_down_with_its_reason() -> None:
    host = Puppets()
    with supervised(host, specs(names=("n1",))) as supervisor:
        supervisor.start(PATIENCE)
        host.latest.end(CorruptStorage("raft.sqlite3 is damaged"))
        eventually(lambda: states(supervisor) == [PeerState.FAILED], "failure")
        assert "raft.sqlite3 is damaged" in supervisor.health()
        assert len(host.launched) == 1


def test_a_peer_that_dies_again_while_it_restarts_is_started_once_more() -> None:
    host = Puppets()
    with supervised(host, specs(names=("n1",))) as supervisor:
        supervisor.start(PATIENCE)
        host.ready = False
        host.latest.end()
        eventually(lambda: len(host.launched) == 2, "the restart")
        host.ready = True
        host.latest.end()
        eventually(lambda: len(host.launched) == 3 and states(supervisor) == [PeerState.UP], "another one")


# --- killing and restarting -------------------------------------------------------------------------------------------


def test_a_killed_peer_is_gone_when_kill_returns_and_stays_down(tmp_path: Path) -> None:
    with supervised(ProcessHost(), specs(tmp_path, ("n1",))) as supervisor:
        supervisor.start(PATIENCE)
        process_id = supervisor.members()["n1"][2]
        supervisor.kill("n1")
        assert states(supervisor) == [PeerState.DOWN] and not Path(f"/proc/{process_id}").exists()
        sleep_until = monotonic() + 3 * FIRST_PAUSE
        eventually(lambda: monotonic() > sleep_until, "time")
        assert states(supervisor) == [PeerState.DOWN]
        supervisor.restart("n1")
        assert states(supervisor) == [PeerState.UP]


def test_restart_of_a_running_peer_makes_a_new_incarnation_of_it() -> None:
    host = Puppets()
    with supervised(host, specs(names=("n1",))) as supervisor:
        supervisor.start(PATIENCE)
        before = supervisor.members()["n1"][2]
        first = host.latest
        stopping = threading.Thread(target=first.obey)
        stopping.start()
        supervisor.restart("n1", PATIENCE)
        stopping.join()
        assert supervisor.members()["n1"][2] == before + 1 and host.killed == 0


def test_a_peer_killed_while_it_starts_is_down_and_not_failed() -> None:
    host = Puppets(ready=False)
    with supervised(host, specs(names=("n1",))) as supervisor:
        with pytest.raises(PeerFailed):
            supervisor.start(0.05)
        supervisor.kill("n1")
        assert states(supervisor) == [PeerState.DOWN]


def test_killing_what_is_down_does_nothing() -> None:
    with supervised(ThreadHost()) as supervisor:
        supervisor.start(PATIENCE)
        supervisor.kill("n2")
        supervisor.kill("n2")
        assert states(supervisor) == [PeerState.UP, PeerState.DOWN, PeerState.UP]


def test_an_unknown_node_is_named_together_with_the_known_ones() -> None:
    with supervised(ThreadHost()) as supervisor:
        supervisor.start(PATIENCE)
        for action in (supervisor.kill, supervisor.restart):
            with pytest.raises(NoSuchNode, match=r"n9(.|\n)*n1, n2, n3"):
                action("n9")


def test_two_that_restart_the_same_peer_start_it_once_at_a_time() -> None:
    with supervised(ThreadHost()) as supervisor:
        supervisor.start(PATIENCE)
        errors: list[BaseException] = []

        def restart() -> None:
            try:
                supervisor.restart("n1", PATIENCE)
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=restart) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert errors == [] and states(supervisor) == [PeerState.UP] * 3


# --- who is told ------------------------------------------------------------------------------------------------------


def test_health_is_silent_about_a_minority_and_names_a_majority_that_is_down() -> None:
    with supervised(ThreadHost()) as supervisor:
        supervisor.start(PATIENCE)
        supervisor.kill("n1")
        assert supervisor.health() == ""
        supervisor.kill("n3")
        health = supervisor.health()
        assert "n1 is down since 0." in health and "n3 is down since 0." in health and "n2" not in health
        assert health.endswith("2 of 3 peers are needed")


def test_a_client_gets_links_to_all_who_run_and_to_all_who_come_until_it_goes() -> None:
    with supervised(ThreadHost()) as supervisor:
        supervisor.start(PATIENCE)
        links = Links()
        number = supervisor.add_client(links)
        assert links.given == ["n1", "n2", "n3"]
        supervisor.kill("n2")
        supervisor.restart("n2")
        assert links.given == ["n1", "n2", "n3", "n2"]
        supervisor.remove_client(number)
        supervisor.restart("n1")
        assert len(links.given) == 4


# --- the end ----------------------------------------------------------------------------------------------------------


def test_after_closing_no_process_thread_or_descriptor_is_left(tmp_path: Path) -> None:
    Puppets()  # whatever imports it needs, it has had
    before, threads = set(os.listdir("/proc/self/fd")), set(threading.enumerate())
    supervisor = Supervisor(specs(tmp_path, ("n1", "n2")), ProcessHost())
    supervisor.start(PATIENCE)
    processes = [process_id for _, _, process_id in supervisor.members().values()]
    supervisor.close()
    assert not any(Path(f"/proc/{process_id}").exists() for process_id in processes)
    assert not set(threading.enumerate()) - threads
    tracker = 1  # multiprocessing's own pipe, for the life of this process
    assert len(set(os.listdir("/proc/self/fd")) - before) <= tracker
    supervisor.close()


def test_after_closing_every_request_is_refused() -> None:
    supervisor = Supervisor(specs(), ThreadHost())
    supervisor.start(PATIENCE)
    supervisor.close()
    for action in (supervisor.kill, supervisor.restart):
        with pytest.raises(ClusterClosed):
            action("n1")


def test_closing_while_a_restart_is_due_starts_nothing_more() -> None:
    host = Puppets()
    supervisor = Supervisor(specs(names=("n1",)), host)
    supervisor.start(PATIENCE)
    host.latest.end()
    eventually(lambda: states(supervisor) == [PeerState.DOWN], "its death")
    supervisor.close()
    assert len(host.launched) == 1
