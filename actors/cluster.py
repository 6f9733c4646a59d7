"""`Cluster`: a running cluster as its program sees it, and the way to start one."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from msgspec import msgpack

from actors.calls import Call, SubmitOptions
from actors.client import Client
from actors.cluster_ports import ClusterClient, Peers
from actors.codec import RUN_CODE, code_tag, encode_code
from actors.errors import NoQuorum, WrongArguments
from actors.hosts import Host, ProcessHost, ThreadHost, end_if_being_started
from actors.inspector import Inspector
from actors.interpreter import Recorder
from actors.lost_peers import start_the_sound, warn_or_refuse
from actors.machine import refuse_inside_apply
from actors.network import Network
from actors.protocol import Asking, Digest, PeerAnswer
from actors.replicated import machine_reference
from actors.replies import decode_reply
from actors.roster import Roster
from actors.runtimes import RUNTIMES
from actors.spec import PeerConfig, PeerSpec, RuntimeName, StorageKind
from actors.storage.record import note_started, open_record
from actors.supervisor import PeerState, Supervisor
from actors.tuning import Tuner, check_settings
from actors.watching import Watch
from raft_core import ServerId, Settings

if TYPE_CHECKING:
    from actors.replicated import Replicated

M = TypeVar("M", bound="Replicated")
R = TypeVar("R")
START_TIMEOUT = 30.0
"""Seconds within which all peers must have recovered from storage."""


class Cluster(Tuner, Inspector):
    """A running cluster.  Bound machines call it; administration is by its own methods.  Any thread may use it."""

    def __init__(
        self,
        supervisor: Peers,
        client: ClusterClient,
        *,
        data: Path | None,
        timeout: float,
        network: Network | None = None,
    ) -> None:
        super().__init__(supervisor, client, timeout=timeout)
        self._network = network
        self._at_end = ExitStack()
        self.data = data
        """Directory with one subdirectory per peer; None if nothing is kept."""

    @property
    def supervisor(self) -> Peers:
        """Who runs the peers."""
        return self._supervisor

    @property
    def network(self) -> Network:
        """What may happen to messages between the peers; only of a cluster that was started with `chaos=True`."""
        if self._network is None:
            raise WrongArguments(
                "the network of this cluster cannot be made to misbehave",
                why="its peers are linked directly",
                fix="start it with chaos=True (actorum up --chaos)",
            )
        return self._network

    def _ask_peer(self, server_id: ServerId, question: Callable[[int], Asking], timeout: float) -> PeerAnswer | None:
        self._check(server_id)
        return self._client.ask(server_id, question, timeout=timeout)

    def _running(self) -> tuple[ServerId, ...]:
        return tuple(name for name, (state, _, _) in self._supervisor.members().items() if state is PeerState.UP)

    def _new_watch(self) -> Watch:
        from actors.raw_client import RawClient

        watch = Watch()
        raw = RawClient(watch)
        watch.connect(raw)
        self._at_end.callback(raw.close)
        number = self._supervisor.add_client(raw)
        self._at_end.callback(self._supervisor.remove_client, number)
        self._at_end.callback(watch.close)
        return watch

    def stop_watching(self) -> None:
        """The end of all streams and listeners; the cluster goes on, and cannot be watched again."""
        self._at_end.close()

    @property
    def client(self) -> ClusterClient:
        """This program's client."""
        return self._client

    def digests(self, timeout: float = 5.0) -> dict[ServerId, Digest | None]:
        """Fingerprint of each peer's replicated state, with the index up to which it is applied."""
        answers: dict[ServerId, Digest | None] = {}
        for server_id in self.nodes:
            answer = self._client.inspect(server_id, digest=True, timeout=timeout)
            answers[server_id] = answer if isinstance(answer, Digest) else None
        return answers

    def wait_until_equal(self, timeout: float = 10.0) -> dict[ServerId, Digest]:
        """Wait until all peers have applied the leader's whole log, and return their fingerprints, which are equal.

        Raises `NoQuorum` if that is not so within `timeout` seconds: a peer is down, or commands keep coming.
        """
        latest: dict[ServerId, Digest | None] = {}

        def look() -> bool:
            ends = [s.last_index for s in self.status().values() if s and s.role == "leader"]
            latest.update(self.digests())
            seen = {(d.applied_index, d.digest) for d in latest.values() if d is not None}
            return None not in latest.values() and len(seen) == 1 and [index for index, _ in seen] == ends

        if not self._poll(look, timeout):
            raise NoQuorum("the replicas did not become equal in time", why=f"{latest}")
        return {server_id: digest for server_id, digest in latest.items() if digest is not None}

    def kill(self, server_id: ServerId) -> None:
        """Kill a peer (SIGKILL for a process); it stays down until `restart`."""
        self._supervisor.kill(server_id)

    def kill_leader(self) -> ServerId:
        """Kill whoever leads; its name."""
        leader = self.leader()
        self.kill(leader)
        return leader

    def restart(self, server_id: ServerId) -> None:
        """Start a peer again from its storage."""
        self._supervisor.restart(server_id)

    def submit(self, function: Callable[[Any], object], timeout: float | None = None) -> object:
        """Replicate a function and apply it to the state (a *code command*, by dill): for trusted local clusters.

        It gets the value of the machine's only field, or the machine if it has several; what it returns for a single
        field becomes the field's new value.  It must be deterministic and capture nothing alive.
        """
        refuse_inside_apply("cluster.submit")
        result: object = self._submit(RUN_CODE, encode_code(function), "code command", timeout)
        return result

    def _submit(self, name: str, arguments: bytes, label: str, timeout: float | None) -> Any:
        call: Call[Any] = self._client.submit_command(
            name, arguments, lambda reply: decode_reply(reply, label, msgpack.decode), SubmitOptions(timeout=timeout)
        )
        return call.result()


