"""The report of a check: what every gate said of one image.

Rules: an image passes when every gate that was asked passed or is validly waived; a report without a single
answer is no pass.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.domain.gate import GateResult
from pipeline.domain.image import Tier


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
