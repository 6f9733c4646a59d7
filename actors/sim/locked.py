"""One incarnation of a simulated peer whose turns are taken by threads around a lock: the real `LockedPeer`.

What it is given instead of the operating system's is its world: threads that are greenlets (`green`), ways of the
timeline instead of pipes, and a disk whose writes take time while the lock is held.
"""

from __future__ import annotations
