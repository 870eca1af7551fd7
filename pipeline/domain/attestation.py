"""Attestations: statements about an image that the release key signed, as Sigstore bundles that refer to it.

Rules: same facts, same statement, byte for byte; what is signed is the statement with its type (DSSE), so it
can be taken for nothing else; a bundle is read as strictly as it is written, and what it says counts only
after a key verified it and it named the digest that was asked for.
Grammar: in-toto Statement v1, DSSE v1, Sigstore bundle v0.3 with a public key's hint. `cosign attest --key`
writes the same with an older version of the statement, which is read too.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.domain.artifact import ATTESTATION, BUNDLE, attachment_of
from pipeline.domain.canonical import Json, canonical_json, no_key_twice
from pipeline.domain.image import Digest
from pipeline.domain.oci import Descriptor, canonical, digest_of
from pipeline.domain.provenance import STATEMENT
from pipeline.domain.text import plain
from pipeline.errors import SignatureError, UsageError

PAYLOAD_TYPE = "application/vnd.in-toto+json"
"""Type of what is signed."""

BUNDLE_LIMIT = 96 << 20
"""Bytes of the largest bundle that is read: an SBOM of a whole system, in base64, and room."""

_STATEMENTS = (STATEMENT, "https://in-toto.io/Statement/v0.1")
_HINT = "see who may push to this repository; seal the release again once that is mended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attestation:
    """What a bundle says; whether to believe it is for `signature.VerifyKey` to tell.

    Attributes:
        statement: The signed statement's bytes.
        signature: Of `pae(statement)`.
        hint: Which key the bundle says made it.
        predicate_type: URI of the kind of statement.
        subjects: Digests of what it speaks of.
        predicate: What is said.
    """

    statement: bytes
    signature: bytes
    hint: str
    predicate_type: str
    subjects: tuple[Digest, ...]
    predicate: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleArtifact:
    """A bundle, ready to be stored as an artifact that refers to its image."""

    document: bytes
    manifest: bytes

    @property
    def digest(self) -> Digest:
        """Digest of the artifact's manifest."""
        return digest_of(self.manifest)


def statement_of(name: str, subject: Digest, predicate_type: str, predicate: Json) -> bytes:
    """Return the statement about one image, canonical JSON.

    Args:
        name: The image's name, `registry/path`.
        subject: Its digest.
        predicate_type: URI of the kind of statement.
        predicate: What is said.

    Raises:
        UsageError: The predicate holds what canonical JSON has not, such as a fraction.
    """
    try:
        return canonical_json(
            {
                "_type": STATEMENT,
                "subject": [{"name": name, "digest": {"sha256": subject.hex}}],
                "predicateType": predicate_type,
                "predicate": predicate,
            }
        )
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"a statement {predicate_type} about {name} cannot be written: {error}",
            hint="this is a fault of the document that is attested; build the image again",
        ) from error


def pae(payload: bytes) -> bytes:
    """Return what is signed for a statement: its type and its bytes, each with its length (DSSE v1)."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def bundle_of(statement: bytes, signature: bytes, hint: str) -> bytes:
    """Return the bundle of a signed statement.

    Args:
        statement: What was signed, without its DSSE encoding.
        signature: Of `pae(statement)`.
        hint: `VerifyKey.hint` of the key that made it.
    """
    return canonical(
        {
            "mediaType": BUNDLE,
            "verificationMaterial": {"publicKey": {"hint": hint}},
            "dsseEnvelope": {
                "payload": base64.b64encode(statement).decode(),
                "payloadType": PAYLOAD_TYPE,
                "signatures": [{"sig": base64.b64encode(signature).decode()}],
            },
        }
    )


def bundle_artifact(
    name: str, subject: Descriptor, predicate_type: str, bundle: bytes, created: dt.datetime
) -> BundleArtifact:
    """Return a bundle as an artifact.

    Args:
        name: `Attest.name`.
        subject: The image's manifest.
        predicate_type: URI of the kind of statement; where readers look before they fetch the bundle.
        bundle: What `bundle_of` returned.
        created: A time that belongs to the release, not to this run; UTC, whole seconds.

    Raises:
        UsageError: The time is no UTC time in whole seconds.
    """
    annotations = {
        ATTESTATION: name,
        "dev.sigstore.bundle.content": "dsse-envelope",
        "dev.sigstore.bundle.predicateType": predicate_type,
    }
    return BundleArtifact(
        document=bundle, manifest=attachment_of(subject, BUNDLE, bundle, created, annotations)
    )


def read_bundle(data: bytes) -> Attestation:
    """Return what a bundle says.

    Raises:
        SignatureError: It is no Sigstore bundle with one signed in-toto statement.
    """
    bundle = _object(_json(data, "the bundle"), "the bundle")
    envelope = _object(bundle.get("dsseEnvelope"), "the bundle's envelope")
    signatures = envelope.get("signatures")
    if not str(bundle.get("mediaType")).startswith("application/vnd.dev.sigstore.bundle"):
        raise _fault("it is no Sigstore bundle")
    if envelope.get("payloadType") != PAYLOAD_TYPE:
        raise _fault(f"it holds {plain(str(envelope.get('payloadType')), 80)}, no in-toto statement")
    if not isinstance(signatures, list) or len(signatures) != 1:
        raise _fault("it has not exactly one signature")
    material = _object(bundle.get("verificationMaterial"), "the bundle's verification material")
    key = material.get("publicKey")
    statement = _bytes(envelope.get("payload"), "payload")
    said = _object(_json(statement, "the statement"), "the statement")
    if said.get("_type") not in _STATEMENTS:
        raise _fault(f"its statement is of the type {plain(str(said.get('_type')), 80)!r}")
    return Attestation(
        statement=statement,
        signature=_bytes(_object(signatures[0], "the signature").get("sig"), "signature"),
        hint=str(key.get("hint", "")) if isinstance(key, dict) else "",
        predicate_type=str(said.get("predicateType")),
        subjects=tuple(_subjects(said.get("subject"))),
        predicate=said.get("predicate"),
    )


def _subjects(found: object) -> Sequence[Digest]:
    if not isinstance(found, list):
        raise _fault("its statement names no subjects")
    digests = [_object(one, "a subject").get("digest") for one in found]
    values = [one.get("sha256") for one in digests if isinstance(one, Mapping)]
    try:
        return [Digest(f"sha256:{value}") for value in values if value is not None]
    except UsageError as error:
        raise _fault(f"a subject has no digest: {plain(error.message, 120)}") from None


def _json(data: bytes, what: str) -> object:
    if len(data) > BUNDLE_LIMIT:
        raise _fault(f"{what} is larger than {BUNDLE_LIMIT} bytes")
    try:
        value: object = json.loads(data.decode(), object_pairs_hook=no_key_twice)
    except (ValueError, RecursionError) as error:
        raise _fault(f"{what} is no valid JSON: {plain(str(error), 120)}") from None
    return value


def _object(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _fault(f"{what} is no object")
    return value


def _bytes(value: object, what: str) -> bytes:
    try:
        return base64.b64decode(value if isinstance(value, str) else "?", validate=True)
    except (binascii.Error, ValueError):
        raise _fault(f"its {what} is no base64") from None


def _fault(what: str) -> SignatureError:
    return SignatureError(f"an attestation cannot be read: {what}", hint=_HINT)
