"""An image's SBOM as a document: an inventory, the image's identity, and the bytes they give.

Rules:
1. The root is the image, of type `container`: it is named by its OCI digest, and the document has exactly one
   `operating-system`, the distribution, which is what vulnerability scanners look for.
2. The same image, commit, time, build and tools give the same bytes: sorted everywhere, the serial number is
   made of the digest, the commit and the job that built it, the time is the caller's.
3. What is claimed complete is complete: every package of the databases with all it depends on. Files no
   package owns are named when they can run; others are not, so the image's assembly is called incomplete.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pipeline.domain.canonical import Json, canonical_json
from pipeline.domain.image import Digest, ImageRef, Tier
from pipeline.domain.sbom.inventory import Inventory
from pipeline.domain.sbom.part import OWN, SPEC, Organisation, Part, is_url, properties, shown
from pipeline.domain.sbom.shipped import image_purl
from pipeline.errors import UsageError

SCHEMA = f"http://cyclonedx.org/schema/bom-{SPEC}.schema.json"
TOOL = "pipeline"


@dataclass(frozen=True, slots=True, kw_only=True)
class ParentImage:
    """The image an image was built on, by digest, under the name people know (`debian/base`)."""

    name: str
    ref: ImageRef


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseBom:
    """The SBOM an inherited one goes on: its serial number and the digest of its bytes."""

    serial: str
    digest: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What the files of an image do not tell about it.

    Attributes:
        name: Name for people, `line/image`.
        ref: Where it lies, by digest.
        supplier: Who supplies it.
        timestamp: Seconds since the epoch, told as the document's time.
        tool_version: Version of this program.
        tier: Its tier; None for a foreign image.
        parent: The image it was built on.
        commit: Git commit of the definitions, or "".
        vcs: Address of the git repository, or "".
        build: Address of the build's run, or "".
    """

    name: str
    ref: ImageRef
    supplier: Organisation
    timestamp: int
    tool_version: str
    tier: Tier | None = None
    parent: ParentImage | None = None
    commit: str = ""
    vcs: str = ""
    build: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.timestamp < 1 << 40:
            raise UsageError(f"{self.timestamp} is no time", hint="give seconds since the epoch")

    @property
    def purl(self) -> str:
        """Its package URL, also the root's reference."""
        return image_purl(self.ref)

    @property
    def serial(self) -> str:
        """The document's serial number: the same for the same image, commit and job."""
        job = f"#{self.build}" if self.build else ""
        return uuid.uuid5(uuid.NAMESPACE_URL, f"{self.purl}#{self.commit}{job}").urn


def document(inventory: Inventory, identity: Identity) -> bytes:
    """Return an image's SBOM."""
    refs = sorted(inventory.components)
    content = {
        **frame(identity, inventory.scanner),
        "components": [inventory.components[ref] for ref in refs],
        "compositions": compositions(identity.purl, refs, inventory.open, inventory.vague),
        "dependencies": [
            *dependencies(inventory.dependencies),
            {"ref": identity.purl, "dependsOn": refs},
        ],
    }
    return canonical_json(content)


def frame(identity: Identity, scanner: tuple[str, str], base: BaseBom | None = None) -> Part:
    """Return a document without its components, compositions and dependencies."""
    time = dt.datetime.fromtimestamp(identity.timestamp, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "$schema": SCHEMA,
        "bomFormat": "CycloneDX",
        "specVersion": SPEC,
        "version": 1,
        "serialNumber": identity.serial,
        "annotations": [_annotation(identity, time, base)],
        "metadata": {
            "timestamp": time,
            "lifecycles": [{"phase": "build"}],
            "tools": {"components": _tools(identity, scanner)},
            "authors": [_author(identity.supplier)],
            "supplier": identity.supplier.part(),
            "manufacturer": identity.supplier.part(),
            "licenses": [{"license": {"id": "CC0-1.0"}}],
            "component": root(identity, base),
            "properties": properties({f"{OWN}tier": identity.tier or "", f"{OWN}commit": identity.commit}),
        },
    }


