"""`plan`: what would be built, from which digest, with which pins."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.domain.catalogue import Catalogue, Line
from pipeline.domain.image import Digest, Tier
from pipeline.domain.plan import Plan, make_plan, select
from pipeline.domain.record import LedgerReader, candidates
from pipeline.verbs.ports import PinStore


def plan(
    catalogue: Catalogue,
    line: Line,
    *,
    ledger: LedgerReader,
    pins: PinStore,
    tier: Tier | None = None,
    names: Sequence[str] = (),
    hosts: Sequence[str] = (),
) -> Plan:
    """Return the plan for a line, a tier of it, or single images.

    Raises:
        UsageError: A name does not exist.
        LedgerError: The ledger is damaged.
        DefinitionError: pins.toml is damaged.
    """
    newest: dict[str, Digest] = {}
    for record in candidates(ledger.read()):
        if record.line == line.name:
            newest[record.image] = record.digest
    images = select(line, tier=tier, names=names, hosts=hosts)
    return make_plan(catalogue, line, images, newest=newest, pins=pins.read().pins)
