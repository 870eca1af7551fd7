"""Whether a registry still has every piece of an image: asked before anything is moved to it.

Rules: an index counts with all that it lists; every blob is asked for, for a host that pulls half of an image
has lost its night.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from pipeline.domain.image import Digest, ImageRef, Repository
from pipeline.domain.oci import Manifest, parse
from pipeline.errors import NotFoundError

_JOBS = 8


class ImageStore(Protocol):
    """The part of a registry that is used here; `adapters.registry.Registry` is one. Safe for threads."""

    def manifest(self, ref: ImageRef) -> bytes:
        """Return a manifest or index, compared with its digest."""

    def has_blob(self, repository: Repository, digest: Digest) -> bool:
        """Tell whether a repository has a blob."""


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


def look_at(store: ImageStore, ref: ImageRef) -> Whole:
    """Return an image with everything the registry lacks of it.

    Args:
        store: The registry.
        ref: The image by digest.

    Raises:
        NotFoundError: The registry does not have it at all.
        RegistryError: The registry refuses or fails, or gives other bytes than their digest says.
    """
    data = store.manifest(ref)
    missing: list[str] = []
    platforms: set[Digest] = set()
    parts: list[Manifest] = []
    todo = [parse(data, f"the manifest {ref}")]
    while todo:
        one = todo.pop()
        if isinstance(one, Manifest):
            parts.append(one)
            continue
        for child in one.manifests:
            try:
                inner = parse(store.manifest(ref.repository.at(child.digest)), f"the manifest {child.digest}")
            except NotFoundError:
                missing.append(f"the registry lacks the manifest {child.digest}")
                continue
            todo.append(inner)
            if isinstance(inner, Manifest):
                platforms.add(child.digest)
    blobs = sorted({blob for part in parts for blob in _blobs(part)})
    with ThreadPoolExecutor(max_workers=_JOBS, thread_name_prefix="blobs") as pool:
        there = pool.map(lambda blob: store.has_blob(ref.repository, blob), blobs)
        missing += [
            f"the registry lacks the blob {blob}" for blob, held in zip(blobs, there, strict=True) if not held
        ]
    return Whole(data=data, platforms=frozenset(platforms), missing=tuple(missing))


def _blobs(manifest: Manifest) -> Iterator[Digest]:
    yield manifest.config.digest
    yield from (layer.digest for layer in manifest.layers)
