"""What the ledger alone says of a seal: whether it is the record of a release, or only looks like one.

Rules: a seal repeats what other records say, and each of them was there before it: the candidate with its
evidence, the reservation, the approvals, the parent's own seal. Every contradiction is told, with both sides.
Whether the approvals are enough, and proved, is for `verbs.standing`.
"""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.domain.decision import Approval, release_words
from pipeline.domain.image import Tier
from pipeline.domain.lookback import LookBack
from pipeline.domain.record import Candidate
from pipeline.domain.record_codec import stamp
from pipeline.domain.release import Seal
from pipeline.domain.text import plain


def record_problems(seal: Seal, look: LookBack) -> tuple[str, ...]:
    """Return in what a seal contradicts the ledger it stands in."""
    return (*_place_problems(seal, look), *_candidate_problems(seal, look), *_approval_problems(seal, look))


def _place_problems(seal: Seal, look: LookBack) -> Iterator[str]:
    if not look.holds(seal):
        yield "the ledger does not have this seal"
    first = look.seal(seal.name, seal.version)
    if first is not None and first is not seal and first.id != seal.id:
        yield f"v{seal.version} was released before, as {first.digest}: this is a second seal of it"
    holder = look.before(seal).holder(seal.name, seal.version)
    if holder is None:
        yield f"v{seal.version} was not reserved before it was sealed"
    elif holder != seal.digest:
        yield f"v{seal.version} was reserved for {holder}, the seal names {seal.digest}"
    late = look.dated_back(seal)
    if late is not None:
        yield f"it is dated {stamp(seal.time)}, but stands behind a record of {stamp(late)}"
    before = look.predecessor(seal)
    if seal.predecessor != before:
        said, known = release_words(seal.predecessor), release_words(before)
        yield f"it says that it follows {said}, the ledger says {known}"


def _candidate_problems(seal: Seal, look: LookBack) -> Iterator[str]:
    candidate = look.candidate(seal)
    if candidate is None:
        yield f"the ledger has no candidate record {seal.candidate[:12]} before it"
        return
    pairs = (
        ("image", seal.name, f"{candidate.line}/{candidate.image}"),
        ("tier", seal.tier, candidate.tier),
        ("repository", seal.repository, candidate.repository),
        ("digest", seal.digest, candidate.digest),
    )
    for what, got, expected in pairs:
        if got != expected:
            yield f"it has another {what} than its candidate: got {got}, expected {expected}"
    yield from _evidence_differs(seal, candidate)
    if not candidate.ok:
        yield "the gates of its candidate did not pass"
    built_on = None if candidate.parent is None else candidate.parent.digest
    named = None if seal.parent is None else seal.parent.digest
    if built_on != named:
        yield f"it names the parent {named or 'none'}, its candidate was built on {built_on or 'none'}"


def _evidence_differs(seal: Seal, candidate: Candidate) -> Iterator[str]:
    for kind in sorted(seal.evidence.keys() | candidate.evidence.keys()):
        got, expected = seal.evidence.get(kind), candidate.evidence.get(kind)
        if got != expected:
            shown = f"got {got or 'none'}, expected {expected or 'none'}"
            yield f"its {plain(kind, 60)} is not its candidate's: {shown}"


def _approval_problems(seal: Seal, look: LookBack) -> Iterator[str]:
    for record in seal.approvals:
        approval = look.approval(record, seal)
        if approval is None:
            yield f"the ledger has no approval {record[:12]} before it"
        elif not _speaks_of(approval, seal):
            yield f"the approval {record[:12]} is not for {seal.name} {seal.digest}"


def _speaks_of(approval: Approval, seal: Seal) -> bool:
    return any(
        one.name == seal.name and one.digest == seal.digest and one.candidate == seal.candidate
        for one in approval.decided
    )


def parent_problems(seal: Seal, look: LookBack) -> tuple[str, ...]:
    """Return why what a seal is built on was no release that anything could be built on."""
    return tuple(_parent_problems(seal, look))


def _parent_problems(seal: Seal, look: LookBack) -> Iterator[str]:
    if seal.parent is None:
        if seal.tier is not Tier.UPSTREAM:
            yield "it names no parent release"
        return
    parent = look.parent(seal)
    if parent is None:
        yield f"its parent {seal.parent.digest} is no release of a tier above"
        return
    if parent.version != seal.parent.version:
        yield f"it names its parent v{seal.parent.version}, the ledger says {parent.name} v{parent.version}"
    if look.was_later(parent, seal):
        yield f"its parent {parent.name} v{parent.version} was released after it"
    yank = look.yanked_before(parent, seal)
    if yank is not None:
        yield f"its parent {parent.name} v{parent.version} had been yanked before: {plain(yank.why, 200)}"
