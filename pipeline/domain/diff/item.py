"""One change in words, and how closely to look at it.

Rules: words come from images and are as hostile as ever; whoever shows them makes them harmless.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeVar

from pipeline.domain.diff.change import Change

T = TypeVar("T")


class Risk(IntEnum):
    """How closely to look; greater is riskier."""

    NONE = 0
    LOW = 1
    MEDIUM = 2
    HIGH = 3
    CRITICAL = 4

    @property
    def word(self) -> str:
        """The name in documents."""
        return self.name.lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One change in words.

    Attributes:
        name: What it is: a package, a path, a unit, a user.
        how: `added`, `removed`, `changed`; of packages also `up`, `down` and `same` (another build).
        before, after: Both states; "" where there is none.
        risk: How closely to look.
        why: What about it is risky, or "".
    """

    name: str
    how: str
    before: str = ""
    after: str = ""
    risk: Risk = Risk.LOW
    why: str = ""


def item_of(change: Change[T], words: Callable[[T], str], risk: Risk, why: str = "") -> Item:
    """Return a change with both its sides in words; a side that is absent is ""."""
    return Item(
        name=change.name,
        how=change.kind.value,
        before="" if change.old is None else words(change.old),
        after="" if change.new is None else words(change.new),
        risk=risk,
        why=why,
    )


def became(old: object, new: object) -> str:
    """Return `added`, `removed` or `changed`, by which side is empty."""
    if old and new:
        return "changed"
    return "added" if new else "removed"
