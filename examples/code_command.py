"""A code command beside a data command.

A data command is a registered name and its arguments: it can be kept for years.  A code command is a function that
travels to every replica (by dill): handy on a trusted local cluster, bound to the version of Python that made it.
"""

from actors import ActorumError
from actors.machines.counter import Counter

if __name__ == "__main__":
    with Counter.cluster(nodes=3) as counter:
        print("data command:", counter.incr(20))
        factor = 2
        print("code command:", counter.cluster.submit(lambda value: value * factor + 2))
        print("the counter: ", counter.get())
        with open(__file__) as file:
            try:
                counter.cluster.submit(lambda value: len(file.read()))
            except ActorumError as error:
                print(error)
