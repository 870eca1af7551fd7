"""A fleet's images without a build loop: each host's tree becomes one layer, appended in the registry.

Rules: the base is neither pulled nor unpacked; its blobs are mounted from repository to repository, and
copied where a registry refuses that; the manifest goes last, so a run that is cut off leaves no image that
lacks a blob; a host whose image is there already costs one request; one host's failure is that host's own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from typing import Protocol

from pipeline.domain.append import Appended, BaseImage, append
from pipeline.domain.basepaths import PathLookup
from pipeline.domain.fleet import Outcome
from pipeline.domain.image import Digest, ImageRef, Repository, candidate_tag
from pipeline.domain.layer import Layer, layer_of
from pipeline.domain.oci import Descriptor, Index, Platform, parse, select
from pipeline.domain.placement import Placement, TreeEntry, place
from pipeline.errors import InternalError, InterruptedRunError, NotFoundError, PipelineError, RegistryError


class Manifests(Protocol):
    """Manifests of a registry."""

    def resolve(self, ref: ImageRef) -> Descriptor:
        """Return what a reference names now."""

    def manifest(self, ref: ImageRef) -> bytes:
        """Return a manifest or index, checked against its digest."""

    def put_manifest(self, repository: Repository, reference: str | Digest, data: bytes) -> Digest:
        """Write a manifest, read it back, return its digest."""


class Blobs(Protocol):
    """Blobs of a registry."""

    def blob(self, repository: Repository, digest: Digest) -> bytes:
        """Return a small blob."""

    def has_blob(self, repository: Repository, digest: Digest) -> bool:
        """Tell whether a repository has a blob."""

    def mount_blob(self, repository: Repository, digest: Digest, source: Repository) -> bool:
        """Let a repository have a blob of another one; False when the registry refuses."""

    def put_blob(self, repository: Repository, data: bytes) -> Digest:
        """Upload a small blob."""

    def stream_blob(self, repository: Repository, digest: Digest) -> Iterator[bytes]:
        """Yield a blob in pieces, checked at the end."""

    def put_stream(
        self, repository: Repository, digest: Digest, size: int, chunks: Callable[[], Iterable[bytes]]
    ) -> None:
        """Upload a blob from pieces."""


class Store(Manifests, Blobs, Protocol):
    """The registry that holds the base and takes the hosts; used from several threads."""


class BasePaths(Protocol):
    """Path lists of bases."""

    def table(self, base: BaseImage) -> PathLookup:
        """Return a base's path list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostOrder:
    """One host to assemble.

    Attributes:
        host: Its name.
        repository: Where its image goes, in the base's registry.
        tree: Makes its tree; called on a worker thread, so that rendering is part of the host's own work.
        labels: Labels of its image beside the base's.
    """

    host: str
    repository: Repository
    tree: Callable[[], Sequence[TreeEntry]]
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembled:
    """One host's image before anything of it is in the registry."""

    order: HostOrder
    placement: Placement
    layer: Layer
    image: Appended


def _nothing(_: Assembled) -> None:
    return


def _not_proved(_: Assembled, __: ImageRef) -> None:
    return


@dataclass(frozen=True, slots=True, kw_only=True)
class HostResult:
    """What became of one host.

    Attributes:
        host: Its name.
        outcome: Built, unchanged or failed.
        image: The candidate by tag and digest; None when it failed.
        layer: Digest of the host's own layer; None when it failed.
        kept: Base directories that kept their mode or owner though the tree has another.
        error: Why it failed.
    """

    host: str
    outcome: Outcome
    image: ImageRef | None = None
    layer: Digest | None = None
    kept: tuple[str, ...] = ()
    error: PipelineError | None = None


class Contents(Protocol):
    """What a registry has by digest, to read."""

    def manifest(self, ref: ImageRef) -> bytes:
        """Return a manifest or index, checked against its digest."""

    def blob(self, repository: Repository, digest: Digest) -> bytes:
        """Return a small blob."""


def load_base(ref: ImageRef, store: Contents, platform: Platform | None = None) -> BaseImage:
    """Read a base's manifest and config.

    Args:
        ref: By digest.
        store: Its registry.
        platform: Which manifest to take where the digest is an index.

    Raises:
        UsageError: The reference is by tag only.
        NotFoundError: There is no such base, or none for the platform.
        RegistryError: The registry fails, or the base is an index and no platform is given.
    """
    pinned = ref.repository.at(ref.pinned)
    data = store.manifest(pinned)
    parsed = parse(data, f"the manifest {pinned}")
    if isinstance(parsed, Index):
        if platform is None:
            raise RegistryError(f"{pinned} is an index", hint="name the platform, or one manifest's digest")
        pinned = ref.repository.at(select(parsed, platform).digest)
        data = store.manifest(pinned)
        parsed = parse(data, f"the manifest {pinned}")
    if isinstance(parsed, Index):
        raise RegistryError(f"{pinned} is an index within an index", hint="name one manifest's digest")
    config = store.blob(ref.repository, parsed.config.digest)
    return BaseImage(ref=pinned, manifest=data, config=config)


