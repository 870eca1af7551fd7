"""Reads back how an image is signed and what is attested to it, by what its release's record lists.

Rules: nothing that is read is believed: bytes are compared with digests, claims and statements with the
image, and a signature counts only with a key that was given; what is missing or wrong is told, all of it; no
program is started and few requests are made, for an audit asks this of every release there is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pipeline.domain.artifact import read_attestation
from pipeline.domain.attestation import BUNDLE_LIMIT, Attestation, pae, read_bundle
from pipeline.domain.image import Digest, ImageRef, Repository
from pipeline.domain.oci import Descriptor, digest_of
from pipeline.domain.signature import (
    PAYLOAD_LIMIT,
    SignatureLayer,
    VerifyKey,
    claim_fault,
    read_signature_manifest,
    signature_tag,
    signed_by,
)
from pipeline.domain.text import plain
from pipeline.errors import NotFoundError, RegistryError, SignatureError

SIGNATURE = "signature"
"""Name of an image's signature among what a release's record lists."""

CHILD = "signature@"
"""Begins the name of the signature of one manifest of an image index; its digest follows."""

_AGAIN = "seal the release again, which signs what is missing, once the cause is known"


class SignedReader(Protocol):
    """Reads a registry; `adapters.registry.Registry` is one."""

    def resolve(self, ref: ImageRef) -> Descriptor:
        """Return what a reference names now."""

    def unparsed(self, ref: ImageRef) -> bytes:
        """Return what lies under a reference, compared with its digest."""

    def blob(self, repository: Repository, digest: Digest, *, limit: int) -> bytes:
        """Return a blob, compared with its digest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedImage:
    """What is known of an image's signature and attestations.

    Attributes:
        key: The key that made the signature hosts look for; None without a valid one.
        attestations: Name to what was attested and verified; empty when it was not asked for.
        problems: What is missing or wrong, in words; nothing for a good release.
        notes: What is good and yet not as recorded: a signature that was written anew by a known key.
    """

    key: VerifyKey | None
    attestations: Mapping[str, Attestation] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing is missing or wrong."""
        return self.key is not None and not self.problems


def read_signed(
    store: SignedReader,
    repository: Repository,
    subject: Digest,
    keys: Sequence[VerifyKey],
    expected: Mapping[str, Digest],
    *,
    attestations: bool = True,
) -> SignedImage:
    """Return who signed an image and what is attested to it, by what its release's record lists.

    No program is started. Requests: two for the signature; two for each attestation, or one without
    `attestations`.

    Args:
        store: The registry it is in.
        repository: Where it is.
        subject: Its digest.
        keys: Those that may have signed.
        expected: `Seal.signatures`: name to the digest of a manifest.
        attestations: Whether they are fetched and verified; otherwise only that their manifests are there.

    Raises:
        RegistryError: The registry refuses or fails.
    """
    reading = _Reading(store, repository, tuple(keys))
    key = reading.signature(SIGNATURE, subject, expected.get(SIGNATURE))
    for name in sorted(expected.keys() - {SIGNATURE}):
        if name.startswith(CHILD):
            reading.signature(name, Digest(name.removeprefix(CHILD)), expected[name])
        else:
            reading.attestation(name, subject, expected[name], fetch=attestations)
    return SignedImage(
        key=key,
        attestations=reading.attestations,
        problems=tuple(reading.problems),
        notes=tuple(reading.notes),
    )


class _Reading:
    """One image being read: what was found so far."""

    def __init__(self, store: SignedReader, repository: Repository, keys: tuple[VerifyKey, ...]) -> None:
        self._store, self._repository, self._keys = store, repository, keys
        self.attestations: dict[str, Attestation] = {}
        self.problems: list[str] = []
        self.notes: list[str] = []

    def signature(self, name: str, subject: Digest, expected: Digest | None) -> VerifyKey | None:
        """Read the legacy signature of one manifest; return the key that made it."""
        try:
            data = self._store.unparsed(self._repository.tagged(signature_tag(subject)))
            layers = read_signature_manifest(data)
        except NotFoundError:
            self.problems.append(f"{name}: there is none, the tag {signature_tag(subject)} is gone")
            return None
        except SignatureError as error:
            self.problems.append(f"{name}: {error.message}")
            return None
        judged = [self._judged(layer, subject) for layer in layers]
        key = next((one for one in judged if isinstance(one, VerifyKey)), None)
        if key is None:
            faults = [one for one in judged if isinstance(one, str)]
            self.problems.extend(f"{name}: {one}" for one in faults or ["it was stripped, none is listed"])
        else:
            self._compare(name, key, digest_of(data), expected)
        return key

    def _compare(self, name: str, key: VerifyKey, found: Digest, expected: Digest | None) -> None:
        if expected is None:
            self.problems.append(f"{name}: the release's record does not name it, it is {found}")
        elif expected != found:
            self.notes.append(
                f"{name}: it is {found}, the record names {expected}; {key} made it all the same"
            )

    def _judged(self, layer: SignatureLayer, subject: Digest) -> VerifyKey | str:
        """Return the key that made one signature for this image, or what is wrong with it."""
        try:
            payload = self._store.blob(self._repository, layer.payload.digest, limit=PAYLOAD_LIMIT)
        except (NotFoundError, RegistryError) as error:
            return f"what was signed cannot be had: {plain(error.message)}"
        key = signed_by(self._keys, payload, layer.signature)
        fault = claim_fault(payload, self._repository, subject)
        if key is None:
            known = ", ".join(one.fingerprint for one in self._keys) or "none"
            return f"no known key made it (known: {known})" + (f"; {fault}" if fault else "")
        return fault or key

    def attestation(self, name: str, subject: Digest, expected: Digest, *, fetch: bool) -> None:
        """Read one attestation, or see that it is there."""
        ref = self._repository.at(expected)
        try:
            if fetch:
                self.attestations[name] = self._attested(name, subject, self._store.unparsed(ref))
            else:
                self._store.resolve(ref)
        except NotFoundError:
            self.problems.append(f"{name}: the attestation {expected} is gone")
        except (SignatureError, RegistryError) as error:
            self.problems.append(f"{name}: {plain(error.message)}")

    def _attested(self, name: str, subject: Digest, manifest: bytes) -> Attestation:
        stored = read_attestation(manifest, subject)
        if stored is None or stored.kind != name:
            raise _no(f"{digest_of(manifest)} is no attestation of that name")
        try:
            bundle = self._store.blob(self._repository, stored.document.digest, limit=BUNDLE_LIMIT)
        except NotFoundError:
            raise _no(f"its bundle {stored.document.digest} is gone") from None
        found = read_bundle(bundle)
        if signed_by(self._keys, pae(found.statement), found.signature) is None:
            raise _no("no known key made it")
        if found.subjects != (subject,):
            raise _no(f"it speaks of {', '.join(map(str, found.subjects)) or 'nothing'}, not of {subject}")
        return found


def _no(why: str) -> SignatureError:
    return SignatureError(why, hint=_AGAIN)
