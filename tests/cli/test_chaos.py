"""`actorum chaos` and `RemoteCluster.network`: trouble made from outside the program that runs the peers."""

from __future__ import annotations

import inspect
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest
from click.testing import CliRunner, Result
from msgspec import msgpack

from actors.cli import app
from actors.cluster import Cluster, peer_specs, run_peers
from actors.errors import CallTimeout, NoSuchNode, OutcomeUnknown, WrongArguments
from actors.hosts import ThreadHost
from actors.machines.counter import Counter
from actors.network import Faults, LinkFaults, Network
from actors.remote import connect
from actors.remote_network import RemoteNetwork
from actors.service import Service
from actors.service_protocol import KEY_NAME, SOCKET_NAME, prove_to_server, short_path
from actors.spec import RuntimeName
from actors.supervisor import Supervisor
from raft_core import Settings

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 30.0
NAMES = ("n1", "n2", "n3")
ENDS = [(one, other) for one in NAMES for other in NAMES if one != other]


@contextmanager
def served(data: Path, network: Network | None) -> Iterator[Cluster]:
    """A cluster of threads with the service of `actorum up`."""
    specs = peer_specs(Counter, len(NAMES), Settings(), data, "unsynced sqlite")
    with run_peers(specs, ThreadHost(Counter), timeout=PATIENCE, data=data, network=network) as cluster:
        assert isinstance(cluster.supervisor, Supervisor)
        service = Service(cluster, cluster.supervisor, data, name="demo", machine="counter@1")
        try:
            yield cluster
        finally:
            service.close()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "demo"


@pytest.fixture
def network(data: Path) -> Iterator[Network]:
    """The network of a cluster that is served in `data`."""
    with served(data, Network(NAMES)) as cluster:
        yield cluster.network


def chaos(data: Path, *words: str, code: int = 0) -> Result:
    done = CliRunner().invoke(app, ["chaos", *words, "--data", str(data)])
    assert done.exit_code == code, done.output
    return done


def in_json(data: Path, *words: str) -> Any:
    return json.loads(chaos(data, *words, "-o", "json").stdout)


def cut_links(network: Network) -> set[tuple[str, str]]:
    return {ends for ends in ENDS if network.faults(*ends).cut}


def until(holds: Callable[[], bool]) -> None:
    deadline = monotonic() + PATIENCE
    while not holds():
        assert monotonic() < deadline, "it did not become so in time"
        sleep(0.005)


# --- cuts -------------------------------------------------------------------------------------------------------------


def test_a_link_is_cut_in_one_direction_and_mended(data: Path, network: Network) -> None:
    assert "n1 -> n2" in chaos(data, "cut", "n1", "n2").stderr
    assert cut_links(network) == {("n1", "n2")}
    chaos(data, "mend", "n1", "n2")
    assert cut_links(network) == set()


def test_a_node_is_disconnected_and_connected(data: Path, network: Network) -> None:
    chaos(data, "disconnect", "n3")
    assert cut_links(network) == {ends for ends in ENDS if "n3" in ends}
    assert not network.is_connected("n3")
    chaos(data, "connect", "n3")
    assert cut_links(network) == set()


def test_a_partition_is_made_of_lists_and_healed(data: Path, network: Network) -> None:
    chaos(data, "partition", "n1,n2", "n3")
    assert cut_links(network) == {ends for ends in ENDS if "n3" in ends}
    chaos(data, "set", "--drop", "1")
    chaos(data, "heal")
    assert all(network.faults(*ends) == LinkFaults() for ends in ENDS)


# --- faults -----------------------------------------------------------------------------------------------------------


def test_faults_are_set_for_the_links_and_messages_that_are_named(data: Path, network: Network) -> None:
    words = "--drop 0.1 --delay 0-26ms --duplicate 0.05 --reorder 0.3 --hold 0.5-1s --from n1 --to n2"
    chaos(data, "set", *words.split())
    wanted = Faults(drop=0.1, delay=(0.0, 0.026), duplicate=0.05, hold_back=0.3, hold_back_delay=(0.5, 1.0))
    assert network.faults("n1", "n2") == LinkFaults(requests=wanted, results=wanted)
    assert all(network.faults(*ends) == LinkFaults() for ends in ENDS if ends != ("n1", "n2"))
    chaos(data, "set", "--delay", "5ms", "--to", "n3", "--only", "results")
    assert network.faults("n2", "n3") == LinkFaults(results=Faults(delay=(0.005, 0.005)))
    chaos(data, "set", "--delay", "5ms", "--to", "n3", "--only", "requests")
    assert network.faults("n2", "n3").requests == network.faults("n2", "n3").results == Faults(delay=(0.005, 0.005))


def test_setting_faults_replaces_those_that_were_set(data: Path, network: Network) -> None:
    chaos(data, "set", "--drop", "0.5", "--duplicate", "0.5")
    chaos(data, "set", "--drop", "0.1")
    assert {network.faults(*ends).requests for ends in ENDS} == {Faults(drop=0.1)}
    chaos(data, "set", "--drop", "0")
    assert {network.faults(*ends) for ends in ENDS} == {LinkFaults()}