class ClusterHandle:
    """What a bound machine holds: the client's calls and the cluster behind them (see `bound.Handle`)."""

    def __init__(self, client: ClusterClient, cluster: Cluster) -> None:
        self.submit_command = client.submit_command
        self.submit_query = client.submit_query
        self.attend = client.attend
        self.cluster = cluster


def _check_options(nodes: object, engine: object, storage: object, runtime: object) -> None:
    """A misspelt option must not quietly mean another one."""
    if not isinstance(nodes, int) or nodes < 1:
        raise WrongArguments(
            f"a cluster cannot have {nodes!r} nodes", why="it has a whole number of them", fix="nodes=3"
        )
    for name, value, known in (
        ("engine", engine, ("processes", "threads", "sim")),
        ("storage", storage, (None, "sqlite", "memory")),
        ("runtime", runtime, RUNTIMES),
    ):
        if value not in known:
            raise WrongArguments(f"there is no {name} {value!r}", why=f"known are {known}", fix=f"{name}={known[0]!r}")


@contextmanager
def start_cluster(
    machine: type[M],
    *,
    nodes: int = 3,
    engine: Literal["processes", "threads", "sim"] = "processes",
    runtime: RuntimeName = "actors",
    data: str | Path | None = None,
    storage: Literal["sqlite", "memory"] | None = None,
    seed: int | None = None,
    timeout: float = 10.0,
    settings: Settings | None = None,
    allow_code: bool | None = None,
    check_determinism: bool = False,
    chaos: bool = False,
    record: str | Path | None = None,
) -> Iterator[M]:
    """Start a cluster of `machine` and give a bound instance of it; stop the cluster at the end of the `with` block.

    `data`: directory for the logs, kept afterwards; without it nothing is kept.  `storage`: "sqlite" (the default with
    `data`) survives power loss, "memory" (the default without) survives the death of peers but not of this program.
    `allow_code`: take code commands (`cluster.submit`); by default only without `data`, for code in a log binds the
    data to the version of Python that wrote it.  `check_determinism`: apply everything twice and compare (slow).
    `chaos`: `cluster.network` can lose, delay, double and cut what peers say to each other (always so in a simulation).
    `record`: directory for a trace of each peer: everything that happens to its server, to be replayed.
    """
    end_if_being_started()
    settings = settings or Settings()
    check_settings(settings)
    _check_options(nodes, engine, storage, runtime)
    if engine == "sim":
        if data is not None or storage == "sqlite":
            raise WrongArguments(
                "the simulated cluster keeps nothing on disk", fix='leave out data= and storage="sqlite"'
            )
        takes_code = allow_code is not False
        with _simulated(
            machine, nodes, seed or 0, timeout, settings, takes_code, check_determinism, runtime, record
        ) as bound:
            yield bound
        return
    with cluster_directory(data, storage, engine) as (directory, kind):
        takes_code = data is None if allow_code is None else allow_code
        if engine == "processes":
            machine_reference(machine)  # before anything is made: the other processes must be able to import it
        specs = peer_specs(
            machine,
            nodes,
            settings,
            directory,
            kind,
            seed,
            takes_code,
            check_determinism,
            runtime,
            None if record is None else Path(record),
        )
        host: Host = ProcessHost() if engine == "processes" else ThreadHost(machine)
        network = Network(spec.config.server_id for spec in specs) if chaos else None
        kept = Path(data) if data else None
        with run_peers(specs, host, timeout=timeout, data=kept, network=network, seed=seed) as cluster:
            yield machine._bound(ClusterHandle(cluster.client, cluster))


