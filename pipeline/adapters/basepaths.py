"""The path lists of bases, made from the registry once per digest and kept in a folder.

Rules: layers are streamed, never stored; a list is kept only after every layer was what its digest says; a
kept list bears the hash of its own bytes and is made anew when they differ; it is mapped, not read, so that
memory does not grow with the base.
"""

from __future__ import annotations

import hashlib
import io
import mmap
import os
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import zstandard

from pipeline.domain.append import BaseImage
from pipeline.domain.basepaths import LayerStack, PathTable
from pipeline.domain.image import Digest, Repository
from pipeline.domain.oci import Descriptor
from pipeline.domain.tree import Entry, FileType
from pipeline.errors import RegistryError, StateError

_MAGIC = b"bootc-pipeline base paths 1 "
_START = len(_MAGIC) + 64 + 1
_CHUNK = 1 << 20
_PIECE = 64 << 10
_HINT = "the base was pushed by a broken tool; build and push it again"
_TYPES = {
    tarfile.REGTYPE: FileType.FILE,
    tarfile.AREGTYPE: FileType.FILE,
    tarfile.CONTTYPE: FileType.FILE,
    tarfile.GNUTYPE_SPARSE: FileType.FILE,
    tarfile.DIRTYPE: FileType.DIRECTORY,
    tarfile.SYMTYPE: FileType.SYMLINK,
    tarfile.CHRTYPE: FileType.CHARACTER,
    tarfile.BLKTYPE: FileType.BLOCK,
    tarfile.FIFOTYPE: FileType.FIFO,
}


class BlobSource(Protocol):
    """The part of a registry that is used here."""

    def stream_blob(self, repository: Repository, digest: Digest) -> Iterator[bytes]:
        """Yield a blob in pieces, its digest checked at the end."""


class BasePathCache:
    """Gives the path list of a base.

    Args:
        folder: Where lists are kept; made when it does not exist.
        source: The registry of the bases.
    """

    def __init__(self, folder: Path, source: BlobSource) -> None:
        self._folder = folder
        self._source = source

    def table(self, base: BaseImage) -> PathTable:
        """Return the paths of a base.

        Raises:
            RegistryError: A layer cannot be had, is not what its digest says, or is no layer.
            StateError: The folder cannot be written.
        """
        file = self._folder / f"{base.ref.pinned.hex}.paths"
        return _kept(file) or self._made(file, base)

    def _made(self, file: Path, base: BaseImage) -> PathTable:
        stack = LayerStack()
        for layer in base.parsed.layers:
            _apply(stack, layer, self._source.stream_blob(base.ref.repository, layer.digest))
        table = stack.table()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            _write(file, _MAGIC + hashlib.sha256(table).hexdigest().encode() + b"\n" + table)
        except OSError as error:
            raise StateError(
                f"the path list of the base cannot be kept in {self._folder}: {error}",
                hint="free space there, or name another folder",
            ) from error
        found = _kept(file)
        if found is None:
            raise StateError(
                f"{file} changed right after it was written", hint="find out who writes to that folder"
            )
        return found


def _kept(file: Path) -> PathTable | None:
    try:
        with file.open("rb") as source:
            buffer = mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError):  # not there, or empty
        return None
    head = buffer[:_START]
    seen = hashlib.sha256()
    for at in range(_START, len(buffer), _CHUNK):
        seen.update(buffer[at : at + _CHUNK])
    if head != _MAGIC + seen.hexdigest().encode() + b"\n":
        buffer.close()
        return None
    return PathTable(buffer, _START)


def _write(file: Path, data: bytes) -> None:
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=".paths-")
    try:
        with os.fdopen(handle, "wb") as sink:
            sink.write(data)
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _apply(stack: LayerStack, layer: Descriptor, chunks: Iterator[bytes]) -> None:
    members: list[Entry] = []
    links: list[tuple[str, str]] = []
    reader = io.BufferedReader(_Reader(_unpacked(layer, chunks)), _CHUNK)
    try:
        with tarfile.open(fileobj=reader, mode="r|", errors="surrogateescape") as tar:
            while (member := tar.next()) is not None:
                # tarfile keeps every header it has read; of a large base that is a lot.
                tar.members.clear()  # type: ignore[attr-defined]
                if member.islnk():
                    links.append((member.name, member.linkname))
                else:
                    members.append(_entry(member, layer))
    except (tarfile.TarError, zlib.error, zstandard.ZstdError, EOFError) as error:
        raise RegistryError(f"layer {layer.digest} is no readable tar: {error}", hint=_HINT) from error
    for _ in chunks:  # the end of the blob is where its digest is checked
        pass
    stack.apply(members, links)


def _entry(member: tarfile.TarInfo, layer: Descriptor) -> Entry:
    kind = _TYPES.get(member.type)
    if kind is None:
        raise RegistryError(
            f"layer {layer.digest} has {member.name[:200]!r} of the unknown type {member.type!r}", hint=_HINT
        )
    target = member.linkname if kind is FileType.SYMLINK else ""
    return Entry(
        path=member.name,
        type=kind,
        mode=member.mode & 0o7777,
        uid=member.uid,
        gid=member.gid,
        target=target,
    )


def _unpacked(layer: Descriptor, chunks: Iterator[bytes]) -> Iterator[bytes]:
    kind = layer.media_type
    if kind.endswith("gzip"):
        return _streamed(chunks, lambda: zlib.decompressobj(wbits=31))
    if kind.endswith("zstd"):
        return _streamed(chunks, lambda: zstandard.ZstdDecompressor().decompressobj())
    if kind.endswith("tar"):
        return chunks
    raise RegistryError(
        f"layer {layer.digest} has the media type {kind[:120]!r}, which is not supported",
        hint="push the base with gzip or zstd layers",
    )


class _Unpacker(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


def _streamed(chunks: Iterator[bytes], begin: Callable[[], _Unpacker]) -> Iterator[bytes]:
    """Unpack one stream after the other: both formats allow several in a row (eStargz, zstd:chunked)."""
    unpacker, fresh = begin(), True
    for chunk in chunks:
        # Small pieces, because each may unpack to a thousand times its size.
        for at in range(0, len(chunk), _PIECE):
            rest = chunk[at : at + _PIECE]
            while rest:
                yield unpacker.decompress(rest)
                fresh, rest = False, b""
                if unpacker.eof:
                    rest = unpacker.unused_data
                    unpacker, fresh = begin(), True
    if not fresh:
        raise EOFError("the packed stream is cut short")


class _Reader(io.RawIOBase):
    """A file of pieces."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        super().__init__()
        self._pieces = pieces
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = memoryview(piece)
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count
