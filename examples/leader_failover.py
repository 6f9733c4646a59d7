"""The leader is killed while increments are under way: they wait, another leads, each counts exactly once."""

from time import monotonic

from actors.machines.counter import Counter

if __name__ == "__main__":
    with Counter.cluster(nodes=3) as counter:
        counter.incr()
        leader, term = counter.cluster.leader(), max(s.term for s in counter.cluster.status().values() if s)
        print(f"{leader} leads in term {term}")

        calls = [counter.incr.submit() for _ in range(20_000)]
        counter.cluster.kill(leader)
        began = monotonic()
        waiting = sum(not call.done() for call in calls)
        print(f"{leader} was killed; {waiting} of 20000 increments have no answer yet")

        results = [call.result() for call in calls]
        seconds = monotonic() - began
        successor, term = counter.cluster.leader(), max(s.term for s in counter.cluster.status().values() if s)
        print(f"{successor} leads in term {term}; all are answered after {seconds:.2f} s")
        assert sorted(results) == list(range(2, 20_002)), "nothing lost, nothing doubled"
        print(f"each counted once, value {counter.get()}")

        counter.cluster.restart(leader)
        digests = {digest.digest for digest in counter.cluster.wait_until_equal().values()}
        print(f"{leader} is back, and all three replicas are equal: {len(digests)} digest")
