"""Holds an SBOM against three public yardsticks: NTIA minimum elements, BSI TR-03183-2 v2.1, sbomqs v2.

Rules: pure: the document alone is read, nothing is fetched. Whether the JSON schema accepts it is for a
validator to say, and is handed in. Figures leave here as whole numbers (hundredths, rounded down), so that
they can stand in canonical JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from pipeline.domain.canonical import Json
from pipeline.domain.sbom.score_bsi import bsi
from pipeline.domain.sbom.score_facts import facts_of
from pipeline.domain.sbom.score_item import Item, Rating
from pipeline.domain.sbom.score_ntia import ntia
from pipeline.domain.sbom.score_sbomqs import sbomqs
from pipeline.domain.text import plain

_LONGEST = 400


@dataclass(frozen=True, kw_only=True, slots=True)
class Scorecard:
    """What the yardsticks say of one document. `components` counts the image itself too."""

    components: int
    ntia: Rating
    bsi: Rating
    sbomqs: Rating

    @property
    def ratings(self) -> tuple[Rating, ...]:
        """All three, in the order they are shown."""
        return self.ntia, self.bsi, self.sbomqs


def scorecard(document: Mapping[str, Any], *, schema_valid: bool) -> Scorecard:
    """Return what the yardsticks say of a CycloneDX document, as `json.loads` gives it. Never raises."""
    facts = facts_of(document, schema_valid=schema_valid)
    return Scorecard(components=len(facts.components), ntia=ntia(facts), bsi=bsi(facts), sbomqs=sbomqs(facts))


def hundredths(points: Fraction) -> int:
    """Return points as whole hundredths, rounded down: 9.996 is 999."""
    return int(points * 100)


def as_json(card: Scorecard, beside: Scorecard | None = None) -> dict[str, Json]:
    """Return the scorecard as values for canonical JSON; `beside`: another document's, under the same keys.

    `{"schema": 1, "components", "ratings": [{"name", "title", "version", "points", "best", "items": [...]}],
    "beside": the same without "schema", or null}`; an item is `{"name", "group", "asks", "weight", "points",
    "have", "total", "reason"}`. `points`, `best` and `weight` are hundredths.
    """
    return {"schema": 1, **_card(card), "beside": None if beside is None else _card(beside)}


def _card(card: Scorecard) -> dict[str, Json]:
    return {"components": card.components, "ratings": [_rating(rating) for rating in card.ratings]}


def _rating(rating: Rating) -> dict[str, Json]:
    return {
        "name": rating.name,
        "title": rating.title,
        "version": rating.version,
        "points": hundredths(rating.points),
        "best": hundredths(rating.best),
        "items": [_item(item) for item in rating.items],
    }


def _item(item: Item) -> dict[str, Json]:
    return {
        "name": item.name,
        "group": item.group,
        "asks": item.asks,
        "weight": hundredths(item.weight),
        "points": hundredths(item.points),
        "have": item.have,
        "total": item.total,
        "reason": plain(item.reason, _LONGEST),
    }
