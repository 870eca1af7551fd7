"""Releases in a real registry and a real ledger that a test forges, and what audit and verify say of them."""

from __future__ import annotations

import itertools
import shutil
from functools import partial
from pathlib import Path

from registries import RunningRegistry
from releaseworld import ReleaseWorld, Restorable

from images import push, tiny_image
from pipeline.domain.audit import AuditReport, What
from pipeline.domain.decision import Approval
from pipeline.domain.image import Digest, Tier
from pipeline.domain.record import Candidate
from pipeline.domain.release import Seal
from pipeline.verbs.audit import audit
from pipeline.verbs.verify import verify, verify_release

_COUNT = itertools.count()
WEB, BASE, UPSTREAM = "debian/web-1", "debian/base", "debian/upstream"


class Made:
    """The world with its releases, and what puts it back."""

    def __init__(self, folder: Path, running: RunningRegistry) -> None:
        (folder / "world").mkdir()
        self.running = running
        self.world = ReleaseWorld(folder / "world", running.host)
        upstream = self.world.release("upstream", Tier.UPSTREAM)
        base = self.world.release("base", Tier.BASE, on=upstream)
        self.world.release("web-1", Tier.INSTANCE, on=base)
        self.world.release("web-1", Tier.INSTANCE, "1.1.0", on=base)
        self.kept = Restorable(folder / "kept", folder / "world", running.storage)
        self.now = self.world.now


def seal(world: ReleaseWorld, name: str) -> Seal:
    return world.seals[name]


def new_host(world: ReleaseWorld, image: str = "db-1") -> tuple[Candidate, dict[str, bytes]]:
    """Build a host on the base that is released; return its candidate and its documents."""
    return world.built(image, Tier.INSTANCE, on=seal(world, "base 1.0.0"))


def sealed(
    world: ReleaseWorld,
    one: Candidate,
    documents: dict[str, bytes],
    approvals: list[Approval],
    **changes: object,
) -> Seal:
    """Do by hand what a seal does, without asking anything."""
    world.reserved(one, "1.0.0", approvals)
    world.tagged(one, "v1.0.0", "v1.0", "v1", "current")
    signatures = world.signed(one, documents, approvals)
    made = world.seal_of(one, "1.0.0", approvals, signatures, **changes)
    world.write(made)
    return made


def another(world: ReleaseWorld, image: str) -> Digest:
    """Push an image that nobody knows; each is another one, for the registry remembers what it once had."""
    return push(world.registry, world.repository(image), tiny_image(text=f"implant {next(_COUNT)}"))


def retag(world: ReleaseWorld, image: str, tag: str, to: Digest) -> None:
    repository = world.repository(image)
    world.registry.put_manifest(repository, tag, world.registry.manifest(repository.at(to)))


def remove_tag(made: Made, image: str, tag: str) -> None:
    """Remove a tag as who can reach the registry's files does; its API removes whole manifests alone."""
    shutil.rmtree(
        made.running.storage / f"docker/registry/v2/repositories/os/debian/{image}/_manifests/tags/{tag}"
    )


def looked(world: ReleaseWorld, *images: str, deep: bool = False) -> AuditReport:
    parts = world.verify_parts()
    return audit(
        world.audit_parts(),
        images=images,
        deep=(lambda _: partial(verify_release, parts=parts)) if deep else None,
    )


def found(report: AuditReport) -> list[tuple[What, str, str]]:
    return [(one.what, one.image, one.release) for one in report.findings]


def said(report: AuditReport) -> str:
    return "\n".join(one.text for one in report.findings)


def problems(world: ReleaseWorld, ref: str) -> str:
    return "\n".join(verify(ref, world.verify_parts()).problems)