def assemble(
    orders: Sequence[HostOrder],
    *,
    base: BaseImage,
    store: Store,
    paths: BasePaths,
    timestamp: int,
    jobs: int = 32,
    stop: threading.Event | None = None,
    examine: Callable[[Assembled], None] = _nothing,
    prove: Callable[[Assembled, ImageRef], None] = _not_proved,
    on_result: Callable[[HostResult], None] = lambda _: None,
) -> tuple[HostResult, ...]:
    """Assemble the images of many hosts; return one result a host, in the order given.

    Args:
        orders: The hosts.
        base: The base they all stand on.
        store: The registry that holds the base and takes the images.
        paths: Gives the base's path list.
        timestamp: Seconds since the epoch that files and configs bear; the same input gives the same digest.
        jobs: Hosts under way at once.
        stop: When set, no further request is begun; give its `wait` to the registry client's patience as
            `sleep`, so that pauses end too.
        examine: Asked about each image before anything of it is pushed, on a worker thread; what it raises
            is that host's failure.
        prove: Called for each image when it is in the registry, by tag and digest, on a worker thread; what
            it raises is that host's failure.
        on_result: Told of each host as it ends, from this thread.

    Raises:
        InterruptedRunError: `stop` was set; hosts that had ended are whole, the others have no tag.
        RegistryError: The base's path list cannot be made; nothing was assembled.
    """
    stopping = stop or threading.Event()
    worker = _Assembler(
        base=base,
        store=store,
        paths=paths.table(base),
        timestamp=timestamp,
        stopping=stopping,
        examine=examine,
        prove=prove,
    )
    results: dict[Future[HostResult], HostResult] = {}
    with ThreadPoolExecutor(max_workers=max(1, min(jobs, len(orders)))) as pool:
        futures = [pool.submit(worker.host, order) for order in orders]
        try:
            for future in as_completed(futures):
                results[future] = future.result()
                on_result(results[future])
                _go_on(stopping)
        except BaseException:
            stopping.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return tuple(results[future] for future in futures)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Assembler:
    """What all hosts of a run share; its methods run on worker threads."""

    base: BaseImage
    store: Store
    paths: PathLookup
    timestamp: int
    stopping: threading.Event
    examine: Callable[[Assembled], None]
    prove: Callable[[Assembled, ImageRef], None]

    def host(self, order: HostOrder) -> HostResult:
        try:
            return self._assembled(order)
        except InterruptedRunError:
            raise
        except PipelineError as error:
            return HostResult(host=order.host, outcome=Outcome.FAILED, error=error)
        except Exception as error:  # noqa: BLE001 - a fault in one host's tree must not end the others
            fault = InternalError(
                f"host {order.host}: {type(error).__name__}: {error}",
                hint="report this with the host's definition; the other hosts were not touched by it",
            )
            fault.__cause__ = error
            return HostResult(host=order.host, outcome=Outcome.FAILED, error=fault)

    def _assembled(self, order: HostOrder) -> HostResult:
        self._go_on()
        placement = place(order.tree(), self.paths)
        layer = layer_of(placement.entries, timestamp=self.timestamp)
        image = append(
            self.base,
            layer,
            timestamp=self.timestamp,
            created_by=f"pipeline build --tier instance --host {order.host}",
            labels=order.labels,
        )
        made = Assembled(order=order, placement=placement, layer=layer, image=image)
        self.examine(made)
        tag = candidate_tag(image.digest)
        there = self._is_there(order.repository.tagged(tag), image.digest)
        if not there:
            self._push(order.repository, tag, layer, image)
        ref = ImageRef(repository=order.repository, tag=tag, digest=image.digest)
        self._go_on()
        self.prove(made, ref)
        return HostResult(
            host=order.host,
            outcome=Outcome.UNCHANGED if there else Outcome.BUILT,
            image=ref,
            layer=layer.digest,
            kept=placement.kept,
        )

    def _is_there(self, ref: ImageRef, digest: Digest) -> bool:
        self._go_on()
        try:
            return self.store.resolve(ref).digest == digest
        except NotFoundError:
            return False

    def _push(self, repository: Repository, tag: str, layer: Layer, image: Appended) -> None:
        for inherited in self.base.parsed.layers:
            self._inherit(repository, inherited)
        for blob in (layer.data, image.config):
            self._go_on()
            self.store.put_blob(repository, blob)
        self._go_on()
        self.store.put_manifest(repository, tag, image.manifest)

    def _inherit(self, repository: Repository, layer: Descriptor) -> None:
        source = self.base.ref.repository
        if repository == source:
            return
        self._go_on()
        if self.store.mount_blob(repository, layer.digest, source):
            return
        self._go_on()
        if not self.store.has_blob(repository, layer.digest):
            self.store.put_stream(repository, layer.digest, layer.size, lambda: self._pieces(layer))

    def _pieces(self, layer: Descriptor) -> Iterator[bytes]:
        for piece in self.store.stream_blob(self.base.ref.repository, layer.digest):
            self._go_on()
            yield piece

    def _go_on(self) -> None:
        _go_on(self.stopping)


def _go_on(stopping: threading.Event) -> None:
    if stopping.is_set():
        raise InterruptedRunError(
            "assembly was interrupted; images of hosts that had ended are whole, the others have no tag",
            hint="run the same command again: finished hosts cost one request each",
        )
