"""What this run wrote to a registry or read from it, by digest, so that it is not fetched again.

Rules: only what a digest names is remembered, never what a tag names; for reading images that are compared,
never for proving that a registry holds something: whoever wants that asks the registry itself.
Safe to use from several threads.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

from pipeline.adapters.registry import Registry
from pipeline.domain.image import Digest, ImageRef, Repository
from pipeline.domain.oci import DOCUMENT_LIMIT, digest_of

_LARGEST = 4 << 20
_ALL = 64 << 20


class Remembered:
    """Manifests and blobs of a registry.

    Args:
        registry: Its client.
        room: Bytes that are kept; the oldest go first.
    """

    def __init__(self, registry: Registry, *, room: int = _ALL) -> None:
        self._registry = registry
        self._room = room
        self._held: dict[Digest, bytes] = {}
        self._size = 0
        self._lock = threading.Lock()

    def keep(self, data: bytes) -> None:
        """Remember content that the registry has; what is large is not kept."""
        if len(data) > _LARGEST:
            return
        digest = digest_of(data)
        with self._lock:
            if digest in self._held:
                return
            self._held[digest] = data
            self._size += len(data)
            while self._size > self._room:
                self._size -= len(self._held.pop(next(iter(self._held))))

    def manifest(self, ref: ImageRef) -> bytes:
        """Return a manifest as `Registry.manifest` does."""
        held = self._held.get(ref.digest) if ref.digest is not None else None
        if held is None:
            held = self._registry.manifest(ref)
            self.keep(held)
        return held

    def blob(self, repository: Repository, digest: Digest, *, limit: int = DOCUMENT_LIMIT) -> bytes:
        """Return a blob as `Registry.blob` does."""
        held = self._held.get(digest)
        if held is None:
            held = self._registry.blob(repository, digest, limit=limit)
            self.keep(held)
        return held

    def stream_blob(self, repository: Repository, digest: Digest) -> Iterator[bytes]:
        """Yield a blob in pieces as `Registry.stream_blob` does."""
        held = self._held.get(digest)
        if held is None:
            yield from self._registry.stream_blob(repository, digest)
        else:
            yield held
