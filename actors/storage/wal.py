"""Is the write-ahead log that a killed process left behind whole?

SQLite recovers from its WAL up to the first frame whose checksum fails and drops the rest without a word: right after a
power failure, where the rest is a transaction nobody was told of; wrong if a bit rotted in the *middle*, where the rest
was acknowledged ("Protocol-Aware Recovery", Alagappan et al., FAST 2018: a torn tail may be cut, damage before it must
not).

The two can be told apart.  Under synchronous=FULL a transaction's frames are on disk before the next one writes its
first.  So behind a torn transaction there is nothing; if the first bad frame is followed by the end of a transaction
*and* a frame of yet another one, something acknowledged was damaged.  This holds only if nothing older lies around in
the file, which is why `sqlite` empties the WAL whenever it opens a database.

What cannot be told apart is a torn write and damage to the very last transaction, a WAL cut off at its end, or a bit
flipped in the salt of the last transaction but one if that has a single frame.  Those go unseen.

Pure functions over the bytes of the file; its layout is section 4 of https://www.sqlite.org/fileformat2.html.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

_HEADER_SIZE = 32
_FRAME_HEADER_SIZE = 24
_MAGIC = 0x377F0682
_MASK = 0xFFFFFFFF

_Checksum = tuple[int, int]


def damage_in(wal: bytes) -> str | None:
    """What is wrong with this WAL, or None if at most one unacknowledged transaction at its end is incomplete."""
    if len(wal) <= _HEADER_SIZE:
        return None
    order = _byte_order(wal)
    if order is None:
        # The header is synced before the first frame is written: frames behind a bad header were once readable.
        return "the header of the write-ahead log fails its checksum"
    frames = list(_frames(wal))
    sound = _count_sound(wal, frames, order)
    ends = [number for number in range(sound, len(frames)) if _ends_transaction(wal, frames[number])]
    if ends and ends[0] + 1 < len(frames) and _is_of_this_log(wal, frames[ends[0] + 1]):
        return f"frame {sound + 1} of the write-ahead log fails its checksum, and later transactions follow it"
    return None


def _byte_order(wal: bytes) -> str | None:
    (magic,) = struct.unpack_from(">I", wal)
    if magic & ~1 != _MAGIC:
        return None
    order = ">" if magic & 1 else "<"
    sound = _checksum(wal[:24], order, (0, 0)) == struct.unpack_from(">2I", wal, 24)
    return order if sound else None


def _frames(wal: bytes) -> Iterator[int]:
    """Offsets of all complete frames."""
    (page_size,) = struct.unpack_from(">I", wal, 8)
    frame_size = _FRAME_HEADER_SIZE + page_size
    return iter(range(_HEADER_SIZE, len(wal) - frame_size + 1, frame_size))


def _count_sound(wal: bytes, frames: list[int], order: str) -> int:
    """How many frames, from the first on, are of this log and pass the running checksum."""
    running: _Checksum = struct.unpack_from(">2I", wal, 24)
    (page_size,) = struct.unpack_from(">I", wal, 8)
    for number, offset in enumerate(frames):
        running = _checksum(wal[offset : offset + 8], order, running)
        page = offset + _FRAME_HEADER_SIZE
        running = _checksum(wal[page : page + page_size], order, running)
        if not _is_of_this_log(wal, offset) or running != struct.unpack_from(">2I", wal, offset + 16):
            return number
    return len(frames)


def _is_of_this_log(wal: bytes, offset: int) -> bool:
    """Frames of an earlier use of the file carry other salts."""
    return wal[offset + 8 : offset + 16] == wal[16:24]


def _ends_transaction(wal: bytes, offset: int) -> bool:
    return _is_of_this_log(wal, offset) and wal[offset + 4 : offset + 8] != b"\0\0\0\0"


def _checksum(data: bytes, order: str, running: _Checksum) -> _Checksum:
    first, second = running
    words = iter(struct.unpack(f"{order}{len(data) // 4}I", data))
    for even, odd in zip(words, words, strict=True):
        first = (first + even + second) & _MASK
        second = (second + odd + first) & _MASK
    return first, second
