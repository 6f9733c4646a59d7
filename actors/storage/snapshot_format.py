"""What a snapshot file consists of (paper 7), and how it is recognized.

    length of the head | CRC-32 of the head | head | content          (numbers: 4 bytes, little-endian)

The head is an array of msgpack: format version, cluster id, server id, and the `Snapshot`, whose `checksum` is the
SHA-256 of the content and whose `size` is its length.  The content is opaque here.

Rules of the format
-------------------
1. The checksum of the head is looked at before its meaning: bytes that are not those that were written are damage, and
   those of another version of this program are not.
2. A length is believed only up to a limit: a damaged one must not take all the memory there is.
3. What belongs to another cluster or server is refused, as the log's file is.

Where such files are, under which names, and which of them counts is decided in `actors.storage.snapshots`.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from msgspec import MsgspecError, Struct, msgpack

from actors.storage import damage
from raft_core.configuration import Snapshot
from raft_core.types import ServerId

FORMAT = 1

_SIZES = struct.Struct("<II")
_LARGEST_HEAD = 16 << 20
"""Bytes; a longer one is a damaged length."""
_PIECE = 1 << 20
"""Bytes that are hashed at a time."""


class _Head(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    format: int
    cluster_id: str
    server_id: ServerId
    snapshot: Snapshot


_encode = msgpack.Encoder().encode
_decode_head = msgpack.Decoder(_Head).decode
_decode_any = msgpack.Decoder(list[object]).decode


def head_of(snapshot: Snapshot, owner: tuple[str, ServerId]) -> bytes:
    """What stands before the content; `owner` is a cluster and a server of it."""
    head = _encode(_Head(FORMAT, *owner, snapshot))
    return _SIZES.pack(len(head), zlib.crc32(head)) + head


def read_head(file: BinaryIO, owner: tuple[str, ServerId]) -> Snapshot:
    """Read and check the head of the open `file`, up to where the content begins.

    Raises `CorruptStorage`, `UnknownFormat` or `WrongCluster`.
    """
    path = Path(file.name)
    sizes = file.read(_SIZES.size)
    length, checksum = _SIZES.unpack(sizes) if len(sizes) == _SIZES.size else (0, 0)
    encoded = file.read(length) if length <= _LARGEST_HEAD else b""
    if not encoded or zlib.crc32(encoded) != checksum:
        raise damage.corrupt_snapshot(path, "its head fails its checksum")
    head = _decoded(path, encoded)
    if (head.cluster_id, head.server_id) != owner:
        raise damage.wrong_cluster(path, (head.cluster_id, head.server_id), owner)
    return head.snapshot


def pieces(file: BinaryIO) -> Iterator[bytes]:
    """The rest of the file, as much at a time as is hashed at a time."""
    return iter(lambda: file.read(_PIECE), b"")


def _decoded(path: Path, encoded: bytes) -> _Head:
    """A head whose bytes are those that were written: ours, or that of another version."""
    try:
        version = _decode_any(encoded)[0]
        if isinstance(version, int) and version != FORMAT:
            raise damage.unknown_format(path, version, FORMAT)
        return _decode_head(encoded)
    except (MsgspecError, IndexError) as cause:
        raise damage.corrupt_snapshot(path, f"its head makes no sense ({cause})") from cause
