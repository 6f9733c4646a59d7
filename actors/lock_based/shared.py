"""What the threads of a locked peer share: the state that its lock guards, and whether it lives.

`Shared` belongs to the peer's lock.  `Life` has one of its own, a leaf, so that any thread may fail whatever it holds.
"""

from __future__ import annotations

from collections.abc import Callable

from actors.deadlines import Deadlines
from actors.disks import InlineDisk
from actors.errors import ActorumError
from actors.interpreter import Interpreter
from actors.lock_based.mail import Mail
from actors.lock_based.threads import Lock, Thread
from raft_core import Configured, LogIndex, Message, ServerId, Term


class Shared:
    """Everything that more than one thread uses.  It belongs to the peer's lock."""

    def __init__(self, interpreter: Interpreter, disk: InlineDisk, deadlines: Deadlines) -> None:
        self.interpreter = interpreter
        self.disk = disk
        self.deadlines = deadlines
        self.to_do: list[Callable[[], None]] = []
        """What this turn decided and must not be done inside the lock."""
        self.replicated_term: Term = 0
        """The term of the replicators that run."""
        self.outboxes: dict[ServerId, Mail[bytes]] = {}
        """What they are to send."""
        self.replicated: tuple[Configured, ...] = ()
        """The members among whom they were last looked through."""
        self.last_frame: tuple[Message | None, bytes] = (None, b"")
        self.applied_index: LogIndex = 0
        """What the applier has applied, as far as it was told to consensus or will be with the next turn."""
        self.expiry: int | None = None
        """When something in the state machine expires; as `applied_index`."""
        self.events_in_last_turn = 0
        self.bad_frames: list[ActorumError] = []
        """Why frames were not taken; the latest few."""


class Life:
    """The threads of a peer, and whether it ends, and why: the first reason counts."""

    def __init__(self, lock: Lock) -> None:
        self._lock = lock
        self._threads: list[Thread] = []
        self._is_over = False
        self._error: BaseException | None = None

    def end(self, error: BaseException | None) -> bool:
        """End it; False if that was decided before."""
        with self._lock:
            if self._is_over:
                return False
            self._is_over, self._error = True, error
            return True

    @property
    def is_over(self) -> bool:
        """It ends, or has ended."""
        with self._lock:
            return self._is_over

    @property
    def error(self) -> BaseException | None:
        """Why it ends; None: in good order."""
        with self._lock:
            return self._error

    def add(self, thread: Thread) -> None:
        """This thread belongs to it."""
        with self._lock:
            self._threads = [other for other in self._threads if other.is_alive()]
            self._threads.append(thread)

    def threads(self) -> list[Thread]:
        """All that may still run."""
        with self._lock:
            return list(self._threads)
