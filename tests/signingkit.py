"""Signers for tests: a fast one in this process, a real cosign with a key pair of its own; and a store."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from cosigntool import cosign_program, key_pair
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pipeline.adapters.process import Processes
from pipeline.adapters.signer import CosignSigner
from pipeline.domain.artifact import Attachment, Listing, index_entry, merged_index, read_index
from pipeline.domain.image import Digest, ImageRef, Repository
from pipeline.domain.oci import Descriptor, digest_of, parse
from pipeline.domain.signature import VerifyKey
from pipeline.errors import NotFoundError, RegistryError


class FastSigner:
    """A `Signer` without any program: ECDSA P-256, as cosign makes its keys.

    Attributes:
        calls: How many blobs each call of `sign` was given.
    """

    def __init__(self, name: str = "release.pub") -> None:
        self._private = ec.generate_private_key(ec.SECP256R1())
        pem = self._private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        self.key = VerifyKey.parse(name, pem.decode())
        self.calls: list[int] = []

    def sign(self, blobs: Sequence[bytes]) -> tuple[bytes, ...]:
        self.calls.append(len(blobs))
        return tuple(self._private.sign(blob, ec.ECDSA(SHA256())) for blob in blobs)


def cosign_signer(folder: Path, name: str = "release", *, processes: Processes | None = None) -> CosignSigner:
    """Make a cosign key pair without a password in a folder, and return a `Signer` on it."""
    private, _ = key_pair(folder, name)
    return signer_on(str(private), {"COSIGN_PASSWORD": ""}, processes=processes)


def signer_on(
    key: str, environment: Mapping[str, str], *, processes: Processes | None = None
) -> CosignSigner:
    """Return a `Signer` of the real cosign on a key."""
    return CosignSigner(
        processes or Processes(environment=os.environ),
        key,
        environment=environment,
        program=cosign_program(),
    )


class MemoryStore:
    """A `SignatureStore` without a network, for one registry; what is in it can be looked at and edited.

    Attributes:
        manifests, blobs: (repository, digest) to bytes.
        tags: (repository, tag) to digest.
        requests: What was asked, `METHOD name`.
    """

    def __init__(self) -> None:
        self.manifests: dict[tuple[Repository, Digest], bytes] = {}
        self.blobs: dict[tuple[Repository, Digest], bytes] = {}
        self.tags: dict[tuple[Repository, str], Digest] = {}
        self.requests: list[str] = []

    def resolve(self, ref: ImageRef) -> Descriptor:
        data = self._manifest("HEAD", ref)
        return Descriptor(media_type=parse(data).media_type, digest=digest_of(data), size=len(data))

    def unparsed(self, ref: ImageRef) -> bytes:
        return self._manifest("GET", ref)

    def _manifest(self, method: str, ref: ImageRef) -> bytes:
        self.requests.append(f"{method} {ref}")
        digest = ref.digest or self.tags.get((ref.repository, ref.tag or ""))
        data = self.manifests.get((ref.repository, digest)) if digest else None
        if data is None:
            raise NotFoundError(f"there is no {ref}", hint="push it")
        return data

    def blob(self, repository: Repository, digest: Digest, *, limit: int) -> bytes:
        self.requests.append(f"GET {repository}@{digest}")
        data = self.blobs.get((repository, digest))
        if data is None:
            raise NotFoundError(f"there is no blob {digest}", hint="push it")
        if len(data) > limit or digest_of(data) != digest:
            raise RegistryError(f"blob {digest} is {digest_of(data)} in truth", hint="see the registry")
        return data

    def offer_blob(self, repository: Repository, data: bytes) -> bool:
        self.requests.append(f"PUT {repository}@{digest_of(data)}")
        new = (repository, digest_of(data)) not in self.blobs
        self.blobs[repository, digest_of(data)] = data
        return new

    def put_manifest(self, repository: Repository, reference: str | Digest, data: bytes) -> Digest:
        self.requests.append(f"PUT {repository}:{reference}")
        self.manifests[repository, digest_of(data)] = data
        if isinstance(reference, str):
            self.tags[repository, reference] = digest_of(data)
        return digest_of(data)

    def entries(self, repository: Repository, subject: Digest) -> Listing:
        self.requests.append(f"GET referrers {repository}@{subject}")
        held = [data for (where, _), data in self.manifests.items() if where == repository]
        found = [index_entry(data, subject) for data in held if b'"subject"' in data]
        index = merged_index(None, [entry for entry in found if entry is not None])
        return Listing() if index is None else read_index(index)

    def attach(self, repository: Repository, subject: Digest, artifacts: Sequence[Attachment]) -> None:
        for one in artifacts:
            self.offer_blob(repository, one.document)
            self.put_manifest(repository, one.digest, one.manifest)

    def writes(self) -> list[str]:
        """Return what was written."""
        return [one for one in self.requests if one.startswith("PUT")]
