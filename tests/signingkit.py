"""Signers for tests: a fast one, the real ones; what tells which programs were started; and a store."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cosigntool import cosign_program
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from pipeline.adapters.process import Completed, Processes
from pipeline.adapters.signer import signer_for
from pipeline.domain.artifact import Attachment, Listing, index_entry, merged_index, read_index
from pipeline.domain.image import Digest, ImageRef, Repository
from pipeline.domain.oci import Descriptor, digest_of, parse
from pipeline.domain.signature import VerifyKey
from pipeline.errors import NotFoundError, RegistryError
from pipeline.verbs.signing import Signer


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


class Recording(Processes):
    """Runs programs and remembers each.

    Attributes:
        started: The command lines.
        given: What each was given of the environment.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        super().__init__(environment=environment)
        self.started: list[tuple[str, ...]] = []
        self.given: list[Mapping[str, str]] = []

    def run(self, argv: Sequence[str], **how: Any) -> Completed:
        self.started.append(tuple(argv))
        self.given.append(dict(how.get("env") or {}))
        return super().run(argv, **how)


def signer_on(key: str, password: str = "", *, processes: Processes | None = None) -> Signer:
    """Return the `Signer` for a key's name; the real cosign where that needs one."""
    return signer_for(
        processes or Processes(environment=os.environ),
        key,
        environment={"COSIGN_PASSWORD": password},
        program=cosign_program(),
    )


def private_key(kind: str) -> PrivateKeyTypes:
    """Make a key of a kind that cosign knows, or of one that hosts cannot check."""
    makers: dict[str, Callable[[], PrivateKeyTypes]] = {
        "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
        "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
        "p521": lambda: ec.generate_private_key(ec.SECP521R1()),
        "secp256k1": lambda: ec.generate_private_key(ec.SECP256K1()),
        "rsa1024": lambda: rsa.generate_private_key(65537, 1024),
        "rsa2048": lambda: rsa.generate_private_key(65537, 2048),
        "rsa4096": lambda: rsa.generate_private_key(65537, 4096),
        "ed25519": ed25519.Ed25519PrivateKey.generate,
        "x25519": x25519.X25519PrivateKey.generate,
        "dsa": lambda: dsa.generate_private_key(1024),
    }
    return makers[kind]()


def imported_pair(folder: Path, kind: str, password: str) -> tuple[Path, Path]:
    """Let cosign import a new key; return the encrypted private and the public key's file."""
    plain = private_key(kind).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "plain.pem").write_bytes(plain)
    prefix = folder / "imported"
    done = subprocess.run(
        [
            cosign_program(),
            "import-key-pair",
            f"--key={folder / 'plain.pem'}",
            f"--output-key-prefix={prefix}",
        ],
        env={**os.environ, "COSIGN_PASSWORD": password, "COSIGN_YES": "true"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return prefix.with_suffix(".key"), prefix.with_suffix(".pub")


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
