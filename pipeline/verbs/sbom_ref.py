"""`sbom REF`: the SBOM of any image, as it was recorded or by a scan now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.domain.evidence import Evidence, EvidenceKind
from pipeline.domain.image import ImageRef
from pipeline.domain.packages import installed_packages
from pipeline.domain.record import Candidate
from pipeline.domain.sbom.document import Identity
from pipeline.verbs.evidence import fetch_evidence
from pipeline.verbs.ports import Run, inside_of
from pipeline.verbs.proof import Workshop
from pipeline.verbs.sbom import OpenedImage, sbom_of


def sbom_of_ref(run: Run, workshop: Workshop, ref: ImageRef, record: Candidate | None) -> Evidence:
    """Return the SBOM of an image in a registry.

    A candidate's is the one that was recorded with it; any other image is pulled and scanned.

    Args:
        run: The run.
        workshop: Scanner and evidence store.
        ref: The image, by digest.
        record: Its candidate in the ledger, if it has one.

    Raises:
        RegistryError: It cannot be had, or the recorded one is not what its hash says.
        SbomError: The image has no packages, or holds what the SBOM would not name.
    """
    if record is not None and EvidenceKind.SBOM.value in record.evidence:
        data = fetch_evidence(workshop.store, record, EvidenceKind.SBOM.value)
        return Evidence(kind=EvidenceKind.SBOM, data=data)
    local = _pulled(run, ref)

    inside = inside_of(run.engine, local)

    identity = Identity(
        name=ref.repository.path.rpartition("/")[2],
        ref=ref,
        supplier=workshop.supplier,
        timestamp=run.timestamp,
        tool_version=workshop.version,
    )
    with (
        run.reporter.stage(f"sbom {ref.repository}"),
        run.open_tree(local) as tree,
        workshop.open_root(local) as root,
    ):
        packages = installed_packages(tree, inside)
        image = OpenedImage(root=root, tree=tree, inside=inside, packages=packages)
        return sbom_of(image, workshop.scanner, identity, origins={})


def plain_scan(run: Run, workshop: Workshop, ref: ImageRef) -> Mapping[str, Any]:
    """Return what the scanner alone says of an image, to compare with.

    Raises:
        RegistryError: It cannot be pulled.
        ToolFailedError: The scanner failed.
    """
    local = _pulled(run, ref)
    with run.reporter.stage(f"scan {ref.repository} plainly"), workshop.open_root(local) as root:
        return workshop.scanner.scan(root)


def _pulled(run: Run, ref: ImageRef) -> str:
    with run.reporter.stage(f"pull {ref.repository}"):
        return run.engine.pull(ref)
