"""An image's SBOM: every thing the image holds is in it, once, with the facts of its own files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import pytest
from elfkit import module
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sbomkit import (
    ENVOY,
    INFO,
    KERNEL,
    MODULES,
    SPL,
    ZFS,
    SaidBefore,
    base_tree,
    component,
    files,
    identity,
    opened,
    scan,
)
from trees import Content, File, Link, MemoryTree

from pipeline.domain.canonical import parse_canonical
from pipeline.domain.gate import CommandResult
from pipeline.domain.image import Digest
from pipeline.domain.kmod import parse_module
from pipeline.domain.manifest import build_manifest, to_json
from pipeline.domain.sbom.document import ParentImage
from pipeline.domain.sbom.inventory import expected_of
from pipeline.domain.sbom.licences import module_licences, package_licences
from pipeline.domain.sbom.ownership import dpkg_ownership, rpm_ownership
from pipeline.domain.sbom.part import Organisation, organisation
from pipeline.domain.sbom.shipped import ModuleOrigin, Quadlets, quadlet_images
from pipeline.domain.sbom.validation import validate
from pipeline.errors import SbomError, UsageError
from pipeline.verbs.sbom import origins_of, sbom_of

ORIGINS = {"zfs": ModuleOrigin(package="zfs-dkms", version="2.3.9-1", purl="pkg:deb/debian/zfs-dkms@2.3.9-1")}


def sbom(tree: MemoryTree | None = None, document: dict[str, Any] | None = None, **more: Any) -> bytes:
    image = opened(base_tree() if tree is None else tree)
    scanner = SaidBefore(scan() if document is None else document)
    return sbom_of(image, scanner, identity(**more), origins=ORIGINS).data


def content(tree: MemoryTree | None = None, document: dict[str, Any] | None = None, **more: Any) -> Any:
    return json.loads(sbom(tree, document, **more))


def named(found: Mapping[str, Any], name: str, kind: str = "") -> Any:
    parts = [one for one in found["components"] if one["name"] == name and kind in ("", one["type"])]
    assert len(parts) == 1, f"{name}: {len(parts)}"
    return parts[0]


def facts(part: Mapping[str, Any]) -> dict[str, str]:
    return {one["name"]: one["value"] for one in part["properties"]}


def needs(found: Mapping[str, Any], ref: str) -> list[str]:
    return next(one["dependsOn"] for one in found["dependencies"] if one["ref"] == ref)


def test_the_image_is_the_root_and_depends_on_all_it_holds() -> None:
    parent = ParentImage(name="debian/debian-13", ref=identity().ref)
    found = content(parent=parent, vcs="https://git.example.org/os", build="https://ci.example.org/1")
    root = found["metadata"]["component"]
    digest = "b" * 64
    assert root["type"] == "container"
    assert root["version"] == f"sha256:{digest}"
    assert root["purl"] == (f"pkg:oci/base@sha256:{digest}?repository_url=registry.example/os/debian/base")
    assert root["hashes"] == [{"alg": "SHA-256", "content": digest}]
    assert root["supplier"]["contact"][0]["email"] == "os@example.org"
    assert root["pedigree"]["ancestors"][0]["hashes"][0]["content"] == digest
    assert {link["type"] for link in root["externalReferences"]} == {"vcs", "build-system"}
    assert needs(found, root["bom-ref"]) == sorted(one["bom-ref"] for one in found["components"])
    assert found["metadata"]["lifecycles"] == [{"phase": "build"}]
    assert {(one["name"], one["version"]) for one in found["metadata"]["tools"]["components"]} == {
        ("pipeline", "1.2.3"),
        ("syft", "1.18.1"),
    }


def test_a_released_image_has_its_version() -> None:
    assert content(version="1.4.0")["metadata"]["component"]["version"] == "1.4.0"


def test_the_same_image_gives_the_same_bytes() -> None:
    document = scan()
    shuffled = {
        **document,
        "components": document["components"][::-1],
        "dependencies": document["dependencies"][::-1],
    }
    first = sbom()
    assert first == sbom(document=shuffled)
    assert json.loads(first) == parse_canonical(first)


def test_serial_number_and_time_come_from_digest_commit_job_and_caller() -> None:
    one, other, job = content(), content(commit="d" * 40), content(build="https://ci.example.org/1")
    assert len({found["serialNumber"] for found in (one, other, job)}) == 3
    assert one["metadata"]["timestamp"] == "2026-09-21T14:13:20Z"
    with pytest.raises(UsageError):
        identity(timestamp=-1)


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
    tree = base_tree()
    manifest = build_manifest("zfs", KERNEL, tree, f"{MODULES}/updates", ["zfs", "spl"])
    tree.add(manifest.path, to_json(manifest))
    part = named(content(tree), "zfs", "device-driver")
    assert facts(part)["pipeline:module:set"] == "zfs"
    assert part["pedigree"]["ancestors"][0]["purl"] == "pkg:deb/debian/zfs-dkms@2.3.9-1"


def test_a_manifest_that_speaks_of_other_bytes_is_not_believed() -> None:
    tree = base_tree()
    manifest = build_manifest("zfs", KERNEL, tree, f"{MODULES}/updates", ["zfs", "spl"])
    tree.add(manifest.path, to_json(manifest))
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


def test_a_package_is_there_once_with_supplier_licences_and_a_hash_of_its_files() -> None:
    tree = base_tree()
    part = named(content(tree), "tool")
    owned = ["/usr/bin/tool", "/usr/share/doc/tool/copyright"]
    lines = "".join(f"{hashlib.sha256(tree.read(path)).hexdigest()}  {path}\n" for path in owned)
    assert part["hashes"][0]["content"] == hashlib.sha256(lines.encode()).hexdigest()
    assert part["supplier"] == {
        "name": "tool people",
        "contact": [{"name": "tool people", "email": "tool@example.org"}],
    }
    told = {
        (one["license"]["acknowledgement"], one["license"].get("id") or one["license"]["name"])
        for one in part["licenses"]
    }
    assert told == {("declared", "MIT"), ("declared", "GPL-2.0-only"), ("concluded", "GPL-2.0-only AND MIT")}


def test_what_is_found_twice_is_one_component_with_both_places() -> None:
    part = named(content(), "example.org/mod")
    assert [one["location"] for one in part["evidence"]["occurrences"]] == ["/usr/bin/other", "/usr/bin/tool"]
    assert part["hashes"] == [{"alg": "SHA-256", "content": "0" * 64}]


def test_dependencies_lead_somewhere_and_not_to_themselves() -> None:
    found = content()
    assert needs(found, named(found, "tool")["bom-ref"]) == [named(found, "firmware-x", "library")["bom-ref"]]


def test_firmware_is_grouped_by_the_package_that_owns_it() -> None:
    found = content()
    owned, stray = named(found, "firmware-x", "firmware"), named(found, "stray.bin", "firmware")
    assert len(owned["evidence"]["occurrences"]) == 2
    assert needs(found, owned["bom-ref"]) == [named(found, "firmware-x", "library")["bom-ref"]]
    assert stray["hashes"][0]["content"] == hashlib.sha256(b"stray").hexdigest()


def test_programs_nobody_owns_are_listed() -> None:
    found = content()
    assert [one["name"] for one in found["components"] if one["type"] == "file"] == [
        "/usr/lib/libstray.so.1",
        "/usr/libexec/stray",
    ]


def test_images_of_quadlets_are_listed_by_digest() -> None:
    part = named(content(), "docker.io/envoyproxy/envoy")
    assert part["hashes"] == [{"alg": "SHA-256", "content": "e" * 64}]
    assert part["version"] == "v1"
    assert part["purl"].startswith("pkg:oci/envoy@sha256:")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"Image = '{ENVOY}'\n", ["docker.io/envoyproxy/envoy"]),
        ("Image=app.image\n", []),
        ("Image=app.build\n", []),
        ("#Image=docker.io/a/b:1\n", []),
        ("Image=nginx\n", ["nginx"]),
    ],
)
def test_a_quadlet_names_an_image(text: str, expected: list[str]) -> None:
    found = quadlet_images(Quadlets(units={"/q.container": text.encode()}, kubernetes={}))
    assert [one["name"] for one in found] == expected


def test_a_drop_in_of_a_quadlet_counts() -> None:
    path = "/etc/containers/systemd/users/2001/web.container.d/10-image.conf"
    tree = base_tree(
        **{path: "[Container]\nImage=quay.io/other/web:2\n", "/etc/containers/x.conf": "Image=no"}
    )
    images = [one["name"] for one in content(tree)["components"] if one["type"] == "container"]
    assert images == ["docker.io/envoyproxy/envoy", "quay.io/other/web"]


def test_the_system_has_the_hash_of_the_file_that_says_what_it_is() -> None:
    found = named(content(), "debian", "operating-system")
    release = files()["/usr/lib/os-release"]
    assert isinstance(release, str)
    assert found["hashes"][0]["content"] == hashlib.sha256(release.encode()).hexdigest()
    linked = base_tree(**{"/usr/lib/os-release": Link("/nowhere")})
    assert "hashes" not in named(content(linked), "debian", "operating-system")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("github.com/a/b", ["https://github.com/a/b"]),
        ("github.com/a/b/v2", ["https://github.com/a/b"]),
        ("github.com/a", []),
        ("example.org/a/b", []),
        ("github.com/a/b%3Fx", []),
    ],
)
def test_a_go_module_s_path_tells_its_repository(path: str, expected: list[str]) -> None:
    document = scan()
    purl = f"pkg:golang/{path}@v1"
    document["components"].append(
        {"bom-ref": "g", "type": "library", "name": "one", "version": "v1", "purl": purl}
    )
    links = named(content(None, document), "one").get("externalReferences", [])
    assert [one["url"] for one in links if one["type"] == "vcs"] == expected


POD = f"""\
kind: Pod
spec:
  initContainers: [{{name: init, image: quay.io/a/init:1}}]
  containers:
    - {{name: web, image: "{ENVOY}"}}
