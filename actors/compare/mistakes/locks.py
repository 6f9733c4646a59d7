"""Mistakes that only threads around locks can make.

Where in the package the changed lines stand does not matter, so its files may be cut anew.
"""

from __future__ import annotations

from actors.compare.mistakes.mistake import Mistake
from actors.compare.mistakes.patching import Patch

_TWIN = "actors.lock_based"


def _mistake(name: str, rule: str, old: str, new: str) -> Mistake:
    return Mistake(name, rule, (Patch(_TWIN, old, new),))


LOCK_ONLY = (
    _mistake(
        "wait without a second look",
        "a thread that is woken looks again at what it waited for (Mesa monitors; Lampson and Redell 1980)",
        """            while not self._items and not self._is_closed:  # woken is not the same as "there is something"
                remaining = None if deadline is None else deadline - self._now()
                if self._is_woken or (remaining is not None and remaining <= 0):
                    self._is_woken = False
                    return []
                self._condition.wait(remaining)
            if not self._items:
                return None
            items, self._items = self._items, []
            return items
""",
        """            if self._is_closed:
                return None
            if not self._items:
                remaining = None if deadline is None else deadline - self._now()
                if not self._condition.wait(remaining):
                    return []
            return [self._items.pop(0)]
""",
    ),
    Mistake(
        "lost wake-up",
        "who decides to wait holds the lock from the look to the wait",
        (
            Patch(
                _TWIN,
                """            self._items.extend(items)
            self._condition.notify_all()
""",
                """            self._items.extend(items)
            if len(self._items) == len(items):
                self._condition.notify_all()
""",
            ),
            Patch(
                _TWIN,
                """        with self._condition:
            while not self._items and not self._is_closed:  # woken is not the same as "there is something"
""",
                """        is_empty = not self._items
        with self._condition:
            while is_empty and not self._is_closed:
                is_empty = False
""",
            ),
        ),
    ),
    _mistake(
        "lock order inversion",
        "locks are taken in one order; rule 4 of the twin: other locks are leaves",
        "            self._applier.work(work)\n",
        "            with self._work._condition:\n                self._applier.work(work)\n",
    ),
    _mistake(
        "callback under the lock",
        "rule 3 of the twin: nobody is waited for, and nobody else's code is run, inside the lock",
        "applier=lambda work: self._work.put([work]),",
        "applier=lambda work: self._applier.work(work),",
    ),
    _mistake(
        "field written outside the lock",
        "the structure advice of the Raft lab: shared state only under its lock",
        """        with self.lock:
            self._shared.applied_index = index
            self._shared.expiry = expiry""",
        """        self._shared.applied_index = index
        self._shared.expiry = expiry""",
    ),
    _mistake(
        "field read outside the lock",
        "the structure advice of the Raft lab: what was true before waiting may be so no more",
        """            with self.lock:
                to_do = self._look_at_time_locked()""",
        """            due = self._shared.deadlines.due_for_election(self._threads.now())
            with self.lock:
                to_do = self._serve_locked(due)""",
    ),
    _mistake(
        "volatile vote leak",
        "Figure 2, persistent state; eliben/raft: the lock is given up before what was decided is on disk",
        "            disk=disk,",
        """            disk=type(
                "Late",
                (),
                {"write": lambda _, changes: self._shared.to_do.append(partial(self._disk.write, changes)) or ()},
            )(),""",
    ),
    _mistake(
        "lock given up in the middle",
        "rule 2 of the twin: the lock is held from deciding to making durable",
        """        with self.lock:
            to_do = self._serve_locked(list(events), asked)
""",
        """        with self.lock:
            server = self._shared.interpreter.server
        with self.lock:
            self._shared.interpreter.server = server
            to_do = self._serve_locked(list(events), asked)
""",
    ),
)
