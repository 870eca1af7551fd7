"""Mirror a vendor's image: one look at the tag, then digests only.

Rules: the tag is resolved once and everything after speaks of that digest, so a tag that moves meanwhile
changes nothing; where the vendor's key is known the signature is verified before a byte is copied; the copy
keeps every architecture and every digest, and is compared with the source bit for bit afterwards. The copy
lies under a candidate tag: no release tag is written here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pipeline.domain.image import Digest, ImageRef, Repository, candidate_tag
from pipeline.domain.oci import Descriptor, Index, parse
from pipeline.errors import RegistryError


class Source(Protocol):
    """A registry as the mirror reads it."""

    def resolve(self, ref: ImageRef) -> Descriptor:
        """Return what a reference names now."""

    def manifest(self, ref: ImageRef) -> bytes:
        """Return a manifest or index, checked against its digest."""


class Copier(Protocol):
    """Copies an image with all architectures and digests."""

    def copy_all(self, source: ImageRef, destination: ImageRef) -> Digest:
        """Copy and return the digest that was written."""


class VendorVerifier(Protocol):
    """Verifies a vendor's signature."""

    def verify_vendor(self, ref: ImageRef, key: Path) -> None:
        """Return if the key signed this digest; raise `SignatureError` otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorOrder:
    """What to mirror.

    Attributes:
        source: The vendor's image, by tag or digest.
        destination: The repository of the copy.
        vendor_key: The vendor's public key, or None where the vendor does not sign.
    """

    source: ImageRef
    destination: Repository
    vendor_key: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorResult:
    """What was mirrored.

    Attributes:
        digest: Digest of the copy; the same as the source's, which was verified.
        source: The vendor's image by the digest that was found behind its tag.
        destination: The copy, by candidate tag and digest.
        media_type: Media type of the index or manifest.
        platforms: Platforms of an index, in its order; empty for a single manifest.
        verified: Whether the vendor's signature was verified.
    """

    digest: Digest
    source: ImageRef
    destination: ImageRef
    media_type: str
    platforms: tuple[str, ...]
    verified: bool


def mirror(
    order: MirrorOrder, *, source: Source, destination: Source, copier: Copier, verifier: VendorVerifier
) -> MirrorResult:
    """Mirror one image.

    Args:
        order: What to mirror where to.
        source: The vendor's registry.
        destination: Our own registry.
        copier: Copies between the two.
        verifier: Checks the vendor's signature.

    Raises:
        SignatureError: The vendor's signature is missing or by another key; nothing was copied.
        NotFoundError: The vendor has no such tag.
        RegistryError: A registry refuses or fails, or the copy is not the source.
    """
    digest = source.resolve(order.source).digest
    pinned = order.source.repository.at(digest)
    if order.vendor_key is not None:
        verifier.verify_vendor(pinned, order.vendor_key)
    original = source.manifest(pinned)
    parsed = parse(original, f"the manifest {pinned}")
    tagged = order.destination.tagged(candidate_tag(digest))
    copier.copy_all(pinned, tagged)
    _verify_copy(original, tagged, destination)
    children = parsed.manifests if isinstance(parsed, Index) else ()
    for child in children:
        destination.resolve(order.destination.at(child.digest))
    return MirrorResult(
        digest=digest,
        source=pinned,
        destination=ImageRef(repository=order.destination, tag=tagged.tag, digest=digest),
        media_type=parsed.media_type,
        platforms=tuple(str(child.platform) for child in children if child.platform),
        verified=order.vendor_key is not None,
    )


def _verify_copy(original: bytes, copy: ImageRef, destination: Source) -> None:
    if destination.manifest(copy) != original:
        raise RegistryError(
            f"{copy} is not the image it was copied from",
            hint="somebody wrote that tag meanwhile, or the registry converts images; mirror again",
        )
