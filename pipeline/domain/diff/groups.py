"""A difference in words, by kind, the riskiest kinds first: what a dossier and a terminal show.

Rules: the kinds have one order and one name everywhere; a kind in which nothing changed is still there, so
that its silence is seen; what could lock out, break the boot or give rights away is high, and critical where
it surely does or hides what it does; of a first image, where all is new, only what would be risky in any is
more than low. Words come from images: they are as hostile as ever, whoever shows them makes them harmless.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from pipeline.domain.diff import items_content as content
from pipeline.domain.diff import items_host as host
from pipeline.domain.diff.difference import Difference
from pipeline.domain.diff.item import Item, Risk

MOST_REASONS = 12
"""Reasons of one group that are told one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """All changes of one kind.

    Attributes:
        kind: Stable name, that of the part in the document.
        title: For people.
        items: The changes, the riskiest first; of `noise` one for all paths of one cause.
        count: How many things differ.
    """

    kind: str
    title: str
    items: tuple[Item, ...]
    count: int

    @property
    def risk(self) -> Risk:
        """The highest risk in it; none for an empty group."""
        return max((one.risk for one in self.items), default=Risk.NONE)

    @property
    def reasons(self) -> tuple[str, ...]:
        """What makes it risky, one line a change, the riskiest first; what is left out is counted."""
        risky = [item for item in self.items if item.why or item.risk >= Risk.HIGH]
        told = tuple(f"{item.name}: {item.why or item.how}" for item in risky[:MOST_REASONS])
        more = len(risky) - MOST_REASONS
        return (*told, f"and {more} more") if more > 0 else told


def groups(difference: Difference) -> tuple[Group, ...]:
    """Return every kind, those with the highest risk first, equal ones in the order of the table below."""
    found = [_group(kind, title, items(difference), difference) for kind, title, items in _KINDS]
    return tuple(sorted(found, key=lambda group: -group.risk))


def _group(kind: str, title: str, items: Iterator[Item], difference: Difference) -> Group:
    ordered = _ordered(items, first=difference.first)
    count = {
        "files": sum(area.total for area in difference.areas),
        "noise": sum(len(one.paths) for one in difference.noise) + len(difference.built),
    }.get(kind, len(ordered))
    return Group(kind=kind, title=title, items=ordered, count=count)


def _ordered(items: Iterator[Item], *, first: bool) -> tuple[Item, ...]:
    weighed = (_at_first(item) if first else item for item in items)
    return tuple(sorted(weighed, key=lambda item: (-item.risk, item.name)))


def _at_first(item: Item) -> Item:
    """Lower what is only risky because it changed: of a first image everything did."""
    if item.why or item.risk <= Risk.LOW:
        return item
    return replace(item, risk=Risk.LOW)


_KINDS: tuple[tuple[str, str, Callable[[Difference], Iterator[Item]]], ...] = (
    ("unread", "Could not be read", content.unread),
    ("kernel", "Kernel", host.kernel),
    ("modules", "Out-of-tree modules", host.modules),
    ("privileges", "Setuid, capabilities, devices", host.privileges),
    ("accounts", "Users and groups", host.accounts),
    ("units", "Enabled units", host.units),
    ("policy", "Signature policy", host.policy),
    ("texts", "/etc and unit files", content.texts),
    ("kargs", "Kernel arguments", host.kargs),
    ("containers", "Container images", content.containers),
    ("bound", "Bound images", content.bound),
    ("system", "Operating system", content.system),
    ("packages", "Packages", content.packages),
    ("config", "Image config", content.config),
    ("files", "Files", content.files),
    ("noise", "Noise", content.noise),
)
