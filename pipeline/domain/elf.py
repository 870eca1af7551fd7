"""Reads the few parts of an ELF file that tell what a kernel or a module is.

Rules: the input is hostile, so every offset is checked against the file, every table is bounded, and whatever
is wrong becomes one `ModuleError`; content is sliced from the bytes, never decompressed or loaded. Only
64-bit files are read: 32-bit kernels lay out their tables differently.
Source: System V ABI, ELF-64 object file format; include/linux/module.h for what the sections mean.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from elftools.common.exceptions import ELFError
from elftools.common.utils import struct_parse
from elftools.elf.elffile import ELFFile

from pipeline.errors import ModuleError

_MOST_SECTIONS = 65_536
_MOST_SYMBOL_BYTES = 64 << 20
_LONGEST_NAME = 1024
_SYMBOL_SIZE = 24
_RELA_SIZE = 24
_WEAK = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One section header: name, type (`SHT_…`), address, offset and size in bytes, linked section."""

    name: str
    type: str | int
    address: int
    offset: int
    size: int
    link: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Symbol:
    """One symbol: name, value, section index (0 is undefined), and whether it is weak."""

    name: str
    value: int
    section: int
    weak: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Elf:
    """An ELF file: its bytes, where they came from, and its sections.

    Attributes:
        where: Name for messages.
        data: The whole file.
        order: `<` or `>`, the byte order as `struct` writes it.
        type: `ET_REL` for a module, `ET_EXEC` or `ET_DYN` for a kernel.
        sections: All section headers, in file order.
    """

    where: str
    data: bytes
    order: str
    type: str | int
    sections: tuple[Section, ...]

    def section(self, name: str) -> Section | None:
        """Return the first section of this name."""
        return next((section for section in self.sections if section.name == name), None)

    def content(self, name: str) -> bytes:
        """Return the bytes of the first section of this name; empty when there is none."""
        section = self.section(name)
        return b"" if section is None else self.bytes_of(section)

    def bytes_of(self, section: Section) -> bytes:
        """Return a section's bytes.

        Raises:
            ModuleError: The section reaches past the end of the file.
        """
        if section.type == "SHT_NOBITS":
            return b""
        if section.offset + section.size > len(self.data):
            raise broken(self.where, f"section {section.name!r} reaches past the end of the file")
        return self.data[section.offset : section.offset + section.size]

    def symbols(self) -> Iterator[Symbol]:
        """Yield the symbol table without its empty first entry.

        Raises:
            ModuleError: The table is larger than any module's or a name lies outside the string table.
        """
        for table in self.sections:
            if table.type != "SHT_SYMTAB":
                continue
            if table.size > _MOST_SYMBOL_BYTES or table.link >= len(self.sections):
                raise broken(self.where, "the symbol table is too large or has no string table")
            raw = self.bytes_of(table)
            names = self.bytes_of(self.sections[table.link])
            whole = len(raw) - len(raw) % _SYMBOL_SIZE
            entries = struct.iter_unpack(self.order + "IBBHQQ", raw[:whole])
            for index, (name, info, _other, section, value, _size) in enumerate(entries):
                if index:
                    text = string_at(names, name, self.where)
                    yield Symbol(name=text, value=value, section=section, weak=info >> 4 == _WEAK)

    def relocations(self, name: str) -> Mapping[int, tuple[int, int]]:
        """Return section `name`'s relocations with addend: offset in it to (symbol index, addend)."""
        raw = self.content(f".rela{name}")
        whole = len(raw) - len(raw) % _RELA_SIZE
        return {
            offset: (info >> 32, addend)
            for offset, info, addend in struct.iter_unpack(self.order + "QQq", raw[:whole])
        }


def broken(where: str, what: str) -> ModuleError:
    """Return the error for a file that is not what its name says."""
    return ModuleError(f"{where}: {what}", hint="the file is damaged or of another kind: build it again")


def string_at(table: bytes, offset: int, where: str) -> str:
    """Return the NUL-terminated string at an offset; bytes that are no UTF-8 are shown as escapes.

    Raises:
        ModuleError: The offset is outside, or no NUL follows within a kilobyte (no kernel name is longer).
    """
    end = table.find(b"\0", offset, offset + _LONGEST_NAME)
    if not 0 <= offset < len(table) or end < 0:
        raise broken(where, "a name lies outside its string table")
    return table[offset:end].decode("utf-8", "backslashreplace")


def read_elf(data: bytes, where: str) -> Elf:
    """Parse the header and the section headers.

    Args:
        data: The whole file.
        where: Its name, for messages.

    Raises:
        ModuleError: The bytes are no 64-bit ELF file with sections.
    """
    try:
        return _read(data, where)
    except ModuleError:
        raise
    except (ELFError, ValueError, KeyError, TypeError, AttributeError, OverflowError, struct.error) as error:
        # pyelftools is made for honest files: what it raises on others depends on the field that is wrong.
        raise broken(where, f"cannot be read as ELF ({type(error).__name__})") from error


def _read(data: bytes, where: str) -> Elf:
    stream = io.BytesIO(data)
    elf = ELFFile(stream)
    header = elf.header
    count, size, start = header["e_shnum"], header["e_shentsize"], header["e_shoff"]
    if elf.elfclass != 64:  # noqa: PLR2004 - bits
        raise broken(where, f"is a {elf.elfclass}-bit file, and only 64-bit kernels are known")
    # e_shnum 0 would mean "see section 0": no kernel or module comes near that many sections.
    if not 0 < count < _MOST_SECTIONS or start + count * size > len(data):
        raise broken(where, "has no section table inside the file")
    headers = [struct_parse(elf.structs.Elf_Shdr, stream, start + index * size) for index in range(count)]
    if header["e_shstrndx"] >= count:
        raise broken(where, "has no names for its sections")
    names = headers[header["e_shstrndx"]]
    table = data[names["sh_offset"] : names["sh_offset"] + names["sh_size"]]
    sections = tuple(
        Section(
            name=string_at(table, item["sh_name"], where),
            type=item["sh_type"],
            address=item["sh_addr"],
            offset=item["sh_offset"],
            size=item["sh_size"],
            link=item["sh_link"],
        )
        for item in headers
    )
    order = "<" if elf.little_endian else ">"
    return Elf(where=where, data=data, order=order, type=header["e_type"], sections=sections)
