from __future__ import annotations

import gzip
import hashlib
import random
import struct

import elfkit
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.domain.compression import unpack
from pipeline.domain.kmod import is_module, module_name, parse_module
from pipeline.domain.ksymtab import Export
from pipeline.errors import ModuleError

PLAIN = elfkit.module(
    "zfs",
    licenses=("CDDL", "Dual BSD/GPL"),
    depends=("spl",),
    undefined=("kmalloc", "spl_init", "_GLOBAL_OFFSET_TABLE_"),
    weak=("maybe",),
    versions={"module_layout": 1, "kmalloc": 0xDEADBEEF},
    extended_versions={"a_name_" + "x" * 100: 7},
    exports={"zfs_open": 5, "zfs_close": 0xFFFFFFFF},
    signature=elfkit.issuer("Example Module CA"),
)
UNSIGNED = PLAIN[: PLAIN.index(elfkit.signed(elfkit.issuer("Example Module CA")))]


@pytest.mark.parametrize("packing", ["", "gz", "xz", "zst"])
def test_a_module_says_what_it_is_however_packed(packing: str) -> None:
    data = elfkit.pack(PLAIN, packing)
    module = parse_module(f"/m/zfs.ko{'.' if packing else ''}{packing}", data)
    assert (module.name, module.version, module.srcversion) == ("zfs", "2.3.9-1", "ABCDEF0123456789")
    assert module.sha256 == hashlib.sha256(data).hexdigest()
    assert module.size == len(data)
    assert module.vermagic == f"6.12.94-test {elfkit.OPTIONS}"
    assert module.kernel == "6.12.94-test"
    assert module.licenses == ("CDDL", "Dual BSD/GPL")
    assert module.depends == ("spl",)
    assert module.firmware == ("a.bin", "b.bin")
    assert (module.signed, module.signer) == (True, "Example Module CA")


def test_symbols_are_read_from_the_tables_the_loader_uses() -> None:
    module = parse_module("zfs.ko", PLAIN)
    assert module.undefined == {"kmalloc", "spl_init"}
    assert module.exports == {
        "zfs_open": Export(crc=5, gpl_only=False),
        "zfs_close": Export(crc=0xFFFFFFFF, gpl_only=False),
    }
    assert module.versions == {"module_layout": 1, "kmalloc": 0xDEADBEEF, "a_name_" + "x" * 100: 7}


@pytest.mark.parametrize(
    ("licenses", "gpl"),
    [
        (("GPL",), True),
        (("Dual MIT/GPL",), True),
        (("GPL v2", "Proprietary"), True),
        (("CDDL", "GPL"), False),
        (("NVIDIA",), False),
        ((), False),
    ],
)
def test_the_first_licence_decides_as_in_the_kernel(licenses: tuple[str, ...], gpl: bool) -> None:  # noqa: FBT001
    assert parse_module("zfs.ko", elfkit.module(licenses=licenses)).gpl is gpl


def test_an_unsigned_module_has_no_signer() -> None:
    module = parse_module("zfs.ko", elfkit.module())
    assert (module.signed, module.signer) == (False, "")


@pytest.mark.parametrize("signature", [b"", b"\x06\x03\x55\x04\x03", b"\x06\x03\x55\x04\x03\x0c"])
def test_a_signature_that_names_no_one_is_still_a_signature(signature: bytes) -> None:
    module = parse_module("zfs.ko", elfkit.module(signature=signature))
    assert (module.signed, module.signer) == (True, "")


@pytest.mark.parametrize(
    ("path", "name"),
    [("/a/nvidia-drm.ko.xz", "nvidia_drm"), ("zfs.ko", "zfs"), ("x/spl.ko.zst", "spl"), ("a.b.ko.gz", "a.b")],
)
def test_names_of_files_become_names_of_modules(path: str, name: str) -> None:
    assert is_module(path)
    assert module_name(path) == name


@pytest.mark.parametrize("path", ["zfs.ko.bz2", ".ko", "zfs", "zfs.ko/x", "zfs.kos", "", "zfs.ko\n"])
def test_other_names_are_no_modules(path: str) -> None:
    assert not is_module(path)
    with pytest.raises(ModuleError, match="is not named"):
        parse_module(path, PLAIN)


