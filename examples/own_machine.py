"""A machine of your own - a small bank - in the deterministic engine: the same seed gives the same run, at once."""

from actors import ActorumError, Replicated, command, query


class Bank(Replicated):
    """Accounts that only move money they have."""

    accounts: dict[str, int] = {}

    @command
    def deposit(self, name: str, amount: int) -> int:
        """Put money in; the new balance."""
        self.accounts[name] = self.accounts.get(name, 0) + amount
        return self.accounts[name]

    @command
    def transfer(self, source: str, target: str, amount: int) -> None:
        """Move money, or raise: on every replica alike, and nothing has changed."""
        if self.accounts.get(source, 0) < amount:
            raise ValueError(f"{source} has less than {amount}")
        self.accounts[source] -= amount
        self.accounts[target] = self.accounts.get(target, 0) + amount

    @query
    def total(self) -> int:
        """All the money there is."""
        return sum(self.accounts.values())


if __name__ == "__main__":
    local = Bank()  # without a cluster: an ordinary object, to be tested as one
    assert local.deposit("ann", 10) == 10

    with Bank.cluster(nodes=5, engine="sim", seed=7) as bank:
        bank.deposit("ann", 100)
        bank.transfer("ann", "bob", 30)
        print("killed", bank.cluster.kill_leader())
        try:
            bank.transfer("bob", "ann", 31)
        except ActorumError as error:
            print(error.what)
        print("total", bank.total())
