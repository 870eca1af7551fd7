"""Writes tiny kernels and modules: real ELF files with real tables, for tests without a compiler.

Rules: only what a loader would read is there; everything is little-endian and 64-bit, as on x86-64.
"""

from __future__ import annotations

import gzip
import lzma
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import zstandard

PROGBITS, SYMTAB, STRTAB, RELA = 1, 2, 3, 4
RELOCATABLE, EXECUTABLE = 1, 2
_GLOBAL, _WEAK = 1 << 4, 2 << 4
_BASE = 0xFFFFFFFF82000000
OPTIONS = "SMP preempt mod_unload modversions"
SIGNATURE_MAGIC = b"~Module signature appended~\n"


@dataclass(frozen=True, slots=True)
class Part:
    """One section to write."""

    name: str
    data: bytes
    type: int = PROGBITS
    address: int = 0
    link: int = 0
    entry: int = 0


def write_elf(parts: Sequence[Part], *, kind: int = RELOCATABLE) -> bytes:
    """Return an ELF file with these sections, numbered from 1, and the names' section last."""
    strings = _Strings()
    names = [strings.add(part.name) for part in parts]
    own_name = strings.add(".shstrtab")
    everything = [*zip(parts, names, strict=True), (Part(".shstrtab", strings.data, STRTAB), own_name)]
    body = b""
    headers = bytes(64)
    for part, name in everything:
        offset = 64 + len(body)
        headers += struct.pack(
            "<IIQQQQIIQQ",
            name,
            part.type,
            2,
            part.address,
            offset,
            len(part.data),
            part.link,
            0,
            1,
            part.entry,
        )
        body += part.data
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\x02\x01\x01" + bytes(9),
        kind,
        62,
        1,
        0,
        0,
        64 + len(body),
        0,
        64,
        0,
        0,
        64,
        len(everything) + 1,
        len(everything),
    )
    return header + body + headers


def module(
    name: str = "zfs",
    *,
    kernel: str = "6.12.94-test",
    options: str = OPTIONS,
    version: str = "2.3.9-1",
    licenses: Sequence[str] = ("GPL",),
    depends: Sequence[str] = (),
    undefined: Sequence[str] = (),
    weak: Sequence[str] = (),
    versions: Mapping[str, int] | None = None,
    extended_versions: Mapping[str, int] | None = None,
    exports: Mapping[str, int] | None = None,
    signature: bytes | None = None,
) -> bytes:
    """Return a module file. `exports` and the versions map a symbol's name to its CRC."""
    info = [f"license={item}" for item in licenses]
    info += [f"version={version}"] if version else []
    info += [
        "srcversion=ABCDEF0123456789",
        "firmware=a.bin",
        "firmware=b.bin",
        f"depends={','.join(depends)}",
    ]
    info += [f"name={name}", f"vermagic={kernel} {options} "]
    parts = [Part(".modinfo", b"".join(item.encode() + b"\0" for item in info))]
    if versions is not None:
        entries = (struct.pack("<Q56s", crc, symbol.encode()) for symbol, crc in versions.items())
        parts.append(Part("__versions", b"".join(entries)))
    if extended_versions is not None:
        parts += _extended(extended_versions)
    symbols, strings = bytes(24), _Strings()
    for bind, wanted in ((_GLOBAL, undefined), (_WEAK, weak)):
        symbols += b"".join(struct.pack("<IBBHQQ", strings.add(item), bind, 0, 0, 0, 0) for item in wanted)
    strings_index = len(parts) + 1
    parts += [
        Part(".strtab", b"", STRTAB),
        Part(".symtab", b"", SYMTAB, link=strings_index, entry=24),
    ]
    if exports:
        count = len(symbols) // 24
        tables, extra = _module_exports(exports, count, strings, len(parts) + 4)
        parts += tables
        symbols += extra
    parts[strings_index - 1] = Part(".strtab", strings.data, STRTAB)
    parts[strings_index] = Part(".symtab", symbols, SYMTAB, link=strings_index, entry=24)
    data = write_elf(parts)
    return data if signature is None else data + signed(signature)


def signed(signature: bytes) -> bytes:
    """Return what scripts/sign-file appends to a module."""
    return signature + struct.pack(">BBBBB3xI", 0, 0, 2, 0, 0, len(signature)) + SIGNATURE_MAGIC