@pytest.mark.parametrize("name", ["unreliable", "reorder"])
def test_the_labs_networks_are_one_word_and_reliable_takes_them_back(data: Path, network: Network, name: str) -> None:
    expected = Network(NAMES)
    expected.unreliable() if name == "unreliable" else expected.reorder_results()
    chaos(data, name)
    assert all(network.faults(*ends) == expected.faults(*ends) != LinkFaults() for ends in ENDS)
    network.cut("n1", "n2")
    chaos(data, "reliable")
    assert all(network.faults(*ends) == LinkFaults(cut=ends == ("n1", "n2")) for ends in ENDS)


@pytest.mark.parametrize(
    "words",
    [
        ["set"],
        ["set", "--from", "n1"],
        ["set", "--drop", "1.5"],
        ["set", "--drop", "many"],
        ["set", "--delay", "5"],
        ["set", "--delay", "-1ms"],
        ["set", "--delay", "2-1s"],
        ["set", "--delay", "1-9999s"],
        ["set", "--drop", "0.1", "--from", "n9"],
        ["cut", "n1"],
        ["cut", "n1", "n9"],
        ["disconnect", "n9"],
        ["partition"],
        ["partition", "n1,n9"],
        ["partition", "n1,,n2"],
    ],
    ids=" ".join,
)
def test_nonsense_is_a_usage_error_and_changes_nothing(data: Path, network: Network, words: list[str]) -> None:
    assert chaos(data, *words, code=2).stderr
    assert all(network.faults(*ends) == LinkFaults() for ends in ENDS)


# --- looking ----------------------------------------------------------------------------------------------------------


def test_what_is_wrong_is_shown(data: Path, network: Network) -> None:
    shown = chaos(data, "show")
    assert (shown.stdout, shown.stderr) == ("", "6 of 6 links work without faults\n")
    network.cut("n1", "n2")
    network.disconnect("n3")
    network.set(sender="n2", receiver="n1", results=Faults(drop=0.25, delay=(0.0, 0.02), hold_back=0.5))
    shown = chaos(data, "show")
    assert shown.stderr == "disconnected: n3\n0 of 6 links work without faults\n"
    lines = {tuple(line.split()[:2]): line.split(maxsplit=3)[2:] for line in shown.stdout.splitlines()[1:]}
    assert lines["n1", "n2"] == lines["n3", "n1"] == ["cut", "-         -"]
    assert lines["n2", "n1"] == ["-", "-         drop 0.25, hold back 0.5 for 200-2200 ms, delay 0-20 ms"]


def test_programs_get_every_link_with_all_its_faults(data: Path, network: Network) -> None:
    changed = in_json(data, "cut", "n1", "n2")
    assert changed == in_json(data, "show")
    assert (changed["nodes"], changed["disconnected"]) == (list(NAMES), [])
    assert [(link["from"], link["to"]) for link in changed["links"] if link["cut"]] == [("n1", "n2")]
    assert len(changed["links"]) == len(ENDS)
    assert changed["links"][0]["requests"]["delay"] == [0.0, 0.0]


def test_messages_are_counted_by_link_and_by_type(data: Path, network: Network) -> None:
    until(lambda: network.counts().by_type.get("AppendEntriesResult", 0) > 3)
    before = network.counts()
    counted = in_json(data, "counts")
    after = network.counts()
    assert before.requests <= counted["total"]["requests"] <= after.requests
    assert before.bytes <= counted["total"]["bytes"] <= after.bytes
    assert counted["total"]["by_type"]["AppendEntriesResult"] > 3
    assert sum(link["results"] for link in counted["links"]) == counted["total"]["results"]
    lines = chaos(data, "counts").stdout.splitlines()
    assert lines[0].split() == ["FROM", "TO", "REQUESTS", "RESULTS", "BYTES", "LOST", "DELAYED", "DOUBLED"]
    assert len(lines) == 1 + len(ENDS) + 1
    assert lines[-1].startswith("all")


# --- another program --------------------------------------------------------------------------------------------------


def test_a_leader_is_disconnected_from_another_program_and_the_others_go_on(data: Path, network: Network) -> None:
    with connect(data, timeout=PATIENCE) as cluster:
        counter = cluster.bind(Counter)
        assert counter.incr() == 1
        leader = next(n.server_id for n in cluster.status().nodes if n.status and n.status.role == "leader")
        cluster.network.disconnect(leader)
        assert not cluster.network.is_connected(leader)
        assert counter.incr() == 2
        cluster.network.partition(["n1"], ["n2"], ["n3"])
        cluster.network.connect(leader)
        call = counter.incr.submit()
        with pytest.raises((CallTimeout, OutcomeUnknown)):
            call.result(timeout=0.5)
        cluster.network.heal()
        assert call.result(timeout=PATIENCE) == 3
        assert cluster.network.counts().lost > 0


