"""Several registries as one: each question goes to the registry that the repository is in.

Rules: a client is made once a registry, when it is first asked; only reading, for releases are written where
the settings say and nowhere else. Safe to use from several threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from pipeline.adapters.referrers import Referrers
from pipeline.adapters.registry import Registry
from pipeline.domain.artifact import Listing
from pipeline.domain.image import Digest, ImageRef, Repository
from pipeline.domain.oci import DOCUMENT_LIMIT, Descriptor


class Registries:
    """Reads images with what refers to them, wherever they are.

    Args:
        opened: Returns the client of a registry, given its `host[:port]`, and what finds artifacts in it.
    """

    def __init__(self, opened: Callable[[str], tuple[Registry, Referrers]]) -> None:
        self._open = opened
        self._lock = threading.Lock()
        self._known: dict[str, tuple[Registry, Referrers]] = {}

    def tags(self, repository: Repository) -> tuple[str, ...]:
        """Return every tag of a repository (errors as `Registry.tags`)."""
        return self._at(repository)[0].tags(repository)

    def resolve(self, ref: ImageRef) -> Descriptor:
        """Return what a reference names now (errors as `Registry.resolve`)."""
        return self._at(ref.repository)[0].resolve(ref)

    def unparsed(self, ref: ImageRef) -> bytes:
        """Return what lies under a reference, compared with its digest (errors as `Registry.unparsed`)."""
        return self._at(ref.repository)[0].unparsed(ref)

    def blob(self, repository: Repository, digest: Digest, *, limit: int = DOCUMENT_LIMIT) -> bytes:
        """Return a blob, compared with its digest (errors as `Registry.blob`)."""
        return self._at(repository)[0].blob(repository, digest, limit=limit)

    def manifest(self, repository: Repository, digest: Digest) -> bytes:
        """Return an artifact's manifest (errors as `Referrers.manifest`)."""
        return self._at(repository)[1].manifest(repository, digest)

    def entries(self, repository: Repository, subject: Digest) -> Listing:
        """Return what refers to an image (errors as `Referrers.entries`)."""
        return self._at(repository)[1].entries(repository, subject)

    def _at(self, repository: Repository) -> tuple[Registry, Referrers]:
        with self._lock:
            host = repository.registry
            if host not in self._known:
                self._known[host] = self._open(host)
            return self._known[host]
