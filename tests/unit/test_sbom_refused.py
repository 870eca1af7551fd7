"""SBOMs that are refused: something is missing from them, or their final bytes are no good document."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sbomkit import base_tree, component, opened, scan
from sbomtold import content, named, sbom, scanned
from trees import File

from pipeline.domain.sbom.inventory import expected_of
from pipeline.domain.sbom.ownership import dpkg_ownership
from pipeline.domain.sbom.validation import validate
from pipeline.errors import SbomError


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
    document = scanned(component(name, "1", publisher=text, licenses=[{"license": {"name": text}}]))
    tree = base_tree(**{f"/usr/libexec/x/{name}": File(b"#!x", mode=0o755)})
    validate(sbom(tree, document))
