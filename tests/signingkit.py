"""Signers for tests: a fast one in this process, and a real cosign with a key pair of its own."""

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
from pipeline.domain.signature import VerifyKey

PASSWORD = "correct horse"


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


def cosign_signer(
    folder: Path, name: str = "release", *, processes: Processes | None = None
) -> CosignSigner:
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