def root(identity: Identity, base: BaseBom | None = None) -> Part:
    """Return the image's own component."""
    part: Part = {
        "bom-ref": identity.purl,
        "type": "container",
        "name": shown(identity.name),
        "version": str(identity.ref.pinned),
        "purl": identity.purl,
        "hashes": [{"alg": "SHA-256", "content": identity.ref.pinned.hex}],
        "supplier": identity.supplier.part(),
        "manufacturer": identity.supplier.part(),
        "properties": properties({f"{OWN}tier": identity.tier or ""}),
    }
    if identity.parent is not None:
        part["pedigree"] = {"ancestors": [_ancestor(identity.parent)]}
    links = [*_links(identity), *([] if base is None else [_base_link(base)])]
    if links:
        part["externalReferences"] = links
    return part


def compositions(
    image: str, refs: Iterable[str], open_refs: Iterable[str], vague: Iterable[str]
) -> list[Json]:
    """Return what of a document is complete.

    Args:
        image: Reference of the root.
        refs: References of all components.
        open_refs: Those whose own dependencies nobody knows.
        vague: Those of which nobody can tell what they are, see `shipped.is_vague`.
    """
    unknown = sorted(set(open_refs))
    known = sorted({image, *refs}.difference(unknown))
    found: list[Json] = [
        {"aggregate": "complete", "dependencies": known},
        {"aggregate": "incomplete", "assemblies": [image]},
    ]
    told: Part = {
        name: sorted(set(some)) for name, some in (("assemblies", vague), ("dependencies", unknown))
    }
    told = {name: some for name, some in told.items() if some}
    return [*found, {"aggregate": "unknown", **told}] if told else found


def dependencies(found: Mapping[str, Iterable[str]]) -> list[Json]:
    """Return the dependency entries, sorted."""
    return [{"ref": ref, "dependsOn": sorted(needs)} for ref, needs in sorted(found.items())]


def _tools(identity: Identity, scanner: tuple[str, str]) -> list[Json]:
    name, version = scanner
    return [
        {"type": "application", "name": TOOL, "version": identity.tool_version},
        {"type": "application", "name": shown(name), "version": shown(version)},
    ]


def _author(supplier: Organisation) -> Part:
    mail = {"email": supplier.mail} if "contact" in supplier.part() else {}
    return {"name": shown(supplier.name), **mail}


def _ancestor(parent: ParentImage) -> Part:
    return {
        "type": "container",
        "name": shown(parent.name),
        "version": str(parent.ref.pinned),
        "purl": image_purl(parent.ref),
        "hashes": [{"alg": "SHA-256", "content": parent.ref.pinned.hex}],
    }


def _links(identity: Identity) -> list[Json]:
    links: list[Json] = []
    if identity.commit:
        address = identity.vcs if is_url(identity.vcs) else f"urn:git:commit:{identity.commit}"
        comment = f"definitions at commit {identity.commit}"
        links.append({"type": "vcs", "url": address, "comment": comment})
    if is_url(identity.build):
        links.append({"type": "build-system", "url": identity.build, "comment": "the run that built it"})
    return links


def _base_link(base: BaseBom) -> Part:
    serial = base.serial.removeprefix("urn:uuid:")
    return {
        "type": "bom",
        "url": f"urn:cdx:{serial}/1",
        "comment": "the SBOM of the image's base, which this one repeats and extends",
        "hashes": [{"alg": "SHA-256", "content": base.digest.hex}],
    }


def _annotation(identity: Identity, time: str, base: BaseBom | None) -> Part:
    text = (
        "Every package of the image's package databases is listed with all it depends on, as is every "
        "out-of-tree kernel module, all firmware, and every executable that no package owns. Other files "
        "that no package owns are not listed. Container images that quadlets, or the Kubernetes files of "
        "quadlets, start are listed by digest; what they hold is not looked into. Where no digest is named, "
        "or such a file is not in the image, a composition says that it is unknown."
    )
    if base is not None:
        text += (
            " The components of the base come from the base's own SBOM, named as the external reference of "
            "type bom; the image's own layer holds no package, no library and no lock file, and replaces no "
            "file that a package of the base owns."
        )
    return {
        "subjects": [identity.purl],
        "annotator": {
            "component": {"type": "application", "name": TOOL, "version": identity.tool_version},
        },
        "timestamp": time,
        "text": text,
    }
