"""The SBOM of the small image, or of one like it, and what it tells: parts by name, facts, needs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sbomkit import SaidBefore, base_tree, identity, opened, scan
from trees import MemoryTree

from pipeline.domain.sbom.shipped import ModuleOrigin
from pipeline.verbs.sbom import sbom_of

ORIGINS = {"zfs": ModuleOrigin(package="zfs-dkms", version="2.3.9-1", purl="pkg:deb/debian/zfs-dkms@2.3.9-1")}


def scanned(*more: dict[str, Any]) -> dict[str, Any]:
    """What a scanner says of the image, and of more components."""
    document = scan()
    document["components"] += more
    return document


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


def vague(found: Mapping[str, Any]) -> list[str]:
    """Return the references a document says nobody knows the make of."""
    return [
        ref
        for one in found["compositions"]
        if one["aggregate"] == "unknown"
        for ref in one.get("assemblies", ())
    ]
