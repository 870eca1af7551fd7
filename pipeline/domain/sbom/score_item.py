"""What a yardstick says of an SBOM: rules, what each found, and the points they add up to.

Rules: shares and points are exact fractions, so that a sum is no matter of rounding; what is shown or written
is rounded down, so that nothing unfinished ever reads as full. An item that does not apply has no weight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction

from pipeline.domain.sbom.score_facts import Component, Facts
from pipeline.domain.text import plain

_NAMED = 3
_LONGEST_NAME = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What a rule found: how many of how many have it, and why the rest has not.

    `share` is the part of the item's weight that is earned, 0 to 1. `applies` is false where there was
    nothing to look at.
    """

    have: int
    total: int
    share: Fraction
    reason: str = ""
    applies: bool = True


Judge = Callable[[Facts], Finding]
"""A rule: reads the document's facts, keeps nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """One thing a yardstick asks. `weight` counts within its group, in the yardstick's own unit."""

    name: str
    group: str
    asks: str
    judge: Judge
    weight: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One rule's answer. `weight`: points it adds when full; `share`: how much of them it got, 0 to 1."""

    name: str
    group: str
    asks: str
    weight: Fraction
    share: Fraction
    have: int
    total: int
    reason: str

    @property
    def points(self) -> Fraction:
        """What the item adds to the rating."""
        return self.weight * self.share

    @property
    def full(self) -> bool:
        """Whether nothing is lacking."""
        return self.share == 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Rating:
    """What one yardstick says: `name` for machines, `title` and `version` for people."""

    name: str
    title: str
    version: str
    items: tuple[Item, ...]

    @property
    def points(self) -> Fraction:
        """What was got."""
        return sum((item.points for item in self.items), Fraction())

    @property
    def best(self) -> Fraction:
        """What could have been got."""
        return sum((item.weight for item in self.items), Fraction())

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups of items, in order."""
        return tuple(dict.fromkeys(item.group for item in self.items))

    def of(self, group: str) -> tuple[Item, ...]:
        """Return one group's items."""
        return tuple(item for item in self.items if item.group == group)


def each(has: Callable[[Component], bool], facts: Facts, lacking: str) -> Finding:
    """Return how many components have a thing; `lacking` says what the others have wrong ("no version")."""
    without = [component.label for component in facts.components if not has(component)]
    total = len(facts.components)
    if not total:
        return Finding(have=0, total=0, share=Fraction(), reason="there are no components", applies=False)
    share = Fraction(total - len(without), total)
    return Finding(have=total - len(without), total=total, share=share, reason=_named(lacking, without))


def per_component(has: Callable[[Component], bool], lacking: str) -> Judge:
    """Return the rule that asks a thing of every component."""
    return lambda facts: each(has, facts, lacking)


def of_document(holds: Callable[[Facts], bool], lacking: str) -> Judge:
    """Return the rule that asks a thing of the document."""
    return lambda facts: yes_or_no(holds(facts), lacking)


def yes_or_no(holds: bool, lacking: str) -> Finding:  # noqa: FBT001 - the answer is the argument
    """Return the finding of a rule that is met or not."""
    return Finding(have=int(holds), total=1, share=Fraction(int(holds)), reason="" if holds else lacking)


def counted(lacking: str, have: int, without: Iterable[str]) -> Finding:
    """Return the finding over some components: how many have it, and the names of those that have not."""
    names = list(without)
    total = have + len(names)
    share = Fraction(have, total) if total else Fraction()
    return Finding(have=have, total=total, share=share, reason=_named(lacking, names))


def met_or_not(rules: Iterable[Rule], facts: Facts) -> tuple[Item, ...]:
    """Return the items of a yardstick that knows only met and not met: one point each."""
    return tuple(_met(rule, rule.judge(facts)) for rule in rules)


def _met(rule: Rule, finding: Finding) -> Item:
    met = finding.applies and finding.have == finding.total
    return item_of(rule, finding, weight=Fraction(1), share=Fraction(int(met)))


def item_of(rule: Rule, finding: Finding, *, weight: Fraction, share: Fraction) -> Item:
    """Return a rule's answer, weighed."""
    return Item(
        name=rule.name,
        group=rule.group,
        asks=rule.asks,
        weight=weight,
        share=share,
        have=finding.have,
        total=finding.total,
        reason=finding.reason,
    )


def _named(lacking: str, without: list[str]) -> str:
    if not without:
        return ""
    names = ", ".join(plain(name, _LONGEST_NAME) for name in without[:_NAMED])
    more = f" and {len(without) - _NAMED} more" if len(without) > _NAMED else ""
    return f"{lacking}: {names}{more}"
