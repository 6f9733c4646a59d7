"""The script that counts, on source whose counts are known."""

from __future__ import annotations

from actors.compare.code_table import _counted, code_table

TWIN = '''
"""Not counted."""

class Shared:
    """Nor this."""

    def __init__(self):
        self.one = 1
        self.two = 2  # a comment is no line of its own


class Peer:
    def __init__(self):
        self.lock = threading.Lock()
        self.started = 0
        self.total = 0

    def add(self, more):
        with self.lock:
            self.total += more
            self._look_locked()

    def _look_locked(self):
        self.lock.assert_owned()
        return self.total
'''
ACTOR = """
class Mailbox:
    def __init__(self):
        self._notes = deque()
        self._own = 1

    def put(self, note):
        self._notes.append(note)

    def get(self):
        return self._notes.popleft() + self._own
"""


def test_the_lines_inside_a_lock_are_those_that_must_be_right() -> None:
    counts = _counted([TWIN])
    assert counts.lines == 16
    assert counts.lines_that_must_be_right == 4
    assert counts.lock_sites == 2
    assert counts.primitives == 1


def test_shared_is_what_is_used_inside_the_lock_and_all_of_a_guarded_class() -> None:
    assert _counted([TWIN]).shared_fields == 3  # one, two, total; neither the lock itself nor what stands outside


def test_of_an_actor_only_what_others_call_is_shared() -> None:
    counts = _counted([ACTOR])
    assert counts.shared_fields == 1
    assert counts.lines_that_must_be_right == 1


def test_both_designs_are_counted_as_they_are_installed() -> None:
    actors, locks = code_table()["actors"], code_table()["locks"]
    assert actors.lock_sites < locks.lock_sites
    assert actors.lines_that_must_be_right < locks.lines_that_must_be_right
