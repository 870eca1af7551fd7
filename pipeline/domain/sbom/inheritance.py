"""An instance's SBOM in milliseconds: its base's, and what its own layer adds.

Rules:
1. The components and dependencies of the base are repeated byte for byte, so the document stands alone; the
   base's SBOM is named by serial number and SHA-256 as the external reference of type `bom`.
2. The result names the same components as a full scan of the instance would; where that is not certain,
   nothing is inherited and the reason is told (`obstacles`).
3. What is validated: the base's document once, when it is loaded, unless it is the very bytes the ledger
   recorded (those were validated before they were recorded); of each instance, what it adds, unless a part of
   the same shape was found valid before (`shape`): a tenth of a second is too much for each of hundreds of
   hosts. The schema has no rule that reaches from one component to another but their being distinct, which
   distinct references make them, so the whole is valid when its parts are. The instance's references are
   checked by construction: they are the base's, checked at loading, and those of what the layer adds.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.domain.basepaths import PathLookup
from pipeline.domain.canonical import Json, canonical_json
from pipeline.domain.image import Digest, ImageRef
from pipeline.domain.oci import digest_of
from pipeline.domain.placement import TreeEntry
from pipeline.domain.quadlet import is_quadlet
from pipeline.domain.sbom.document import TOOL, BaseBom, Identity, compositions, frame
from pipeline.domain.sbom.obstacles import obstacle
from pipeline.domain.sbom.part import Organisation, Part, occurrences, places, property_of, supplied
from pipeline.domain.sbom.shape import shape_of
from pipeline.domain.sbom.shipped import (
    MODULE_SET,
    ModuleOrigin,
    Quadlets,
    could_run,
    executable_part,
    image_purl,
    is_vague,
    quadlet_images,
)
from pipeline.domain.sbom.validation import check_references, check_schema
from pipeline.domain.tree import Entry, FileType
from pipeline.errors import SbomError

_HINT = "make the base's SBOM again: build the base, or scan the instance in full"


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseSbom:
    """A base's SBOM, read once for all its instances; shared between threads.

    Attributes:
        image: The base.
        link: Serial number and digest of the document.
        scanner: Name and version of the scanner that made it.
        components: Reference to the component's canonical bytes, without a newline.
        dependencies: Reference to the dependency entry's canonical bytes.
        images: Reference to component of each container image.
        open: References whose own dependencies nobody knows.
        vague: References of which nobody can tell what they are.
        named: Paths its evidence names.
        origins: Module set to what it was compiled from: for an instance that must be scanned in full.
        valid: Shapes of parts that were found valid.
    """

    image: ImageRef
    link: BaseBom
    scanner: tuple[str, str]
    components: Mapping[str, bytes]
    dependencies: Mapping[str, bytes]
    images: Mapping[str, Part]
    open: frozenset[str]
    vague: frozenset[str]
    named: frozenset[str]
    origins: Mapping[str, ModuleOrigin]
    valid: set[bytes] = field(default_factory=set)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inherited:
    """An instance's SBOM, or why there is none without a full scan."""

    data: bytes = b""
    reason: str = ""


def load_base(data: bytes, image: ImageRef, *, recorded: Digest | None = None) -> BaseSbom:
    """Read a base's SBOM.

    Args:
        data: The document.
        image: The base, by digest: whose SBOM it must be.
        recorded: Digest under which the ledger has it; bytes that have it are not validated again.

    Raises:
        SbomError: It is not valid, or is not the SBOM of that image.
    """
    digest = digest_of(data)
    if digest != recorded:
        check_schema(data)
    try:
        content = json.loads(data)
        check_references(content)
        return _loaded(content, image, digest)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SbomError(f"the SBOM of {image} cannot be inherited from: {error!r}", hint=_HINT) from error


def _loaded(content: Mapping[str, Any], image: ImageRef, digest: Digest) -> BaseSbom:
    ref = content["metadata"]["component"]["bom-ref"]
    if ref != image_purl(image):
        raise SbomError(f"the SBOM of {image} speaks of {ref}", hint=_HINT)
    parts: dict[str, Part] = {part["bom-ref"]: part for part in content["components"]}
    tools = content["metadata"]["tools"]["components"]
    unknown = [one for one in content["compositions"] if one["aggregate"] == "unknown"]
    return BaseSbom(
        image=image,
        link=BaseBom(serial=content["serialNumber"], digest=digest),
        scanner=next((tool["name"], tool["version"]) for tool in tools if tool["name"] != TOOL),
        components={name: _bytes(part) for name, part in parts.items()},
        dependencies={item["ref"]: _bytes(item) for item in content["dependencies"] if item["ref"] != ref},
        images={name: part for name, part in parts.items() if part["type"] == "container"},
        open=frozenset(name for one in unknown for name in one.get("dependencies", ())),
        vague=frozenset(name for one in unknown for name in one.get("assemblies", ())),
        named=frozenset(path for part in parts.values() for path in places(part)),
        origins=dict(_origins(parts.values())),
    )


