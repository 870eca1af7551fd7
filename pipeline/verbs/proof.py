"""Makes the evidence of a candidate that the engine built, and stores it beside the image.

Order: what can be judged before the image has a digest is judged before anything is pushed (an SBOM that
lacks something, an image that does not boot); the documents are made when the digest is known, stored as
artifacts that refer to it, and only then does the ledger get their hashes.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from pipeline.domain.boot.result import BootResult
from pipeline.domain.catalogue import Base, Instance
from pipeline.domain.checks import CheckReport
from pipeline.domain.diff.document import document
from pipeline.domain.evidence import Evidence, EvidenceKind
from pipeline.domain.gate import Package
from pipeline.domain.image import Digest, ImageRef, Tier
from pipeline.domain.lineage import predecessor
from pipeline.domain.oci import Descriptor
from pipeline.domain.provenance import BuilderFacts, BuildFacts, git_uri, statement
from pipeline.domain.record import Candidate, Record, candidates
from pipeline.domain.sbom.document import Identity
from pipeline.domain.sbom.part import Organisation
from pipeline.verbs.boot_test import require as require_boot
from pipeline.verbs.built import Built
from pipeline.verbs.diff import Snapshots, diff
from pipeline.verbs.evidence import EvidenceStore, store_evidence
from pipeline.verbs.ports import Run, inside_of
from pipeline.verbs.sbom import OpenedImage, Scanner, Taken, evidence_of, origins_of, parent_of, take


class BootTest(Protocol):
    """Boots a local image; `verbs.boot_test.boot_test` with its parts."""

    def __call__(self, local: str, *, name: str, full: bool) -> BootResult:
        """Return what it did."""


class KeptSnapshots(Snapshots, Protocol):
    """Opens images, some of which this run has just made."""

    def keep(self, *contents: bytes) -> None:
        """Remember manifests, configs and layers that were pushed, so that they are not fetched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """What evidence is made with; the same for all images of a run.

    Attributes:
        scanner: Finds packages.
        open_root: Mounts a local image and gives its root on this machine.
        boot: Boots a local image.
        boots: Tiers whose images are booted before they are pushed.
        store: Where evidence goes.
        snapshots: Opens images to be compared.
        builder: Who builds.
        supplier: Who supplies the images.
        version: Of this program.
    """

    scanner: Scanner
    open_root: Callable[[str], AbstractContextManager[Path]]
    boot: BootTest
    boots: frozenset[Tier]
    store: EvidenceStore
    snapshots: KeptSnapshots
    builder: BuilderFacts
    supplier: Organisation
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineProver:
    """Implements `ports.Prover` for images of the engine's store."""

    workshop: Workshop

    def prepare(self, run: Run, built: Built, packages: tuple[Package, ...] | None) -> Prepared:
        """Take the inventory of a local image, and boot it where its tier asks for that.

        Raises:
            SbomError: The image has no packages, or holds what the inventory does not name.
            BootTestError: It does not boot, or not as it must.
            ToolMissingError: A tool for either is not installed.
        """
        name = f"{built.image.line}/{built.image.name}"
        with run.reporter.stage(f"sbom {name}"):
            taken = self._taken(run, built, packages)
        boot = None
        if built.image.tier in self.workshop.boots:
            boot = self.workshop.boot(built.local, name=name, full=built.image.tier is Tier.INSTANCE)
            require_boot(boot, name)
        return Prepared(run=run, workshop=self.workshop, facts=built.facts, taken=taken, boot=boot)

    def _taken(self, run: Run, built: Built, packages: tuple[Package, ...] | None) -> Taken:
        inside = inside_of(run.engine, built.local)

        with run.open_tree(built.local) as tree, self.workshop.open_root(built.local) as root:
            image = OpenedImage(root=root, tree=tree, inside=inside, packages=packages)
            versions = {} if built.pins is None else built.pins.modules
            origins = origins_of(tree, _module_packages(built), versions)
            return take(image, self.workshop.scanner, origins=origins, supplier=self.workshop.supplier)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What was judged before the push; called after it, it makes the evidence."""

    run: Run
    workshop: Workshop
    facts: BuildFacts
    taken: Taken
    boot: BootResult | None

    def __call__(self, candidate: Candidate, report: CheckReport) -> Candidate:
        """Make and store all evidence of a candidate that was pushed; return the candidate with its hashes.

        Raises:
            SbomError: The SBOM is not valid.
            RegistryError: The registry failed.
        """
        run, name = self.run, f"{candidate.line}/{candidate.image}"
        records = run.ledger.read()
        with run.reporter.stage(f"diff {name}"):
            difference = difference_of(candidate, records, self.workshop.snapshots)
        with run.reporter.stage(f"evidence {name}"):
            identity = identity_of(candidate, self.facts, self.workshop, records)
            boot = () if self.boot is None else self.boot.evidence(candidate.digest)
            sbom = evidence_of(self.taken, identity)
            documents = [sbom, report.evidence(candidate.digest), *boot, difference]
            subject = run.store.resolve(candidate.repository.at(candidate.digest))
            return stored(self.workshop, candidate, self.facts, documents, subject)


def difference_of(candidate: Candidate, records: Sequence[Record], snapshots: Snapshots) -> Evidence:
    """Return what differs between a candidate and the last release of its image.

    A host that has no release yet is compared with its base: all else of it is the base's.

    Raises:
        NotFoundError: One of the two is not in the registry.
        RegistryError: The registry failed.
    """
    before = predecessor(records, f"{candidate.line}/{candidate.image}")
    old = None if before.seal is None else f"{before.seal.repository}@{before.seal.digest}"
    because = before.because
    parent = parent_of(candidate, candidates(records))
    if old is None and parent is not None and candidate.tier is Tier.INSTANCE:
        old, because = str(parent.ref), f"{because}; this is what it adds to {parent.name}"
    new = f"{candidate.repository}@{candidate.digest}"
    found = diff(old, new, snapshots, because=because)
    return Evidence(kind=EvidenceKind.DIFF, data=document(found))


def identity_of(
    candidate: Candidate, facts: BuildFacts, workshop: Workshop, records: Sequence[Record]
) -> Identity:
    """Return what the SBOM of a candidate says of it beside what its files tell."""
    builder = workshop.builder
    return Identity(
        name=f"{candidate.line}/{candidate.image}",
        ref=ImageRef(repository=candidate.repository, digest=candidate.digest),
        supplier=workshop.supplier,
        timestamp=facts.timestamp,
        tool_version=workshop.version,
        tier=candidate.tier,
        parent=parent_of(candidate, candidates(records)),
        commit=candidate.source.commit or "",
        vcs=git_uri(builder.remote),
        build="" if builder.ci is None else builder.ci.url,
    )


def stored(
    workshop: Workshop,
    candidate: Candidate,
    facts: BuildFacts,
    documents: Sequence[Evidence],
    subject: Descriptor,
) -> Candidate:
    """Store documents and the provenance that names them; return the candidate with all hashes.

    Args:
        workshop: What evidence is made with.
        candidate: Whose documents they are.
        facts: What it was built from.
        documents: All but the provenance.
        subject: Its manifest, as the registry has it.

    Raises:
        RegistryError: The registry failed.
    """
    byproducts: Mapping[str, Digest] = {
        **candidate.evidence,
        **{one.kind.value: one.digest for one in documents},
    }
    provenance = statement(candidate, facts, workshop.builder, byproducts)
    everything = [*documents, Evidence(kind=EvidenceKind.PROVENANCE, data=provenance)]
    hashes = store_evidence(
        workshop.store,
        candidate.repository,
        subject,
        everything,
        created=dt.datetime.fromtimestamp(facts.timestamp, dt.UTC),
    )
    return replace(candidate, evidence={**candidate.evidence, **hashes})


def _module_packages(built: Built) -> Mapping[str, str]:
    image = built.image
    modules = image.all_modules if isinstance(image, Base | Instance) else ()
    return {module.name: module.package for module in modules}
