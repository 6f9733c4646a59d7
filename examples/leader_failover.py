"""The leader is killed while increments are under way: they wait, another leads, each counts exactly once."""

from time import monotonic

from actors.machines.counter import Counter

if __name__ == "__main__":
    with Counter.cluster(nodes=3) as counter:
        counter.incr()
        calls = [counter.incr.submit() for _ in range(1000)]
        began = monotonic()
        killed = counter.cluster.kill_leader()
        results = [call.result() for call in calls]
        print(f"{killed} was killed; {counter.cluster.leader()} leads after {monotonic() - began:.2f} s")
        assert sorted(results) == list(range(2, 1002)), "nothing lost, nothing doubled"
        print(f"1000 increments under way then: each counted once, value {counter.get()}")
        counter.cluster.restart(killed)
        digests = {digest.digest for digest in counter.cluster.wait_until_equal().values()}
        print(f"{killed} is back, and all three replicas are equal: {len(digests)} digest")
