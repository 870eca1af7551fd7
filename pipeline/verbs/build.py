"""`build` for the upstream and base tiers: one image after the other, each recorded once it is proved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

from pipeline.domain.catalogue import Base, Upstream
from pipeline.domain.definition import Bootstrap
from pipeline.domain.record import Candidate
from pipeline.verbs.build_base import PinHolds, inputs, make_base
from pipeline.verbs.build_upstream import Mirroring, bootstrap, copy_upstream
from pipeline.verbs.built import Built
from pipeline.verbs.candidates import to_candidate
from pipeline.verbs.ports import Bootstrapper, PinStore, Run
from pipeline.verbs.reproduce import Make


class Again(Protocol):
    """What is done with an image once it is recorded, while the engine still holds it."""

    def __call__(self, first: Built, candidate: Candidate, make: Make) -> None:
        """Build it a second time with `make`, and keep what differs."""


def build_upstreams(
    run: Run,
    images: Sequence[Upstream],
    *,
    bootstrapper: Bootstrapper,
    mirroring: Mirroring,
    again: Again | None = None,
) -> tuple[Candidate, ...]:
    """Build upstream images and record each; mirrored ones are copied, so there is nothing to build again.

    Raises:
        PipelineError: As `bootstrap`, `copy_upstream` and `to_candidate`; images before the failing one stay
            recorded.
    """

    def build(image: Upstream) -> Candidate:
        if not isinstance(image.source, Bootstrap):
            return _recorded(run, copy_upstream(run, image, mirroring))
        make = partial(bootstrap, image=image, source=image.source, bootstrapper=bootstrapper)
        return _made(run, make, again)

    return tuple(build(image) for image in images)


def build_bases(
    run: Run,
    bases: Sequence[Base],
    pins: PinStore,
    *,
    images: Path,
    holds: PinHolds,
    again: Again | None = None,
) -> tuple[Candidate, ...]:
    """Build base images, parents first, and record each.

    What all of them need is checked before the first is built, but for a base that is built on another one
    of this run: its parent's candidate does not exist yet.

    Raises:
        PipelineError: As `build_base.inputs`, `make_base` and `to_candidate`; images before the failing one
            stay recorded.
    """
    named = {base.name for base in bases}

    def given(base: Base) -> Callable[[], Make]:
        if base.parent in named:
            return lambda: partial(
                make_base, base=base, given=inputs(run, base, pins, images=images, holds=holds)
            )
        found = inputs(run, base, pins, images=images, holds=holds)
        return lambda: partial(make_base, base=base, given=found)

    builds = [given(base) for base in bases]
    return tuple(_made(run, make(), again) for make in builds)


def _made(run: Run, make: Make, again: Again | None) -> Candidate:
    built = make(run)
    candidate = _recorded(run, to_candidate(run, built))
    if again is not None:
        again(built, candidate, make)
    return candidate


def _recorded(run: Run, candidate: Candidate) -> Candidate:
    with run.reporter.stage(f"record {candidate.line}/{candidate.image}"):
        run.ledger.append([candidate])
    return candidate
