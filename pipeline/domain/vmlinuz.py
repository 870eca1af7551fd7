"""The kernel inside a bzImage: its release and the symbols it exports.

Rules: the payload is found by the boot protocol's own fields (2.08 and later), never by scanning for magic
bytes; a kernel packed or laid out in a way not known here is refused with that reason. Out of
scope: EFI zboot and plain `Image` files (arm64), kernels packed with lz4, lzo, lzma or bzip2, boot protocols
before 2.08 (2008).
Source: Documentation/arch/x86/boot.rst of Linux.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.domain.compression import unpack
from pipeline.domain.elf import broken, read_elf
from pipeline.domain.ksymtab import Export, read_exports
from pipeline.errors import ModuleError

_SECTOR = 512
_SETUP_SECTS = 0x1F1
_MAGIC = 0x202
_PROTOCOL = 0x206
_VERSION = 0x20E
_PAYLOAD = 0x248
_HEADER_END = 0x250
_LONGEST_VERSION = 512
_SIZE_TRAILER = 4  # all packers but gzip have the unpacked size appended, in four bytes
_PACKINGS = {
    b"\x1f\x8b": "gz",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zst",
}
_UNSUPPORTED = {
    b"\x02\x21\x4c\x18": "lz4",
    b"\x89LZO": "lzo",
    b"\x5d\0\0": "lzma",
    b"BZh": "bzip2",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """A kernel image: its release (`uname -r`) and the symbols it exports to modules."""

    release: str
    exports: Mapping[str, Export]


def kernel_release(data: bytes, where: str) -> str:
    """Return the release a bzImage says it is, from its setup header.

    Raises:
        ModuleError: The bytes are no bzImage or name no release.
    """
    _check_header(data, where)
    (offset,) = struct.unpack_from("<H", data, _VERSION)
    text = data[offset + _SECTOR : offset + _SECTOR + _LONGEST_VERSION].split(b"\0")[0]
    release = text.partition(b" ")[0].decode("ascii", "backslashreplace")
    if not offset or not release:
        raise broken(where, "names no kernel release in its setup header")
    return release


def read_kernel(data: bytes, where: str) -> Kernel:
    """Unpack a bzImage and read which symbols it exports.

    Args:
        data: The whole `vmlinuz`.
        where: Its path, for messages.

    Raises:
        ModuleError: It is no bzImage, is packed or laid out in an unknown way, or exports nothing.
    """
    release = kernel_release(data, where)
    exports = read_exports(read_elf(_payload(data, where), where))
    if not exports:
        raise broken(where, "has no table of exported symbols (built without modules?)")
    return Kernel(release=release, exports=exports)


def _check_header(data: bytes, where: str) -> None:
    if len(data) < _HEADER_END or data[_MAGIC : _MAGIC + 4] != b"HdrS":
        raise ModuleError(
            f"{where}: is no bzImage",
            hint="only x86 kernels in that form can be read: check what was installed",
        )
    (protocol,) = struct.unpack_from("<H", data, _PROTOCOL)
    if protocol < 0x0208:  # noqa: PLR2004 - the boot protocol that brought payload_offset
        raise broken(where, f"speaks boot protocol {protocol >> 8}.{protocol & 255:02}, older than 2.08")


def _payload(data: bytes, where: str) -> bytes:
    offset, length = struct.unpack_from("<II", data, _PAYLOAD)
    start = ((data[_SETUP_SECTS] or 4) + 1) * _SECTOR + offset
    packed = data[start : start + length]
    if not length or len(packed) != length:
        raise broken(where, "is cut short: its payload lies outside the file")
    for magic, kind in _PACKINGS.items():
        if packed.startswith(magic):
            return unpack(kind, packed, where, trailer=_SIZE_TRAILER)
    name = next((name for magic, name in _UNSUPPORTED.items() if packed.startswith(magic)), None)
    raise ModuleError(
        f"{where}: the kernel is packed with {name or 'an unknown program'}, which cannot be unpacked here",
        hint="install a kernel packed with gzip, xz or zstd",
    )
