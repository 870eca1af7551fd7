"""A host's SBOM from its base's: the same as a full scan would give, or a reason why not."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest
from elfkit import module
from hypothesis import given, settings
from hypothesis import strategies as st
from sbomkit import (
    ENVOY,
    KERNEL,
    MODULES,
    SUPPLIER,
    SaidBefore,
    base_tree,
    host_identity,
    identity,
    opened,
    scan,
)

from pipeline.domain.canonical import parse_canonical
from pipeline.domain.evidence import Evidence
from pipeline.domain.image import Digest
from pipeline.domain.manifest import build_manifest, to_json
from pipeline.domain.overlaid import OverlaidTree
from pipeline.domain.placement import TreeEntry, place
from pipeline.domain.sbom.document import ParentImage
from pipeline.domain.sbom.inheritance import BaseSbom, Inherited, inherit, load_base
from pipeline.domain.sbom.shape import shape_of
from pipeline.domain.sbom.shipped import ModuleOrigin
from pipeline.domain.sbom.validation import validate
from pipeline.domain.tree import FileType
from pipeline.errors import SbomError
from pipeline.verbs.sbom import OpenedImage, inherited_sbom, sbom_of

WEB = "docker.io/library/nginx:1@sha256:" + "f" * 64
ELF = b"\x7fELF program"


def file(path: str, content: bytes = b"text\n", mode: int = 0o644) -> TreeEntry:
    return TreeEntry(path=path, type=FileType.FILE, mode=mode, content=content)


LAYER = (
    file("/etc/hostname", b"web-1\n"),
    file("/etc/containers/systemd/users/2001/web.container", f"[Container]\nImage={WEB}\n".encode()),
    file("/etc/containers/systemd/users/2002/again.container", f"[Container]\nImage={ENVOY}\n".encode()),
    file("/etc/containers/systemd/app.kube", b"[Kube]\nYaml=pod/app.yaml\n"),
    file(
        "/etc/containers/systemd/pod/app.yaml",
        f"containers: [{{image: {WEB}}}, {{image: x/y}}, {{}}]\n".encode(),
    ),
    file("/usr/libexec/host-script", b"#!/bin/sh\n", 0o755),
    TreeEntry(path="/etc/systemd/system/x.service", type=FileType.SYMLINK, target="/dev/null"),
    TreeEntry(path="/usr/lib/sysusers.d", type=FileType.DIRECTORY, mode=0o755),
)


@pytest.fixture(scope="module")
def base_bytes() -> bytes:
    return sbom_of(opened(base_tree()), SaidBefore(scan()), identity(), origins={}).data


@pytest.fixture
def base(base_bytes: bytes) -> BaseSbom:
    return load_base(base_bytes, identity().ref)


def inherited(base: BaseSbom, *entries: TreeEntry, **more: Any) -> Inherited:
    return inherit(base, entries, host_identity(**more), paths=base_tree())


def full(*entries: TreeEntry) -> Any:
    plain = opened(base_tree())
    image = OpenedImage(
        root=plain.root,
        tree=OverlaidTree(base_tree(), place(entries, base_tree()).entries),
        inside=plain.inside,
        packages=plain.packages,
    )
    return json.loads(sbom_of(image, SaidBefore(scan()), host_identity(), origins={}).data)


def test_it_is_what_a_full_scan_gives(base: BaseSbom) -> None:
    found = inherited(base, *LAYER)
    assert found.reason == ""
    validate(found.data)
    content, expected = parse_canonical(found.data), full(*LAYER)
    assert content["components"] == expected["components"]
    assert content["dependencies"] == expected["dependencies"]
    assert content["compositions"] == expected["compositions"]


def test_it_says_whose_it_is(base: BaseSbom, base_bytes: bytes) -> None:
    content = json.loads(inherited(base, *LAYER).data)
    root = content["metadata"]["component"]
    link = next(one for one in root["externalReferences"] if one["type"] == "bom")
    serial = json.loads(base_bytes)["serialNumber"].removeprefix("urn:uuid:")
    assert link["url"] == f"urn:cdx:{serial}/1"
    assert link["hashes"] == [{"alg": "SHA-256", "content": hashlib.sha256(base_bytes).hexdigest()}]
    assert root["pedigree"]["ancestors"][0]["name"] == "debian/base"
    assert "base's own SBOM" in content["annotations"][0]["text"]


def test_a_base_tells_what_its_modules_were_compiled_from() -> None:
    origin = ModuleOrigin(package="zfs-dkms", version="2.3.9-1", purl="pkg:deb/debian/zfs-dkms@2.3.9-1")
    tree = base_tree()
    manifest = build_manifest("zfs", KERNEL, tree, f"{MODULES}/updates", ["zfs", "spl"])
    tree.add(manifest.path, to_json(manifest))
    data = sbom_of(opened(tree), SaidBefore(scan()), identity(), origins={"zfs": origin}).data
    assert load_base(data, identity().ref).origins == {"zfs": origin}


def test_the_same_layer_gives_the_same_bytes(base: BaseSbom) -> None:
    assert inherited(base, *LAYER).data == inherited(base, *reversed(LAYER)).data


def test_the_verb_gives_evidence_or_a_reason(base: BaseSbom) -> None:
    found = inherited_sbom(base, LAYER, host_identity(), paths=base_tree())
    assert isinstance(found, Evidence)
    refused = inherited_sbom(base, [file("/usr/bin/new", ELF)], host_identity(), paths=base_tree())
    assert isinstance(refused, Inherited)
    assert not refused.data


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (file("/etc/.wh.passwd"), "whiteout"),
        (file("/etc/containers/systemd/a.kube", b"Yaml=/usr/share/a.yaml\n"), "leads to a file elsewhere"),
        (
            TreeEntry(path="/etc/containers/systemd/a.container", type=FileType.SYMLINK, target="/x"),
            "leads to a file elsewhere",
        ),
        (file("/etc/.wh..wh..opq"), "whiteout"),
        (TreeEntry(path="/etc/x", type=FileType.CHARACTER), "whiteout"),
        (file("/usr/lib/sysimage/dpkg/status"), "package database"),
        (TreeEntry(path="/var/lib/dpkg/info", type=FileType.DIRECTORY), "package database"),
        (file("/usr/lib/sysimage/rpm/rpmdb.sqlite"), "package database"),
        (file("/opt/app/package-lock.json"), "list packages"),
        (file("/opt/app/requirements.txt"), "list packages"),
        (file("/opt/app/x.dist-info/METADATA"), "list packages"),
        (file("/opt/app/app.jar", b"PK\x03\x04"), "program or a library"),
        (file("/opt/app/app.jar"), "list packages"),
        (file("/usr/local/bin/agent", ELF, 0o755), "program or a library"),
        (file("/usr/share/hidden", ELF), "program or a library"),
        (file(f"{MODULES}/extra/new.ko", module("new", kernel=KERNEL)), "kernel module"),
        (file("/usr/lib/firmware/new.bin"), "firmware"),
        (file("/etc/os-release"), "which system"),
        (TreeEntry(path="/usr/lib/os-release", type=FileType.SYMLINK, target="x"), "which system"),
        (file("/usr/share/containers/systemd/envoy.container"), "SBOM names"),
        (
            TreeEntry(
                path="/usr/share/containers/systemd/envoy.container",
                type=FileType.SYMLINK,
                target="/dev/null",
            ),
            "SBOM names",
        ),
        (file("/usr/share/doc/tool/copyright"), "a package may own"),
        (file("/etc/tool.conf", b"#!/bin/sh\n", 0o755), "a package may own"),
    ],
)
def test_what_needs_the_full_scan(base: BaseSbom, entry: TreeEntry, reason: str) -> None:
    found = inherited(base, *LAYER, entry)
    assert found.data == b""
    assert reason in found.reason
    assert entry.path in found.reason


def test_configuration_of_a_package_may_be_replaced(base: BaseSbom) -> None:
    found = inherited(base, file("/etc/tool.conf", b"a = 2\n"))
    assert json.loads(found.data)["components"] == full(file("/etc/tool.conf", b"a = 2\n"))["components"]


def test_another_base_s_sbom_is_refused(base: BaseSbom, base_bytes: bytes) -> None:
    other = replace(identity().ref, digest=Digest("sha256:" + "9" * 64))
    with pytest.raises(SbomError, match="speaks of"):
        load_base(base_bytes, other)
    with pytest.raises(SbomError, match="not built on"):
        inherited(base, parent=ParentImage(name="x", ref=other))
    with pytest.raises(SbomError, match="not built on"):
        inherited(base, parent=None)


def test_a_base_s_sbom_is_validated_unless_it_is_the_recorded_one(base_bytes: bytes) -> None:
    content = json.loads(base_bytes)
    content["components"][0]["type"] = "thing"
    spoilt = json.dumps(content).encode()
    with pytest.raises(SbomError, match="schema"):
        load_base(spoilt, identity().ref)
    with pytest.raises(SbomError, match="schema"):
        load_base(spoilt, identity().ref, recorded=Digest("sha256:" + "0" * 64))
    known = Digest(f"sha256:{hashlib.sha256(base_bytes).hexdigest()}")
    assert load_base(base_bytes, identity().ref, recorded=known).components


@pytest.mark.parametrize("data", [b"{}", b"[]", b"\xff", b'{"specVersion":"1.6"}'])
def test_what_is_no_sbom_is_refused(data: bytes) -> None:
    known = Digest(f"sha256:{hashlib.sha256(data).hexdigest()}")
    with pytest.raises(SbomError):
        load_base(data, identity().ref)
    with pytest.raises(SbomError):
        load_base(data, identity().ref, recorded=known)


def test_a_second_host_is_as_valid_as_the_first(base: BaseSbom) -> None:
    inherited(base, *LAYER)
    seen = set(base.valid)
    other = inherited(
        base, file("/usr/libexec/other", b"#!/bin/bash\n", 0o755), name="debian/db-1", commit="e" * 40
    )
    validate(other.data)
    assert seen <= base.valid
    with pytest.raises(SbomError, match="schema"):
        inherit(base, (), host_identity(commit="one two"), paths=base_tree())


def _shape(text: str) -> bytes:
    return shape_of({"name": f"a{text}", "properties": [{"value": f"b{text}"}]})


@given(st.text(max_size=40), st.text(max_size=40))
def test_parts_that_differ_in_free_texts_have_one_shape(one: str, other: str) -> None:
    try:
        assert _shape(one) == _shape(other)
    except ValueError:  # a lone surrogate cannot be written, whatever it is in
        assert any("\ud800" <= char <= "\udfff" for char in one + other)


@settings(max_examples=30)
@given(
    st.sampled_from(["type", "alg", "id", "email", "url", "phase", "acknowledgement"]), st.text(max_size=20)
)
def test_parts_that_differ_where_the_schema_looks_have_not(key: str, text: str) -> None:
    assert shape_of({key: "library"}) != shape_of({key: f"{text}x"}) or text + "x" == "library"


def test_digests_count_only_in_their_form() -> None:
    good, other, bad = ({"content": text} for text in ("a" * 64, "b" * 64, "g" * 64))
    assert shape_of(good) == shape_of(other)
    assert shape_of(good) != shape_of(bad)
    assert shape_of({"name": ""}) != shape_of({"name": "x"})
    assert shape_of({"version": "x" * 1025}) != shape_of({"version": "x"})


def test_the_supplier_is_the_host_s(base: BaseSbom) -> None:
    content = json.loads(inherited(base, *LAYER).data)
    part = next(one for one in content["components"] if one["name"] == "/usr/libexec/host-script")
    assert part["supplier"]["name"] == SUPPLIER.name
