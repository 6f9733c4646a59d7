"""A lock that expires, and why its holder must show a token: a worker that slept too long does no harm."""

from actors.machines.lock import Lock


class Printer:
    """What the lock protects.  It remembers the greatest token it has seen, and refuses smaller ones."""

    def __init__(self) -> None:
        self.newest = 0

    def print(self, text: str, token: int) -> None:
        """Print, if nobody with a newer token was here."""
        if token < self.newest:
            print(f"refused: token {token} is older than {self.newest}")
            return
        self.newest = token
        print(text)


if __name__ == "__main__":
    printer = Printer()
    with Lock.cluster(nodes=3) as lock:
        anns = lock.acquire("ann", ttl=0.2)
        assert anns is not None and lock.acquire("bob", ttl=0.2) is None
        printer.print("ann prints", anns)

        while (bobs := lock.acquire("bob", ttl=5.0)) is None:  # ann says no more: in the end the lock is bob's
            pass
        printer.print("bob prints", bobs)
        printer.print("ann still believes that the printer is hers", anns)
        print("ann may go on:", lock.renew("ann", anns, ttl=5.0))
