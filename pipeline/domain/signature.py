"""Signatures that hosts verify: simple signing in cosign's legacy form, made and checked with a public key.

Rules: what is signed is one claim, "this digest is the image of this repository", in exactly the bytes cosign
writes; a signature counts only with a key that was given, for the digest and the repository that were asked
for; signatures of others beside ours stay where they are.
Form: the manifest under the tag `sha256-<hex>.sig` has one layer a claim, with the signature as annotation.
Hosts (containers/image) check ECDSA and RSA (PKCS #1 v1.5) over SHA-256, and Ed25519; so does this module.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from pipeline.domain.image import Digest, Repository
from pipeline.domain.oci import (
    OCI_CONFIG,
    OCI_MANIFEST,
    Descriptor,
    Manifest,
    canonical,
    digest_of,
    load,
    parse,
)
from pipeline.domain.text import plain
from pipeline.errors import RegistryError, SignatureError

SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"
"""Media type of a claim."""

SIGNATURE = "dev.cosignproject.cosign/signature"
"""Annotation of a claim's layer: the signature, base64."""

PAYLOAD_LIMIT = 64 << 10
"""Bytes of the largest claim that is read; a real one has 250."""

_CLAIM = "cosign container image signature"
_LAYERS = 64
_WEAKEST_RSA = 2048
_BEFORE = "0001-01-01T00:00:00Z"
_ONLY_KEY = "give one PEM public key, as `cosign public-key` prints it"
_Public: TypeAlias = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | Ed25519PublicKey


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyKey:
    """A public key that releases are, or will be, signed with; made by `parse`.

    Attributes:
        name: How people know it: its file's name.
        pem: The key itself (SubjectPublicKeyInfo), in the one spelling it has here.
    """

    name: str
    pem: str

    @classmethod
    def parse(cls, name: str, pem: str) -> VerifyKey:
        """Return the key of a PEM file.

        Raises:
            SignatureError: It is not exactly one public key, or of a kind that hosts cannot check.
        """
        if pem.count("-----BEGIN ") != 1 or "-----BEGIN PUBLIC KEY-----" not in pem:
            raise SignatureError(f"{plain(name, 120)} is not one PEM public key", hint=_ONLY_KEY)
        try:
            key = load_pem_public_key(pem.encode())
        except (ValueError, UnsupportedAlgorithm) as error:
            raise SignatureError(
                f"{plain(name, 120)} is no public key: {plain(str(error), 120)}", hint=_ONLY_KEY
            ) from None
        if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey | Ed25519PublicKey):
            raise SignatureError(
                f"{plain(name, 120)} is a {type(key).__name__}, which hosts cannot check",
                hint="use ECDSA P-256, as `cosign generate-key-pair` makes it",
            )
        if isinstance(key, rsa.RSAPublicKey) and key.key_size < _WEAKEST_RSA:
            raise SignatureError(
                f"{plain(name, 120)} is an RSA key of {key.key_size} bits", hint=f"use {_WEAKEST_RSA} or more"
            )
        text = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        return cls(name=name, pem=text)

    def verifies(self, data: bytes, signature: bytes) -> bool:
        """Tell whether this key made the signature of exactly these bytes."""
        key = _loaded(self.pem)
        try:
            if isinstance(key, ec.EllipticCurvePublicKey):
                key.verify(signature, data, ec.ECDSA(SHA256()))
            elif isinstance(key, rsa.RSAPublicKey):
                key.verify(signature, data, padding.PKCS1v15(), SHA256())
            else:
                key.verify(signature, data)
        except InvalidSignature:
            return False
        return True

    @property
    def fingerprint(self) -> str:
        """`SHA256:` and the unpadded base64 of the key's hash, as ssh-keygen writes fingerprints."""
        return f"SHA256:{self.hint.rstrip('=')}"

    @property
    def hint(self) -> str:
        """Base64 of the sha256 of the DER form: how a Sigstore bundle names the key it was signed with."""
        der = _loaded(self.pem).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return base64.b64encode(hashlib.sha256(der).digest()).decode()

    def __str__(self) -> str:
        return f"{plain(self.name, 120)} ({self.fingerprint})"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureLayer:
    """One signature of a manifest: where its claim lies, and its bytes (empty: none, or no base64)."""

    payload: Descriptor
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureImage:
    """What is stored under the signature tag: the manifest, and the config it names."""

    manifest: bytes
    config: bytes


