"""Kernel modules and firmware in an SBOM: told by their own files, and by a manifest that speaks of them."""

from __future__ import annotations

import hashlib

from elfkit import module
from sbomkit import INFO, KERNEL, MODULES, SPL, ZFS, base_tree
from sbomtold import ORIGINS, content, facts, named, needs
from trees import MemoryTree

from pipeline.domain.kmod import parse_module
from pipeline.domain.manifest import build_manifest, to_json
from pipeline.verbs.sbom import origins_of


def tree_with_manifest() -> MemoryTree:
    """The image with the manifest that the stage of its modules leaves."""
    tree = base_tree()
    manifest = build_manifest("zfs", KERNEL, tree, f"{MODULES}/updates", ["zfs", "spl"])
    tree.add(manifest.path, to_json(manifest))
    return tree


def test_modules_are_told_by_their_files() -> None:
    tree = base_tree()
    found = content(tree)
    part = named(found, "zfs", "device-driver")
    data = tree.read(ZFS)
    known = parse_module(ZFS, data)
    assert part["version"] == known.version
    assert part["hashes"] == [
        {"alg": "SHA-256", "content": hashlib.sha256(data).hexdigest()},
        {"alg": "SHA-512", "content": hashlib.sha512(data).hexdigest()},
    ]
    told = facts(part)
    assert told["pipeline:path"] == ZFS
    assert told["pipeline:module:vermagic"] == known.vermagic
    assert told["pipeline:module:srcversion"] == known.srcversion
    assert told["pipeline:module:signer"] == "not signed"
    assert told["pipeline:module:kernel"] == KERNEL
    licences = [
        one["license"] for one in part["licenses"] if one["license"]["acknowledgement"] == "concluded"
    ]
    assert [one["name"] for one in licences] == ["CDDL-1.0 AND (MIT OR GPL-2.0-only)"]
    kernel = named(found, "linux-kernel")
    assert needs(found, part["bom-ref"]) == sorted([kernel["bom-ref"], f"module:{SPL}"])
    assert kernel["hashes"][0]["content"] == hashlib.sha256(b"the kernel").hexdigest()


def test_a_module_of_a_manifest_tells_what_it_was_built_from() -> None:
    tree = tree_with_manifest()
    part = named(content(tree), "zfs", "device-driver")
    assert facts(part)["pipeline:module:set"] == "zfs"
    assert part["pedigree"]["ancestors"][0]["purl"] == "pkg:deb/debian/zfs-dkms@2.3.9-1"


def test_a_manifest_that_speaks_of_other_bytes_is_not_believed() -> None:
    tree = tree_with_manifest()
    tree.add(SPL.replace(".zst", ""), module("spl", kernel=KERNEL, version="9.9"))
    tree.remove(SPL)
    part = named(content(tree), "spl", "device-driver")
    assert part["version"] == "9.9"
    assert "pipeline:module:set" not in facts(part)


def test_a_module_in_the_kernel_s_own_folder_counts_when_nobody_owns_it() -> None:
    path = f"{MODULES}/kernel/fs/odd.ko"
    tree = base_tree(**{path: module("odd", kernel=KERNEL)})
    assert facts(named(content(tree), "odd", "device-driver"))["pipeline:path"] == path
    tree.add(f"{INFO}/tool.list", f"/lib/modules/{KERNEL}/kernel/fs/odd.ko\n/usr/bin/tool\n")
    assert [one for one in content(tree)["components"] if one["name"] == "odd"] == []


def test_origins_name_the_distribution_s_package() -> None:
    found = origins_of(base_tree(), {"zfs": "zfs-dkms", "gone": "x"}, {"zfs": "2.3.9-1"})
    assert found == ORIGINS


def test_firmware_is_grouped_by_the_package_that_owns_it() -> None:
    found = content()
    owned, stray = named(found, "firmware-x", "firmware"), named(found, "stray.bin", "firmware")
    assert len(owned["evidence"]["occurrences"]) == 2
    assert needs(found, owned["bom-ref"]) == [named(found, "firmware-x", "library")["bom-ref"]]
    assert stray["hashes"][0]["content"] == hashlib.sha256(b"stray").hexdigest()
