"""Builds an upstream image: bootstrapped from packages, or mirrored from a vendor."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from pipeline.domain.catalogue import Upstream
from pipeline.domain.definition import Bootstrap
from pipeline.domain.image import ImageRef
from pipeline.domain.record import Candidate, Origin
from pipeline.verbs.build_facts import upstream_facts
from pipeline.verbs.built import Built
from pipeline.verbs.candidates import describe, examine, package_set
from pipeline.verbs.check import require
from pipeline.verbs.mirror import MirrorOrder, MirrorResult
from pipeline.verbs.ports import Bootstrapper, Run
from pipeline.verbs.source_files import digest_of
from pipeline.verbs.stages import EngineStage, run_engine, run_stage

LATEST = "latest"


class Mirroring(Protocol):
    """Copies a vendor's image into the project's registry."""

    def __call__(self, order: MirrorOrder, *, insecure_source: bool) -> MirrorResult:
        """Mirror one image; see `verbs.mirror.mirror`."""


def bootstrap(run: Run, image: Upstream, source: Bootstrap, bootstrapper: Bootstrapper) -> Built:
    """Make an upstream image from packages, up to the engine's own store.

    Raises:
        BuildFailedError: A stage failed.
    """
    started = run.clock()
    name = f"{image.line}/{image.name}"
    context = run.folders.folder(f"context {name}")
    containerfile = _require_containerfile(image)
    shutil.copytree(containerfile.parent, context, dirs_exist_ok=True)

    def packages(log: Path, on_line: Callable[[str], None]) -> int:
        return bootstrapper.archive(
            source, target=context / "rootfs.tar", timestamp=run.timestamp, log=log, on_line=on_line
        )

    bootstrapped = run_stage(run, f"bootstrap {name}", packages)
    local = run.folders.tag(name)
    links = " ".join(f"{path}={target}" for path, target in sorted(image.persistence.links.items()))
    shaped = run_engine(
        run,
        EngineStage(
            name=f"shape {name}",
            context=context,
            file=context / containerfile.name,
            arguments={"LINKS": links, "TIMESTAMP": str(run.timestamp)},
            tag=local,
            squash=True,
        ),
    )
    logs = {"log bootstrap": digest_of(bootstrapped), "log shape": digest_of(shaped)}
    facts = upstream_facts(run.files, image, timestamp=run.timestamp, options={})
    return Built(image=image, local=local, kernel=None, started=started, evidence=logs, facts=facts)


def copy_upstream(run: Run, image: Upstream, mirroring: Mirroring) -> Candidate:
    """Copy a vendor's image, run its gates and prove it; the caller records the candidate.

    Raises:
        GateRefusedError: A gate said no.
        SignatureError: The vendor's signature does not verify.
        RegistryError: A registry failed.
    """
    assert not isinstance(image.source, Bootstrap)  # noqa: S101 - the caller chose by type
    started = run.clock()
    name = f"{image.line}/{image.name}"
    wanted = parse_source(image.source.source)
    with run.reporter.stage(f"mirror {name}") as stage:
        if image.key is None:
            stage.note(f"no vendor key is configured for {wanted}: its signature is not verified")
        order = MirrorOrder(source=wanted, destination=run.catalogue.repository(image), vendor_key=image.key)
        result = mirroring(order, insecure_source=image.source.insecure)
    with run.reporter.stage(f"gates {name}"):
        local = run.engine.pull(result.destination)
        built = Built(
            image=image,
            local=local,
            kernel=None,
            started=started,
            facts=upstream_facts(run.files, image, timestamp=run.timestamp, options={}),
            origin=Origin(reference=str(wanted), digest=result.digest),
        )
        report, packages = examine(run, image, local, kernel=None)
        require(report)
    finish = run.prover.prepare(run, built, packages)
    return finish(describe(run, built, result.destination, report.results, package_set(packages)), report)


def parse_source(text: str) -> ImageRef:
    """Return a vendor's reference; without tag and digest it means the tag `latest`.

    Raises:
        UsageError: It is no reference.
    """
    last = text.rpartition("/")[2]
    return ImageRef.parse(text if ":" in last or "@" in last else f"{text}:{LATEST}")


def _require_containerfile(image: Upstream) -> Path:
    assert image.containerfile is not None  # noqa: S101 - the loader demands it of every bootstrap
    return image.containerfile
