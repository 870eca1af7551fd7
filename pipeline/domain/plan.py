"""The plan of a build: which images, from which parent digest, with which pins, in which order.

A plan is data: `plan` shows it, `build --dry-run` is the same plan, `build` follows it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.domain.catalogue import AnyImage, Base, Catalogue, Line, Upstream
from pipeline.domain.definition import Bootstrap
from pipeline.domain.image import Digest, Tier
from pipeline.domain.pin import Pin
from pipeline.errors import UsageError

NEW = "built in this run"
"""What stands for a parent's digest that this run will make."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One image of a plan.

    Attributes:
        image: `line/name`.
        tier: Its tier.
        repository: Where its candidate is pushed.
        source: What it starts from: `bootstrap trixie`, `mirror <reference>`, or the parent's `line/name`.
        parent: The parent's digest, `NEW`, or None when there is none yet; for an upstream always None.
        kernel: Pinned kernel release, or None.
        modules: Module set to its pinned package version ("" where no pin knows one).
        obstacles: Why the step cannot be done as things are; empty when it can.
    """

    image: str
    tier: Tier
    repository: str
    source: str
    parent: str | None
    kernel: str | None = None
    modules: Mapping[str, str] = field(default_factory=dict)
    obstacles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What would be built, parents first."""

    line: str
    steps: tuple[Step, ...]


def select(
    line: Line, *, tier: Tier | None = None, names: Sequence[str] = (), hosts: Sequence[str] = ()
) -> tuple[AnyImage, ...]:
    """Return the images that are asked for, parents first.

    Args:
        line: The line.
        tier: Only images of this tier; None for all.
        names: Only these images.
        hosts: Only these instances.

    Raises:
        UsageError: A name does not exist, or is of another tier.
    """
    wanted = {*names, *hosts}
    for name in sorted(wanted):
        image = line.image(name)
        allowed = Tier.INSTANCE if name in hosts else tier
        if allowed is not None and image.tier is not allowed:
            raise UsageError(
                f"{line.name}/{name} is of the tier {image.tier}, not {allowed}",
                hint=f"ask for it with --tier {image.tier}",
            )
    return tuple(
        image
        for image in line.images.values()
        if (tier is None or image.tier is tier) and (not wanted or image.name in wanted)
    )


def make_plan(
    catalogue: Catalogue,
    line: Line,
    images: Sequence[AnyImage],
    *,
    newest: Mapping[str, Digest],
    pins: Mapping[str, Pin],
) -> Plan:
    """Return the plan for images of one line.

    Args:
        catalogue: The definitions.
        line: The line.
        images: What is to be built, parents first.
        newest: Image name to the digest of its newest candidate.
        pins: Base name to its pin.
    """
    building: set[str] = set()
    steps: list[Step] = []
    for image in images:
        steps.append(_step(catalogue, line, image, building=building, newest=newest, pins=pins))
        building.add(image.name)
    return Plan(line=line.name, steps=tuple(steps))


def _step(
    catalogue: Catalogue,
    line: Line,
    image: AnyImage,
    *,
    building: set[str],
    newest: Mapping[str, Digest],
    pins: Mapping[str, Pin],
) -> Step:
    repository = str(catalogue.repository(image))
    named = f"{line.name}/{image.name}"
    if isinstance(image, Upstream):
        return Step(
            image=named, tier=image.tier, repository=repository, source=_upstream_source(image), parent=None
        )
    parent = image.parent or ""
    digest = NEW if parent in building else str(newest[parent]) if parent in newest else None
    base = image if isinstance(image, Base) else _base_of(line, image)
    pin = pins.get(base.name) if base is not None else None
    obstacles = []
    if digest is None:
        tier = line.image(parent).tier
        obstacles.append(f"{line.name}/{parent} has no candidate yet: build --tier {tier} first")
    if isinstance(image, Base) and pin is None:
        obstacles.append(f"no kernel is pinned: run `pipeline --line {line.name} pin`")
    return Step(
        image=named,
        tier=image.tier,
        repository=repository,
        source=f"{line.name}/{parent}",
        parent=digest,
        kernel=pin.kernel if pin is not None else None,
        modules=_modules(base, pin),
        obstacles=tuple(obstacles),
    )


def _base_of(line: Line, image: AnyImage) -> Base | None:
    return next((one for one in line.parents(image) if isinstance(one, Base)), None)


def _modules(base: Base | None, pin: Pin | None) -> Mapping[str, str]:
    if base is None:
        return {}
    versions = pin.modules if pin is not None else {}
    return {module.name: versions.get(module.name, "") for module in base.all_modules}


def _upstream_source(image: Upstream) -> str:
    if isinstance(image.source, Bootstrap):
        return f"bootstrap {image.source.suite}"
    return f"mirror {image.source.source}"
