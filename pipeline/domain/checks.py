"""The report of a check: what every gate said of one image.

Rules: an image passes when every gate that was asked passed or is validly waived; a report without a single
answer is no pass.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.domain.canonical import Json, canonical_json
from pipeline.domain.evidence import Evidence, EvidenceKind
from pipeline.domain.gate import GateResult
from pipeline.domain.image import Digest, Tier
from pipeline.domain.record import harmless

SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """What the gates said of one image."""

    tier: Tier
    results: tuple[GateResult, ...]

    @property
    def ok(self) -> bool:
        """Whether every gate passed or is validly waived, and at least one was asked."""
        return bool(self.results) and not self.refused

    @property
    def refused(self) -> tuple[GateResult, ...]:
        """The gates that said no, or could not be checked."""
        return tuple(result for result in self.results if not result.ok)

    def evidence(self, image: Digest) -> Evidence:
        """Return the report with all its details as evidence for the image of this digest."""
        document: dict[str, Json] = {
            "schema": SCHEMA,
            "image": str(image),
            "tier": self.tier.value,
            "ok": self.ok,
            "gates": [_answer(result) for result in self.results],
        }
        return Evidence(kind=EvidenceKind.GATES, data=canonical_json(document))


def _answer(result: GateResult) -> dict[str, Json]:
    """Return one answer; what came out of the image is made harmless, as in the ledger."""
    return {
        "gate": result.gate,
        "verdict": result.finding.verdict.value,
        "summary": harmless(result.finding.summary),
        "details": [harmless(detail) for detail in result.finding.details],
    }
