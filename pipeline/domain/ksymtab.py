"""Which symbols a kernel or a module exports, with the CRC of each, from the tables the loader itself reads.

Rules: names come from `__ksymtab` and `__ksymtab_gpl` (position-relative entries of twelve bytes: value,
name, namespace; in a module the offsets are still relocations), so that a stripped file reads like any other;
a layout that is not this one is refused, never guessed.
Source: include/asm-generic/export.h and kernel/module/main.c, Linux 4.19 to 6.18.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pipeline.domain.elf import Elf, Section, broken, string_at

_ENTRY = 12
_NAME = 4
_CRC = 4
_STRINGS = "__ksymtab_strings"


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """An exported symbol: its CRC, None where the file has none, and whether only GPL modules may use it."""

    crc: int | None
    gpl_only: bool


def read_exports(elf: Elf) -> Mapping[str, Export]:
    """Return the exported symbols by name; empty for a module that exports nothing.

    Raises:
        ModuleError: The tables are damaged or laid out in another way.
    """
    found: dict[str, Export] = {}
    for suffix, gpl_only in (("", False), ("_gpl", True)):
        table = elf.section(f"__ksymtab{suffix}")
        if table is None or table.size == 0:
            continue
        names = _names(elf, table)
        crcs = _crcs(elf, f"__kcrctab{suffix}", len(names))
        found.update(
            (name, Export(crc=crc, gpl_only=gpl_only)) for name, crc in zip(names, crcs, strict=True)
        )
    return found


def _names(elf: Elf, table: Section) -> list[str]:
    raw = elf.bytes_of(table)
    if len(raw) % _ENTRY:
        raise broken(elf.where, f"the layout of {table.name} is unknown (no position-relative entries)")
    place = _relocated(elf, table) if elf.type == "ET_REL" else _linked(elf, table, raw)
    strings = elf.content(_STRINGS)
    return [string_at(strings, place(offset), elf.where) for offset in range(_NAME, len(raw), _ENTRY)]


def _linked(elf: Elf, table: Section, raw: bytes) -> Callable[[int], int]:
    """Return the rule from where a name's offset lies to where the name lies, in a linked kernel."""
    strings = elf.section(_STRINGS)
    base = 0 if strings is None else strings.address

    def place(offset: int) -> int:
        (delta,) = struct.unpack_from(elf.order + "i", raw, offset)
        return int(table.address + offset + delta - base)

    return place


def _relocated(elf: Elf, table: Section) -> Callable[[int], int]:
    """Return the same rule for a module, whose name offsets are relocations against the strings' section."""
    relocations = elf.relocations(table.name)
    values = [0, *(symbol.value for symbol in elf.symbols())]

    def place(offset: int) -> int:
        symbol, addend = relocations.get(offset, (len(values), 0))
        if symbol >= len(values):
            raise broken(elf.where, f"the layout of {table.name} is unknown (a name is not relocated)")
        return values[symbol] + addend

    return place


def _crcs(elf: Elf, name: str, count: int) -> list[int | None]:
    """Return one CRC an export; relocated CRCs (before Linux 5.19) are unknown, not zero."""
    raw = elf.content(name)
    if not raw or elf.section(f".rela{name}") is not None:
        return [None] * count
    if len(raw) != count * _CRC:
        raise broken(elf.where, f"{name} has not one CRC for each export")
    return [crc for (crc,) in struct.iter_unpack(elf.order + "I", raw)]
