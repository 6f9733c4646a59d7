"""A bank's ledger, once with a mistake that no ordinary test sees; `pytest examples/tests` finds it.

When profit is shared out, some cents are left over, and somebody must get them.  `CarelessLedger` gives them to whoever
comes first in a set; but a set of names has another order in every process, and each replica is a process.  The money
is all there, every unit test passes, and the replicas drift apart.  `Ledger` goes by the alphabet.
"""

from actors import Replicated, command, query


class Ledger(Replicated):
    """Balances in cents."""

    balances: dict[str, int] = {}

    @command
    def deposit(self, name: str, cents: int) -> int:
        """Put money in; the new balance."""
        if cents <= 0:
            raise ValueError("a deposit is more than nothing")
        self.balances[name] = self.balances.get(name, 0) + cents
        return self.balances[name]

    @command
    def transfer(self, source: str, target: str, cents: int) -> None:
        """Move money that is there."""
        if not 0 < cents <= self.balances.get(source, 0):
            raise ValueError(f"{source} has not got {cents}")
        self.balances[source] -= cents
        self.balances[target] = self.balances.get(target, 0) + cents

    @command
    def share_profit(self, cents: int) -> None:
        """The same for everybody; a cent more for the first few, so that nothing is left."""
        if cents <= 0 or not self.balances:
            raise ValueError("nothing to share, or nobody to share it")
        each, left_over = divmod(cents, len(self.balances))
        for place, name in enumerate(self.in_order()):
            self.balances[name] += each + (place < left_over)

    def in_order(self) -> list[str]:
        """Who comes first."""
        return sorted(self.balances)

    @query
    def total(self) -> int:
        """All the money there is."""
        return sum(self.balances.values())


class CarelessLedger(Ledger):
    """The mistake."""

    def in_order(self) -> list[str]:
        """Whoever happens to be first."""
        return list(set(self.balances))


if __name__ == "__main__":
    for kind in (Ledger, CarelessLedger):
        ledger = kind()
        ledger.deposit("ann", 100)
        ledger.deposit("bob", 50)
        ledger.share_profit(3)
        assert ledger.total() == 153
        print(f"{kind.__name__}: its unit test passes")
