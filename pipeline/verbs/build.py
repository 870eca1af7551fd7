"""`build` for the upstream and base tiers: one image after the other, each recorded once it is proved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline.domain.catalogue import Base, Upstream
from pipeline.domain.record import Candidate
from pipeline.verbs.build_base import PinHolds, build_base, inputs
from pipeline.verbs.build_upstream import Mirroring, build_upstream
from pipeline.verbs.ports import Bootstrapper, PinStore, Run


def build_upstreams(
    run: Run, images: Sequence[Upstream], *, bootstrapper: Bootstrapper, mirroring: Mirroring
) -> tuple[Candidate, ...]:
    """Build upstream images and record each.

    Raises:
        PipelineError: As `build_upstream`; images before the failing one stay recorded.
    """

    def build(image: Upstream) -> Candidate:
        return build_upstream(run, image, bootstrapper=bootstrapper, mirroring=mirroring)

    return tuple(_recorded(run, build(image)) for image in images)


def build_bases(
    run: Run, bases: Sequence[Base], pins: PinStore, *, images: Path, holds: PinHolds
) -> tuple[Candidate, ...]:
    """Build base images, parents first, and record each.

    What all of them need is checked before the first is built, but for a base that is built on another one
    of this run: its parent's candidate does not exist yet.

    Raises:
        PipelineError: As `build_base.inputs` and `build_base`; images before the failing one stay recorded.
    """
    named = {base.name for base in bases}

    def given(base: Base) -> Callable[[], Candidate]:
        if base.parent in named:
            return lambda: build_base(run, base, inputs(run, base, pins, images=images, holds=holds))
        found = inputs(run, base, pins, images=images, holds=holds)
        return lambda: build_base(run, base, found)

    builds = [given(base) for base in bases]
    return tuple(_recorded(run, build()) for build in builds)


def _recorded(run: Run, candidate: Candidate) -> Candidate:
    with run.reporter.stage(f"record {candidate.line}/{candidate.image}"):
        run.ledger.append([candidate])
    return candidate
