"""What was found of a candidate's evidence, beside what the ledger says must be there.

Rules: every name in the ledger has a piece, found or not; a piece that is there counts only when its hash is
the recorded one; what the ledger does not name is shown and proves nothing. Nothing recorded is no proof.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from pipeline.domain.artifact import Entry
from pipeline.domain.evidence import EvidenceKind
from pipeline.domain.image import Digest, Repository

KINDS = frozenset(kind.value for kind in EvidenceKind)
"""Names of evidence that is stored as documents; the ledger holds hashes of other things too."""


class Standing(StrEnum):
    """How a piece of evidence stands to the ledger.

    MATCHES: the document's hash, computed anew, is the ledger's. MISSING: the ledger names a hash, and no
    artifact has such a document. DIFFERS: the ledger names another hash for this kind. DAMAGED: manifest or
    document are not what they must be. NOT_RECORDED: the ledger does not name this kind. HASH_ONLY: what is
    only ever recorded by its hash (a build log, a layer).
    """

    MATCHES = "matches"
    MISSING = "missing"
    DIFFERS = "differs"
    DAMAGED = "damaged"
    NOT_RECORDED = "not recorded"
    HASH_ONLY = "hash only"


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One piece of evidence.

    Attributes:
        name: The kind's name, or the name in the ledger.
        standing: How it stands to the ledger.
        digest: The document's digest; None where it cannot be told.
        size: Its bytes; None where it was not fetched.
        artifact: Digest of its artifact manifest; None where there is none.
        problem: What is wrong, for people; "" where nothing is.
    """

    name: str
    standing: Standing
    digest: Digest | None = None
    size: int | None = None
    artifact: Digest | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceReport:
    """The evidence of one candidate.

    Attributes:
        repository, candidate: The image.
        pieces: Every piece, by name, the recorded before others.
        foreign: What others attached: signatures, attestations, their SBOMs.
        problems: What is damaged in the registry's list itself.
    """

    repository: Repository
    candidate: Digest
    pieces: tuple[Piece, ...]
    foreign: tuple[Entry, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def failed(self) -> tuple[str, ...]:
        """Names in the ledger whose document is not there as recorded."""
        return tuple(piece.name for piece in self.pieces if piece.standing is Standing.MISSING)

    @property
    def ok(self) -> bool:
        """Whether every recorded kind is there as recorded, and there is one at all."""
        return not self.failed and any(piece.standing is Standing.MATCHES for piece in self.pieces)


def pieces_of(recorded: Mapping[str, Digest], found: Sequence[Piece]) -> tuple[Piece, ...]:
    """Return one piece for every name in the ledger, by name, then what was found beside them."""
    return (*_of_record(recorded, found), *_others(found))


def standing_of(recorded: Digest | None, found: Digest) -> Standing:
    """Return how a document that was found stands to the hash in the ledger, None where it names none."""
    if recorded is None:
        return Standing.NOT_RECORDED
    return Standing.MATCHES if recorded == found else Standing.DIFFERS


def _of_record(recorded: Mapping[str, Digest], found: Sequence[Piece]) -> list[Piece]:
    """Return one piece for every name in the ledger."""
    pieces: list[Piece] = []
    for name, digest in sorted(recorded.items()):
        good = [one for one in found if one.name == name and one.standing is Standing.MATCHES]
        bad = [one for one in found if one.name == name and one.standing is not Standing.MATCHES]
        if name not in KINDS:
            pieces.append(Piece(name=name, standing=Standing.HASH_ONLY, digest=digest))
        elif good:
            pieces.append(good[0])
        else:
            # Told here too, so that one line says why; the bad ones follow with their artifacts.
            why = bad[0].problem if bad else "no artifact in the registry"
            pieces.append(Piece(name=name, standing=Standing.MISSING, digest=digest, problem=why))
    return pieces


def _others(found: Sequence[Piece]) -> list[Piece]:
    others = [one for one in found if one.standing is not Standing.MATCHES]
    return sorted(others, key=lambda one: (one.name, str(one.artifact)))