def issuer(common_name: str) -> bytes:
    """Return the part of a signature that names its issuer, in DER."""
    text = common_name.encode()
    return b"\x30\x82" + b"\x06\x03\x55\x04\x03\x0c" + bytes([len(text)]) + text + b"\x02\x01\x07"


def vmlinux(exports: Mapping[str, int], *, gpl: Mapping[str, int] | None = None) -> bytes:
    """Return a linked kernel that exports these symbols with these CRCs."""
    strings, parts, address = _Strings(), [], _BASE
    place = _BASE + (1 << 20)
    for suffix, table in (("", exports), ("_gpl", gpl or {})):
        entries = b""
        for name in table:
            at = address + len(entries)
            entries += struct.pack("<iii", 0, place + strings.add(name) - (at + 4), 0)
        parts.append(Part(f"__ksymtab{suffix}", entries, address=address))
        address += len(entries)
        crcs = b"".join(struct.pack("<I", crc) for crc in table.values())
        parts.append(Part(f"__kcrctab{suffix}", crcs, address=address))
        address += len(crcs)
    return write_elf([*parts, Part("__ksymtab_strings", strings.data, address=place)], kind=EXECUTABLE)


def bzimage(
    payload: bytes, *, release: str = "6.12.94-test", packing: str = "zst", protocol: int = 0x20F
) -> bytes:
    """Return a boot image around a kernel, packed by `gz`, `xz` (as for x86), `zst` or not (`raw`)."""
    packed = pack(payload, packing)
    if packing in ("xz", "zst"):
        packed += struct.pack("<I", len(payload))
    sectors = 2
    image = bytearray((sectors + 1) * 512)
    image[0x1F1] = sectors
    image[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", image, 0x206, protocol)
    text = f"{release} (somebody@somewhere) #1 SMP\0".encode()
    struct.pack_into("<H", image, 0x20E, 0x300)
    image[0x500 : 0x500 + len(text)] = text
    gap = 32
    struct.pack_into("<II", image, 0x248, gap, len(packed))
    return bytes(image) + bytes(gap) + packed + b"the end of the image"


def pack(data: bytes, packing: str) -> bytes:
    """Return the bytes packed by `gz`, `xz`, `zst`, or as they are."""
    match packing:
        case "gz":
            return gzip.compress(data, mtime=0)
        case "xz":
            filters = [{"id": lzma.FILTER_X86}, {"id": lzma.FILTER_LZMA2, "dict_size": 1 << 20}]
            return lzma.compress(data, check=lzma.CHECK_CRC32, filters=filters)
        case "zst":
            return zstandard.ZstdCompressor(write_content_size=False).compress(data)
        case _:
            return data


def _extended(versions: Mapping[str, int]) -> list[Part]:
    return [
        Part("__version_ext_crcs", b"".join(struct.pack("<I", crc) for crc in versions.values())),
        Part("__version_ext_names", b"".join(name.encode() + b"\0" for name in versions)),
    ]


def _module_exports(
    exports: Mapping[str, int], first_symbol: int, strings: _Strings, strings_section: int
) -> tuple[list[Part], bytes]:
    """Return the export tables and the symbols their relocations name, as the assembler leaves them."""
    names, symbols, relocations = _Strings(), b"", b""
    for index, name in enumerate(exports):
        symbols += struct.pack(
            "<IBBHQQ", strings.add(f"__kstrtab_{name}"), 0, 0, strings_section, names.add(name), 0
        )
        relocations += struct.pack("<QQq", index * 12 + 4, (first_symbol + index) << 32 | 2, 0)
    crcs = b"".join(struct.pack("<I", crc) for crc in exports.values())
    tables = [
        Part("__ksymtab", bytes(12 * len(exports))),
        Part(".rela__ksymtab", relocations, RELA, entry=24),
        Part("__kcrctab", crcs),
        Part("__ksymtab_strings", names.data),
    ]
    return tables, symbols


class _Strings:
    """A string table that grows."""

    def __init__(self) -> None:
        self.data = b"\0"

    def add(self, text: str) -> int:
        """Add a string and return its offset."""
        offset = len(self.data)
        self.data += text.encode() + b"\0"
        return offset
