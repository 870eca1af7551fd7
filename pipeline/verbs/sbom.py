"""The SBOM of an image: scanned, enriched, checked against the image's own files, and put into bytes.

Rules: what an image holds is taken and judged before its digest is known, so that an incomplete SBOM stops a
candidate before anything is pushed; the document is validated on the bytes that will be published.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from packageurl import PackageURL

from pipeline.domain.basepaths import PathLookup
from pipeline.domain.evidence import Evidence, EvidenceKind
from pipeline.domain.gate import Inside, Package
from pipeline.domain.image import ImageRef
from pipeline.domain.packages import DPKG_STATUS, rpm_database
from pipeline.domain.placement import TreeEntry
from pipeline.domain.record import Candidate
from pipeline.domain.sbom.document import Identity, ParentImage, document
from pipeline.domain.sbom.inheritance import BaseSbom, Inherited, inherit
from pipeline.domain.sbom.inventory import Expected, Inventory, expected_of, file_digests, take_inventory
from pipeline.domain.sbom.ownership import Ownership, dpkg_ownership, rpm_ownership
from pipeline.domain.sbom.part import Organisation
from pipeline.domain.sbom.scanned import take_apart
from pipeline.domain.sbom.shipped import ModuleOrigin
from pipeline.domain.sbom.validation import check_inventory, validate
from pipeline.domain.tree import Tree
from pipeline.domain.walked import WalkedTree
from pipeline.errors import NotFoundError, UsageError

_OS_RELEASE = "/usr/lib/os-release"


class Scanner(Protocol):
    """Finds packages in a folder."""

    def scan(self, root: Path) -> Mapping[str, Any]:
        """Return what is in an image that is mounted at `root`, as CycloneDX 1.6."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedImage:
    """An image that is open for reading.

    Attributes:
        root: Where it is mounted, for the scanner.
        tree: The same files.
        inside: Runs a program in it.
        packages: What its databases say, see `packages.installed_packages`.
    """

    root: Path
    tree: Tree
    inside: Inside
    packages: tuple[Package, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What an image holds and what its SBOM must name; no digest of the image is needed for it."""

    inventory: Inventory
    expected: Expected


def take(
    image: OpenedImage, scanner: Scanner, *, origins: Mapping[str, ModuleOrigin], supplier: Organisation
) -> Taken:
    """Take the inventory of an image and judge whether it is complete.

    Args:
        image: The image.
        scanner: The scanner.
        origins: Module set to what it was compiled from, see `origins_of`.
        supplier: Who supplies the image, and so what no package brings.

    Raises:
        SbomError: The image has no packages, or holds a module or a package that the inventory does not name.
        ModuleError: A module or its manifest is damaged.
        ToolMissingError: The scanner is not installed.
        ToolFailedError: The scanner failed.
    """
    tree = WalkedTree(image.tree)
    with ThreadPoolExecutor(max_workers=1) as beside:
        scan = beside.submit(scanner.scan, image.root)
        owners = _ownership(tree, image.inside)
        digests = file_digests(tree, owners)
        scanned = take_apart(scan.result())
    inventory = take_inventory(tree, scanned, owners, digests=digests, origins=origins, supplier=supplier)
    expected = expected_of(tree, image.packages, owners)
    check_inventory(inventory, expected)
    return Taken(inventory=inventory, expected=expected)


def evidence_of(taken: Taken, identity: Identity) -> Evidence:
    """Return the SBOM of an image whose digest is known, validated on its final bytes.

    Raises:
        SbomError: It is not valid or not complete.
    """
    data = document(taken.inventory, identity)
    validate(data, taken.expected)
    return Evidence(kind=EvidenceKind.SBOM, data=data)


def sbom_of(
    image: OpenedImage, scanner: Scanner, identity: Identity, *, origins: Mapping[str, ModuleOrigin]
) -> Evidence:
    """Return the SBOM of an image by a full scan (raises as `take` and `evidence_of` do)."""
    return evidence_of(take(image, scanner, origins=origins, supplier=identity.supplier), identity)


def inherited_sbom(
    base: BaseSbom, entries: Sequence[TreeEntry], identity: Identity, *, paths: PathLookup
) -> Evidence | Inherited:
    """Return the SBOM of an instance from its base's; or the reason why it must be scanned in full.

    Raises:
        SbomError: See `inherit`.
    """
    found = inherit(base, entries, identity, paths=paths)
    return found if found.reason else Evidence(kind=EvidenceKind.SBOM, data=found.data)


def origins_of(
    tree: Tree, packages: Mapping[str, str], versions: Mapping[str, str]
) -> Mapping[str, ModuleOrigin]:
    """Return what each module set was compiled from.

    Args:
        tree: The image's files: they tell the distribution.
        packages: Module set to the package that brings its source, from the definition.
        versions: Module set to the package's version, from the pin.
    """
    kind = _package_type(tree)
    vendor = _distribution(tree)
    return {
        name: ModuleOrigin(
            package=package,
            version=versions[name],
            purl=PackageURL(type=kind, namespace=vendor, name=package, version=versions[name]).to_string()
            if kind and vendor
            else "",
        )
        for name, package in packages.items()
        if name in versions
    }


def parent_of(record: Candidate, known: Iterable[Candidate]) -> ParentImage | None:
    """Return the image a candidate was built on or mirrored from; None where nobody knows where it is.

    Args:
        record: The candidate, or what will be recorded of it.
        known: The ledger's candidates.
    """
    if record.origin is not None:
        try:
            origin = ImageRef.parse(record.origin.reference).repository.at(record.origin.digest)
        except UsageError:
            return None
        return ParentImage(name=str(origin.repository), ref=origin)
    parent = record.parent
    if parent is None:
        return None
    found = next((one for one in known if one.digest == parent.digest), None)
    return None if found is None else ParentImage(name=parent.image, ref=found.repository.at(parent.digest))


def _ownership(tree: Tree, inside: Inside) -> Ownership:
    found = dpkg_ownership(tree)
    if found.owners or rpm_database(tree) is None:
        return found
    return rpm_ownership(tree, inside) or Ownership()


def _package_type(tree: Tree) -> str:
    if any(tree.entry(path) is not None for path in DPKG_STATUS):
        return "deb"
    return "rpm" if rpm_database(tree) is not None else ""


def _distribution(tree: Tree) -> str:
    try:
        text = tree.read(_OS_RELEASE, limit=1 << 20).decode("utf-8", "replace")
    except NotFoundError:
        return ""
    pairs = (line.partition("=") for line in text.splitlines())
    return next((value.strip("\"'") for key, _, value in pairs if key == "ID"), "")
