"""Calls can be awaited: a hundred increments at once in one event loop."""

import asyncio

from actors.machines.counter import Counter


async def main(counter: Counter) -> None:
    """Submit, await, read."""
    results = await asyncio.gather(*[counter.incr.submit() for _ in range(100)])
    print("last:", max(results), "value:", await counter.get.submit())


if __name__ == "__main__":
    with Counter.cluster(nodes=3, engine="threads") as counter:
        asyncio.run(main(counter))
