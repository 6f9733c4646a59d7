"""A queue with leases: a worker vanishes with a job, and the job is done by another."""

from actors.machines.queue import Queue

if __name__ == "__main__":
    with Queue.cluster(nodes=3) as queue:
        for name in ("a", "b", "c"):
            queue.put(name)

        lost = queue.take(lease=0.3)
        assert lost is not None
        print("took and vanished:", lost.value)

        done: list[str] = []
        attempts = 0
        while queue.size():
            job = queue.take(lease=5.0)
            if job is not None and queue.ack(job.number, job.attempt):
                done.append(job.value)
                attempts += job.attempt
        print("done:", sorted(done), "in", attempts, "attempts")
        print("the first worker is too late:", queue.ack(lost.number, lost.attempt))
