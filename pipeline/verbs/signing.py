"""Signs images and attests to them, many at once (`signed` reads it back).

Rules:
1. All that is to be signed is signed in one call of the signer, and every signature is verified here before
   the first one is pushed.
2. What is there and verifies is kept, so a run that was killed goes on where it was.
3. An image index is signed together with each of its manifests, as `cosign sign --recursive` does.
4. Nothing is signed only on `UnsafeUnsigned`, which says so.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from pipeline.domain.artifact import BUNDLE, Attachment, Entry, Listing, read_attestation
from pipeline.domain.attestation import (
    BUNDLE_LIMIT,
    Attestation,
    bundle_artifact,
    bundle_of,
    pae,
    read_bundle,
    statement_of,
)
from pipeline.domain.image import Digest, ImageRef, Repository
from pipeline.domain.oci import INDEX_TYPES, Descriptor, Index, digest_of, parse
from pipeline.domain.predicates import Attest
from pipeline.domain.signature import (
    PAYLOAD_LIMIT,
    VerifyKey,
    read_signature_manifest,
    signature_manifest,
    signature_tag,
    simple_signing,
)
from pipeline.errors import NotFoundError, RegistryError, SignatureError, ToolMissingError, UsageError
from pipeline.verbs.signed import CHILD, SIGNATURE, SignedImage, SignedReader, read_signed

__all__ = [
    "SIGNATURE",
    "Attest",
    "Attestation",
    "FurtherSigner",
    "SignOrder",
    "SignatureStore",
    "SignedImage",
    "SignedReader",
    "Signer",
    "UnsafeUnsigned",
    "read_signed",
    "require_known",
    "sign_further",
    "sign_images",
]


class Signer(Protocol):
    """Signs with the release key; `signing_key.FileSigner` and `signer.CosignSigner` of the adapters do."""

    @property
    def key(self) -> VerifyKey:
        """The public half of the release key.

        Raises:
            SignatureError: It cannot be had.
        """

    def sign(self, blobs: Sequence[bytes]) -> tuple[bytes, ...]:
        """Return the signature of each blob, in their order; at most one program is started.

        Raises:
            SignatureError: The key cannot be used.
        """


class FurtherSigner(Protocol):
    """Signs with an identity in place of a key, as further evidence; `adapters.signer.Keyless` is one."""

    def sign(self, refs: Sequence[ImageRef]) -> None:
        """Sign images of one registry, by digest.

        Raises:
            SignatureError: It did not work.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsafeUnsigned:
    """Stands where a signer belongs and signs nothing; only a setting that says `unsafe` may make one."""

    setting: str = "signing.unsafe_none"

    @property
    def warning(self) -> str:
        """What to tell at every step."""
        return (
            f"UNSAFE: {self.setting}: this release is not signed, nobody can prove who made it, "
            "and hosts with a policy refuse it"
        )