def _origins(parts: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, ModuleOrigin]]:
    for part in parts:
        ancestors = part.get("pedigree", {}).get("ancestors", ()) if part["type"] == "device-driver" else ()
        for one in ancestors:
            yield (
                property_of(part, MODULE_SET),
                ModuleOrigin(package=one["name"], version=one["version"], purl=one.get("purl", "")),
            )


def inherit(
    base: BaseSbom, entries: Sequence[TreeEntry], identity: Identity, *, paths: PathLookup
) -> Inherited:
    """Return an instance's SBOM.

    Args:
        base: Its base's.
        entries: The instance's own layer, placed on the base.
        identity: The instance; its parent is the base.
        paths: The base's path list.

    Raises:
        SbomError: What the layer adds makes no valid document, or the parent is another base.
    """
    if identity.parent is None or identity.parent.ref.pinned != base.image.pinned:
        raise SbomError(f"{identity.ref} is not built on {base.image}", hint=_HINT)
    reason = obstacle(entries, paths=paths, named=base.named)
    if reason is not None:
        return Inherited(reason=reason)
    own = _own(base, entries, identity.supplier)
    head = frame(identity, base.scanner, base.link)
    _check(base, head, own, identity)
    return Inherited(data=_document(base, head, own, identity))


def _own(base: BaseSbom, entries: Iterable[TreeEntry], supplier: Organisation) -> dict[str, Part]:
    """Return what a layer adds: scripts that can run, and container images."""
    files = [entry for entry in entries if entry.type is FileType.FILE]
    found = [_script(entry) for entry in files if entry.mode & 0o111]
    contents = {entry.path: entry.content for entry in files}
    units = {path: data for path, data in contents.items() if is_quadlet(path)}
    images = quadlet_images(Quadlets(units=units, kubernetes=contents))
    added = [*(part for part in found if part is not None), *(_joined(base, part) for part in images)]
    return {str(part["bom-ref"]): supplied(part, supplier) for part in added}


def _script(entry: TreeEntry) -> Part | None:
    seen = Entry(
        path=entry.path,
        type=entry.type,
        mode=entry.mode,
        uid=entry.uid,
        gid=entry.gid,
        size=len(entry.content),
    )
    return executable_part(seen, entry.content) if could_run(seen) else None


def _joined(base: BaseSbom, part: Part) -> Part:
    """Return an image's component with the base's quadlets that run it, too."""
    known = base.images.get(str(part["bom-ref"]))
    return part if known is None else {**known, "evidence": occurrences([*places(known), *places(part)])}


def _document(base: BaseSbom, head: Part, own: Mapping[str, Part], identity: Identity) -> bytes:
    parts = {**base.components, **{ref: _bytes(part) for ref, part in own.items()}}
    needs = {**base.dependencies, **{ref: _bytes({"ref": ref, "dependsOn": []}) for ref in own}}
    refs = sorted(parts)
    image: Part = {"ref": identity.purl, "dependsOn": refs}
    members = {name: _bytes(value) for name, value in head.items()}
    members["components"] = _list(parts[ref] for ref in refs)
    vague = {*base.vague, *(ref for ref, part in own.items() if is_vague(part))}
    members["compositions"] = _bytes(compositions(identity.purl, refs, {*base.open, *own}, vague))
    members["dependencies"] = _list([*(needs[ref] for ref in sorted(needs)), _bytes(image)])
    return b"{" + b",".join(b'"%s":%s' % (name.encode(), members[name]) for name in sorted(members)) + b"}\n"


def _check(base: BaseSbom, head: Part, own: Mapping[str, Part], identity: Identity) -> None:
    """Validate what this instance adds, and that its root's reference is nobody else's."""
    if identity.purl in base.components or identity.purl in own:
        raise SbomError(f"{identity.purl} is both the image and what it holds", hint=_HINT)
    shapes = {shape_of(head): "", **{shape_of(part): ref for ref, part in own.items()}}
    new = {shape: ref for shape, ref in shapes.items() if shape not in base.valid}
    if not new:
        return
    refs = sorted(ref for ref in new.values() if ref)
    small = {
        **head,
        "components": [own[ref] for ref in refs],
        "compositions": compositions(identity.purl, refs, refs, refs),
        "dependencies": [{"ref": identity.purl, "dependsOn": refs}],
    }
    check_schema(_bytes(small))
    base.valid.update(new)


def _bytes(value: Json) -> bytes:
    return canonical_json(value).rstrip(b"\n")


def _list(items: Iterable[bytes]) -> bytes:
    return b"[" + b",".join(items) + b"]"
