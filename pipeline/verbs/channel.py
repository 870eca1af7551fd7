"""The channel a host tracks, in the registry: is the image whole, and let the tag name it.

Rules: the tag is moved by writing the very bytes that lie under the digest, and read again; nothing is moved
before every blob of the image was seen, for a host that pulls half of it has lost its night; an index counts
with all that it lists.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from pipeline.domain.image import Digest, ImageRef, Repository
from pipeline.domain.lineage import CHANNEL
from pipeline.domain.oci import Descriptor, Index, Manifest, parse
from pipeline.errors import NotFoundError, RegistryError

_JOBS = 8


class ChannelStore(Protocol):
    """A registry; `adapters.registry.Registry` is one. Safe for threads."""

    def resolve(self, ref: ImageRef) -> Descriptor:
        """Return what a reference names now."""

    def manifest(self, ref: ImageRef) -> bytes:
        """Return a manifest or index, compared with its digest."""

    def has_blob(self, repository: Repository, digest: Digest) -> bool:
        """Tell whether a repository has a blob."""

    def put_manifest(self, repository: Repository, reference: str | Digest, data: bytes) -> Digest:
        """Write a manifest or index under a tag, read the tag again, and return its digest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """An image as the registry has it.

    Attributes:
        data: The bytes of its manifest or index.
        platforms: Digests of the manifests that an index lists.
        missing: What the registry lacks of it, one piece a line.
    """

    data: bytes
    platforms: frozenset[Digest]
    missing: tuple[str, ...]


def look_at(store: ChannelStore, ref: ImageRef) -> Whole:
    """Return an image with everything the registry lacks of it.

    Args:
        store: The registry.
        ref: The image by digest.

    Raises:
        NotFoundError: The registry does not have it at all.
        RegistryError: The registry refuses or fails, or gives other bytes than their digest says.
    """
    data = store.manifest(ref)
    top = parse(data, f"the manifest {ref}")
    missing: list[str] = []
    found: dict[Digest, Manifest] = {}
    for child in top.manifests if isinstance(top, Index) else ():
        try:
            inner = parse(store.manifest(ref.repository.at(child.digest)), f"the manifest {child.digest}")
        except NotFoundError:
            missing.append(f"the registry lacks the manifest {child.digest}")
            continue
        if isinstance(inner, Manifest):
            found[child.digest] = inner
    parts = found.values() if isinstance(top, Index) else (top,)
    blobs = sorted({blob for part in parts for blob in _blobs(part)})
    with ThreadPoolExecutor(max_workers=_JOBS, thread_name_prefix="blobs") as pool:
        there = pool.map(lambda blob: store.has_blob(ref.repository, blob), blobs)
        missing += [
            f"the registry lacks the blob {blob}" for blob, held in zip(blobs, there, strict=True) if not held
        ]
    return Whole(data=data, platforms=frozenset(found), missing=tuple(missing))


def channel_of(store: ChannelStore, repository: Repository) -> Digest | None:
    """Return what the channel names now, None when there is none.

    Raises:
        RegistryError: The registry refuses or fails.
    """
    try:
        return store.resolve(repository.tagged(CHANNEL)).digest
    except NotFoundError:
        return None


def move_channel(store: ChannelStore, ref: ImageRef, data: bytes) -> None:
    """Let the channel name an image.

    Args:
        store: The registry.
        ref: The image by digest.
        data: The bytes under that digest.

    Raises:
        RegistryError: The registry refuses or fails, or holds something else than was written.
    """
    held = store.put_manifest(ref.repository, CHANNEL, data)
    require_channel(ref, held)


def require_channel(ref: ImageRef, held: Digest | None) -> None:
    """Let a channel pass that names the image.

    Raises:
        RegistryError: It names another one.
    """
    if held != ref.digest:
        raise RegistryError(
            f"{ref.repository.tagged(CHANNEL)} names {held}, not {ref.digest}",
            hint="somebody else moved the channel at the same time; find out who, then run this again",
        )


def _blobs(manifest: Manifest) -> Iterator[Digest]:
    yield manifest.config.digest
    yield from (layer.digest for layer in manifest.layers)
