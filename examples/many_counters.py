"""Many named counters in one cluster, used from several threads with many calls under way."""

from collections import Counter as Tally
from concurrent.futures import ThreadPoolExecutor

from actors.machines.counters import Counters

TEXT = "the leader appends the entry, the followers append the entry, and the leader commits the entry"
WORDS = TEXT.replace(",", "").split()


def count(counters: Counters, words: list[str]) -> None:
    """Submit all, then wait for all: the calls travel together."""
    for call in [counters.incr.submit(word) for word in words]:
        call.result()


if __name__ == "__main__":
    with Counters.cluster(nodes=3) as counters:
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda _: count(counters, WORDS), range(4)))
        for word, number in Tally(WORDS * 4).most_common(3):
            print(word, counters.get(word))
            assert counters.get(word) == number
