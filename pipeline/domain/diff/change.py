"""One thing that differs between two images: its name and what it is on either side.

Rules: a side where the thing is absent is None; both sides equal is no change and never becomes a value; the
order is by name, so that the same images give the same list.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from pipeline.domain.diff.snapshot import ChangeKind

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change(Generic[T]):
    """A thing that is not the same on both sides; `old` or `new` is None where it is absent."""

    name: str
    old: T | None
    new: T | None

    @property
    def kind(self) -> ChangeKind:
        """Whether it came, went or changed."""
        if self.old is None:
            return ChangeKind.ADDED
        return ChangeKind.REMOVED if self.new is None else ChangeKind.CHANGED


def compare(old: Mapping[str, T], new: Mapping[str, T]) -> tuple[Change[T], ...]:
    """Return what differs between two mappings from names to things, by name."""
    return tuple(
        Change(name=name, old=old.get(name), new=new.get(name))
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    )
