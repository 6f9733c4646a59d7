"""A replicated counter in a program: three peers, each a process; one of them is killed and nothing is lost."""

from actors import Replicated, command, query


class Counter(Replicated):
    """A number that survives its leader."""

    value: int = 0

    @command
    def incr(self, by: int = 1) -> int:
        """Add `by`; the new value."""
        self.value += by
        return self.value

    @query
    def get(self) -> int:
        """The value."""
        return self.value


if __name__ == "__main__":
    with Counter.cluster(nodes=3) as counter:
        print(counter.incr(5), counter.get())
        print("killed", counter.cluster.kill_leader())
        print(counter.incr(), counter.get())
