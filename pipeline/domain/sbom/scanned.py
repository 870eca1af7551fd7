"""A scanner's document, taken apart: components each once, and what depends on what.

Rules: what stands for the same thing (same purl, or same name and version where there is none) is one
component, with every place where it was found; references are made from purls, so that they are the same
for the same package in every image and run; what names nothing is dropped and said so by the completeness
check.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.domain.canonical import Json
from pipeline.domain.sbom.licences import package_licences
from pipeline.domain.sbom.part import Organisation, Part, is_url, occurrences, organisation, properties, shown
from pipeline.errors import SbomError

_LOCATION = re.compile(r"syft:location:\d+:path")
_KEPT = {
    "syft:package:foundBy": "pipeline:found-by",
    "syft:package:type": "pipeline:package:type",
    "syft:metadata:source": "pipeline:package:source",
    "syft:metadata:sourceVersion": "pipeline:package:source-version",
    "syft:metadata:architecture": "pipeline:package:architecture",
    "syft:metadata:mainModule": "pipeline:go:main-module",
    "syft:metadata:goCompiledVersion": "pipeline:go:compiler",
    "syft:metadata:extendedVersion": "pipeline:kernel:build",
    "syft:distro:prettyName": "pipeline:distribution",
}
"""Properties of the scanner's that say something of the component, and what they are called here."""

_H1 = "syft:metadata:h1Digest"
_GO = "pkg:golang/"
_GO_FORGE = re.compile(r"pkg:golang/((?:github\.com|codeberg\.org)/[\w.-]+/[\w.-]+)[/@]", re.ASCII)
"""Forges whose repositories are exactly two names deep in a module's path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scanned:
    """What a scanner found.

    Attributes:
        scanner: Its name and version.
        components: Reference to component.
        dependencies: Reference to the references it depends on.
    """

    scanner: tuple[str, str]
    components: Mapping[str, Part]
    dependencies: Mapping[str, frozenset[str]]


def take_apart(document: Mapping[str, Any]) -> Scanned:
    """Return the components and dependencies of a CycloneDX document of syft's.

    Raises:
        SbomError: It is no such document.
    """
    try:
        return _take_apart(document)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise SbomError(
            f"the scanner's document is not understood ({type(error).__name__}: {error})",
            hint="`pipeline doctor` shows which syft is there; install one this program was made for",
        ) from error


def _take_apart(document: Mapping[str, Any]) -> Scanned:
    tool = document["metadata"]["tools"]["components"][0]
    groups: dict[str, list[dict[str, Any]]] = {}
    names: dict[str, str] = {}
    for item in document.get("components", ()):
        if item["type"] == "file":  # a file a package owns is that package's, others are looked for here
            continue
        ref = _reference(item)
        groups.setdefault(ref, []).append(item)
        names[item["bom-ref"]] = ref
    return Scanned(
        scanner=(str(tool["name"]), str(tool["version"])),
        components={ref: _component(ref, items) for ref, items in groups.items()},
        dependencies=_dependencies(document.get("dependencies", ()), names),
    )


def _reference(item: Mapping[str, Any]) -> str:
    return shown(item.get("purl") or f"{item['type']}:{item['name']}@{item.get('version', '')}")


def _dependencies(found: Iterable[Mapping[str, Any]], names: Mapping[str, str]) -> dict[str, frozenset[str]]:
    merged: dict[str, set[str]] = {}
    for item in found:
        ref = names.get(item["ref"])
        if ref is not None:
            known = {names[target] for target in item.get("dependsOn", ()) if target in names}
            merged.setdefault(ref, set()).update(known - {ref})
    return {ref: frozenset(targets) for ref, targets in merged.items()}


def _component(ref: str, items: list[dict[str, Any]]) -> Part:
    first = items[0]
    facts = [_facts(item) for item in items]
    part: Part = {
        "bom-ref": ref,
        "type": first["type"],
        "name": shown(first["name"]),
        "version": shown(str(first.get("version", ""))),
        "properties": properties({name: value for fact in reversed(facts) for name, value in fact.items()}),
    }
    part |= {key: first[key] for key in ("purl", "cpe", "swid", "description", "publisher") if key in first}
    places = [path for item in items for path in _places(item)]
    if places:
        part["evidence"] = occurrences(places)
    licences = package_licences(licence for item in items for licence in item.get("licenses", ()))
    if licences:
        part["licenses"] = licences
    part |= _supply(first)
    part |= _go_hash(first)
    links: list[dict[str, str]] = [
        link for link in first.get("externalReferences", ()) if is_url(str(link.get("url", "")))
    ]
    links.extend(_go_repository(ref))
    if links:
        ordered = sorted(links, key=lambda link: (link["type"], link["url"]))
        part["externalReferences"] = [*ordered]
    return part


def _facts(item: Mapping[str, Any]) -> dict[str, str]:
    found = {one["name"]: str(one.get("value", "")) for one in item.get("properties", ())}
    return {ours: found[theirs] for theirs, ours in _KEPT.items() if found.get(theirs)}


def _places(item: Mapping[str, Any]) -> Iterator[str]:
    for one in item.get("properties", ()):
        if _LOCATION.fullmatch(one["name"]):
            yield one["value"]


def _supply(item: Mapping[str, Any]) -> Part:
    who = _supplier(item)
    return {} if who is None else {"supplier": who.part(), "manufacturer": who.part()}


def _supplier(item: Mapping[str, Any]) -> Organisation | None:
    """Return who a component comes from: maintainer, namespace of a Go module, or the distribution."""
    told = organisation(str(item.get("publisher") or item.get("supplier", {}).get("name") or ""))
    if told is not None:
        return told
    purl = str(item.get("purl", ""))
    if purl.startswith(_GO):
        words = purl.removeprefix(_GO).partition("@")[0].split("/")
        if words[0] == "stdlib":
            return Organisation(name="The Go Authors", url="https://go.dev")
        namespace = "/".join(words[:2])
        return Organisation(name=namespace, url=f"https://{namespace}")
    if item["type"] == "operating-system":
        sites = [link["url"] for link in item.get("externalReferences", ()) if link["type"] == "website"]
        return Organisation(name=str(item["name"]), url=sites[0] if sites else "")
    return None


def _go_repository(purl: str) -> Iterator[dict[str, str]]:
    """Yield where a Go module's source is kept, where its path says so by itself."""
    found = _GO_FORGE.match(purl)
    if found is not None:
        yield {"type": "vcs", "url": f"https://{found[1]}"}


def _go_hash(item: Mapping[str, Any]) -> Part:
    """Return the hash Go's module proxy knows: SHA-256 of the sorted lines `<sha256>  <file>`."""
    told = next((str(one["value"]) for one in item.get("properties", ()) if one["name"] == _H1), "")
    try:
        digest = base64.b64decode(told.removeprefix("h1:"), validate=True)
    except (binascii.Error, ValueError):
        return {}
    content: Json = [{"alg": "SHA-256", "content": digest.hex()}]
    return {"hashes": content} if len(digest) == 32 else {}  # noqa: PLR2004 - bytes of a SHA-256
