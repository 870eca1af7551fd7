"""`build --verify-reproducible`: each image is built a second time, apart in time and folder, and compared.

Rules: the second build gets nothing of the first one's but the definitions and the date that files bear; it
is pushed only when it is the same image (then there is nothing new to push), so that nothing that no gate
looked at is ever in the registry; hosts are rendered and packed again, not pushed again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from pipeline.domain.append import BaseImage
from pipeline.domain.diff.layered import LayeredSnapshot
from pipeline.domain.image import Digest, ImageRef
from pipeline.domain.oci import digest_of, load, parse_config
from pipeline.domain.reproducible import (
    Comparison,
    LayerDifference,
    entry_differences,
    layer_differences,
    setting_differences,
)
from pipeline.errors import GateRefusedError, NotFoundError
from pipeline.verbs.assemble import Assembled, BasePaths, HostOrder, Store, assemble, load_base
from pipeline.verbs.built import Built
from pipeline.verbs.ports import Run

_TITLE = "org.opencontainers.image.title"

Make = Callable[[Run], Built]
"""Builds one image up to the engine's own store: no gates, no push."""

Push = Callable[[Run, Built], ImageRef]
"""Pushes a built image under its candidate tag."""


class LocalImages(Protocol):
    """Images of the engine's store, opened to be compared."""

    def open(self, *images: str) -> tuple[LayeredSnapshot, ...]:
        """Return snapshots of local images, by their names."""


def build_again(
    again: Run, first: Built, digest: Digest, *, make: Make, push: Push, images: LocalImages
) -> Comparison:
    """Build an image a second time and compare it with the first build.

    Args:
        again: A run of its own, with folders and tags of its own; its timestamp is the first run's.
        first: The first build, still in the engine's store.
        digest: Digest of its manifest, as it was pushed.
        make: Builds it.
        push: Pushes it.
        images: Opens both builds.

    Raises:
        BuildFailedError: The second build failed.
        NotFoundError: The engine lost one of the two.
        RegistryError: The registry failed.
    """
    name = f"{first.image.line}/{first.image.name}"
    second = make(again)
    configs = _config(again, first), _config(again, second)
    if configs[0] == configs[1]:
        with again.reporter.stage(f"push {name} again"):
            pushed = push(again, second)
        return Comparison(image=name, manifests=(digest, pushed.pinned), configs=configs)
    with again.reporter.stage(f"compare {name}"):
        one, two = images.open(first.local, second.local)
        return Comparison(
            image=name,
            manifests=(digest, None),
            configs=configs,
            layers=layer_differences(one, two),
            settings=setting_differences(one.config, two.config),
        )


def assemble_again(
    orders: Sequence[HostOrder],
    recorded: Mapping[str, Digest],
    *,
    base: BaseImage,
    store: Store,
    paths: BasePaths,
    timestamp: int,
) -> tuple[Comparison, ...]:
    """Assemble hosts' images twice more, push neither, and compare them with what was built.

    Args:
        orders: The hosts; their trees are rendered anew each time.
        recorded: Host to the digest that was built; hosts without one are left out.
        base: The base they stand on.
        store: The registry that holds the base and what was built; nothing is written to it.
        paths: The base's path list.
        timestamp: Date of the hosts' files.

    Raises:
        AssemblyError: A host's tree does not fit its base.
        RegistryError: The registry failed.
    """
    wanted = [order for order in orders if order.host in recorded]
    one, two = (
        _assembled(wanted, base=base, store=store, paths=paths, timestamp=timestamp) for _ in range(2)
    )
    return tuple(
        _compared(
            load_base(order.repository.at(recorded[order.host]), store), one[order.host], two[order.host]
        )
        for order in wanted
    )


def require_same(found: Sequence[Comparison]) -> None:
    """Let images pass that were the same twice.

    Raises:
        GateRefusedError: One was not.
    """
    differing = [one for one in found if not one.same]
    if differing:
        told = "; ".join(f"{one.image}: {one.verdict}" for one in differing)
        raise GateRefusedError(
            f"{len(differing)} of {len(found)} images did not come out the same twice: {told}",
            hint="see the differing paths above; remove what makes them in the layer that makes them",
        )


class _Kept:
    """Keeps what was assembled and lets nothing of it go on to the registry."""

    def __init__(self) -> None:
        self.made: dict[str, Assembled] = {}
        self._lock = threading.Lock()

    def __call__(self, made: Assembled) -> None:
        with self._lock:
            self.made[made.order.host] = made
        raise GateRefusedError("assembled to be compared", hint="nothing is wrong: it is not pushed")


def _assembled(
    orders: Sequence[HostOrder], *, base: BaseImage, store: Store, paths: BasePaths, timestamp: int
) -> dict[str, Assembled]:
    kept = _Kept()
    results = assemble(orders, base=base, store=store, paths=paths, timestamp=timestamp, examine=kept)
    for result in results:
        if result.host not in kept.made and result.error is not None:
            raise result.error
    return kept.made


def _compared(built: BaseImage, one: Assembled, two: Assembled) -> Comparison:
    """Compare what was built with two assemblies, of which the one that differs, if any, counts."""
    image = one.order.labels.get(_TITLE, one.order.host)
    recorded = built.ref.pinned
    other = one if one.image.digest != recorded else two
    configs = digest_of(built.config), digest_of(other.image.config)
    if other.image.digest == recorded:
        return Comparison(image=image, manifests=(recorded, recorded), configs=configs)
    settings = [load(data, f"the config of {image}") for data in (built.config, other.image.config)]
    diff_ids = parse_config(built.config).diff_ids
    layer = LayerDifference(
        number=len(diff_ids),
        diff_ids=(diff_ids[-1] if diff_ids else None, other.layer.diff_id),
        created_by=str(settings[1]["history"][-1].get("created_by", "")),
        paths=entry_differences(one.placement.entries, two.placement.entries),
    )
    return Comparison(
        image=image,
        manifests=(recorded, other.image.digest),
        configs=configs,
        layers=(layer,) if layer.diff_ids[0] != layer.diff_ids[1] else (),
        settings=setting_differences(settings[0], settings[1]),
    )


def _config(run: Run, built: Built) -> Digest:
    found = run.engine.id_of(built.local)
    if found is None:
        raise NotFoundError(f"the engine has lost {built.local}", hint="build again")
    return Digest(found if found.startswith("sha256:") else f"sha256:{found}")
