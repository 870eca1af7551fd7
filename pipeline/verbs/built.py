"""An image that was built and is not a candidate yet."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.domain.catalogue import AnyImage
from pipeline.domain.image import Digest
from pipeline.domain.provenance import BuildFacts
from pipeline.domain.record import Origin, Parent, RecordedPins


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """An image the engine holds, not yet a candidate.

    Attributes:
        image: Its definition.
        local: Its local tag.
        kernel: Kernel release it must have, None where nothing is pinned.
        started: When its build began, UTC.
        facts: What it was built from.
        parent, origin, pins: See `record.Candidate`.
        evidence: Name to digest of what proves it so far.
        own: Paths of an instance's own layer, see `gate.Subject`.
    """

    image: AnyImage
    local: str
    kernel: str | None
    started: dt.datetime
    facts: BuildFacts
    parent: Parent | None = None
    origin: Origin | None = None
    pins: RecordedPins | None = None
    evidence: Mapping[str, Digest] = field(default_factory=dict)
    own: frozenset[str] | None = None
