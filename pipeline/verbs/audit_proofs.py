"""What an audit looks for beside a release's tag: its signature, its attestations, its evidence.

Rules: the signature is checked, in this process and with one request: what was signed is made anew here and
need not be fetched. Attestations and evidence are looked for, not read; a tag of theirs in the list of tags
is a sign that they are there, and where there is none the registry is asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from pipeline.domain.artifact import Listing, evidence_tag, evidence_tags
from pipeline.domain.audit import Finding, Home, What
from pipeline.domain.evidence_report import KINDS
from pipeline.domain.image import Digest, ImageRef, Repository
from pipeline.domain.oci import Descriptor, digest_of
from pipeline.domain.release import Seal
from pipeline.domain.signature import (
    VerifyKey,
    read_signature_manifest,
    signature_tag,
    signed_by,
    simple_signing,
)
from pipeline.domain.text import plain
from pipeline.errors import NotFoundError, SignatureError
from pipeline.verbs.signed import CHILD, SIGNATURE

_AGAIN = "sign it again by sealing the same digest, once it is known who removed it"


class ProofStore(Protocol):
    """A registry with what refers to its images."""

    def resolve(self, ref: ImageRef) -> Descriptor:
        """Return what a reference names now."""

    def unparsed(self, ref: ImageRef) -> bytes:
        """Return what lies under a reference, compared with its digest."""

    def entries(self, repository: Repository, subject: Digest) -> Listing:
        """Return what is said to refer to an image."""


def proof_findings(
    seal: Seal, home: Home, store: ProofStore, keys: Sequence[VerifyKey], *, unsigned: bool
) -> Iterator[Finding]:
    """Yield what of a release's proof is gone or wrong.

    Args:
        seal: The release.
        home: Its repository, with its tags.
        store: The registry.
        keys: Those that may have signed.
        unsigned: Whether the settings let releases go unsigned.

    Raises:
        RegistryError: The registry does not answer.
    """
    if not seal.signatures and unsigned:
        text = "UNSAFE: released without a signature, as the settings allow"
        yield _finding(seal, What.UNSIGNED, text, "set up a release key")
    else:
        for subject in _signed(seal):
            fault = _unsigned(seal, subject, home, store, keys)
            if fault:
                yield _finding(seal, What.SIGNATURE, fault, _AGAIN)
    for name, digest in sorted(seal.signatures.items()):
        if not name.startswith(SIGNATURE) and not _there(seal, digest, home, store):
            text = f"the attestation {plain(name, 60)} ({digest}) is gone"
            yield _finding(seal, What.ATTESTATION, text, _AGAIN)
    lost = _lost_evidence(seal, home, store)
    if lost:
        text = f"evidence is gone: {', '.join(lost)}"
        todo = f"pipeline evidence {seal.repository}@{seal.digest}; restore it from a copy of the registry"
        yield _finding(seal, What.EVIDENCE, text, todo)


def _signed(seal: Seal) -> Iterator[Digest]:
    """Yield the manifests that have to be signed: the image, and each platform's of an index."""
    yield seal.digest
    for name in seal.signatures:
        if name.startswith(CHILD):
            yield Digest(name.removeprefix(CHILD))


def _unsigned(seal: Seal, subject: Digest, home: Home, store: ProofStore, keys: Sequence[VerifyKey]) -> str:
    """Return why a manifest is not signed by a release key; empty when it is."""
    tag = signature_tag(subject)
    if SIGNATURE not in seal.signatures:
        return "the seal names no signature"
    try:
        data = store.unparsed(home.repository.tagged(tag))
        layers = read_signature_manifest(data)
    except NotFoundError:
        return f"the signature is gone: there is no tag {tag}"
    except SignatureError as error:
        return plain(error.message)
    claim = simple_signing(seal.repository, subject)
    ours = [one for one in layers if one.payload.digest == digest_of(claim)]
    if any(signed_by(keys, claim, one.signature) for one in ours):
        return ""
    if not ours:
        return f"the signature was stripped: nothing under {tag} is about {subject}"
    known = ", ".join(key.fingerprint for key in keys) or "none"
    return f"its signature is by no release key (known: {known})"


def _there(seal: Seal, digest: Digest, home: Home, store: ProofStore) -> bool:
    if evidence_tag(seal.digest, digest) in (home.tags or ()):
        return True
    try:
        store.resolve(home.repository.at(digest))
    except NotFoundError:
        return False
    return True


def _lost_evidence(seal: Seal, home: Home, store: ProofStore) -> tuple[str, ...]:
    """Return the kinds of evidence that the seal names and nothing is there of."""
    wanted = KINDS & seal.evidence.keys()
    attested = {evidence_tag(seal.digest, digest) for digest in seal.signatures.values()}
    start = evidence_tags(seal.digest)
    tagged = {tag for tag in home.tags or () if tag.startswith(start)} - attested
    if len(tagged) >= len(wanted):
        return ()
    # A list that programs write still names what was deleted since, so each artifact is asked for.
    listed = [one for one in store.entries(home.repository, seal.digest).entries if one.kind in wanted]
    there = {one.kind for one in listed if _there(seal, one.digest, home, store)}
    return tuple(sorted(wanted - there))


def _finding(seal: Seal, what: What, text: str, todo: str) -> Finding:
    return Finding(what=what, image=seal.name, release=f"v{seal.version}", text=text, todo=todo)
