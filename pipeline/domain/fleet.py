"""What became of the hosts of one run."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pipeline.domain.catalogue import Instance
from pipeline.domain.checks import CheckReport
from pipeline.domain.image import ImageRef
from pipeline.domain.record import Candidate
from pipeline.errors import PipelineError


class Outcome(StrEnum):
    """What became of one host."""

    BUILT = "built"
    UNCHANGED = "unchanged"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceResult:
    """What became of one host.

    Attributes:
        host: Its definition.
        outcome: Built, unchanged or failed.
        image: Its candidate by tag and digest; None when it failed.
        report: What the gates said, when they were asked in this run.
        kept: Directories of the base that kept their mode or owner though the definition has another.
        error: Why it failed.
    """

    host: Instance
    outcome: Outcome
    image: ImageRef | None = None
    report: CheckReport | None = None
    kept: tuple[str, ...] = ()
    error: PipelineError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetResult:
    """What became of every host that was asked for, in their order, and the candidates that were recorded."""

    hosts: tuple[InstanceResult, ...]
    candidates: tuple[Candidate, ...]

    @property
    def failed(self) -> tuple[InstanceResult, ...]:
        """The hosts that failed."""
        return tuple(one for one in self.hosts if one.outcome is Outcome.FAILED)
