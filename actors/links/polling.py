"""Waiting for many descriptors at once: epoll and a dictionary.

`selectors` makes a key object for every readiness and costs about twice as much, and waiting is what a peer does
several times for each command.
"""

from __future__ import annotations

import contextlib
import select
from typing import Generic, Protocol, TypeVar

D = TypeVar("D")


class HasDescriptor(Protocol):
    """Something that can be waited for."""

    def fileno(self) -> int:
        """Its descriptor."""


class Poll(Generic[D]):
    """What is waited for, each with the data that says what it is."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._data: dict[int, D] = {}

    def watch(self, source: HasDescriptor | int, data: D, *, to_write: bool = False) -> None:
        """Wait for `source` to be readable (or writable)."""
        descriptor = source if isinstance(source, int) else source.fileno()
        self._epoll.register(descriptor, select.EPOLLOUT if to_write else select.EPOLLIN)
        self._data[descriptor] = data

    def watch_end(self, writer: HasDescriptor, data: D) -> None:
        """Wait for the reader of the pipe into which `writer` writes to be gone; then it is always ready."""
        self._epoll.register(writer.fileno(), 0)  # errors are always told
        self._data[writer.fileno()] = data

    def forget(self, source: HasDescriptor | int) -> None:
        """Wait for `source` no more.  Raises `KeyError` if it was not watched."""
        descriptor = source if isinstance(source, int) else source.fileno()
        del self._data[descriptor]
        with contextlib.suppress(OSError):  # whoever closed it has unregistered it
            self._epoll.unregister(descriptor)

    def wait(self, timeout: float | None) -> list[D]:
        """Data of what is ready, after at most `timeout` seconds (None: however long it takes)."""
        data = self._data
        # What was forgotten since by another thread is no longer of interest.
        return [data[fd] for fd, _ in self._epoll.poll(-1 if timeout is None else timeout) if fd in data]

    def everything(self) -> list[D]:
        """Data of all that is watched."""
        return list(self._data.values())

    def close(self) -> None:
        """Give the descriptor back."""
        self._epoll.close()
        self._data.clear()