class SignatureStore(SignedReader, Protocol):
    """A registry that takes signatures and attestations; `adapters.referrers.SignedStore` is one."""

    def offer_blob(self, repository: Repository, data: bytes) -> bool:
        """Upload a blob unless it is there."""

    def put_manifest(self, repository: Repository, reference: str | Digest, data: bytes) -> Digest:
        """Write a manifest and return its digest; a tag is read again."""

    def entries(self, repository: Repository, subject: Digest) -> Listing:
        """Return what is said to refer to an image."""

    def attach(self, repository: Repository, subject: Digest, artifacts: Sequence[Attachment]) -> None:
        """Store artifacts of one image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignOrder:
    """One image to sign.

    Attributes:
        repository: Where it is, and what its signature names.
        subject: Its manifest, or its index.
        attestations: What is said of it beside the signature.
        created: A time that belongs to the release (its approval's, say), so that a repetition gives the same
            artifacts; UTC, whole seconds.
    """

    repository: Repository
    subject: Descriptor
    attestations: tuple[Attest, ...] = ()
    created: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class _Claim:
    """A legacy signature that is wanted: of the subject itself, or of a manifest of its index."""

    name: str
    subject: Digest
    payload: bytes

    @property
    def signed(self) -> bytes:
        return self.payload


@dataclass(frozen=True, slots=True, kw_only=True)
class _Said:
    """An attestation that is wanted."""

    name: str
    predicate_type: str
    statement: bytes

    @property
    def signed(self) -> bytes:
        return pae(self.statement)


_Wanted: TypeAlias = _Claim | _Said


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """One order: what of it is there, and what is to be signed."""

    order: SignOrder
    kept: Mapping[str, Digest]
    missing: tuple[_Wanted, ...]


def sign_images(
    orders: Sequence[SignOrder], signer: Signer | UnsafeUnsigned, store: SignatureStore, *, jobs: int = 8
) -> dict[Digest, dict[str, Digest]]:
    """Sign images and attest to them; return what each release's record must list.

    Args:
        orders: The images, each once; they are in the registry already.
        signer: Signs; or the explicit word that nothing is signed.
        store: The registry.
        jobs: Images that are looked at, and pushed to, at once.

    Returns:
        For each subject the name of a signature or attestation to the digest of its manifest: `signature`,
        the names of the attestations, `signature@sha256:…` for each manifest of an index; none if unsigned.

    Raises:
        UsageError: An image is ordered twice, or two attestations of one have the same name.
        SignatureError: The signer fails, or what it made does not verify with its key: nothing was pushed.
        RegistryError, NotFoundError: The registry refuses or fails, or an image is not in it.
    """
    _require_distinct(orders)
    if isinstance(signer, UnsafeUnsigned):
        return {order.subject.digest: {} for order in orders}
    key = signer.key
    with ThreadPoolExecutor(max(1, jobs)) as pool:
        work = list(pool.map(lambda order: _look(order, key, store), orders))
        made = iter(_signed([one.signed for job in work for one in job.missing], signer))
        signed = [[(one, next(made)) for one in job.missing] for job in work]
        pushed = list(pool.map(lambda job, pairs: _push(job, pairs, key, store), work, signed))
    return {job.order.subject.digest: names for job, names in zip(work, pushed, strict=True)}


def sign_further(refs: Sequence[ImageRef], signer: FurtherSigner, *, required: bool) -> str:
    """Sign images once more, with an identity in place of a key; return why that failed, "" when it worked.

    Args:
        refs: The images, by digest.
        signer: Signs.
        required: Whether a failure ends the run; otherwise it is only told.

    Raises:
        SignatureError: It failed and is required.
    """
    try:
        signer.sign(refs)
    except (SignatureError, ToolMissingError) as error:
        if required:
            raise
        return error.message
    return ""


def require_known(key: VerifyKey, keys: Sequence[VerifyKey]) -> None:
    """Return if a signing key is among the release keys that images trust.

    Raises:
        SignatureError: It is not.
    """
    if key.fingerprint in {known.fingerprint for known in keys}:
        return
    raise SignatureError(
        f"the signing key {key} is none of the release keys: {', '.join(map(str, keys)) or 'there are none'}",
        hint="put its public key into signing.release_keys, and release images that trust it before it signs",
    )


def _require_distinct(orders: Sequence[SignOrder]) -> None:
    digests = [order.subject.digest for order in orders]
    if len(set(digests)) != len(digests):
        raise UsageError("an image is to be signed twice at once", hint="name each image once")
    for order in orders:
        names = [one.name for one in order.attestations]
        if len(set(names)) != len(names) or any(name.startswith(SIGNATURE) for name in names):
            raise UsageError(
                f"the attestations of {order.repository} are named {', '.join(names)}",
                hint="give each a name of its own",
            )


def _look(order: SignOrder, key: VerifyKey, store: SignatureStore) -> _Job:
    """Return what of an order is there already."""
    kept: dict[str, Digest] = {}
    missing: list[_Wanted] = []
    for claim in _claims(order, store):
        found = _kept_claim(order.repository, claim, key, store)
        if found is None:
            missing.append(claim)
        else:
            kept[claim.name] = found
    listing = store.entries(order.repository, order.subject.digest) if order.attestations else Listing()
    for attest in order.attestations:
        said = _said(order, attest)
        entries = [
            one for one in listing.entries if (one.artifact_type, one.attestation) == (BUNDLE, said.name)
        ]
        there = next((one.digest for one in entries if _same(order, said, one, key, store)), None)
        if there is None:
            missing.append(said)
        else:
            kept[said.name] = there
    return _Job(order=order, kept=kept, missing=tuple(missing))


def _claims(order: SignOrder, store: SignatureStore) -> Iterator[_Claim]:
    repository, subject = order.repository, order.subject
    yield _Claim(name=SIGNATURE, subject=subject.digest, payload=simple_signing(repository, subject.digest))
    if subject.media_type not in INDEX_TYPES:
        return
    index = parse(store.unparsed(repository.at(subject.digest)), f"the index {repository}@{subject.digest}")
    children = index.manifests if isinstance(index, Index) else ()
    for digest in sorted({child.digest for child in children}):
        yield _Claim(name=f"{CHILD}{digest}", subject=digest, payload=simple_signing(repository, digest))


def _said(order: SignOrder, attest: Attest) -> _Said:
    name = str(order.repository)
    statement = statement_of(name, order.subject.digest, attest.predicate_type, attest.predicate)
    return _Said(name=attest.name, predicate_type=attest.predicate_type, statement=statement)


def _kept_claim(
    repository: Repository, claim: _Claim, key: VerifyKey, store: SignatureStore
) -> Digest | None:
    """Return the digest of the signature manifest there is, if our key's signature is in it and whole."""
    held = _held(repository, claim.subject, store)
    if held is None:
        return None
    payload = digest_of(claim.payload)
    ours = [one for one in read_signature_manifest(held) if one.payload.digest == payload]
    if not any(key.verifies(claim.payload, one.signature) for one in ours):
        return None
    try:
        store.blob(repository, payload, limit=PAYLOAD_LIMIT)
    except NotFoundError:
        return None
    return digest_of(held)


def _held(repository: Repository, subject: Digest, store: SignatureStore) -> bytes | None:
    try:
        return store.unparsed(repository.tagged(signature_tag(subject)))
    except NotFoundError:
        return None


def _same(order: SignOrder, said: _Said, entry: Entry, key: VerifyKey, store: SignatureStore) -> bool:
    """Tell whether an artifact that is there says this, signed by our key; what is damaged says nothing."""
    try:
        manifest = store.unparsed(order.repository.at(entry.digest))
        stored = read_attestation(manifest, order.subject.digest)
        if stored is None or stored.kind != said.name:
            return False
        found = read_bundle(store.blob(order.repository, stored.document.digest, limit=BUNDLE_LIMIT))
    except (NotFoundError, RegistryError, SignatureError):
        return False
    return found.statement == said.statement and key.verifies(said.signed, found.signature)


def _signed(blobs: Sequence[bytes], signer: Signer) -> tuple[bytes, ...]:
    """Return the signatures of all blobs, each verified."""
    if not blobs:
        return ()
    made = signer.sign(blobs)
    wrong = sum(not signer.key.verifies(blob, one) for blob, one in zip(blobs, made, strict=False))
    if len(made) != len(blobs) or wrong:
        raise SignatureError(
            f"of {len(blobs)} signatures that were asked for, {len(made)} came and {wrong} of them do not "
            f"verify with the key {signer.key}; nothing was pushed",
            hint="see that the signing key and its public key belong together",
        )
    return made


def _push(
    job: _Job, made: Sequence[tuple[_Wanted, bytes]], key: VerifyKey, store: SignatureStore
) -> dict[str, Digest]:
    """Store what was signed for one order: the signatures first, then what is attested."""
    order, names = job.order, dict(job.kept)
    for one, signature in made:
        if isinstance(one, _Claim):
            names[one.name] = _push_claim(order.repository, one, signature, key, store)
    bundles = {
        one.name: bundle_artifact(
            one.name,
            order.subject,
            one.predicate_type,
            bundle_of(one.statement, signature, key.hint),
            order.created,
        )
        for one, signature in made
        if isinstance(one, _Said)
    }
    if bundles:
        store.attach(order.repository, order.subject.digest, tuple(bundles.values()))
    return names | {name: bundle.digest for name, bundle in bundles.items()}


def _push_claim(
    repository: Repository, claim: _Claim, signature: bytes, key: VerifyKey, store: SignatureStore
) -> Digest:
    image = signature_manifest(claim.payload, signature, _held(repository, claim.subject, store))
    for blob in (claim.payload, image.config):
        store.offer_blob(repository, blob)
    try:
        return store.put_manifest(repository, signature_tag(claim.subject), image.manifest)
    except RegistryError:
        # Another seal of the same release may have written the tag between our writing and reading it.
        there = _kept_claim(repository, claim, key, store)
        if there is None:
            raise
        return there
