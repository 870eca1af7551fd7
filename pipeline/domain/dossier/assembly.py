"""Puts a dossier together from the record, the documents of evidence and what else is known.

Rules: whatever is not there, does not hold or is not understood becomes a `Missing` with its reason; nothing
raises, because a damaged document must not keep a person from seeing the rest.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from pipeline.domain.dossier.boot import read_boot
from pipeline.domain.dossier.changes import read_difference
from pipeline.domain.dossier.difference import ReleaseSize
from pipeline.domain.dossier.dossier import (
    Boot,
    Dossier,
    EvidenceLine,
    GateLine,
    History,
    KernelPin,
    Maybe,
    Missing,
    Sbom,
)
from pipeline.domain.dossier.parts import (
    kernel_pin,
    read_gates,
    read_provenance,
    read_sbom,
    recorded_gates,
    score_lines,
)
from pipeline.domain.dossier.reading import NotUnderstoodError
from pipeline.domain.dossier.verdict import judge
from pipeline.domain.evidence import EvidenceKind
from pipeline.domain.pin import Pin
from pipeline.domain.record import Candidate
from pipeline.domain.sbom.score import Scorecard
from pipeline.domain.vulnerabilities import VulnerabilityChange

Read = TypeVar("Read")

PROGRAM = ("pipeline",)
NOT_RECORDED = "the ledger names none for this candidate"
CONSOLE_LINES = 200
"""Last lines of the console that are kept."""


def assemble_dossier(
    candidate: Candidate,
    *,
    documents: Mapping[EvidenceKind, Any],
    evidence: Sequence[EvidenceLine],
    console: str,
    history: Maybe[History],
    pin: Maybe[Pin],
    score: Maybe[Scorecard],
    trend: Sequence[ReleaseSize],
    vulnerabilities: Maybe[VulnerabilityChange],
    today: dt.date,
    program: Sequence[str] = PROGRAM,
) -> Dossier:
    """Return the dossier of a candidate; never raises for what a document holds.

    Args:
        candidate: Its record in the ledger.
        documents: Parsed JSON by kind, or `Missing` with the reason; a kind left out is not recorded.
        evidence: What became of each document's hash.
        console: The boot test's console log; empty where there is none.
        history: Commits since the predecessor.
        pin: The pin the image was built with.
        score: What the yardsticks say of the SBOM.
        trend: Sizes of the last releases, oldest first.
        vulnerabilities: What came and went.
        today: The day of the review, UTC.
        program: How the program was called, up to the verb: what the commands to decide begin with.
    """
    gates = _gates(candidate, documents)
    boot = _boot(candidate, documents, console)
    difference = _part(
        documents, EvidenceKind.DIFF, lambda found: read_difference(found, candidate.digest, trend=trend)
    )
    sbom = _sbom(candidate, documents, score)
    provenance = _part(
        documents, EvidenceKind.PROVENANCE, lambda found: read_provenance(found, candidate.digest)
    )
    shown_pin = _pin(candidate, pin)
    judgement = judge(
        candidate,
        evidence=evidence,
        history=history,
        gates=gates,
        boot=boot,
        difference=difference,
        pin=shown_pin,
        sbom=sbom,
        provenance=provenance,
        vulnerabilities=vulnerabilities,
        today=today,
    )
    return Dossier(
        candidate=candidate,
        judgement=judgement,
        evidence=tuple(evidence),
        history=history,
        gates=gates,
        boot=boot,
        difference=difference,
        pin=shown_pin,
        sbom=sbom,
        provenance=provenance,
        vulnerabilities=vulnerabilities,
        approve=_command(program, "approve", candidate),
        reject=_command(program, "reject", candidate),
    )


def _part(
    documents: Mapping[EvidenceKind, Any], kind: EvidenceKind, read: Callable[[Any], Read]
) -> Maybe[Read]:
    found = documents.get(kind, Missing(why=NOT_RECORDED))
    if isinstance(found, Missing):
        return found
    try:
        return read(found)
    except NotUnderstoodError as error:
        return Missing(why=f"the document is not understood: {error}")


def _gates(candidate: Candidate, documents: Mapping[EvidenceKind, Any]) -> Maybe[tuple[GateLine, ...]]:
    """Return the gates with their details, or as the record has them; the document must not say otherwise."""
    recorded = recorded_gates(candidate)
    if EvidenceKind.GATES not in documents:
        return recorded or Missing(why="neither the record nor the evidence has an answer of any gate")
    found = _part(documents, EvidenceKind.GATES, lambda found: read_gates(found, candidate.digest))
    if isinstance(found, Missing):
        return found
    if {(one.gate, one.verdict) for one in found} != {(one.gate, one.verdict) for one in recorded}:
        return Missing(why="the document of the gates and the ledger's record say different things")
    return found


def _boot(candidate: Candidate, documents: Mapping[EvidenceKind, Any], console: str) -> Maybe[Boot]:
    lines = tuple(console.splitlines()[-CONSOLE_LINES:])
    return _part(
        documents, EvidenceKind.BOOT_TEST, lambda found: read_boot(found, candidate.digest, console=lines)
    )


def _sbom(
    candidate: Candidate, documents: Mapping[EvidenceKind, Any], score: Maybe[Scorecard]
) -> Maybe[Sbom]:
    lines = score if isinstance(score, Missing) else score_lines(score)
    return _part(documents, EvidenceKind.SBOM, lambda found: read_sbom(found, candidate.digest, lines))


def _pin(candidate: Candidate, pin: Maybe[Pin]) -> Maybe[KernelPin]:
    """Return the pin, if it is still the one the image was built with."""
    if candidate.pins is None:
        return Missing(why=f"nothing is pinned for this {candidate.tier} image")
    if isinstance(pin, Missing):
        return pin
    if pin.kernel != candidate.pins.kernel:
        return Missing(
            why=f"the image was built with kernel {candidate.pins.kernel}, today's pin is {pin.kernel}"
        )
    return kernel_pin(pin)


def _command(program: Sequence[str], verb: str, candidate: Candidate) -> tuple[str, ...]:
    reference = f"{candidate.repository}@{candidate.digest}"
    return *program, verb, reference, "--why", f"WHY YOU {verb.upper()}"
