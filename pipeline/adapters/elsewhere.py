"""Releases read from where they were copied to, under the names that the ledger has for them.

Rules: nothing is asked but the one place, a folder or a registry with a prefix; what the ledger calls
`registry/os/debian/web-1` lies there as `debian/web-1`. Signatures go on to name the repository they were
made in, so what is verified is what was released. Only reading. Safe to use from several threads.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from pipeline.adapters.ocilayout import OciLayout
from pipeline.adapters.referrers import Referrers
from pipeline.adapters.registry import Registry
from pipeline.domain.artifact import Listing
from pipeline.domain.image import Digest, ImageRef, Repository
from pipeline.domain.oci import DOCUMENT_LIMIT, Descriptor
from pipeline.errors import RegistryError, UsageError


class Elsewhere:
    """Reads copies of images with what refers to them.

    Args:
        store: The folder or registry.
        places: Repository by the ledger to the repository there.
    """

    def __init__(self, store: OciLayout | Registry, places: Mapping[Repository, Repository]) -> None:
        self._store = cast("Any", store)
        self._places = places
        # Only its reading half is used, and that asks a registry for what a folder has, too.
        self._referrers = Referrers(self._store, jitter=lambda: 0.0, pause=lambda _: None)

    def resolve(self, ref: ImageRef) -> Descriptor:
        """Return what a reference names there (errors as the store's)."""
        found: Descriptor = self._store.resolve(self._ref(ref))
        return found

    def unparsed(self, ref: ImageRef) -> bytes:
        """Return what lies under a reference, compared with its digest (errors as the store's)."""
        found: bytes = self._store.unparsed(self._ref(ref))
        return found

    def manifest(self, repository: Repository, digest: Digest) -> bytes:
        """Return an artifact's manifest, compared with its digest (errors as the store's)."""
        return self.unparsed(repository.at(digest))

    def blob(self, repository: Repository, digest: Digest, *, limit: int = DOCUMENT_LIMIT) -> bytes:
        """Return a blob, compared with its digest.

        Raises:
            NotFoundError: It is not there.
            RegistryError: It is not what its digest says, or larger than `limit`.
        """
        data = b""
        for chunk in self._store.stream_blob(self._there(repository), digest):
            data += chunk
            if len(data) > limit:
                raise RegistryError(
                    f"{digest} of {repository} is larger than {limit} bytes",
                    hint="somebody changed the copy; take it from who made it once more",
                )
        return data

    def entries(self, repository: Repository, subject: Digest) -> Listing:
        """Return what refers to an image (errors as `Referrers.entries`)."""
        return self._referrers.entries(self._there(repository), subject)

    def _ref(self, ref: ImageRef) -> ImageRef:
        return ImageRef(repository=self._there(ref.repository), tag=ref.tag, digest=ref.digest)

    def _there(self, repository: Repository) -> Repository:
        try:
            return self._places[repository]
        except KeyError:
            raise UsageError(
                f"the ledger has no image in {repository}, so nobody knows where its copy lies",
                hint="name the release as LINE/NAME:VERSION",
            ) from None
