"""What `pipeline copy` works with: both sides as small interfaces, settings, and a release on its way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from pipeline.domain.events import Reporter
from pipeline.domain.holding import Held
from pipeline.domain.image import Digest, ImageRef, Repository
from pipeline.domain.oci import Descriptor
from pipeline.domain.parcel import Parcel
from pipeline.verbs.shelves import ShelfStore


class CopySource(ShelfStore, Protocol):
    """Where releases are taken from."""

    def stream_blob(self, repository: Repository, digest: Digest) -> Iterator[bytes]:
        """Yield a blob in pieces; its digest is checked at the end."""


class CopyTarget(ShelfStore, Protocol):
    """Where releases are brought to."""

    def resolve(self, ref: ImageRef) -> Descriptor:
        """Return what a reference names now."""

    def has_blob(self, repository: Repository, digest: Digest) -> bool:
        """Tell whether a repository has a blob."""

    def mount_blob(self, repository: Repository, digest: Digest, source: Repository) -> bool:
        """Let a repository have a blob of another one; False when that is refused."""

    def put_stream(
        self, repository: Repository, digest: Digest, size: int, chunks: Callable[[], Iterable[bytes]]
    ) -> None:
        """Upload a blob from pieces."""

    def put_unread(
        self, repository: Repository, reference: str | Digest, data: bytes, media_type: str
    ) -> bool:
        """Write a manifest or index under a tag or its digest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyParts:
    """What copying is done with.

    Attributes:
        source, target: From where, to where.
        place: Tells the repository of an image (`line/image`) over there.
        yanked: Versions of an image that were yanked; no alias names them.
        reporter: Shows progress.
        jobs: Blobs at once.
        dry_run: Send nothing, and tell what would be sent.
        on_step: Told before each step, in words; a test ends the process there.
    """

    source: CopySource
    target: CopyTarget
    place: Callable[[str], Repository]
    yanked: Callable[[str], frozenset[str]]
    reporter: Reporter
    jobs: int = 8
    dry_run: bool = False
    on_step: Callable[[str], None] = lambda _step: None


@dataclass(slots=True, kw_only=True)
class Load:
    """One release with everything that belongs to it.

    Attributes:
        parcel, target: The release, and where it goes.
        images: Its manifest last; before it, for an index, those of its platforms.
        attached: Signatures, attestations and evidence.
        lists: Lists of referrers.
        missing: Blobs that are not in that repository over there.
        mounted: Those of them that another repository over there had.
        tags: Tags that were written over there.
    """

    parcel: Parcel
    target: Repository
    images: tuple[Held, ...]
    attached: tuple[Held, ...]
    lists: tuple[Held, ...]
    missing: tuple[Descriptor, ...] = ()
    mounted: set[Digest] = field(default_factory=set)
    tags: list[str] = field(default_factory=list)

    @property
    def manifests(self) -> tuple[Held, ...]:
        """Everything that is not a blob."""
        return (*self.images, *self.attached, *self.lists)

    @property
    def sent(self) -> tuple[Descriptor, ...]:
        """The blobs that were sent, or would be."""
        return tuple(blob for blob in self.missing if blob.digest not in self.mounted)

    def blobs(self) -> tuple[Descriptor, ...]:
        """Return every blob once."""
        found = {blob.digest: blob for one in self.manifests for blob in one.blobs}
        return tuple(found.values())