@pytest.mark.parametrize(
    ("path", "data", "message"),
    [
        ("a.ko", b"", "cannot be read as ELF"),
        ("a.ko", b"#!/bin/sh\n", "cannot be read as ELF"),
        ("a.ko", elfkit.vmlinux({"a": 1}), "no kernel module"),
        ("a.ko", elfkit.write_elf([elfkit.Part(".modinfo", b"name=a\0")]), "no kernel module"),
        ("a.ko", PLAIN[:4] + b"\x01" + PLAIN[5:], "a.ko"),
        ("a.ko.xz", PLAIN, "no whole xz stream"),
        ("a.ko.gz", elfkit.pack(PLAIN, "gz")[:-9], "no whole gz stream: cut short"),
        ("a.ko.xz", elfkit.pack(PLAIN, "xz")[:-9], "no whole xz stream: cut short"),
        ("a.ko.zst", elfkit.pack(PLAIN, "zst")[:-9], "no whole zst stream: cut short"),
        ("a.ko.gz", elfkit.pack(PLAIN, "gz") + b"more", "has 4 bytes behind"),
        ("a.ko.xz", elfkit.pack(PLAIN, "xz") + b"more", "has 4 bytes behind"),
        ("a.ko.zst", elfkit.pack(PLAIN, "zst") + bytes(5000), "has 5000 bytes behind"),
    ],
)
def test_what_is_no_module_is_refused_with_its_reason(path: str, data: bytes, message: str) -> None:
    with pytest.raises(ModuleError, match=message) as caught:
        parse_module(path, data)
    assert path in caught.value.message
    assert caught.value.hint


def test_an_export_table_of_another_layout_is_refused_not_guessed() -> None:
    absolute = [elfkit.Part(".modinfo", b"vermagic=1 \0"), elfkit.Part("__ksymtab", bytes(24))]
    with pytest.raises(ModuleError, match="layout of __ksymtab is unknown"):
        parse_module("a.ko", elfkit.write_elf(absolute))
    odd = [elfkit.Part(".modinfo", b"vermagic=1 \0"), elfkit.Part("__ksymtab", bytes(16))]
    with pytest.raises(ModuleError, match="layout of __ksymtab is unknown"):
        parse_module("a.ko", elfkit.write_elf(odd))


@pytest.mark.parametrize("packing", ["gz", "xz", "zst"])
def test_unpacking_stops_at_the_limit(packing: str) -> None:
    bomb = elfkit.pack(bytes(8 << 20), packing)
    with pytest.raises(ModuleError, match="unpacks to more than 1 MiB"):
        unpack(packing, bomb, "bomb", limit=1 << 20)
    assert len(unpack(packing, bomb, "bomb", limit=8 << 20)) == 8 << 20


@pytest.mark.parametrize("packing", ["gz", "xz", "zst"])
def test_the_limit_is_met_before_the_rest_is_looked_at(packing: str) -> None:
    noise = random.Random(1).randbytes(3 << 20)
    with pytest.raises(ModuleError, match="unpacks to more than 1 MiB"):
        unpack(packing, elfkit.pack(noise, packing)[: 2 << 20], "cut", limit=1 << 20)


def test_of_a_field_given_twice_the_first_counts_as_in_the_kernel() -> None:
    info = b"vermagic=6.12.94 SMP\0vermagic=6.12.117 SMP\0version=1\0version=2\0"
    module = parse_module("a-b.ko", elfkit.write_elf([elfkit.Part(".modinfo", info)]))
    assert (module.kernel, module.version, module.name) == ("6.12.94", "1", "a_b")


def test_a_section_that_leaves_the_file_is_refused() -> None:
    data = bytearray(elfkit.write_elf([elfkit.Part(".modinfo", b"vermagic=1 \0")]))
    (headers,) = struct.unpack_from("<Q", data, 40)
    struct.pack_into("<Q", data, headers + 64 + 32, len(data))
    with pytest.raises(ModuleError, match="reaches past the end"):
        parse_module("a.ko", bytes(data))


def test_a_section_count_without_a_table_does_not_hang() -> None:
    many = bytearray(PLAIN)
    struct.pack_into("<H", many, 60, 0)
    with pytest.raises(ModuleError, match="no section table"):
        parse_module("a.ko", bytes(many))


@settings(derandomize=True, deadline=None, max_examples=300)
@given(data=st.binary(max_size=400), suffix=st.sampled_from(["", ".gz", ".xz", ".zst"]))
def test_random_bytes_are_refused_without_a_traceback(data: bytes, suffix: str) -> None:
    with pytest.raises(ModuleError):
        parse_module(f"a.ko{suffix}", data)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(length=st.integers(0, len(UNSIGNED) - 1), packed=st.booleans())
def test_a_cut_module_is_refused_without_a_traceback(length: int, packed: bool) -> None:  # noqa: FBT001
    data = UNSIGNED[:length]
    with pytest.raises(ModuleError):
        parse_module("a.ko.gz" if packed else "a.ko", gzip.compress(data) if packed else data)


@settings(derandomize=True, deadline=None, max_examples=1500, suppress_health_check=[HealthCheck.too_slow])
@given(
    changes=st.lists(st.tuples(st.integers(0, len(PLAIN) - 1), st.integers(0, 255)), min_size=1, max_size=6)
)
def test_a_damaged_module_is_read_or_refused_but_never_a_traceback(changes: list[tuple[int, int]]) -> None:
    data = bytearray(PLAIN)
    for place, value in changes:
        data[place] = value
    try:
        said = parse_module("a.ko", bytes(data)).path
    except ModuleError as error:
        said = error.message
    assert said.startswith("a.ko")
