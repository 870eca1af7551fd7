"""What is known of candidates beside the ledger: their evidence as it is in the registry, and who wrote them.

Rules: approve and seal look at the same things in the same way; what cannot be had is told as missing, never
guessed; candidates of one run share their commits, so each question to git is asked once for all of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol, TypeVar

from pipeline.domain.decision import Release
from pipeline.domain.dossier.parts import read_gates
from pipeline.domain.dossier.reading import Fields, NotUnderstoodError
from pipeline.domain.evidence_report import Standing
from pipeline.domain.gate import Verdict
from pipeline.domain.lineage import Lineage
from pipeline.domain.protected_rules import ProtectedRules
from pipeline.domain.record import Candidate, Record, candidates
from pipeline.domain.release import Seal
from pipeline.domain.sealing import ProposedBump
from pipeline.errors import GateRefusedError, NotFoundError
from pipeline.verbs.evidence import EvidenceReader, fetch_evidence, list_evidence
from pipeline.verbs.standing import Known

_BUMPS = ("major", "minor", "patch")
_One = TypeVar("_One")
_Made = TypeVar("_Made")


class Authors(Protocol):
    """Who wrote commits; `adapters.authors.GitAuthors` is one."""

    def authors(
        self, since: str | None, until: str | None, paths: Sequence[str] = ()
    ) -> tuple[str, ...] | None:
        """Return who wrote the commits after `since` up to `until` that touch one of the paths."""


class Newcomers(Protocol):
    """Keys that a change brought; `adapters.protected.ProtectedBranch` tells them."""

    def newcomers(self, rules: ProtectedRules, since: str | None, until: str | None) -> frozenset[str]:
        """Return the listed keys that the change from `since` to `until` put on the list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Knowing:
    """Where knowledge of candidates comes from.

    Attributes:
        store: Their evidence.
        authors, branch: Who wrote them, and which keys came with them.
        jobs: Candidates looked at at once.
    """

    store: EvidenceReader
    authors: Authors
    branch: Newcomers
    jobs: int = 8


def known_of(
    wanted: Sequence[Candidate], knowing: Knowing, rules: ProtectedRules, records: Sequence[Record]
) -> tuple[Known, ...]:
    """Return what is known of each candidate, in their order.

    Args:
        wanted: The candidates.
        knowing: Where from.
        rules: What the protected branch says.
        records: The ledger, oldest first.

    Raises:
        RegistryError: The registry refuses or fails.
    """
    lineage, commits = Lineage(records), {one.id: one.source.commit for one in candidates(records)}
    authors = cache(knowing.authors.authors)
    newcomers = cache(lambda since, until: knowing.branch.newcomers(rules, since, until))

    def of(one: Candidate) -> Known:
        before, until = lineage.newest(f"{one.line}/{one.image}"), one.source.commit
        since = None if before is None else commits.get(before.candidate)
        report = list_evidence(knowing.store, one)
        return Known(
            predecessor=release_of(before),
            authors=None if until is None else authors(since, until, paths_of(one)),
            gates=_gates(knowing.store, one),
            # What is a hash alone (logs, the layer) has no document that could be lost.
            held=frozenset(
                piece.name
                for piece in report.pieces
                if piece.standing in (Standing.MATCHES, Standing.HASH_ONLY)
            ),
            newcomers=newcomers(since, until),
        )

    return side_by_side(of, wanted, jobs=knowing.jobs)


def proposed_bump(store: EvidenceReader, candidate: Candidate) -> ProposedBump:
    """Return which part of the version the recorded difference asks to raise, and why.

    Raises:
        GateRefusedError: The document is not understood.
        NotFoundError: The ledger names no difference, or the registry does not have it.
        RegistryError: Its bytes are not what the hash says, or it cannot be had.
    """
    name = f"{candidate.line}/{candidate.image}"
    try:
        bump = Fields(_parsed(fetch_evidence(store, candidate, "diff")), "diff").object("bump")
        word = bump.text("proposed")
        reasons = tuple(one.text("reason") for one in bump.objects("reasons"))
    except NotUnderstoodError as error:
        raise _unreadable("diff", name, str(error)) from error
    if word not in _BUMPS:
        raise _unreadable("diff", name, f"it proposes {word!r}")
    return ProposedBump(word=word, reasons=reasons)


def release_of(seal: Seal | None) -> Release | None:
    """Return a seal's version and digest."""
    return None if seal is None else Release(version=seal.version, digest=seal.digest)


def side_by_side(work: Callable[[_One], _Made], items: Sequence[_One], *, jobs: int) -> tuple[_Made, ...]:
    """Do the same for each item on threads, and return what came of each; the first error ends it."""
    if not items:
        return ()
    with ThreadPoolExecutor(max_workers=max(1, min(jobs, len(items)))) as pool:
        futures = [pool.submit(work, one) for one in items]
        try:
            return tuple(future.result() for future in futures)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def paths_of(one: Candidate) -> tuple[str, ...]:
    """Return what a candidate is made from, relative to the images folder."""
    return (one.line, "pipeline.toml", f"../Containerfiles/{one.line}")


def _gates(store: EvidenceReader, one: Candidate) -> dict[str, Verdict] | None:
    """Return what the gates' document says; None when there is none, so that the rule can say so."""
    try:
        data = fetch_evidence(store, one, "gates")
    except NotFoundError:
        return None
    try:
        return {line.gate: line.verdict for line in read_gates(_parsed(data), one.digest)}
    except NotUnderstoodError as error:
        raise _unreadable("gates", f"{one.line}/{one.image}", str(error)) from error


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError as error:
        raise NotUnderstoodError(f"it is no JSON: {error}") from error


def _unreadable(kind: str, name: str, why: str) -> GateRefusedError:
    return GateRefusedError(
        f"the {kind} of {name} is not understood: {why}",
        hint="build the image again with this version of the program",
    )
