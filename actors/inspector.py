"""`Inspector`: looking into a running cluster - its events, its peers in full, their logs and settings.

The same lines serve a cluster of this program, one that another program runs, and a simulation; they differ in how a
peer is reached.  Whatever is asked of a peer costs it one message of its mailbox, or one turn of its lock.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator

from actors.errors import CallTimeout
from actors.happenings import Happening
from actors.protocol import Asking, DescribePeer, LogPage, PeerAnswer, ReadLog, Report
from actors.reports import EntryView
from actors.watching import CAPACITY, EventStream, Listening, Watch
from raft_core import LogIndex, ServerId, Settings

ANSWER = 2.0
"""Seconds that a peer gets to answer."""
_END = 1 << 62


class Inspector(ABC):
    """Who looks into a cluster.  Any thread may use it."""

    _watch: Watch | None = None

    @abstractmethod
    def _ask_peer(self, server_id: ServerId, question: Callable[[int], Asking], timeout: float) -> PeerAnswer | None:
        """Ask one peer, once."""

    @abstractmethod
    def _new_watch(self) -> Watch:
        """Links with all peers, for watching."""

    @abstractmethod
    def _running(self) -> tuple[ServerId, ...]:
        """Names of the peers that are up."""

    @abstractmethod
    def _poll(self, look: Callable[[], bool], timeout: float) -> bool:
        """Look again and again until something is so; False: it was not within `timeout` seconds."""

    def events(self, *kinds: type[Happening] | str, capacity: int = CAPACITY) -> EventStream:
        """What happens from now on, of these kinds (of `actors.happenings`; none: of all), as a stream.

        It holds at most `capacity` happenings; when nobody reads, the oldest are dropped and counted in `lost`.
        """
        watch = self._watch = self._watch or self._new_watch()
        stream = watch.stream(kinds, capacity)
        self._poll(lambda: watch.is_told_by(self._running(), stream), ANSWER)
        return stream

    def listen(
        self,
        callback: Callable[[Happening], object],
        kinds: Iterable[type[Happening] | str] = (),
        *,
        capacity: int = CAPACITY,
    ) -> Listening:
        """Call `callback` for what happens from now on, of these kinds; `stop()` of what is returned ends it.

        It is called for one happening after the other, by a thread of its own (in a simulation: by whoever moves the
        time).  What it raises is logged, and nothing else.
        """
        stream = self.events(*kinds, capacity=capacity)
        assert self._watch is not None
        return self._watch.listen(callback, stream)

    def report(self, server_id: ServerId, timeout: float = ANSWER) -> Report:
        """One peer in full.  Raises `CallTimeout` if it does not answer."""
        answer = self._ask_peer(server_id, DescribePeer, timeout)
        if not isinstance(answer, Report):
            raise _silent(server_id)
        return answer

    def log(
        self, server_id: ServerId, first: LogIndex = 1, last: LogIndex | None = None, timeout: float = ANSWER
    ) -> Iterator[EntryView]:
        """The entries of a peer's log from `first` to `last`, as far as it has them: a page at a time.

        Raises `CallTimeout` if it does not answer.
        """
        end = _END if last is None else last
        while first <= end:
            page = self.log_page(server_id, first, end, timeout)
            yield from page.entries
            if not page.entries:
                return
            first = page.entries[-1].index + 1

    def log_page(
        self, server_id: ServerId, first: LogIndex = 1, last: LogIndex = _END, timeout: float = ANSWER
    ) -> LogPage:
        """The beginning of that, and where the log begins and ends."""
        answer = self._ask_peer(server_id, lambda number: ReadLog(number, first, last), timeout)
        if not isinstance(answer, LogPage):
            raise _silent(server_id)
        return answer

    def settings(self, timeout: float = ANSWER) -> dict[ServerId, Settings]:
        """Those in force, of each peer that is up and answers."""
        found: dict[ServerId, Settings] = {}
        for name in self._running():
            answer = self._ask_peer(name, DescribePeer, timeout)
            if isinstance(answer, Report):
                found[name] = answer.details.settings
        return found


def _silent(server_id: ServerId) -> CallTimeout:
    return CallTimeout(f"{server_id} did not answer in time", why="it is down, or busy", fix="safe to retry")
