"""Tables of contents of layers, made once per layer while it streams by and kept in a folder.

Rules: nothing is ever unpacked to disk; the contents that `domain.diff.kept` names go into one file a layer,
under no name of the layer's. A table is kept only when the layer was, to its last byte, what its diff ID
says, and is known by that ID; that a blob unpacks to a diff ID is believed only where it was seen here. A
kept file bears the hash of its own bytes, a kept content is checked against its SHA-256 when it is read; what
does not agree is made anew. The folder is for its owner alone: it may hold /etc/shadow.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO

import zstandard

from pipeline.adapters.tarstream import Member, TarStream
from pipeline.domain.diff.kept import keeps
from pipeline.domain.diff.snapshot import FileFacts
from pipeline.domain.image import Digest
from pipeline.domain.toc import LayerBuilder, LayerToc, decoded, encoded
from pipeline.domain.tocline import line_of, normal, unescaped
from pipeline.domain.tree import FileType
from pipeline.errors import RegistryError, StateError

_MAGIC = b"bootc-pipeline layer toc 3 "  # another number whenever `keeps` says another thing, too
_LINK = b"bootc-pipeline layer of blob 1 "
_START = 64 + 1
_LARGEST_TABLE = 2 << 30
_MOST_KEPT = 1 << 30
_PACKED = (b"\x1f\x8b", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd")
_AS_IT_IS, _SMALLER = b"\0", b"\1"
_TYPES = {
    ord("0"): FileType.FILE,
    ord("7"): FileType.FILE,
    ord("2"): FileType.SYMLINK,
    ord("3"): FileType.CHARACTER,
    ord("4"): FileType.BLOCK,
    ord("5"): FileType.DIRECTORY,
    ord("6"): FileType.FIFO,
}
_HARD_LINK = ord("1")
_OVERLAY = (b"trusted.overlay.", b"user.overlay.")
_HINT = "the image was pushed by a broken tool; build and push it again"
_EMPTY = hashlib.sha256(b"").hexdigest()


class TocStore:
    """Keeps tables and contents.

    Args:
        folder: Where; made when it does not exist.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def diff_id_of(self, blob: Digest) -> Digest | None:
        """Return what a blob was seen to unpack to, or None."""
        data = _checked(self._folder / f"{blob.hex}.blob", _LINK)
        return Digest(data.decode("ascii")) if data is not None else None

    def table(self, diff_id: Digest) -> LayerToc | None:
        """Return the table of a layer, or None when there is none or it was damaged."""
        data = _checked(self._folder / f"{diff_id.hex}.toc", _MAGIC)
        if data is None:
            return None
        unpacker = zstandard.ZstdDecompressor()
        return decoded(unpacker.decompress(data, max_output_size=_LARGEST_TABLE))

    def content(self, diff_id: Digest, toc: LayerToc, sha256: str) -> bytes | None:
        """Return a kept content of a layer, or None when it was not kept or was damaged."""
        place = toc.kept.get(sha256.encode())
        if place is None:
            return b"" if sha256 == _EMPTY else None
        at, size = place
        try:
            with (self._folder / f"{diff_id.hex}.contents").open("rb") as source:
                source.seek(at)
                stored = source.read(size)
            data = _unpacked(stored)
        except (OSError, zstandard.ZstdError):
            return None
        return data if data is not None and hashlib.sha256(data).hexdigest() == sha256 else None

    def make(
        self, diff_id: Digest, archive: Callable[[], Iterator[bytes]], *, blob: Digest | None
    ) -> LayerToc:
        """Make and keep the table of a layer.

        Args:
            diff_id: Digest of the unpacked layer, as the image's config tells it.
            archive: Begins the unpacked layer.
            blob: The blob it came from, when it came from one.

        Raises:
            RegistryError: The layer is not what its diff ID says, or is no layer that can be laid down.
            StateError: The folder cannot be written.
        """
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _temporary(self._folder) as (sink, name):
                seen = hashlib.sha256()
                keeper = _Keeper(sink)
                toc = read_layer(_hashed(archive(), seen), f"layer {diff_id}", keeper)
                if seen.hexdigest() != diff_id.hex:
                    raise RegistryError(
                        f"the layer told to unpack to {diff_id} unpacks to sha256:{seen.hexdigest()}",
                        hint="the image's config lies; do not use it",
                    )
                sink.flush()
                os.replace(name, self._folder / f"{diff_id.hex}.contents")  # noqa: PTH105
            packed = zstandard.ZstdCompressor(level=3).compress(encoded(toc))
            self._write(f"{diff_id.hex}.toc", _MAGIC, packed)
            if blob is not None:
                self._write(f"{blob.hex}.blob", _LINK, diff_id.value.encode())
        except OSError as error:
            raise StateError(
                f"the table of contents of a layer cannot be kept in {self._folder}: {error}",
                hint="free space there, or name another folder",
            ) from error
        return toc

    def _write(self, name: str, magic: bytes, data: bytes) -> None:
        with _temporary(self._folder) as (sink, temporary):
            sink.write(magic + hashlib.sha256(data).hexdigest().encode() + b"\n" + data)
            sink.flush()
            os.replace(temporary, self._folder / name)  # noqa: PTH105


