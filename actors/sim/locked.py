"""A simulated peer whose turns are taken by threads around a lock: the real `LockedPeer` in a simulated world.

What it gets instead of the operating system's is threads that are greenlets (`green`), ways of the timeline instead of
pipes, and a disk whose writes take time while the lock is held.
"""

from __future__ import annotations

from collections.abc import Sequence

from actors.applier import ClientId
from actors.errors import ActorumError
from actors.lock_based.peer import LockedPeer
from actors.lock_based.threads import Threads
from actors.lock_based.world import Arrived, PeerCame
from actors.sim.green import GreenThread, GreenThreads
from actors.sim.incarnation import DISK, Incarnation, PeerPlan, Surroundings, Voice
from actors.storage.disk import Disk
from actors.storage.port import Storage, Stored
from raft_core import LogIndex, PersistEffect, ServerId


def threads_of(green: GreenThreads) -> Threads:
    """What the real peer gets as its threads; a checker may stand before them."""
    return green


class SimLockedPeer(Incarnation):
    """A peer of the twin (and its `World`)."""

    def __init__(self, server_id: ServerId, plan: PeerPlan, disk: Disk, around: Surroundings) -> None:
        super().__init__(server_id, around)
        timeline = around.timeline
        self._green, self._threads = self._new_threads()
        self._consensus_voice = Voice(self, around.listeners)
        self._applier_voice = Voice(self, around.listeners)
        self._inlets: dict[ServerId, GreenInlet] = {}
        self._arrived = Arrived([], [], [])
        self._acceptor: GreenThread | None = None
        self._peer = LockedPeer(
            plan.config(server_id, timeline.random.getrandbits(64)),
            Disk(SlowStorage(disk.storage, self._green), disk.snapshots),
            plan.host(),
            self,
            self._ended,
            self.note_effect,
            plan.recorder_of(server_id),
        )
        self.recovered_index: LogIndex = self._peer.recovered_index
        self._peer.launch()

    def _new_threads(self) -> tuple[GreenThreads, Threads]:
        """Its threads, and what the real peer gets as such."""
        green = GreenThreads(self.timeline)
        return green, threads_of(green)

    def _ended(self, error: BaseException | None) -> None:
        """No simulated peer survives an error: it comes out where the simulation is driven."""
        if error is not None:
            raise error

    @property
    def real(self) -> LockedPeer:
        """The peer itself."""
        return self._peer

    @property
    def running_threads(self) -> set[str]:
        """Names of its threads."""
        return self._green.running

    @property
    def bad_frames(self) -> list[ActorumError]:
        """Why frames were refused; the latest few."""
        return list(self._peer.bad_frames)

    def kill(self) -> None:
        """Everything in memory and on its way is gone."""
        super().kill()
        self._green.kill()

    # --- what arrives -------------------------------------------------------------------------------------------------

    def meet(self, server_id: ServerId) -> None:
        """A new incarnation of another peer can be reached."""
        self._inlets[server_id] = inlet = GreenInlet(self._green)
        self._arrived.notes.append(PeerCame(server_id, inlet))
        self._wake_acceptor()

    def receive(self, sender: ServerId, frame: bytes) -> None:
        """A frame from another peer arrived."""
        self.timeline.note(self.server_id, f"hears {sender}", frame)
        self._inlets[sender].put(frame)

    def ask(self, client_id: ClientId, frame: bytes) -> None:
        """A frame from a client arrived."""
        self.timeline.note(self.server_id, "client asks", frame)
        self._arrived.asked.append((client_id, frame))
        self._wake_acceptor()

    def _wake_acceptor(self) -> None:
        if self._acceptor is not None:
            self._acceptor.unpark()

    # --- the world of the real peer -----------------------------------------------------------------------------------

    @property
    def threads(self) -> Threads:
        """Threads, locks and the time."""
        return self._threads

    @property
    def consensus_voice(self) -> Voice:
        """Where consensus answers clients."""
        return self._consensus_voice

    @property
    def applier_voice(self) -> Voice:
        """Where the applier answers clients."""
        return self._applier_voice

    def outlet(self, server_id: ServerId) -> GreenOutlet:
        """The way to another peer."""
        return GreenOutlet(self, server_id)

    def accept(self) -> Arrived:
        """Wait until clients say something."""
        self._acceptor = self._green.current()
        while not self._arrived.notes and not self._arrived.asked:
            self._acceptor.park()
        arrived, self._arrived = self._arrived, Arrived([], [], [])
        return arrived

    def flush(self) -> None:
        """Nothing is ever kept back."""

    @property
    def dropped(self) -> int:
        """Links are never full."""
        return 0

    def wake(self) -> None:
        """The peer has failed: there is no supervisor here that would stop it in good order."""
        self._ended(self._peer.error)

    def close(self) -> None:
        """There is nothing to give back."""


class GreenOutlet:
    """The way to another peer, whichever incarnation is there."""

    def __init__(self, peer: Incarnation, to: ServerId) -> None:
        self._peer = peer
        self._to = to

    def send(self, frame: bytes) -> None:
        """Send."""
        self._peer.send_frame(self._to, frame)


class GreenInlet:
    """Frames of one incarnation of another peer."""

    def __init__(self, green: GreenThreads) -> None:
        self._green = green
        self._frames: list[bytes] = []
        self._reader: GreenThread | None = None

    def put(self, frame: bytes) -> None:
        """A frame arrived."""
        self._frames.append(frame)
        if self._reader is not None:
            self._reader.unpark()

    def get(self) -> list[bytes]:
        """Wait for frames."""
        self._reader = self._green.current()
        while not self._frames:
            self._reader.park()
        frames, self._frames = self._frames, []
        return frames


class SlowStorage:
    """A disk whose writes take time.  Before the end of that time nothing is written; the writer may be killed before
    it goes on, too."""

    blocking = True

    def __init__(self, storage: Storage, green: GreenThreads) -> None:
        self._storage = storage
        self._green = green

    def load(self) -> Stored:
        """What was written so far."""
        return self._storage.load()

    def write(self, changes: Sequence[PersistEffect]) -> None:
        """Hold up the writer, write, hold it up once more.  A peer that starts may write before it has threads."""
        if not self._green.is_inside:
            self._storage.write(changes)
            return
        timeline = self._green.timeline
        self._green.sleep(timeline.draw(DISK) - timeline.now)
        self._storage.write(changes)
        self._green.sleep(DISK.shortest / 10)

    def close(self) -> None:
        """The disk stays."""
