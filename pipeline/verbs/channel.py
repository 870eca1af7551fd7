"""The channel a host tracks, in the registry: what it names, and let it name an image.

Rules: the tag is moved by writing the very bytes that lie under the digest, and read again. Nothing is moved
before the image was seen to be whole (`whole.look_at`).
"""

from __future__ import annotations

from typing import Protocol

from pipeline.domain.image import Digest, ImageRef, Repository
from pipeline.domain.lineage import CHANNEL
from pipeline.domain.oci import Descriptor
from pipeline.errors import NotFoundError, RegistryError
from pipeline.verbs.whole import ImageStore


class ChannelStore(ImageStore, Protocol):
    """A registry; `adapters.registry.Registry` is one. Safe for threads."""

    def resolve(self, ref: ImageRef) -> Descriptor:
        """Return what a reference names now."""

    def put_manifest(self, repository: Repository, reference: str | Digest, data: bytes) -> Digest:
        """Write a manifest or index under a tag, read the tag again, and return its digest."""


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
