"""Unpacks what kernels and modules are packed with, never more than a limit.

Rules: one stream, whole, nothing behind it but what the caller allows; the limits hold before memory is
taken; damaged input is one `ModuleError`.
"""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Callable

import zstandard

from pipeline.domain.elf import broken
from pipeline.errors import ModuleError

LIMIT = 512 << 20
"""Bytes an unpacked kernel or module may have; the largest known module has a fifth of it."""

_XZ_MEMORY = 256 << 20
_ZSTD_WINDOW = 128 << 20  # `zstd --ultra -22`, as the kernel's own build calls it
_CHUNK = 1 << 10  # a block of three bytes may stand for 128 KiB: this much input is at most 43 MiB


def unpack(kind: str, data: bytes, where: str, *, limit: int = LIMIT, trailer: int = 0) -> bytes:
    """Return the unpacked bytes.

    Args:
        kind: `gz`, `xz` or `zst`.
        data: One packed stream.
        where: Its name, for messages.
        limit: Most bytes to unpack.
        trailer: Bytes that may follow the stream.

    Raises:
        ModuleError: The stream is damaged, cut short, followed by something else, or too large.
    """
    try:
        unpacked, rest = _READERS[kind](data, limit + 1)
    except (zlib.error, lzma.LZMAError, zstandard.ZstdError, MemoryError, EOFError) as error:
        raise broken(where, f"is no whole {kind} stream: {error}") from error
    if len(unpacked) > limit:
        raise ModuleError(
            f"{where}: unpacks to more than {limit >> 20} MiB",
            hint="no kernel or module is that large: find out where the file came from",
        )
    if rest not in (0, trailer):
        raise broken(where, f"has {rest} bytes behind its {kind} stream")
    return unpacked


def _gz(data: bytes, most: int) -> tuple[bytes, int]:
    reader = zlib.decompressobj(wbits=31)
    unpacked = reader.decompress(data, most)
    if not reader.eof and len(unpacked) < most:
        raise EOFError("cut short")
    return unpacked, len(reader.unused_data)


def _xz(data: bytes, most: int) -> tuple[bytes, int]:
    reader = lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
    unpacked = reader.decompress(data, most)
    if not reader.eof and len(unpacked) < most:
        raise EOFError("cut short")
    return unpacked, len(reader.unused_data)


def _zst(data: bytes, most: int) -> tuple[bytes, int]:
    parts: list[bytes] = []
    size = 0
    reader = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).decompressobj()
    for start in range(0, len(data), _CHUNK):
        parts.append(reader.decompress(data[start : start + _CHUNK]))
        size += len(parts[-1])
        if reader.eof:
            return b"".join(parts), len(reader.unused_data) + max(len(data) - start - _CHUNK, 0)
        if size >= most:
            return b"".join(parts), 0
    raise EOFError("cut short")


_READERS: dict[str, Callable[[bytes, int], tuple[bytes, int]]] = {"gz": _gz, "xz": _xz, "zst": _zst}
