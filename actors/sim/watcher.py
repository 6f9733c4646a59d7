"""Who watches a simulated cluster: the real `Watch`, with ways of the timeline instead of links."""

from __future__ import annotations

from collections.abc import Callable

from actors.applier import ClientId
from actors.deadlines import NEVER
from actors.happenings import Happening
from actors.machine import refuse_inside_apply
from actors.protocol import ClientMessage, decode_peer_message, encode
from actors.sim.incarnation import LINK, Incarnation
from actors.sim.timeline import Timeline, Way
from actors.watching import Receive, Waiting, Watch
from raft_core import ServerId


def receiver(timeline: Timeline) -> Receive:
    """Whoever waits lets the next thing happen."""

    def receive(waiting: Waiting, timeout: float | None) -> Happening | None:
        deadline = NEVER if timeout is None else timeline.now + timeout
        while waiting.empty() and timeline.now < deadline:
            refuse_inside_apply("get() of a stream of events")
            timeline.advance(deadline)
        return None if waiting.empty() else waiting.get()

    return receive


class SimWatcher:
    """A client that only watches (a `Listener` of the peers, and the `Wire` of a `Watch`)."""

    def __init__(self, timeline: Timeline, watch: Watch) -> None:
        self._timeline = timeline
        self._watch = watch
        self.client_id: ClientId = 0
        """Its number, once it is known."""
        self._peers: dict[ServerId, tuple[Incarnation, Way]] = {}
        watch.connect(self)

    def attach(self, peer: Incarnation) -> None:
        """A new incarnation of a peer can be asked."""
        self._peers[peer.server_id] = peer, Way(self._timeline, LINK, lambda: peer.is_up)
        self._watch.attached(peer.server_id)

    def detach(self, server_id: ServerId) -> None:
        """A peer is gone."""
        self._watch.gone(server_id)

    def hear(self, server_id: ServerId, frame: bytes) -> None:
        """A frame arrived from a peer."""
        self._timeline.note("watcher", f"{server_id} tells", frame)
        self._watch.heard(server_id, decode_peer_message(frame))

    def send(self, server_id: ServerId, message: ClientMessage) -> None:
        """Say this to whichever incarnation is there."""
        peer, way = self._peers[server_id]
        frame = encode(message)
        way.put(lambda: peer.ask(self.client_id, frame))

    def call(self, function: Callable[[], None]) -> None:
        """There is one thread."""
        function()
