"""What releases are verified with, and what several checks, or several releases, share of it.

Rules: what one check fetched and hashed is what the next one reads; what several releases have in common is
made once, however many threads ask for it.
"""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from pipeline.domain.artifact import Listing
from pipeline.domain.image import Digest, ImageRef, Repository
from pipeline.domain.lookback import LookBack
from pipeline.domain.oci import Descriptor
from pipeline.domain.protected_rules import ProtectedRules
from pipeline.domain.record import Candidate
from pipeline.domain.release import Seal
from pipeline.domain.signature import VerifyKey
from pipeline.domain.verification import TierChecked
from pipeline.verbs.evidence import EvidenceReader
from pipeline.verbs.knowing import Authors, Newcomers
from pipeline.verbs.signing import SignedReader
from pipeline.verbs.standing import Signatures, Standings

_Made = TypeVar("_Made")


class ReleaseStore(Protocol):
    """Tells what tags name; `adapters.registry.Registry` is one."""

    def resolve(self, ref: ImageRef) -> Descriptor:
        """Return what a reference names now."""


class RuleHistory(Protocol):
    """What the protected branch said; `adapters.protected_history.ProtectedHistory` is one."""

    def at(self, moment: dt.datetime) -> ProtectedRules:
        """Return the settings, signers and revoked keys as they were at a time."""


class Once(Generic[_Made]):
    """What is made once for each key, however many threads ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: dict[Hashable, Future[_Made]] = {}

    def once(self, key: Hashable, make: Callable[[], _Made]) -> _Made:
        """Return what was made for a key; who asks first makes it, others wait."""
        with self._lock:
            mine = key not in self._made
            future = self._made.setdefault(key, Future())
        if mine:
            try:
                future.set_result(make())
            except BaseException as error:
                future.set_exception(error)
                raise
        return future.result()


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyParts:
    """What releases are verified with.

    Attributes:
        look: The ledger.
        registry, evidence, signed: The registry of the releases: its tags, evidence and signatures.
        keys: Those that releases are signed with.
        rules: What the protected branch says, and said.
        signatures: Checks proofs of decisions.
        authors, newcomers: Who wrote a change, and which keys came with it.
        unsigned: Whether the settings let releases go unsigned; told each time.
        tiers, standings: What was made already, for what several releases share.
    """

    look: LookBack
    registry: ReleaseStore
    evidence: EvidenceReader
    signed: SignedReader
    keys: Sequence[VerifyKey]
    rules: RuleHistory
    signatures: Signatures
    authors: Authors
    newcomers: Newcomers
    unsigned: bool = False
    tiers: Once[TierChecked] = field(default_factory=Once)
    standings: Once[Standings] = field(default_factory=Once)


class Remembered:
    """Evidence of one image that is fetched once, so that every check reads the bytes another one hashed."""

    def __init__(self, store: EvidenceReader) -> None:
        self._store = store
        self._listing: Listing | None = None
        self._manifests: dict[Digest, bytes] = {}
        self._blobs: dict[Digest, bytes] = {}

    def entries(self, repository: Repository, subject: Digest) -> Listing:
        """Return what refers to the image."""
        if self._listing is None:
            self._listing = self._store.entries(repository, subject)
        return self._listing

    def manifest(self, repository: Repository, digest: Digest) -> bytes:
        """Return an artifact's manifest."""
        if digest not in self._manifests:
            self._manifests[digest] = self._store.manifest(repository, digest)
        return self._manifests[digest]

    def blob(self, repository: Repository, digest: Digest, *, limit: int) -> bytes:
        """Return a document."""
        if digest not in self._blobs:
            self._blobs[digest] = self._store.blob(repository, digest, limit=limit)
        return self._blobs[digest]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The release that is checked, with its candidate's record where the ledger has it."""

    seal: Seal
    candidate: Candidate | None
    evidence: Remembered
