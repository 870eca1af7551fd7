"""A layer's blob unpacked as it comes: gzip, zstd or plain tar, never more at once than a piece.

Rules: what a few bytes unpack to is bounded in every step and in all; the pieces end only after the packed
stream ended, so the blob's own digest was checked by then.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator

import zstandard

from pipeline.domain.oci import Descriptor
from pipeline.errors import RegistryError

_PIECE = 1 << 20
_WINDOW = 128 << 20
_LARGEST = 256 << 30
_HINT = "the image was pushed by a broken tool; build and push it again"


def unpacked(layer: Descriptor, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the tar archive of a layer in pieces.

    Args:
        layer: Its descriptor; the media type says how it is packed.
        chunks: The blob in pieces; read to its end.

    Raises:
        RegistryError: It is packed in another way, is damaged or cut short, or is far too large.
    """
    kind = layer.media_type
    if kind.endswith("gzip"):
        pieces = _gunzipped(chunks)
    elif kind.endswith("zstd"):
        pieces = _unzstd(chunks)
    elif kind.endswith("tar"):
        pieces = chunks
    else:
        raise RegistryError(
            f"layer {layer.digest} has the media type {kind[:120]!r}, which is not supported",
            hint="push the base with gzip or zstd layers",
        )
    size = 0
    try:
        for piece in pieces:
            size += len(piece)
            if size > _LARGEST:
                raise RegistryError(
                    f"layer {layer.digest} unpacks to more than {_LARGEST >> 30} GiB", hint=_HINT
                )
            yield piece
        for _ in chunks:
            pass
    except (zlib.error, zstandard.ZstdError, EOFError) as error:
        raise RegistryError(f"layer {layer.digest} is no readable tar: {error}", hint=_HINT) from error


def _gunzipped(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Unpack one stream after the other: the format allows several in a row (eStargz)."""
    unpacker, fresh = zlib.decompressobj(wbits=31), True
    for chunk in chunks:
        rest = chunk
        while rest:
            yield unpacker.decompress(rest, _PIECE)
            fresh, rest = False, unpacker.unconsumed_tail
            if unpacker.eof:
                rest = unpacker.unused_data
                unpacker, fresh = zlib.decompressobj(wbits=31), True
    while not fresh and (piece := unpacker.decompress(b"", _PIECE)):
        yield piece
    if not (fresh or unpacker.eof):
        raise EOFError("the packed stream is cut short")


def _unzstd(chunks: Iterator[bytes]) -> Iterator[bytes]:
    packed = io.BufferedReader(_PieceReader(chunks), _PIECE)
    unpacker = zstandard.ZstdDecompressor(max_window_size=_WINDOW)
    with unpacker.stream_reader(packed, read_across_frames=True) as reader:
        while piece := reader.read(_PIECE):
            yield piece


class _PieceReader(io.RawIOBase):
    """A file of pieces."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        super().__init__()
        self._pieces = pieces
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill a buffer with what comes next; return how much that was."""
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = memoryview(piece)
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count
