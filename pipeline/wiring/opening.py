"""Opens images by what people call them, to be compared: from any registry, or from the engine's store.

Rules: a name is resolved to a digest once, before anything is read; images of one registry are opened
together, so that they share the tables of the layers they share; a program is only run in an image, which has
to be pulled for it, when somebody asks for one (rpm's database).
"""

from __future__ import annotations

import contextlib
import platform
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from pipeline.domain.gate import CommandResult
from pipeline.domain.image import Digest, ImageRef
from pipeline.domain.oci import Platform
from pipeline.errors import NotFoundError
from pipeline.verbs.assemble import load_base
from pipeline.verbs.diff import Opened

if TYPE_CHECKING:
    from pipeline.adapters.registry import Registry
    from pipeline.adapters.remembered import Remembered
    from pipeline.adapters.snapshots import Snapshots
    from pipeline.domain.append import BaseImage
    from pipeline.domain.diff.layered import LayeredSnapshot
    from pipeline.wiring.parts import Parts

LOCAL = "local:"
"""What a reference to an image in the engine's store begins with."""

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


class Opening:
    """Implements `verbs.proof.KeptSnapshots`.

    Args:
        parts: The parts of the run.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._known: dict[str, Snapshots] = {}
        self._contents: dict[str, Remembered] = {}
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def open_snapshots(self, *refs: str) -> Iterator[tuple[Opened, ...]]:
        """Open what references name now, in their order.

        A reference is `registry/path@sha256:…`, `registry/path:tag`, `LINE/NAME` for the newest candidate, or
        `local:NAME` for an image in the engine's store.

        Raises:
            NotFoundError: There is no such image.
            RegistryError: It cannot be had, or is not what its digest says.
        """
        if any(ref.startswith(LOCAL) for ref in refs):
            yield tuple(self._local(ref) if ref.startswith(LOCAL) else self._remote([ref])[0] for ref in refs)
            return
        yield self._remote(refs)

    def keep(self, *contents: bytes) -> None:
        """Remember what this run wrote to the project's registry, so that it is not fetched to be read."""
        held = self._remembered(self._parts.registry)
        for one in contents:
            held.keep(one)

    def _remote(self, refs: Sequence[str]) -> tuple[Opened, ...]:
        named = [self._parts.candidate_ref(ref) for ref in refs]
        hosts = {one.repository.registry for one in named}
        if len(hosts) > 1:
            return tuple(self._of_one_registry([one])[0] for one in named)
        return self._of_one_registry(named)

    def layered(self, refs: Sequence[ImageRef]) -> tuple[LayeredSnapshot, ...]:
        """Open images of one registry, by digest, for their files alone (errors as `open_snapshots`)."""
        if not refs:
            return ()
        registry = self._parts.registry_at_ref(refs[0])
        return self._snapshots(registry).open(*self._images(refs, registry))

    def _images(self, refs: Sequence[ImageRef], registry: Registry) -> list[BaseImage]:
        here = Platform(
            os="linux", architecture=_ARCHITECTURES.get(platform.machine(), platform.machine()), variant=""
        )
        contents = self._remembered(registry)
        return [
            load_base(ref.repository.at(ref.digest or registry.resolve(ref).digest), contents, here)
            for ref in refs
        ]

    def _of_one_registry(self, refs: Sequence[ImageRef]) -> tuple[Opened, ...]:
        registry = self._parts.registry_at_ref(refs[0])
        images = self._images(refs, registry)
        snapshots = self._snapshots(registry)
        return tuple(
            Opened(
                name=str(image.ref.repository),
                digest=image.ref.pinned,
                snapshot=snapshot,
                inside=self._inside(image.ref),
            )
            for image, snapshot in zip(images, snapshots.open(*images), strict=True)
        )

    def _local(self, ref: str) -> Opened:
        name = ref.removeprefix(LOCAL)
        identity = self._parts.engine.id_of(name)
        if identity is None:
            raise NotFoundError(
                f"the engine has no image {name!r}", hint="build or pull it, or name one in a registry"
            )
        [snapshot] = self._snapshots(self._parts.registry).open(name)
        digest = Digest(identity if identity.startswith("sha256:") else f"sha256:{identity}")

        def inside(argv: Sequence[str], *, stdin: str = "", timeout: float = 120.0) -> CommandResult:
            return self._parts.engine.run(name, argv, stdin=stdin, timeout=timeout)

        return Opened(name=name, digest=digest, snapshot=snapshot, inside=inside)

    def _inside(self, ref: ImageRef) -> Callable[..., CommandResult]:
        def inside(argv: Sequence[str], *, stdin: str = "", timeout: float = 120.0) -> CommandResult:
            name = self._parts.engine.pull(ref)
            return self._parts.engine.run(name, argv, stdin=stdin, timeout=timeout)

        return inside

    @property
    def local(self) -> Snapshots:
        """Opens images of the engine's store, by their names."""
        return self._snapshots(self._parts.registry)

    def _remembered(self, registry: Registry) -> Remembered:
        from pipeline.adapters.remembered import Remembered  # noqa: PLC0415

        with self._lock:
            return self._contents.setdefault(registry.host, Remembered(registry))

    def _snapshots(self, registry: Registry) -> Snapshots:
        from pipeline.adapters.snapshots import Snapshots  # noqa: PLC0415

        if registry.host not in self._known:
            self._known[registry.host] = Snapshots(
                self._parts.proofs.tables,
                self._remembered(registry),
                processes=self._parts.processes,
                engine=self._parts.engine.command,
                environment=self._parts.engine.environment,
            )
        return self._known[registry.host]