def signature_tag(subject: Digest) -> str:
    """Return the tag under which hosts look for the signatures of a digest."""
    return f"sha256-{subject.hex}.sig"


def simple_signing(repository: Repository, digest: Digest) -> bytes:
    """Return the claim that is signed: this digest is an image of this repository; same bytes as cosign's."""
    return canonical(
        {
            "critical": {
                "identity": {"docker-reference": str(repository)},
                "image": {"docker-manifest-digest": digest.value},
                "type": _CLAIM,
            },
            "optional": None,
        }
    )


def signature_manifest(payload: bytes, signature: bytes, held: bytes | None = None) -> SignatureImage:
    """Return what to store under the signature tag.

    Args:
        payload: The claim.
        signature: Of the claim.
        held: The signature manifest there is; its signatures stay, as they are and in their order.

    Raises:
        SignatureError: What is held is no signature manifest.
    """
    layers = [] if held is None else _layers_of(held)
    layers.append(
        {
            "mediaType": SIMPLE_SIGNING,
            "size": len(payload),
            "digest": digest_of(payload).value,
            "annotations": {SIGNATURE: base64.b64encode(signature).decode()},
        }
    )
    config = canonical(
        {
            "architecture": "",
            "created": _BEFORE,
            "history": [{"created": _BEFORE} for _ in layers],
            "os": "",
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]},
            "config": {},
        }
    )
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": OCI_CONFIG, "size": len(config), "digest": digest_of(config).value},
        "layers": layers,
    }
    return SignatureImage(manifest=canonical(manifest), config=config)


def read_signature_manifest(data: bytes) -> tuple[SignatureLayer, ...]:
    """Return the signatures that a signature manifest lists; their claims are not read yet.

    Raises:
        SignatureError: It is no signature manifest.
    """
    what = "what lies under the signature tag"
    hint = "see who may push to this repository; seal the release again once that is mended"
    try:
        parsed = parse(data, what)
    except RegistryError as error:
        raise SignatureError(error.message, hint=hint) from None
    if not isinstance(parsed, Manifest) or len(parsed.layers) > _LAYERS:
        raise SignatureError(f"{what} is no signature manifest", hint=hint)
    claims = [layer for layer in parsed.layers if layer.media_type == SIMPLE_SIGNING]
    return tuple(
        SignatureLayer(payload=one, signature=_decoded(dict(one.annotations).get(SIGNATURE, "")))
        for one in claims
    )


def claim_fault(payload: bytes, repository: Repository, subject: Digest) -> str:
    """Return in what a claim speaks of something else than this image; "" when it speaks of it."""
    try:
        claim = load(payload, "the claim")
    except RegistryError as error:
        return error.message
    critical = _object(claim.get("critical"))
    pairs = (
        ("type", critical.get("type"), _CLAIM),
        ("digest", _object(critical.get("image")).get("docker-manifest-digest"), subject.value),
        ("repository", _object(critical.get("identity")).get("docker-reference"), str(repository)),
    )
    for what, got, expected in pairs:
        if got != expected:
            return f"it is for another {what}: got {plain(str(got), 200)}, expected {expected}"
    return ""


def signed_by(keys: Sequence[VerifyKey], data: bytes, signature: bytes) -> VerifyKey | None:
    """Return the key among these that made a signature, or None."""
    return next((key for key in keys if key.verifies(data, signature)), None)


def _layers_of(held: bytes) -> list[dict[str, Any]]:
    read_signature_manifest(held)
    found: list[dict[str, Any]] = load(held, "the signature manifest")["layers"]
    return found


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


@lru_cache(maxsize=64)
def _loaded(pem: str) -> _Public:
    key = load_pem_public_key(pem.encode())
    assert isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey | Ed25519PublicKey)  # noqa: S101 - `parse` saw to it
    return key