def read_layer(pieces: Iterator[bytes], what: str, keeper: _Keeper | None = None) -> LayerToc:
    """Read a layer to its end and return its table; without a keeper contents are neither hashed nor kept.

    Args:
        pieces: The unpacked layer.
        what: What it is, for messages.
        keeper: Takes the contents that are to be kept.

    Raises:
        RegistryError: It is no layer, or one that engines lay down in different ways.
    """
    builder = LayerBuilder()
    stream = TarStream(pieces, what)
    for member in stream:
        if member.kind == _HARD_LINK:
            builder.link(member.name, member.target)
            continue
        sha256 = ""
        if keeper is not None and _TYPES.get(member.kind) is FileType.FILE:
            sha256 = keeper.take(member, stream)
        builder.take(member.name, line_of(_facts(member, sha256, what)), member.mtime)
    toc = builder.finish()
    return replace(toc, kept=keeper.kept) if keeper is not None else toc


class _Keeper:
    """Hashes contents and writes those to be kept."""

    def __init__(self, sink: IO[bytes]) -> None:
        self.kept: dict[bytes, tuple[int, int]] = {}
        self._sink = sink
        self._at = 0
        self._packer = zstandard.ZstdCompressor(level=1)

    def take(self, member: Member, stream: TarStream) -> str:
        """Read the content of a file; return its SHA-256."""
        seen = hashlib.sha256()
        if not self._wanted(member):
            for part in stream.content():
                seen.update(part)
            return seen.hexdigest()
        data = b"".join(stream.content())
        seen.update(data)
        self._keep(seen.hexdigest().encode(), data)
        return seen.hexdigest()

    def _wanted(self, member: Member) -> bool:
        path = unescaped(normal(member.name))
        return self._at + member.size <= _MOST_KEPT and keeps(path, member.size)

    def _keep(self, sha256: bytes, data: bytes) -> None:
        if sha256 in self.kept:
            return
        packed = _AS_IT_IS + data if data.startswith(_PACKED) else _SMALLER + self._packer.compress(data)
        self._sink.write(packed)
        self.kept[sha256] = (self._at, len(packed))
        self._at += len(packed)


def _facts(member: Member, sha256: str, what: str) -> FileFacts:
    kind = _TYPES.get(member.kind)
    name = member.name.decode("utf-8", "surrogateescape")
    if kind is None:
        raise RegistryError(f"{what} has {name[:200]!r} of the unknown type {chr(member.kind)!r}", hint=_HINT)
    if kind is FileType.CHARACTER and member.device == (0, 0):
        raise RegistryError(f"{what} has {name[:200]!r} as the device 0:0, which deletes unseen", hint=_HINT)
    if any(key.startswith(_OVERLAY) for key in member.xattrs):
        raise RegistryError(f"{what} has {name[:200]!r} with an attribute of overlayfs's own", hint=_HINT)
    return FileFacts(
        path="",
        type=kind,
        mode=0o777 if kind is FileType.SYMLINK else member.mode,
        uid=member.uid,
        gid=member.gid,
        size=member.size if kind is FileType.FILE else 0,
        target=member.target.decode("utf-8", "surrogateescape") if kind is FileType.SYMLINK else "",
        sha256=sha256,
        xattrs=tuple(
            sorted(
                (key.decode("utf-8", "surrogateescape"), value.hex()) for key, value in member.xattrs.items()
            )
        ),
        device=member.device,
    )


def _unpacked(stored: bytes) -> bytes | None:
    if stored[:1] == _AS_IT_IS:
        return stored[1:]
    if stored[:1] != _SMALLER:
        return None
    return zstandard.ZstdDecompressor().decompress(stored[1:], max_output_size=_MOST_KEPT)


def _hashed(pieces: Iterator[bytes], seen: hashlib._Hash) -> Iterator[bytes]:
    for piece in pieces:
        seen.update(piece)
        yield piece


def _checked(file: Path, magic: bytes) -> bytes | None:
    try:
        data = file.read_bytes()
    except OSError:
        return None
    start = len(magic) + _START
    told, body = data[:start], memoryview(data)[start:]
    return bytes(body) if told == magic + hashlib.sha256(body).hexdigest().encode() + b"\n" else None


@contextlib.contextmanager
def _temporary(folder: Path) -> Iterator[tuple[IO[bytes], str]]:
    handle, name = tempfile.mkstemp(dir=folder, prefix=".toc-")
    try:
        with os.fdopen(handle, "wb") as sink:
            yield sink, name
    finally:
        Path(name).unlink(missing_ok=True)
