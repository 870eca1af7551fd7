"""A placed tree as the bytes of one layer: the same tree always gives the same bytes, on every machine.

Rules: entries sorted, one time for all, numeric owners without names, PAX where a name is long or not ASCII;
gzip in stored blocks, because what a compressor makes of the same bytes differs between zlib, zlib-ng and
their versions, and a host's tree is small. Every bit of the container is written here.
"""

from __future__ import annotations

import hashlib
import io
import struct
import tarfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.domain.image import Digest
from pipeline.domain.oci import digest_of
from pipeline.domain.placement import TreeEntry
from pipeline.domain.tree import FileType

_TYPES = {
    FileType.FILE: tarfile.REGTYPE,
    FileType.DIRECTORY: tarfile.DIRTYPE,
    FileType.SYMLINK: tarfile.SYMTYPE,
}
_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
"""No name, no time, no level, operating system unknown (RFC 1952)."""
_STORED = 0xFFFF


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A layer: its gzip bytes, their digest, and the digest of the tar inside (the diff ID)."""

    data: bytes
    digest: Digest
    diff_id: Digest


def layer_of(entries: Iterable[TreeEntry], *, timestamp: int) -> Layer:
    """Return the layer of placed entries.

    Args:
        entries: In their final order, see `placement.place`.
        timestamp: Seconds since the epoch that every entry bears.
    """
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.PAX_FORMAT, errors="surrogateescape") as tar:
        for entry in entries:
            tar.addfile(_member(entry, timestamp), io.BytesIO(entry.content))
    inner = sink.getvalue()
    data = stored_gzip(inner)
    return Layer(
        data=data,
        digest=digest_of(data),
        diff_id=Digest("sha256:" + hashlib.sha256(inner).hexdigest()),
    )


def stored_gzip(data: bytes) -> bytes:
    """Return gzip of the data in stored blocks (RFC 1951, section 3.2.4): one spelling, nothing packed."""
    blocks: list[bytes] = [_GZIP_HEADER]
    for at in range(0, len(data) or 1, _STORED):
        piece = data[at : at + _STORED]
        last = at + _STORED >= len(data)
        blocks += (struct.pack("<BHH", last, len(piece), len(piece) ^ 0xFFFF), piece)
    blocks.append(struct.pack("<II", zlib.crc32(data), len(data) & 0xFFFFFFFF))
    return b"".join(blocks)


def _member(entry: TreeEntry, timestamp: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(entry.path.removeprefix("/"))
    info.type = _TYPES[entry.type]
    info.mode = 0o777 if entry.type is FileType.SYMLINK else entry.mode
    info.uid, info.gid = entry.uid, entry.gid
    info.mtime = timestamp
    info.size = len(entry.content)
    info.linkname = entry.target
    return info
