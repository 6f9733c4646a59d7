"""MIT's Raft lab, played on these peers: an election, an agreement, a leader that is cut off, another agreement, and a
server that goes on from a snapshot.

python examples/the_lab.py
"""

from __future__ import annotations

from queue import SimpleQueue
from time import sleep

from actors.lab import ApplyMsg, LabNetwork, Persister, Raft, make

SERVERS = range(3)


def leader_among(rafts: list[Raft], servers: list[int]) -> int:
    """Wait until exactly one of `servers` leads in the newest term."""
    while True:
        states = {server: rafts[server].get_state() for server in servers}
        newest = max(term for term, _ in states.values())
        leaders = [server for server, (term, is_leader) in states.items() if is_leader and term == newest]
        if len(leaders) == 1:
            return leaders[0]
        sleep(0.01)


def main() -> None:
    """Play it."""
    network = LabNetwork(len(SERVERS))
    channels: list[SimpleQueue[ApplyMsg]] = [SimpleQueue() for _ in SERVERS]
    try:
        persisters = [Persister() for _ in SERVERS]
        rafts = [make(network.ends(server), server, persisters[server], channels[server]) for server in SERVERS]
        leader = leader_among(rafts, list(SERVERS))
        index, _, is_leader = rafts[leader].start("hello")
        assert is_leader
        for server in SERVERS:
            print(f"server {server} applied", channels[server].get().command, "at", index)

        network.faults.disconnect(network.names[leader])
        doomed = rafts[leader].start("never heard of")
        print("the old leader, alone, still accepts a command:", doomed[2])
        others = [server for server in SERVERS if server != leader]
        index, _, _ = rafts[leader_among(rafts, others)].start("world")
        for server in others:
            print(f"server {server} applied", channels[server].get().command, "at", index)

        network.faults.heal()
        message = channels[leader].get()
        print("the old leader, back again, applied", message.command, "at", message.command_index)

        rafts[leader].snapshot(message.command_index, b"hello world")
        while not persisters[leader].snapshot_size():
            sleep(0.01)
        rafts[leader].kill()
        print("its successor begins with the snapshot:", persisters[leader].read_snapshot().decode())
        rafts[leader] = make(network.ends(leader), leader, persisters[leader], channels[leader])
        rafts[leader_among(rafts, list(SERVERS))].start("again")
        message = channels[leader].get()
        print("and goes on with", message.command, "at", message.command_index)
    finally:
        network.close()


if __name__ == "__main__":
    main()