def test_what_can_be_done_from_outside_is_what_can_be_done_inside() -> None:
    for name, inside in vars(Network).items():
        if name.startswith("_") or name in ("admit", "fates"):
            continue
        outside = getattr(RemoteNetwork, name)
        assert inspect.signature(outside) == inspect.signature(inside), name
        assert outside.__doc__ == inside.__doc__, name


def test_every_change_from_outside_does_what_it_does_inside(data: Path, network: Network) -> None:
    changes: list[Callable[[Any], None]] = [
        lambda n: n.cut(receiver="n1"),
        lambda n: n.mend("n2", "n1"),
        lambda n: n.set(sender="n1", requests=Faults(drop=0.5)),
        lambda n: n.set(results=Faults(delay=(0.0, 0.5))),
        lambda n: n.disconnect("n2"),
        lambda n: n.connect("n2"),
        lambda n: n.reliable(),
        lambda n: n.unreliable(longest_delay=0.1),
        lambda n: n.reorder_results(hold_back_delay=(0.1, 0.2)),
        lambda n: n.partition(["n1"], ["n2", "n3"]),
        lambda n: n.heal(),
    ]
    twin = Network(NAMES)
    with connect(data) as cluster:
        assert cluster.network.names == NAMES
        for change in changes:
            change(cluster.network)
            change(twin)
            for ends in ENDS:
                assert network.faults(*ends) == cluster.network.faults(*ends) == twin.faults(*ends)
            for name in NAMES:
                assert network.is_connected(name) == cluster.network.is_connected(name) == twin.is_connected(name)
        assert set(cluster.network.link_counts()) == set(ENDS)


def test_errors_from_outside_are_those_from_inside(data: Path, network: Network) -> None:
    with connect(data) as cluster:
        for attempt in (
            lambda: cluster.network.cut("n9"),
            lambda: cluster.network.is_connected("n9"),
            lambda: cluster.network.faults("n1", "n9"),
        ):
            with pytest.raises(NoSuchNode, match="n9"):
                attempt()
        with pytest.raises(WrongArguments, match="delay"):
            cluster.network.unreliable(longest_delay=-1.0)
        assert cluster.status().nodes


def test_faults_that_cannot_be_end_their_connection_and_nothing_else(data: Path, network: Network) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as end:
        with short_path(data, SOCKET_NAME) as address:
            end.connect(address)
        prove_to_server(end, (data / KEY_NAME).read_bytes())
        end.send(msgpack.encode([7, [6, None, None, {"drop": 7.0}, None]]))
        end.settimeout(PATIENCE)
        assert end.recv(64) == b""
    assert in_json(data, "show")["disconnected"] == []


@pytest.mark.parametrize(
    "words", [["show"], ["counts"], ["cut", "n1", "n2"], ["heal"], ["set", "--drop", "1"]], ids=" ".join
)
def test_a_cluster_that_was_not_started_for_it_says_how_to(data: Path, words: list[str]) -> None:
    with served(data, None):
        told = chaos(data, *words, code=2).stderr
        assert told.startswith("error[WRONG-ARGUMENTS]")
        assert "actorum up --chaos" in told
        error = json.loads(chaos(data, *words, "-o", "json", code=2).stderr)["error"]
        assert (error["code"], error["exit_code"]) == ("WRONG-ARGUMENTS", 2)


# --- `actorum up --chaos` ---------------------------------------------------------------------------------------------


def shell(*words: str) -> list[str]:
    return [sys.executable, "-m", "actors", *words]


@pytest.mark.parametrize("runtime", ["actors", "locks"])
def test_a_running_cluster_of_processes_loses_its_leader_to_the_network(data: Path, runtime: RuntimeName) -> None:
    surroundings = os.environ | {"PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
    up = subprocess.Popen(
        shell("up", "counter", "--chaos", "--runtime", runtime, "--data", str(data)),
        stderr=subprocess.PIPE,
        text=True,
        env=surroundings,
    )
    assert up.stderr is not None
    try:
        ready = up.stderr.readline()
        assert "ready in" in ready
        leader = ready.split()[-1]
        shown = in_json(data, "disconnect", leader)
        assert shown["disconnected"] == [leader]
        incr = CliRunner().invoke(app, ["counter", "incr", "--timeout", "30", "--data", str(data)])
        assert incr.stdout == "1\n", incr.output
        with connect(data, timeout=PATIENCE) as cluster:
            nodes = {node.server_id: node.status for node in cluster.status().nodes}
            lonely = nodes[leader]
            assert lonely is not None and lonely.commit_index < max(s.commit_index for s in nodes.values() if s)
            cluster.network.heal()
            until(lambda: len({n.status.applied_index for n in cluster.status().nodes if n.status}) == 1)
    finally:
        up.send_signal(signal.SIGTERM)
        up.wait(PATIENCE)
        up.stderr.close()
    assert up.returncode == 0
