"""An image's SBOM: every thing the image holds is in it, once, with the facts of its own files."""

from __future__ import annotations

import hashlib
import json

import pytest
from sbomkit import ENVOY, INFO, ZFS, base_tree, component, files, identity, scan
from sbomtold import content, named, needs, sbom, scanned
from trees import Content, File, Link

from pipeline.domain.canonical import parse_canonical
from pipeline.domain.image import Digest
from pipeline.domain.sbom.document import ParentImage
from pipeline.errors import UsageError


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


def test_two_architectures_of_a_package_have_their_own_files() -> None:
    purl = "pkg:deb/debian/zlib1g@1?arch={}&distro=debian-13"
    document = scanned(
        *(component("zlib1g", "1", purl=purl.format(arch), **{"bom-ref": arch}) for arch in ("amd64", "i386"))
    )
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
    assert hashed[purl.format("i386")] == wanted
    assert len(set(hashed.values())) == 2


def test_what_is_found_twice_is_one_component_with_both_places() -> None:
    part = named(content(), "example.org/mod")
    assert [one["location"] for one in part["evidence"]["occurrences"]] == ["/usr/bin/other", "/usr/bin/tool"]
    assert part["hashes"] == [{"alg": "SHA-256", "content": "0" * 64}]


def test_dependencies_lead_somewhere_and_not_to_themselves() -> None:
    found = content()
    assert needs(found, named(found, "tool")["bom-ref"]) == [named(found, "firmware-x", "library")["bom-ref"]]


def test_programs_nobody_owns_are_listed() -> None:
    found = content()
    assert [one["name"] for one in found["components"] if one["type"] == "file"] == [
        "/usr/lib/libstray.so.1",
        "/usr/libexec/stray",
    ]


def test_a_name_that_is_no_text_is_shown() -> None:
    tree = base_tree(**{"/usr/libexec/\udcff": File(b"#!x", mode=0o755)})
    assert "file:/usr/libexec/\\xff" in {one["bom-ref"] for one in content(tree)["components"]}


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
    purl = f"pkg:golang/{path}@v1"
    document = scanned({"bom-ref": "g", "type": "library", "name": "one", "version": "v1", "purl": purl})
    links = named(content(None, document), "one").get("externalReferences", [])
    assert [one["url"] for one in links if one["type"] == "vcs"] == expected


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


def test_a_digest_is_needed() -> None:
    with pytest.raises(UsageError):
        identity(Digest("x"))  # type: ignore[arg-type]
