from __future__ import annotations

import struct

import elfkit
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.domain.ksymtab import Export
from pipeline.domain.vmlinuz import kernel_release, read_kernel
from pipeline.errors import ModuleError

VMLINUX = elfkit.vmlinux({"kmalloc": 1, "printk": 0xFFFFFFFF}, gpl={"init_user_ns": 3})
IMAGE = elfkit.bzimage(VMLINUX)


@pytest.mark.parametrize("packing", ["gz", "xz", "zst"])
def test_exports_are_read_however_the_kernel_is_packed(packing: str) -> None:
    kernel = read_kernel(elfkit.bzimage(VMLINUX, release="6.1.2-3.el10.x86_64", packing=packing), "vmlinuz")
    assert kernel.release == "6.1.2-3.el10.x86_64"
    assert kernel.exports == {
        "kmalloc": Export(crc=1, gpl_only=False),
        "printk": Export(crc=0xFFFFFFFF, gpl_only=False),
        "init_user_ns": Export(crc=3, gpl_only=True),
    }


def test_the_release_is_read_without_unpacking() -> None:
    assert kernel_release(elfkit.bzimage(b"no kernel at all", packing="raw"), "vmlinuz") == "6.12.94-test"


@pytest.mark.parametrize(
    ("payload", "name"),
    [
        (b"\x02\x21\x4c\x18....", "lz4"),
        (b"\x89LZO....", "lzo"),
        (b"\x5d\0\0....", "lzma"),
        (b"BZh9", "bzip2"),
    ],
)
def test_other_packers_are_named_when_refused(payload: bytes, name: str) -> None:
    with pytest.raises(ModuleError, match=f"packed with {name}"):
        read_kernel(elfkit.bzimage(payload, packing="raw"), "vmlinuz")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is no bzImage"),
        (b"MZ" + bytes(2) + b"zimg" + bytes(2000), "is no bzImage"),
        (elfkit.bzimage(VMLINUX, protocol=0x207), "boot protocol 2.07"),
        (elfkit.bzimage(b"???", packing="raw"), "an unknown program"),
        (IMAGE[:-100], "cut short"),
        (elfkit.bzimage(b"no ELF"), "cannot be read as ELF"),
        (elfkit.bzimage(elfkit.vmlinux({})), "no table of exported symbols"),
        (elfkit.bzimage(VMLINUX, release=""), "names no kernel release"),
    ],
)
def test_what_is_no_known_kernel_is_refused_with_its_reason(data: bytes, message: str) -> None:
    with pytest.raises(ModuleError, match=message) as caught:
        read_kernel(data, "/usr/lib/modules/6.12/vmlinuz")
    assert caught.value.message.startswith("/usr/lib/modules/6.12/vmlinuz")


def test_a_table_whose_names_lie_elsewhere_is_refused() -> None:
    absolute = struct.pack("<QQQ", 0xFFFFFFFF81000000, 0xFFFFFFFF82000000, 0)
    strings = elfkit.Part("__ksymtab_strings", b"\0kmalloc\0", address=0xFFFFFFFF82100000)
    table = elfkit.Part("__ksymtab", absolute, address=0xFFFFFFFF82000000)
    with pytest.raises(ModuleError, match="outside its string table"):
        read_kernel(elfkit.bzimage(elfkit.write_elf([table, strings], kind=elfkit.EXECUTABLE)), "vmlinuz")


def test_crcs_must_match_the_exports_in_number() -> None:
    parts = [
        elfkit.Part("__ksymtab", struct.pack("<iii", 0, 8, 0), address=0x1000),
        elfkit.Part("__kcrctab", bytes(8)),
        elfkit.Part("__ksymtab_strings", b"kmalloc\0", address=0x100C),
    ]
    with pytest.raises(ModuleError, match="__kcrctab has not one CRC"):
        read_kernel(elfkit.bzimage(elfkit.write_elf(parts, kind=elfkit.EXECUTABLE)), "vmlinuz")


def test_a_kernel_without_symbol_versions_has_no_crcs() -> None:
    parts = [
        elfkit.Part("__ksymtab", struct.pack("<iii", 0, 8, 0), address=0x1000),
        elfkit.Part("__ksymtab_strings", b"kmalloc\0", address=0x100C),
    ]
    kernel = read_kernel(elfkit.bzimage(elfkit.write_elf(parts, kind=elfkit.EXECUTABLE)), "vmlinuz")
    assert kernel.exports == {"kmalloc": Export(crc=None, gpl_only=False)}


@settings(derandomize=True, deadline=None, max_examples=500)
@given(
    changes=st.lists(st.tuples(st.integers(0, len(IMAGE) - 1), st.integers(0, 255)), min_size=1, max_size=5)
)
def test_a_damaged_kernel_is_read_or_refused_but_never_a_traceback(changes: list[tuple[int, int]]) -> None:
    data = bytearray(IMAGE)
    for place, value in changes:
        data[place] = value
    try:
        said = "vmlinuz" if read_kernel(bytes(data), "vmlinuz").exports else "nothing"
    except ModuleError as error:
        said = error.message
    assert said.startswith("vmlinuz")
