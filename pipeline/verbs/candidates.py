"""Turns a built image into a candidate: gates, inventory and boot, push, read-back, evidence, record.

Order: nothing is pushed before every gate let it go on; nothing is recorded before the registry gave back
the digest that was pushed and holds the evidence. A crash in between leaves at most an unrecorded candidate
tag, never a record of an image that is not there.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.domain.canonical import Json, canonical_digest
from pipeline.domain.catalogue import AnyImage
from pipeline.domain.checks import CheckReport
from pipeline.domain.gate import GateResult, Package, Subject
from pipeline.domain.gates.registry import all_gates
from pipeline.domain.image import Digest, ImageRef, candidate_tag
from pipeline.domain.packages import installed_packages
from pipeline.domain.record import Candidate, GateRecord, candidates
from pipeline.errors import NotFoundError, RegistryError
from pipeline.verbs.built import Built
from pipeline.verbs.check import check, require
from pipeline.verbs.ports import Ledger, Run, inside_of


def examine(
    run: Run, image: AnyImage, local: str, *, kernel: str | None, own: frozenset[str] | None = None
) -> tuple[CheckReport, tuple[Package, ...] | None]:
    """Run every gate on a local image; return the report and its packages.

    Args:
        run: The run.
        image: The definition it is measured by.
        local: The engine's name of the image.
        kernel: Kernel release it must have, None where nothing is pinned.
        own: Paths of an instance's own layer, see `gate.Subject`.
    """
    expected = run.catalogue.expectations(image, kernel)

    inside = inside_of(run.engine, local)

    with run.open_tree(local) as tree:
        packages = installed_packages(tree, inside)
        subject = Subject(
            tier=image.tier,
            tree=tree,
            inside=inside,
            packages=packages,
            expected=expected,
            now=run.clock(),
            own=own,
        )
        return check(subject, all_gates()), packages


def to_candidate(run: Run, built: Built) -> Candidate:
    """Check, push, prove and describe an image; the caller records it.

    Raises:
        GateRefusedError: A gate said no, or could not be checked; nothing was pushed.
        SbomError: Its SBOM lacks something.
        BootTestError: It does not boot; nothing was pushed.
        RegistryError: The registry refused it, or holds something else under the tag afterwards.
    """
    name = f"{built.image.line}/{built.image.name}"
    with run.reporter.stage(f"gates {name}"):
        report, packages = examine(run, built.image, built.local, kernel=built.kernel, own=built.own)
        require(report)
    finish = run.prover.prepare(run, built, packages)
    with run.reporter.stage(f"push {name}"):
        ref = push(run, built)
    return finish(describe(run, built, ref, report.results, package_set(packages)), report)


def describe(
    run: Run, built: Built, ref: ImageRef, gates: Sequence[GateResult], packages: Digest | None
) -> Candidate:
    """Return the record of a candidate that lies at `ref` (tag and digest)."""
    now = run.clock()
    return Candidate(
        time=now,
        author=run.author,
        run=run.folders.run,
        line=built.image.line,
        image=built.image.name,
        tier=built.image.tier,
        repository=ref.repository,
        digest=ref.pinned,
        tag=ref.tag or "",
        parent=built.parent,
        origin=built.origin,
        pins=built.pins,
        source=run.source,
        gates=tuple(GateRecord.of(result) for result in gates),
        builder=run.builder,
        started=built.started,
        finished=now,
        packages=packages,
        evidence=dict(built.evidence),
    )


def latest(ledger: Ledger, line: str, image: str) -> Candidate | None:
    """Return the newest candidate of an image, or None."""
    found = [one for one in candidates(ledger.read()) if (one.line, one.image) == (line, image)]
    return found[-1] if found else None


def require_parent(run: Run, image: AnyImage) -> Candidate:
    """Return the newest candidate of an image's parent.

    Raises:
        NotFoundError: There is none yet.
    """
    name = image.parent or ""
    parent = latest(run.ledger, image.line, name)
    if parent is None:
        tier = run.catalogue.line(image.line).image(name).tier
        raise NotFoundError(
            f"{image.line}/{image.name} is built on {image.line}/{name}, which has no candidate yet",
            hint=f"build it first: pipeline --line {image.line} build --tier {tier}",
        )
    return parent


def push(run: Run, built: Built) -> ImageRef:
    """Push a built image under its candidate tag; return tag and digest.

    Raises:
        NotFoundError: The engine has lost it.
        RegistryError: The registry refused it, or holds something else under the tag afterwards.
    """
    identity = run.engine.id_of(built.local)
    if identity is None:
        raise NotFoundError(f"the engine has lost {built.local}", hint="build again")
    config = Digest(identity if identity.startswith("sha256:") else f"sha256:{identity}")
    tagged = run.catalogue.repository(built.image).tagged(candidate_tag(config))
    pushed = run.engine.push(built.local, tagged, digest_file=run.folders.work / f"{config.short}.digest")
    found = run.store.resolve(tagged).digest
    if found != pushed:
        raise RegistryError(
            f"{tagged} was pushed as {pushed} but is {found}",
            hint="another writer uses this tag, or the registry changes what it stores; nothing was recorded",
        )
    return ImageRef(repository=tagged.repository, tag=tagged.tag, digest=pushed)


def package_set(packages: tuple[Package, ...] | None) -> Digest | None:
    """Return the digest of a package set; None where it is not known."""
    if packages is None:
        return None
    rows: list[Json] = [[one.name, one.version, one.arch] for one in sorted(packages, key=_key)]
    return canonical_digest(rows)


def _key(package: Package) -> tuple[str, str, str]:
    return package.name, package.version, package.arch
