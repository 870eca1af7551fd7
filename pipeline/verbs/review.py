"""`pipeline review CANDIDATE`: gathers everything there is to say of a candidate into its dossier.

Rules: every document is fetched by the hash in the ledger and hashed anew here; one that is lost, differs or
is no JSON is told as missing with its reason, and never used; nothing is written.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pipeline.domain.commits import Commits
from pipeline.domain.dossier.assembly import NOT_RECORDED, PROGRAM, assemble_dossier
from pipeline.domain.dossier.difference import ReleaseSize
from pipeline.domain.dossier.dossier import Dossier, EvidenceLine, Held, History, Maybe, Missing
from pipeline.domain.evidence import EvidenceKind
from pipeline.domain.image import Digest
from pipeline.domain.oci import digest_of
from pipeline.domain.pin import Pin
from pipeline.domain.record import Candidate
from pipeline.domain.sbom.score import Scorecard
from pipeline.domain.vulnerabilities import VulnerabilityReport, compare
from pipeline.errors import NotFoundError, PipelineError, RegistryError


class Documents(Protocol):
    """Fetches evidence."""

    def fetch(self, candidate: Candidate, kind: EvidenceKind) -> bytes:
        """Return the document that the ledger names.

        Raises:
            NotFoundError: It cannot be found.
            RegistryError: It cannot be had, or is not what its hash says.
        """


Scorer = Callable[[Mapping[str, Any]], Scorecard]
"""Holds a parsed SBOM against the yardsticks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """What a review is made with.

    Attributes:
        documents: Where evidence is.
        commits: History of the definitions.
        candidates: Records of the ledger, oldest first: the predecessor's commit is looked up here.
        paths: Paths, relative to the folder of the definitions, whose commits are told; empty for all.
        pin: The pin of the image's base today, or why there is none.
        score: Holds the SBOM against the yardsticks.
        trend: Sizes of the last releases, oldest first.
        today: The day, UTC.
        program: How the program was called, up to the verb.
    """

    documents: Documents
    commits: Commits
    candidates: Sequence[Candidate]
    paths: Sequence[str]
    pin: Maybe[Pin]
    score: Scorer
    trend: Sequence[ReleaseSize]
    today: dt.date
    program: Sequence[str] = PROGRAM


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fetched:
    """One document of evidence: what became of its hash, and its bytes or why there are none."""

    line: EvidenceLine
    data: bytes | Missing


def review(
    candidate: Candidate,
    parts: Review,
    *,
    vulnerabilities: VulnerabilityReport | None = None,
    before: VulnerabilityReport | None = None,
) -> Dossier:
    """Return the dossier of a candidate.

    Args:
        candidate: Its record in the ledger.
        parts: What the review is made with.
        vulnerabilities: A scanner's report on the candidate.
        before: The same scanner's report on the predecessor.
    """
    fetched = {kind: _fetch(parts.documents, candidate, kind) for kind in EvidenceKind}
    documents = dict(_parsed(fetched))
    console = fetched[EvidenceKind.CONSOLE].data
    return assemble_dossier(
        candidate,
        documents=documents,
        evidence=tuple(one.line for one in fetched.values()),
        console="" if isinstance(console, Missing) else console.decode("utf-8", "surrogateescape"),
        history=_history(candidate, parts, documents.get(EvidenceKind.DIFF)),
        pin=parts.pin,
        score=_score(parts.score, documents.get(EvidenceKind.SBOM)),
        trend=parts.trend,
        vulnerabilities=(
            Missing(why="give a report in CycloneDX, grype's or trivy's JSON with --vulnerabilities")
            if vulnerabilities is None
            else compare(vulnerabilities, before)
        ),
        today=parts.today,
        program=parts.program,
    )


def _fetch(documents: Documents, candidate: Candidate, kind: EvidenceKind) -> _Fetched:
    expected = candidate.evidence.get(kind.value)
    if expected is None:
        return _lost(kind, None, Held.ABSENT, NOT_RECORDED)
    try:
        data = documents.fetch(candidate, kind)
    except NotFoundError as error:
        return _lost(kind, expected, Held.LOST, error.message)
    except RegistryError as error:
        return _lost(kind, expected, Held.DIFFERS, error.message)
    if digest_of(data) != expected:
        return _lost(kind, expected, Held.DIFFERS, f"its hash is {digest_of(data)}, recorded is {expected}")
    return _Fetched(line=EvidenceLine(name=kind.value, digest=expected, held=Held.VERIFIED), data=data)


def _lost(kind: EvidenceKind, digest: Digest | None, held: Held, why: str) -> _Fetched:
    return _Fetched(line=EvidenceLine(name=kind.value, digest=digest, held=held), data=Missing(why=why))


def _parsed(fetched: Mapping[EvidenceKind, _Fetched]) -> Iterator[tuple[EvidenceKind, Any]]:
    """Yield each recorded document as parsed JSON, or why it cannot be used."""
    for kind, one in fetched.items():
        if kind is EvidenceKind.CONSOLE or one.line.held is Held.ABSENT:
            continue
        if isinstance(one.data, Missing):
            yield kind, one.data
            continue
        try:
            yield kind, json.loads(one.data)
        except (ValueError, RecursionError) as error:
            yield kind, Missing(why=f"the document is no JSON: {error}")


def _history(candidate: Candidate, parts: Review, difference: Any) -> Maybe[History]:
    until = candidate.source.commit
    if until is None:
        return Missing(why="the image was built from definitions in no git repository")
    predecessor = _predecessor(parts.candidates, difference)
    since = None if predecessor is None else predecessor.source.commit
    try:
        commits = parts.commits.commits_since(since, until, parts.paths)
    except PipelineError as error:
        return Missing(why=error.message)
    return History(since=since, until=until, commits=commits)


def _predecessor(candidates: Sequence[Candidate], difference: Any) -> Candidate | None:
    """Return the record of the image the diff compares with, where the ledger has one."""
    old = difference.get("old") if isinstance(difference, Mapping) else None
    digest = old.get("digest") if isinstance(old, Mapping) else None
    return next((one for one in reversed(candidates) if str(one.digest) == digest), None)


def _score(score: Scorer, document: Any) -> Maybe[Scorecard]:
    if not isinstance(document, Mapping):
        return Missing(why="there is no SBOM to score")
    return score(document)
