"""What a candidate waits for before it is a release, and since when, from what is known of it.

Rules: everything it waits for is told, what stops it for good first; what is short of people is counted in
people; nothing is asked here: what a rule looks at is given.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from pipeline.domain.approval_parts import NotRejected
from pipeline.domain.approval_rule import AllOf, AnyOf, AtLeast, Facts, Part, Refusal, Rule
from pipeline.domain.overview import Overview
from pipeline.domain.people import Same
from pipeline.domain.record import Candidate


class Stage(StrEnum):
    """How far a candidate is, what stops it for good first."""

    REJECTED = "rejected"
    REFUSED = "refused"
    APPROVAL = "approval"
    PARENT = "parent"
    UNFINISHED = "seal begun"
    SEAL = "seal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """What a candidate waits for.

    Attributes:
        stage: How far it is.
        since: Since when; UTC.
        needs: Everything that has to be done or to come, in words, the first thing first.
        notes: What was done and does not count, and why.
    """

    stage: Stage
    since: dt.datetime
    needs: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Need:
    stage: Stage
    text: str
    notes: tuple[str, ...] = ()


def waits_for(facts: Facts, rule: Rule, overview: Overview) -> Wait:
    """Return what a candidate that is no release yet waits for.

    Args:
        facts: What is known of it.
        rule: The rule of its tier.
        overview: What the ledger adds up to.
    """
    needs = (*_image(rule.image, facts), *_approvals(rule.approvals, facts), *_parent(facts, overview))
    if not needs:
        return _ready(facts, overview)
    stage = min((need.stage for need in needs), key=list(Stage).index)
    return Wait(
        stage=stage,
        since=_approved(facts) if stage is Stage.PARENT else facts.candidate.time,
        needs=tuple(need.text for need in needs),
        notes=tuple(dict.fromkeys(note for need in needs for note in need.notes)),
    )


def waits_unruled(candidate: Candidate, overview: Overview, approvals: int) -> Wait:
    """Return what a candidate waits for where nobody knows the rule; `approvals` speak of its digest."""
    said = f"{approvals} recorded, not checked" if approvals else "none recorded"
    parent = tuple(need.text for need in _parent_of(candidate, overview))
    return Wait(
        stage=Stage.APPROVAL, since=candidate.time, needs=(f"approvals by an unknown rule ({said})", *parent)
    )


def _image(part: Part, facts: Facts) -> Iterator[_Need]:
    rejected = NotRejected().refusals(facts)
    for refusal in (*rejected, *(one for one in part.refusals(facts) if one not in rejected)):
        if refusal in rejected:
            yield _Need(stage=Stage.REJECTED, text=f"another build: it was rejected ({refusal.got})")
        else:
            yield _Need(
                stage=Stage.REFUSED, text=f"another build: {refusal.what}: {refusal.got}", notes=refusal.notes
            )


def _approvals(part: Part, facts: Facts) -> Iterator[_Need]:
    if isinstance(part, AllOf) and part.parts:
        for one in part.parts:
            yield from _approvals(one, facts)
    elif isinstance(part, AnyOf) and part.parts:
        if part.refusals(facts):
            every = [need for one in part.parts for need in _approvals(one, facts)]
            notes = tuple(note for need in every for note in need.notes)
            yield _Need(stage=Stage.APPROVAL, text=", or ".join(need.text for need in every), notes=notes)
    else:
        for refusal in part.refusals(facts):
            yield _Need(stage=Stage.APPROVAL, text=_short(part, refusal, facts), notes=refusal.notes)


def _short(part: Part, refusal: Refusal, facts: Facts) -> str:
    """Return in people what is short of them; what is no count of people, as it was refused."""
    if not isinstance(part, AtLeast) or part.count < 1:
        return f"{refusal.what}: got {refusal.got}, expected {refusal.expected}"
    good = [vote for vote in facts.ballot.votes if not part.why_not(vote, facts)]
    there = Same(facts.people, facts.signers).count((vote.identity, vote.key) for vote in good)
    missing = part.count - there
    more = " more" if there else ""
    by = f" (approved: {', '.join(sorted(vote.identity for vote in good))})" if good else ""
    return f"approval by {missing}{more} of {part.role}{by}"


def _parent(facts: Facts, overview: Overview) -> Iterator[_Need]:
    return _parent_of(facts.candidate, overview)


def _parent_of(candidate: Candidate, overview: Overview) -> Iterator[_Need]:
    if candidate.parent is None:
        return
    name, digest = candidate.parent.image, candidate.parent.digest
    release = overview.lineage.by_digest(digest)
    if release is None:
        newest = overview.candidate(name)
        newer = "" if newest is None or newest.digest == digest else ", which is not its newest candidate"
        yield _Need(stage=Stage.PARENT, text=f"the release of {name} sha256:{digest.short}{newer}")
    elif not overview.sound(release):
        bad = "was yanked" if overview.lineage.yank_of(release) else "stands on a yanked release"
        below = f"{release.name} v{release.version} below it"
        yield _Need(stage=Stage.REFUSED, text=f"another build: {below} {bad}")


def _ready(facts: Facts, overview: Overview) -> Wait:
    candidate = facts.candidate
    name = f"{candidate.line}/{candidate.image}"
    begun = overview.lineage.reservation(name, candidate.digest)
    if begun is None:
        return Wait(stage=Stage.SEAL, since=_approved(facts), needs=("its seal",))
    return Wait(stage=Stage.UNFINISHED, since=begun.time, needs=(f"the end of its seal as v{begun.version}",))


def _approved(facts: Facts) -> dt.datetime:
    """Return when the last approval was given; without any, when it was built."""
    return max((vote.time for vote in facts.ballot.votes), default=facts.candidate.time)