@contextmanager
def _simulated(
    machine: type[M],
    nodes: int,
    seed: int,
    timeout: float,
    settings: Settings,
    allow_code: bool,
    check_determinism: bool,
    runtime: RuntimeName,
    record: str | Path | None,
) -> Iterator[M]:
    """A cluster in simulated time."""
    from actors.sim import start_sim_cluster

    with (
        _recording(record) as recorder_of,
        start_sim_cluster(
            machine,
            nodes=nodes,
            seed=seed,
            timeout=timeout,
            settings=settings,
            allow_code=allow_code,
            check_determinism=check_determinism,
            runtime=runtime,
            recorder_of=recorder_of,
        ) as bound,
    ):
        yield bound


def _recording(record: str | Path | None) -> AbstractContextManager[Callable[[ServerId], Recorder | None]]:
    """Who records what happens to the peers of a simulation."""
    if record is None:
        return nullcontext(lambda server_id: None)
    from actors.storage.trace import recorders

    return recorders(Path(record))


@contextmanager
def run_peers(
    specs: list[PeerSpec],
    host: Host,
    *,
    timeout: float,
    data: Path | None,
    network: Network | None = None,
    seed: int | None = None,
) -> Iterator[Cluster]:
    """Run peers and a client of theirs for as long as the `with` block lasts.

    With a `network`, messages between peers are at its mercy; `seed` is that of its randomness.
    """
    directories = {Path(spec.directory).parent for spec in specs if spec.directory is not None}
    roster = Roster((spec.config.server_id for spec in specs), next(iter(directories), None))
    with ExitStack() as at_end:
        if network is None:
            supervisor = Supervisor(specs, host, roster=roster)
        else:
            from actors.links.router import Router

            router = Router(network, Random(seed))
            at_end.callback(router.close)
            supervisor = Supervisor(specs, host, router.link_pair, roster)
        at_end.callback(supervisor.close)
        lost = start_the_sound(supervisor, START_TIMEOUT)
        for directory in directories:
            note_started(directory)
        client = Client(timeout=timeout, health=supervisor.health)
        at_end.callback(client.close)
        supervisor.add_client(client)
        cluster = Cluster(supervisor, client, data=data, timeout=timeout, network=network)
        at_end.callback(cluster.stop_watching)
        if lost:
            warn_or_refuse(lost, cluster.status(START_TIMEOUT).values())
        yield cluster


@contextmanager
def cluster_directory(
    data: str | Path | None, storage: str | None, engine: str
) -> Iterator[tuple[Path | None, StorageKind]]:
    """Where the logs go, and what keeps them there.

    Memory of a process dies with it, so for processes "memory" means a directory of their own that is removed with the
    cluster and never waits for the disk: a killed peer still finds what it promised (thesis 3.8).  What shall be kept
    is sqlite, waited for or not."""
    if data is not None:
        yield Path(data), "unsynced sqlite" if storage == "memory" else "sqlite"
    elif engine == "threads" and storage != "sqlite":
        yield None, "journal"
    else:
        directory = Path(tempfile.mkdtemp(prefix="actorum-"))
        try:
            yield directory, "sqlite" if storage == "sqlite" else "journal"
        finally:
            shutil.rmtree(directory, ignore_errors=True)


def peer_specs(
    machine: type[Replicated],
    nodes: int,
    settings: Settings,
    directory: Path | None,
    storage: StorageKind,
    seed: int | None = None,
    allow_code: bool = False,
    check_determinism: bool = False,
    runtime: RuntimeName = "actors",
    record: Path | None = None,
    log_level: str | None = None,
) -> list[PeerSpec]:
    """One specification for each peer that is to run; the data directory is made, or found to be that of this very
    cluster.  `nodes` is how many it began with."""
    names = present = ever = tuple(f"n{number}" for number in range(1, nodes + 1))
    cluster_id = "in memory"
    if directory is not None:
        tag = code_tag() if allow_code else ""
        found = open_record(directory, machine._machine_name, names, tag)
        cluster_id, present, ever = found.cluster_id, found.present, found.ever
    return [
        PeerSpec(
            config=PeerConfig(
                server_id=name, voters=names, settings=settings, seed=None if seed is None else seed * 1000 + number
            ),
            cluster_id=cluster_id,
            machine=f"{machine.__module__}:{machine.__qualname__}",
            directory=None if directory is None else str(directory / name),
            storage=storage,
            allow_code=allow_code,
            check_determinism=check_determinism,
            runtime=runtime,
            log_level=log_level,
            trace=None if record is None else str(record / f"{name}.trace"),
        )
        for number, name in enumerate(ever, start=1)
        if name in present
    ]
