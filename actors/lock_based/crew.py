"""The threads of a locked peer: each has a name that says whose it is and what for, and the failure of any of them is
the peer's.

When the peer ends, it waits for them.  Those that only think and send leave soon after they are told, and belong to the
crew.  Two do not: the applier may hang in the state machine, so whoever ends the peer decides whether to wait for it;
and the thread that ends the peer cannot wait for itself.
"""

from __future__ import annotations

from collections.abc import Callable

from actors.lock_based.shared import Life
from actors.lock_based.threads import Thread, Threads
from raft_core import ServerId


class Crew:
    """Starts the threads of one peer, and waits for them."""

    def __init__(
        self, server_id: ServerId, threads: Threads, life: Life, failed: Callable[[BaseException], None]
    ) -> None:
        """`failed` is told what any of them ended with."""
        self._server_id = server_id
        self._threads = threads
        self._life = life
        self._failed = failed

    def start(self, role: str, body: Callable[[], None]) -> None:
        """Have `body` run by a thread that `wait` waits for."""
        self._life.add(self._threads.start(self.name(role), self.guarded(body)))

    def name(self, role: str) -> str:
        """Of the thread that does this for the peer."""
        return f"{self._server_id} {role}"

    def guarded(self, body: Callable[[], None]) -> Callable[[], None]:
        """The failure of any thread is the peer's."""

        def run() -> None:
            try:
                body()
            except Exception as error:
                self._failed(error)

        return run

    def wait(self, deadline: float) -> list[Thread]:
        """Until all that were started have ended, or this time has come; those for which it waited."""
        threads = self._life.threads()
        for thread in threads:
            thread.join(max(0.0, deadline - self._threads.now()))
        return threads
