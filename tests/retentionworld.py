"""A project with releases in a real registry and a real shared ledger, which is pruned and copied from.

The registry is reached through a proxy that can be told to fail and that keeps its address when the registry
behind it is replaced, so that one world can be made once and spoilt often.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import io
import multiprocessing
import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from faultyregistry import FaultyRegistry, faulty_registry
from ledgers import git, ledger
from records import NOON, candidate, deployment, seal
from registries import running_registry

from images import TinyImage, descriptor, index_of, push, spelled, tiny_image
from pipeline.adapters.ledger import Ledger
from pipeline.adapters.referrers import Referrers
from pipeline.adapters.registry import Registry
from pipeline.adapters.transport import Patience
from pipeline.domain.artifact import artifact_of, fallback_tag
from pipeline.domain.decision import Release
from pipeline.domain.evidence import Evidence, EvidenceKind
from pipeline.domain.image import Digest, Repository, Tier, candidate_tag
from pipeline.domain.oci import OCI_INDEX, OCI_MANIFEST, Descriptor, digest_of
from pipeline.domain.record import Candidate, Parent
from pipeline.domain.release import Seal
from pipeline.domain.retention import Limits
from pipeline.domain.retention_plan import PruneResult
from pipeline.render.progress import Mode, make
from pipeline.verbs.prune import PruneOrder, PruneParts, prune

LATER = NOON + dt.timedelta(days=400)
LIMITS = Limits(releases=2, candidate_days=30)
QUICK = Patience(attempts=3, first=0.01, longest=0.05, read=20)
SILENT = make(Mode.QUIET, io.StringIO(), clock=lambda: 0.0)
EMPTY = "application/vnd.oci.empty.v1+json"


class World:
    """One project: a clone with a remote, a registry, and what was released."""

    def __init__(self, folder: Path, host: str) -> None:
        self.folder, self.host = folder, host
        self.registry = Registry(host, insecure=True, patience=QUICK)
        self.hub, self.clone = folder / "hub.git", folder / "clone"
        self._number = 0
        self.limits = LIMITS

    def begin(self) -> None:
        git(self.folder, "init", "-q", "--bare", str(self.hub))
        git(self.folder, "init", "-q", "-b", "main", str(self.clone))
        git(self.clone, "remote", "add", "origin", str(self.hub))

    def ledger(self) -> Ledger:
        return ledger(self.clone, "origin")

    def repository(self, image: str) -> Repository:
        return Repository(registry=self.host, path=f"os/debian/{image}")

    def candidate(
        self,
        image: str,
        tier: Tier,
        parent: Seal | Candidate | None = None,
        *,
        days: int = 0,
        index: bool = False,
    ) -> Candidate:
        """Build, push and record a candidate with evidence; an index has two platforms."""
        self._number += 1
        repository = self.repository(image)
        text = f"{image} {self._number}"
        made = [tiny_image("amd64", text)] + ([tiny_image("arm64", text)] if index else [])
        digest = self._pushed(repository, made)
        below = None if parent is None else Parent(image=f"debian/{parent.image}", digest=parent.digest)
        record = candidate(
            self._number, image=image, tier=tier, repository=repository, digest=digest, parent=below,
            tag=candidate_tag(digest), time=NOON + dt.timedelta(days=days, minutes=self._number),
        )  # fmt: skip
        self.registry.put_manifest(repository, record.tag, self.registry.manifest(repository.at(digest)))
        evidence = self._proved(repository, digest)
        record = replace(record, evidence=evidence)
        self.ledger().append([record])
        return record

    def _pushed(self, repository: Repository, made: list[TinyImage]) -> Digest:
        if len(made) == 1:
            return push(self.registry, repository, made[0])
        for one in made:
            push(self.registry, repository, one)
        data = index_of(*made)
        return self.registry.put_manifest(repository, digest_of(data), data)

    def _proved(self, repository: Repository, digest: Digest) -> dict[str, Digest]:
        subject = self.registry.resolve(repository.at(digest))
        documents = [
            Evidence(kind=kind, data=f'{{"{kind.value}":"{digest}"}}'.encode())
            for kind in (EvidenceKind.SBOM, EvidenceKind.GATES)
        ]
        referrers = Referrers(self.registry, jitter=lambda: 0.5, pause=lambda _: None)
        referrers.store(repository, digest, [artifact_of(subject, one, NOON) for one in documents])
        return {one.kind.value: one.digest for one in documents}

    def release(self, of: Candidate, version: str, parent: Seal | None = None) -> Seal:
        """Sign, tag and record a release; its bundle has no tag, the list of referrers alone names it."""
        manifest = self.registry.manifest(of.repository.at(of.digest))
        below = None if parent is None else Release(version=parent.version, digest=parent.digest)
        record = seal(version, of=of, parent=below)
        self.sign(of)
        self.bundle(of.repository, of.digest)
        for tag in (f"v{version}", *record.aliases):
            self.registry.put_manifest(of.repository, tag, manifest)
        self.ledger().append([record])
        return record

    def sign(self, of: Candidate) -> None:
        """Put something that looks like a signature where hosts look for one."""
        identity = {"docker-reference": str(of.repository)}
        image = {"docker-manifest-digest": of.digest.value}
        payload = spelled({"critical": {"identity": identity, "image": image}})
        self._put_artifact(of.repository, payload, tag=f"sha256-{of.digest.hex}.sig")

    def bundle(self, repository: Repository, digest: Digest) -> Digest:
        subject = self.registry.resolve(repository.at(digest))
        found, size = self._put_artifact(repository, f"bundle of {digest}".encode(), subject=subject)
        listed = self.registry.unparsed(repository.tagged(fallback_tag(digest)))
        entry = {"mediaType": OCI_MANIFEST, "digest": found.value, "size": size, "artifactType": "x/bundle"}
        data = listed[: listed.rindex(b"]")] + b"," + spelled(entry) + listed[listed.rindex(b"]") :]
        self.registry.put_unread(repository, fallback_tag(digest), data, OCI_INDEX)
        return found

    def _put_artifact(
        self, repository: Repository, blob: bytes, *, tag: str = "", subject: Descriptor | None = None
    ) -> tuple[Digest, int]:
        value: dict[str, object] = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": descriptor(EMPTY, b"{}"),
            "layers": [descriptor("application/vnd.dev.cosign.simplesigning.v1+json", blob)],
        }
        if subject is not None:
            value["subject"] = {
                "mediaType": subject.media_type, "digest": subject.digest.value, "size": subject.size,
            }  # fmt: skip
        data = spelled(value)
        for part in (b"{}", blob):
            self.registry.put_blob(repository, part)
        return self.registry.put_manifest(repository, tag or digest_of(data), data), len(data)

    def fill(self) -> None:
        """A base and a host on it, three releases each; the host ran the last two; two candidates."""
        base: Seal | None = None
        for number in range(1, 4):
            made = self.candidate("base", Tier.BASE, index=number == 1)
            base = self.release(made, f"1.{number}.0")
            host = self.candidate("web-1", Tier.INSTANCE, base)
            sealed = self.release(host, f"1.{number}.0", base)
            if number > 1:
                self.ledger().append([deployment(sealed)])
        self.candidate("base", Tier.BASE)
        self.candidate("base", Tier.BASE, days=390)

    def fill_a_little(self) -> None:
        """A base with a release that goes and one that stays, and another with two candidates."""
        for version in ("1.1.0", "1.2.0"):
            self.release(self.candidate("base", Tier.BASE, index=version == "1.1.0"), version)
        for _ in range(2):
            self.candidate("web-1", Tier.INSTANCE)

    def prune(self, *, apply: bool = False, order: PruneOrder | None = None, **more: object) -> PruneResult:
        parts = PruneParts(
            store=self.registry, ledger=self.ledger(), reporter=SILENT, author="Ben", clock=lambda: LATER,
            jobs=4, **more,  # type: ignore[arg-type]
        )  # fmt: skip
        return prune(order or PruneOrder(limits=self.limits, apply=apply), parts)

    def prune_and_die(self, at: int) -> bool:
        """Prune in a process of its own that is killed before its step `at`; return whether it was."""
        process = multiprocessing.get_context("fork").Process(target=self._mortal, args=(at,))
        process.start()
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL)
        return process.exitcode != 0

    def _mortal(self, at: int) -> None:
        steps = 0

        def step(_name: str) -> None:
            nonlocal steps
            steps += 1
            if steps == at:
                os.kill(os.getpid(), signal.SIGKILL)

        self.registry = Registry(self.host, insecure=True, patience=QUICK)
        self.prune(apply=True, on_step=step)

    def there(self) -> dict[str, set[str]]:
        """Every tag with its digest, and every digest that can be reached, by repository."""
        found = {}
        for image in ("base", "web-1"):
            repository = self.repository(image)
            tags = self.registry.tags(repository)
            found[image] = {f"{tag} {self.registry.resolve(repository.tagged(tag)).digest}" for tag in tags}
        return found


@contextlib.contextmanager
def world(folder: Path, *, little: bool = False) -> Iterator[tuple[World, FaultyRegistry]]:
    """A world that is filled, and the proxy before its registry."""
    with running_registry(folder / "registry") as real, faulty_registry(real.host) as proxy:
        made = World(folder, proxy.host)
        made.begin()
        made.fill_a_little() if little else made.fill()
        yield made, proxy


@contextlib.contextmanager
def copy_of(original: World, proxy: FaultyRegistry, folder: Path) -> Iterator[World]:
    """The same world once more: its storage, its remote and its clone, behind the same address."""
    for name in ("registry", "hub.git", "clone"):
        shutil.copytree(original.folder / name, folder / name)
    git(folder / "clone", "remote", "set-url", "origin", str(folder / "hub.git"))
    before = proxy.upstream
    with running_registry(folder / "registry") as real:
        proxy.upstream = real.host
        try:
            made = World(folder, proxy.host)
            made.limits = original.limits
            yield made
        finally:
            proxy.upstream = before
