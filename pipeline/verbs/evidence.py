"""`pipeline evidence CANDIDATE [--get NAME]`: evidence in the registry, against the hashes in the ledger.

Rules: the ledger's record says what must be there, the registry only what is; every manifest and document is
fetched and hashed anew; a candidate without any recorded evidence is not proved. What others attached to the
candidate is listed, never judged. Entries beside the recorded ones prove nothing and disprove nothing.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Protocol

from pipeline.domain.artifact import OUR_TYPES, Artifact, Entry, Listing, artifact_of, read_artifact
from pipeline.domain.evidence import Evidence, EvidenceKind
from pipeline.domain.evidence_report import KINDS, EvidenceReport, Piece, Standing, pieces_of, standing_of
from pipeline.domain.image import Digest, Repository
from pipeline.domain.oci import Descriptor
from pipeline.domain.record import Candidate
from pipeline.domain.text import plain
from pipeline.errors import NotFoundError, RegistryError, UsageError

DOCUMENT_LIMIT = 256 << 20
"""Bytes of the largest document of evidence that is fetched."""

ENTRY_LIMIT = 200
"""Entries that are looked into; a candidate has six kinds of evidence."""

_HASH = "the registry's content was changed or damaged; build the candidate again"


class EvidenceReader(Protocol):
    """Artifacts that refer to images, where they lie; `adapters.registries` is one."""

    def entries(self, repository: Repository, subject: Digest) -> Listing:
        """Return what is said to refer to an image."""

    def manifest(self, repository: Repository, digest: Digest) -> bytes:
        """Return an artifact manifest, compared with its digest."""

    def blob(self, repository: Repository, digest: Digest, *, limit: int) -> bytes:
        """Return a document, compared with its digest."""


class EvidenceStore(EvidenceReader, Protocol):
    """A registry that takes them; `adapters.referrers` is one."""

    def store(self, repository: Repository, subject: Digest, artifacts: Sequence[Artifact]) -> None:
        """Store artifacts of one image."""


def store_evidence(
    store: EvidenceStore,
    repository: Repository,
    subject: Descriptor,
    documents: Sequence[Evidence],
    *,
    created: dt.datetime,
) -> dict[str, Digest]:
    """Store all documents of one candidate; return what its record must say: kind to sha256.

    Args:
        store: Where to.
        repository: The candidate's.
        subject: The candidate's manifest, pushed already.
        documents: One of a kind.
        created: A time that belongs to the candidate (the date its files bear), so that a repetition gives
            the same artifacts; UTC, whole seconds.

    Raises:
        UsageError: Two documents are of one kind.
        RegistryError: The registry refuses or fails.
    """
    kinds = [document.kind for document in documents]
    twice = sorted({kind.value for kind in kinds if kinds.count(kind) > 1})
    if twice:
        raise UsageError(f"two documents are {twice[0]} of {subject.digest}", hint="store one of a kind")
    artifacts = [artifact_of(subject, document, created) for document in documents]
    store.store(repository, subject.digest, artifacts)
    return {document.kind.value: document.digest for document in documents}


def load_evidence(
    store: EvidenceReader, repository: Repository, digest: Digest, kind: EvidenceKind, expected: Digest
) -> bytes:
    """Return one document by the hash that ledger or approval name; one request, no list is believed.

    Args:
        store: Where from.
        repository: The candidate's.
        digest: The candidate, for messages.
        kind: What it must be.
        expected: sha256 of the document.

    Raises:
        NotFoundError: The repository has no such document.
        RegistryError: Its bytes are not what the hash says, it is too large, or it cannot be had.
    """
    try:
        return store.blob(repository, expected, limit=DOCUMENT_LIMIT)
    except NotFoundError as error:
        raise NotFoundError(
            f"the {kind.value} {expected} of {repository}@{digest} is not in the registry",
            hint="build the candidate again; without its evidence it cannot be released",
        ) from error


def fetch_evidence(store: EvidenceReader, candidate: Candidate, name: str) -> bytes:
    """Return the document that the ledger names for a candidate, compared with the ledger's hash.

    Raises:
        UsageError: There is no such kind of evidence.
        NotFoundError: The ledger names none, or the registry does not have it.
        RegistryError: Its bytes are not what the hash says, or it cannot be had.
    """
    if name not in KINDS:
        raise UsageError(
            f"{plain(name, 60)!r} is no kind of evidence", hint=f"known are {', '.join(sorted(KINDS))}"
        )
    expected = candidate.evidence.get(name)
    if expected is None:
        recorded = ", ".join(sorted(KINDS & candidate.evidence.keys()))
        raise NotFoundError(
            f"the ledger names no {name} of {candidate.repository}@{candidate.digest}",
            hint=f"it names {recorded or 'no evidence at all'}",
        )
    return load_evidence(store, candidate.repository, candidate.digest, EvidenceKind(name), expected)


def list_evidence(store: EvidenceReader, candidate: Candidate) -> EvidenceReport:
    """Fetch and hash everything that refers to a candidate, and compare it with its record.

    Raises:
        RegistryError: The registry refuses or fails, or has no list of referrers where one belongs.
    """
    listing = store.entries(candidate.repository, candidate.digest)
    claimed = [entry for entry in listing.entries if entry.kind or entry.artifact_type in OUR_TYPES]
    foreign = [entry for entry in listing.entries if entry not in claimed]
    problems = list(listing.problems)
    if len(claimed) > ENTRY_LIMIT:
        problems.append(f"{len(claimed)} entries say they are evidence; {ENTRY_LIMIT} were looked into")
    found: list[Piece] = []
    for entry in _recorded_first(claimed, candidate)[:ENTRY_LIMIT]:
        piece = _piece(store, candidate, entry)
        if piece is None:
            foreign.append(entry)
        else:
            found.append(piece)
    return EvidenceReport(
        repository=candidate.repository,
        candidate=candidate.digest,
        pieces=pieces_of(candidate.evidence, found),
        foreign=tuple(foreign),
        problems=tuple(problems),
    )


def _recorded_first(claimed: Sequence[Entry], candidate: Candidate) -> list[Entry]:
    return sorted(claimed, key=lambda entry: entry.kind not in candidate.evidence)


def _piece(store: EvidenceReader, candidate: Candidate, entry: Entry) -> Piece | None:
    """Look into one entry; None when it is somebody else's."""
    name = entry.kind if entry.kind in KINDS else entry.artifact_type
    stored = None
    try:
        manifest = store.manifest(candidate.repository, entry.digest)
        stored = read_artifact(manifest, candidate.digest)
        if stored is None:
            return None
        _sizes(entry, manifest, stored.document)
        size = _hashed(store, candidate.repository, stored.document)
    except (NotFoundError, RegistryError) as error:
        return Piece(
            name=name if stored is None else stored.kind,
            standing=Standing.DAMAGED,
            digest=None if stored is None else stored.document.digest,
            artifact=entry.digest,
            problem=plain(error.message),
        )
    standing = standing_of(candidate.evidence.get(stored.kind), stored.document.digest)
    return Piece(
        name=stored.kind,
        standing=standing,
        digest=stored.document.digest,
        size=size,
        artifact=entry.digest,
        problem="the ledger names another hash" if standing is Standing.DIFFERS else "",
    )


def _sizes(entry: Entry, manifest: bytes, document: Descriptor) -> None:
    if len(manifest) != entry.size:
        raise RegistryError(f"its manifest has {len(manifest)} bytes, not {entry.size}", hint=_HASH)
    if document.size > DOCUMENT_LIMIT:
        raise RegistryError(f"it says it has {document.size} bytes, more than are read", hint=_HASH)


def _hashed(store: EvidenceReader, repository: Repository, document: Descriptor) -> int:
    """Fetch a document, which compares its hash, and return its size in bytes."""
    size = len(store.blob(repository, document.digest, limit=document.size))
    if size != document.size:
        raise RegistryError(f"it has {size} bytes, not {document.size}", hint=_HASH)
    return size