---
kind: ConfigMap
"""


def vague(found: Mapping[str, Any]) -> list[str]:
    """Return the references a document says nobody knows the make of."""
    return [
        ref
        for one in found["compositions"]
        if one["aggregate"] == "unknown"
        for ref in one.get("assemblies", ())
    ]


def test_images_of_kubernetes_files_are_listed_by_digest() -> None:
    folder = "/etc/containers/systemd"
    tree = base_tree(**{f"{folder}/app.kube": "[Kube]\nYaml=app.yaml\n", f"{folder}/app.yaml": POD})
    found = content(tree)
    envoy, init = named(found, "docker.io/envoyproxy/envoy"), named(found, "quay.io/a/init")
    assert [one["location"] for one in envoy["evidence"]["occurrences"]] == [
        f"{folder}/app.kube",
        f"{folder}/app.yaml",
        "/usr/share/containers/systemd/envoy.container",
    ]
    assert "hashes" not in init
    assert vague(found) == ["image:quay.io/a/init:1"]


@pytest.mark.parametrize(
    "file",
    [
        {},
        {"/srv/app.yaml": "{"},
        {"/srv/app.yaml": "containers: [{name: x}]\n"},
        {"/srv/app.yaml": Link("/nowhere")},
    ],
)
def test_a_kubernetes_file_that_tells_nothing_is_told_to_be_unknown(file: dict[str, Content]) -> None:
    unit: dict[str, Content] = {"/usr/share/containers/systemd/app.kube": "Yaml=/srv/app.yaml\n"}
    found = content(base_tree(**unit, **file))
    assert vague(found) == ["kubernetes:/srv/app.yaml"]
    assert needs(found, "kubernetes:/srv/app.yaml") == []


def test_a_quadlet_may_be_a_link() -> None:
    path, target = "/etc/containers/systemd/web.container", "/usr/share/web.container"
    linked: dict[str, Content] = {path: Link(target), target: "Image=quay.io/other/web:2\n"}
    found = content(base_tree(**linked))
    assert vague(found) == ["image:quay.io/other/web:2"]
    masked = content(base_tree(**{path: Link("/dev/null")}))
    assert vague(masked) == []


def test_two_architectures_of_a_package_have_their_own_files() -> None:
    document = scan()
    for arch in ("amd64", "i386"):
        purl = f"pkg:deb/debian/zlib1g@1?arch={arch}&distro=debian-13"
        document["components"].append({**component("zlib1g", "1"), "purl": purl, "bom-ref": arch})
    files: dict[str, Content] = {
        f"{INFO}/zlib1g:amd64.list": "/usr/lib/x86/libz.so\n",
        f"{INFO}/zlib1g:i386.list": "/usr/lib/i386/libz.so\n",
        "/usr/lib/x86/libz.so": b"\x7fELF 64",
        "/usr/lib/i386/libz.so": b"\x7fELF 32",
    }
    tree = base_tree(**files)
    parts = [one for one in content(tree, document)["components"] if one["name"] == "zlib1g"]
    hashed = {one["purl"]: one["hashes"][0]["content"] for one in parts}
    digest = hashlib.sha256(b"\x7fELF 32").hexdigest()
    line = f"{digest}  /usr/lib/i386/libz.so\n"
    wanted = hashlib.sha256(line.encode()).hexdigest()
    assert hashed["pkg:deb/debian/zlib1g@1?arch=i386&distro=debian-13"] == wanted
    assert len(set(hashed.values())) == 2


def test_compositions_say_what_is_complete() -> None:
    found = content()
    by_kind = {one["aggregate"]: one for one in found["compositions"]}
    root = found["metadata"]["component"]["bom-ref"]
    assert by_kind["incomplete"] == {"aggregate": "incomplete", "assemblies": [root]}
    unknown = by_kind["unknown"]["dependencies"]
    assert {root, named(found, "tool")["bom-ref"], f"module:{ZFS}"} <= set(
        by_kind["complete"]["dependencies"]
    )
    assert set(unknown) == {
        "file:/usr/libexec/stray", "file:/usr/lib/libstray.so.1", "firmware:stray.bin", f"image:{ENVOY}",
    }  # fmt: skip


def test_an_image_without_packages_is_refused() -> None:
    tree = base_tree()
    tree.remove("/usr/lib/sysimage/dpkg")
    with pytest.raises(SbomError, match="no package database"):
        sbom(tree)


def test_a_package_the_scanner_missed_is_refused() -> None:
    document = scan()
    document["components"] = [one for one in document["components"] if one["name"] != "tool"]
    with pytest.raises(SbomError, match=r"package tool 1\.0-1"):
        sbom(document=document)


@pytest.mark.parametrize("spoil", ["gone", "other hash"])
def test_a_module_the_document_does_not_name_is_refused(spoil: str) -> None:
    image = opened(base_tree())
    expected = expected_of(image.tree, image.packages, dpkg_ownership(image.tree))
    found = content()
    validate(json.dumps(found).encode(), expected)
    part = named(found, "zfs", "device-driver")
    part["type" if spoil == "gone" else "hashes"] = "library" if spoil == "gone" else []
    with pytest.raises(SbomError, match=r"kernel module .*zfs\.ko\.xz"):
        validate(json.dumps(found).encode(), expected)


def test_what_is_no_document_of_a_scanner_is_refused() -> None:
    with pytest.raises(SbomError, match="not understood"):
        sbom(document={"components": []})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda it: it["components"].append(dict(it["components"][0], name="again")), "stands twice"),
        (lambda it: it["dependencies"][0]["dependsOn"].append("nowhere"), "nowhere is named and not there"),
        (lambda it: it["dependencies"].append({"ref": "lost"}), "lost is named and not there"),
        (lambda it: it["dependencies"].append(dict(it["dependencies"][0])), "told twice|schema"),
        (lambda it: it["compositions"][0]["dependencies"].append("lost"), "lost is named and not there"),
        (lambda it: it["annotations"][0].update(subjects=["lost"]), "lost is named and not there"),
        (lambda it: it["components"][0].update(type="thing"), "schema"),
        (lambda it: it.update(unknown=1), "schema"),
        (
            lambda it: it["metadata"]["component"].update(hashes=[{"alg": "SHA-256", "content": "x"}]),
            "schema",
        ),
        (lambda it: it.update(specVersion="1.5"), "not CycloneDX 1.6"),
    ],
)
def test_the_final_bytes_are_judged(change: Any, message: str) -> None:
    found = content()
    validate(json.dumps(found).encode())
    change(found)
    with pytest.raises(SbomError, match=message):
        validate(json.dumps(found).encode())


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff", b"{", b"[" * 100_000])
def test_bytes_that_are_no_document_are_refused(data: bytes) -> None:
    with pytest.raises(SbomError):
        validate(data)


@settings(max_examples=25)
@example(name="\r", text="\x1b[31m")
@example(name="\u202e<script>", text="<img src=x> <a@b.c>")
@given(
    name=st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=20),
    text=st.text(max_size=30),
)
def test_hostile_names_and_texts_make_a_valid_document(name: str, text: str) -> None:
    if name in (".", ".."):
        return
    document = scan()
    document["components"].append(
        component(name, "1", publisher=text, licenses=[{"license": {"name": text}}])
    )
    tree = base_tree(**{f"/usr/libexec/x/{name}": File(b"#!x", mode=0o755)})
    validate(sbom(tree, document))


def test_a_name_that_is_no_text_is_shown() -> None:
    tree = base_tree(**{"/usr/libexec/\udcff": File(b"#!x", mode=0o755)})
    assert "file:/usr/libexec/\\xff" in {one["bom-ref"] for one in content(tree)["components"]}


def test_files_over_links_and_diverted_ones_have_their_owner() -> None:
    tree = base_tree(
        **{
            f"{INFO}/mesa.list": "/usr/lib/libGL.so.1\n",
            f"{INFO}/zlib1g:amd64.list": "/lib/libz.so\n",
            "/usr/lib/sysimage/dpkg/diversions": "/usr/lib/libGL.so.1\n/usr/lib/diverted/libGL.so.1\nglx\n",
        }
    )
    owners = dpkg_ownership(tree)
    assert owners.owner("/usr/lib/diverted/libGL.so.1") == ("mesa", "")
    assert owners.owner("/usr/lib/libGL.so.1") is None
    assert owners.owner("/usr/lib/libz.so") == ("zlib1g", "amd64")
    assert owners.owner("/usr/bin/tool") == ("tool", "")
    assert owners.owner(f"{INFO}/tool.postinst") == ("tool", "")


def test_a_link_to_itself_ends() -> None:
    tree = MemoryTree({"/a": Link("a"), "/usr/lib/sysimage/dpkg/status": "x", f"{INFO}/t.list": "/a/b\n"})
    assert dpkg_ownership(tree).owner("/a/b") == ("t", "")


def test_rpm_tells_owners_itself() -> None:
    def inside(argv: object, *, stdin: str = "", timeout: float = 0.0) -> CommandResult:
        return CommandResult(code=0, stdout="bash\tx86_64\t/bin/bash\nempty\tnoarch\n", stderr="")

    found = rpm_ownership(base_tree(), inside)
    assert found is not None
    assert dict(found.owners) == {"/usr/bin/bash": ("bash", "x86_64")}


@pytest.mark.parametrize(
    ("names", "concluded"),
    [
        (["GPL-2+"], "GPL-2.0-or-later"),
        (["GPL-2.0+"], "GPL-2.0-or-later"),
        (["LGPL-2.1"], "LGPL-2.1-only"),
        (["Expat", "MIT"], "MIT"),
        (["public-domain"], "LicenseRef-public-domain"),
        (["MIT OR Apache-2.0"], "MIT OR Apache-2.0"),
        (["weird <b>"], "LicenseRef-weird-b"),
    ],
)
def test_licences_are_concluded_in_spdx_s_words(names: list[str], concluded: str) -> None:
    found: Any = package_licences({"license": {"name": name}} for name in names)
    last = found[-1]["license"]
    assert last["acknowledgement"] == "concluded"
    assert (last.get("id") or last["name"]) == concluded


def test_nothing_declared_is_nothing_concluded() -> None:
    assert package_licences([]) == []
    assert module_licences([""]) == []


def test_people_are_read() -> None:
    assert organisation("Jo <jo@example.org>") == Organisation(name="Jo", mail="jo@example.org")
    assert organisation("  ") is None
    assert Organisation(name="x", url="javascript:1", mail="a b").part() == {"name": "x"}


def test_origins_name_the_distribution_s_package() -> None:
    found = origins_of(base_tree(), {"zfs": "zfs-dkms", "gone": "x"}, {"zfs": "2.3.9-1"})
    assert found == ORIGINS


def test_a_digest_is_needed() -> None:
    with pytest.raises(UsageError):
        identity(Digest("x"))  # type: ignore[arg-type]
