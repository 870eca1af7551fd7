"""What a kernel module says of itself: read from the `.ko` file, because no tool's word about it is believed.

Rules: the digest is of the file as it is shipped, packed or not; of a field given twice the kernel takes the
first, and so does this; a signature is noted, not verified (the kernel does that when it loads the module).
Source: kernel/module/main.c and scripts/sign-file.c of Linux.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.domain.compression import unpack
from pipeline.domain.elf import Elf, broken, read_elf, string_at
from pipeline.domain.ksymtab import Export, read_exports

MODULE_NAME = re.compile(r"(?P<name>[^/]+?)\.ko(?:\.(?P<packing>gz|xz|zst))?", re.DOTALL)
"""What the name of a module file looks like, and what it is packed with."""

_MAGIC = b"~Module signature appended~\n"
_TRAILER = struct.Struct(">BBBBB3xI")  # struct module_signature: its last field, the length, is big-endian
_COMMON_NAME = bytes((0x06, 0x03, 0x55, 0x04, 0x03))  # DER of the object identifier 2.5.4.3
_VERSION = 64  # struct modversion_info: 8 bytes of CRC, 56 of name
_GPL = frozenset(
    ("GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL")
)
_LINKER_MADE = frozenset(("_GLOBAL_OFFSET_TABLE_", ".TOC."))


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleFile:
    """One kernel module.

    Attributes:
        path: Where the file lies.
        name: The module's name, with underscores, as `lsmod` shows it.
        sha256: 64 hexadecimal digits of the file as shipped.
        size: Bytes of the file as shipped.
        version: `MODULE_VERSION`, or "".
        srcversion: Hash of the sources, or "".
        vermagic: Kernel release and the options that must agree with it.
        licenses: Every `MODULE_LICENSE`; the first one is the one that counts.
        signed: Whether a signature is appended.
        signer: Common name of the signature's issuer, or "".
        depends: Modules that must be loaded before.
        firmware: Firmware files it may ask for.
        undefined: Symbols it needs from the kernel or other modules.
        exports: Symbols it offers.
        versions: CRC it expects of each symbol it needs; empty when built without symbol versions.
    """

    path: str
    name: str
    sha256: str
    size: int
    version: str
    srcversion: str
    vermagic: str
    licenses: tuple[str, ...]
    signed: bool
    signer: str
    depends: tuple[str, ...]
    firmware: tuple[str, ...]
    undefined: frozenset[str]
    exports: Mapping[str, Export]
    versions: Mapping[str, int]

    @property
    def kernel(self) -> str:
        """The kernel release it was built for."""
        return self.vermagic.partition(" ")[0]

    @property
    def gpl(self) -> bool:
        """Whether the kernel lets it use symbols that are for GPL modules only."""
        return bool(self.licenses) and self.licenses[0] in _GPL


def is_module(path: str) -> bool:
    """Whether the path's last part is named like a module file."""
    return MODULE_NAME.fullmatch(path.rpartition("/")[2]) is not None


def module_name(path: str) -> str:
    """Return the module's name as its file name gives it: without suffixes, `-` written as `_`.

    Raises:
        ModuleError: The file is not named like a module.
    """
    return _named(path)["name"].replace("-", "_")


def parse_module(path: str, data: bytes) -> ModuleFile:
    """Read a `.ko`, `.ko.gz`, `.ko.xz` or `.ko.zst` file.

    Args:
        path: Where it lies; its suffix says how it is packed.
        data: The file as shipped.

    Raises:
        ModuleError: It is no module, is damaged, or unpacks to more than 512 MiB.
    """
    packing = _named(path)["packing"]
    plain = unpack(packing, data, path) if packing else data
    elf = read_elf(plain, path)
    info = _modinfo(elf)
    if elf.type != "ET_REL" or "vermagic" not in info:
        raise broken(path, "is an ELF file, but no kernel module")
    signed, signer = _signature(plain)
    return ModuleFile(
        path=path,
        name=_first(info, "name") or module_name(path),
        sha256=hashlib.sha256(data).hexdigest(),
        size=len(data),
        version=_first(info, "version"),
        srcversion=_first(info, "srcversion"),
        vermagic=_first(info, "vermagic").strip(),
        licenses=tuple(info.get("license", ())),
        signed=signed,
        signer=signer,
        depends=tuple(name for name in _first(info, "depends").split(",") if name),
        firmware=tuple(info.get("firmware", ())),
        undefined=_undefined(elf),
        exports=read_exports(elf),
        versions=_versions(elf),
    )


def _named(path: str) -> re.Match[str]:
    found = MODULE_NAME.fullmatch(path.rpartition("/")[2])
    if found is None:
        raise broken(path, "is not named .ko, .ko.gz, .ko.xz or .ko.zst")
    return found


def _modinfo(elf: Elf) -> Mapping[str, list[str]]:
    info: dict[str, list[str]] = {}
    for item in elf.content(".modinfo").split(b"\0"):
        key, equals, value = item.decode("utf-8", "backslashreplace").partition("=")
        if equals:
            info.setdefault(key, []).append(value)
    return info


def _first(info: Mapping[str, list[str]], key: str) -> str:
    return info.get(key, [""])[0]


def _undefined(elf: Elf) -> frozenset[str]:
    """Return what must be found at load time: an unresolved weak symbol is allowed to stay so."""
    return frozenset(
        symbol.name
        for symbol in elf.symbols()
        if symbol.section == 0 and symbol.name and not symbol.weak and symbol.name not in _LINKER_MADE
    )


def _versions(elf: Elf) -> Mapping[str, int]:
    raw = elf.content("__versions")
    entries = struct.iter_unpack(elf.order + "Q56s", raw[: len(raw) - len(raw) % _VERSION])
    found: dict[str, int] = {
        name.split(b"\0")[0].decode("utf-8", "backslashreplace"): crc for crc, name in entries
    }
    return {**found, **_extended_versions(elf)}


def _extended_versions(elf: Elf) -> Mapping[str, int]:
    """Read the form of Linux 6.14 and later, which has room for names of any length."""
    crcs, names = elf.content("__version_ext_crcs"), elf.content("__version_ext_names")
    found: dict[str, int] = {}
    offset = 0
    for (crc,) in struct.iter_unpack(elf.order + "I", crcs[: len(crcs) - len(crcs) % 4]):
        name = string_at(names, offset, elf.where)
        offset = names.index(b"\0", offset) + 1
        found[name] = crc
    return found


def _signature(data: bytes) -> tuple[bool, str]:
    """Return whether a signature is appended and the common name of its issuer."""
    if not data.endswith(_MAGIC):
        return False, ""
    end = len(data) - len(_MAGIC) - _TRAILER.size
    if end < 0:
        return True, ""
    length = _TRAILER.unpack_from(data, end)[-1]
    signature = data[max(end - length, 0) : end]
    place = signature.rfind(_COMMON_NAME) + len(_COMMON_NAME)
    if place < len(_COMMON_NAME) or place + 2 > len(signature):
        return True, ""
    # After the identifier comes one string: its kind, its length in one byte, its text.
    text = signature[place + 2 : place + 2 + signature[place + 1]]
    return True, text.decode("utf-8", "backslashreplace")
