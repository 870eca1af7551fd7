"""Makes the evidence of hosts' images that were assembled: in milliseconds, for there are hundreds.

Rules: a host's SBOM is its base's and what its own layer adds; where the layer could change more than that
(a package database, a program, a whiteout) the whole image is scanned; a host without a release is compared
with its base, which says what makes it this host. Called from several threads, once the image is pushed.
"""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pipeline.domain.basepaths import PathLookup
from pipeline.domain.catalogue import Instance
from pipeline.domain.evidence import Evidence, EvidenceKind
from pipeline.domain.image import Digest, ImageRef
from pipeline.domain.oci import Descriptor, parse
from pipeline.domain.provenance import BuildFacts
from pipeline.domain.record import Candidate, Parent, Record
from pipeline.domain.sbom.document import Identity
from pipeline.domain.sbom.inheritance import BaseSbom, load_base
from pipeline.errors import NotFoundError
from pipeline.verbs.assemble import Assembled
from pipeline.verbs.boot_test import require as require_boot
from pipeline.verbs.build_facts import instance_facts
from pipeline.verbs.built import Built
from pipeline.verbs.candidates import describe, package_set
from pipeline.verbs.evidence import load_evidence
from pipeline.verbs.examination import Examined
from pipeline.verbs.ports import Run, inside_of
from pipeline.verbs.proof import Workshop, difference_of, identity_of, stored
from pipeline.verbs.sbom import OpenedImage, inherited_sbom, sbom_of


@dataclass(frozen=True, slots=True, kw_only=True)
class HostBatch:
    """The hosts of one base in one run.

    Attributes:
        run: The run.
        base: The base's candidate.
        hosts: Name to definition.
        examined: What the gates said, by host; a host that is not in it was proved before.
        paths: The base's path list.
        records: The ledger.
        timestamp: Date of the hosts' files.
        started: When the build began.
    """

    run: Run
    base: Candidate
    hosts: Mapping[str, Instance]
    examined: Mapping[str, Examined]
    paths: PathLookup
    records: Sequence[Record]
    timestamp: int
    started: dt.datetime

    def candidate(self, made: Assembled, ref: ImageRef, facts: BuildFacts) -> Candidate:
        """Return the record of a host's image, without its evidence but the layer."""
        examined = self.examined[made.order.host]
        built = Built(
            image=self.hosts[made.order.host],
            local="",
            kernel=None,
            started=self.started,
            facts=facts,
            parent=Parent(image=f"{self.base.line}/{self.base.image}", digest=self.base.digest),
            pins=self.base.pins,
            evidence={"layer": made.layer.digest},
        )
        return describe(self.run, built, ref, examined.report.results, package_set(examined.packages))

    def facts(self, made: Assembled) -> BuildFacts:
        """Return what a host's image was built from."""
        host = self.hosts[made.order.host]
        return instance_facts(self.run.files, host, timestamp=self.timestamp, options={})


class ProvesHosts(Protocol):
    """Implements `prove` of `assemble`, and keeps what it proved."""

    @property
    def done(self) -> Mapping[str, Candidate]:
        """The proved candidates, by host."""

    def __call__(self, made: Assembled, ref: ImageRef) -> None:
        """Prove one host's image."""


@dataclass(slots=True, kw_only=True)
class HostProof:
    """Implements `ProvesHosts` for a batch.

    Attributes:
        workshop: What evidence is made with.
        batch: The hosts.
        boot: Whether to boot each image.
        done: The proved candidates, by host.
    """

    workshop: Workshop
    batch: HostBatch
    boot: bool = False
    done: dict[str, Candidate] = field(default_factory=dict)
    _inherited: BaseSbom | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _engine: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, made: Assembled, ref: ImageRef) -> None:
        """Prove one host's image.

        Raises:
            NotFoundError: The base has no SBOM.
            SbomError: The SBOM is not valid or not complete.
            BootTestError: It was to be booted and does not.
            RegistryError: The registry failed.
        """
        batch, name = self.batch, made.order.host
        examined = batch.examined.get(name)
        if examined is None:
            return
        facts = batch.facts(made)
        candidate = batch.candidate(made, ref, facts)
        identity = identity_of(candidate, facts, self.workshop, batch.records)
        image = made.image
        self.workshop.snapshots.keep(image.manifest, image.config, made.layer.data)
        documents = [
            self._sbom(made, identity, examined),
            examined.report.evidence(candidate.digest),
            *self._booted(candidate),
            difference_of(candidate, batch.records, self.workshop.snapshots),
        ]
        # Its tag was read back just before, so the registry has exactly these bytes.
        media_type = parse(image.manifest, f"the manifest {ref}").media_type
        subject = Descriptor(media_type=media_type, digest=image.digest, size=len(image.manifest))
        self.done[name] = stored(self.workshop, candidate, facts, documents, subject)

    def _sbom(self, made: Assembled, identity: Identity, examined: Examined) -> Evidence:
        found = inherited_sbom(self._base(), made.placement.entries, identity, paths=self.batch.paths)
        if isinstance(found, Evidence):
            return found
        with (
            self.batch.run.reporter.stage(f"sbom {identity.name}: scanned in full, {found.reason}"),
            self._engine,
        ):
            return self._scanned(identity, examined)

    def _scanned(self, identity: Identity, examined: Examined) -> Evidence:
        local = self.batch.run.engine.pull(identity.ref)

        inside = inside_of(self.batch.run.engine, local)

        with self.batch.run.open_tree(local) as tree, self.workshop.open_root(local) as root:
            image = OpenedImage(root=root, tree=tree, inside=inside, packages=examined.packages)
            return sbom_of(image, self.workshop.scanner, identity, origins=self._base().origins)

    def _booted(self, candidate: Candidate) -> tuple[Evidence, ...]:
        if not self.boot:
            return ()
        name = f"{candidate.line}/{candidate.image}"
        with self._engine:
            local = self.batch.run.engine.pull(candidate.repository.at(candidate.digest))
            result = self.workshop.boot(local, name=name, full=True)
        require_boot(result, name)
        return result.evidence(candidate.digest)

    def _base(self) -> BaseSbom:
        with self._lock:
            if self._inherited is None:
                self._inherited = self._loaded()
            return self._inherited

    def _loaded(self) -> BaseSbom:
        expected: Digest | None = self.batch.base.evidence.get(EvidenceKind.SBOM.value)
        if expected is None:
            name = f"{self.batch.base.line}/{self.batch.base.image}"
            raise NotFoundError(
                f"the candidate {name} has no SBOM, which its hosts inherit",
                hint=f"build it again: pipeline --line {self.batch.base.line} build --tier base",
            )
        ref = self.batch.base.repository.at(self.batch.base.digest)
        data = load_evidence(
            self.workshop.store,
            self.batch.base.repository,
            self.batch.base.digest,
            EvidenceKind.SBOM,
            expected,
        )
        return load_base(data, ref, recorded=expected)
