"""Which approvals of a candidate are valid in themselves, by the ledger's records and their proofs.

Rules: an approval counts for exactly the image, digest, candidate record and evidence hashes it names, until
it expires, is withdrawn or its image is rejected. A yes counts only with its proof; a no counts without one,
for the way out of a wrong no is open: its maker takes it back, or the image is built again. What was
withdrawn is the statement, not the record: written again under another author it stays withdrawn. Whether
there are enough is for `approval_rule` to say.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from pipeline.domain.decision import Approval, Decided, Decision, Rejection, Withdrawal
from pipeline.domain.oci import digest_of
from pipeline.domain.record import Candidate, Record
from pipeline.domain.record_codec import stamp
from pipeline.domain.text import plain


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """A proof that holds: the principal and the fingerprint of the key."""

    identity: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unproved:
    """A proof that does not hold, or none, and why."""

    why: str


Proved: TypeAlias = Signed | Unproved
"""What became of a decision's proof."""

NOT_LOOKED_AT = Unproved(why="its proof was not checked")


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """An approval of one candidate that is valid in itself.

    Attributes:
        approval: Id of its record.
        decided: What it says of this image: the version proposed, the predecessor, the evidence.
        identity, key: Who signed, and the key's fingerprint.
        what, why: In the approver's words.
        time, expires: UTC.
    """

    approval: str
    decided: Decided
    identity: str
    key: str
    what: str
    why: str
    time: dt.datetime
    expires: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Discounted:
    """An approval that does not count, and why."""

    approval: str
    identity: str
    why: str

    def __str__(self) -> str:
        return f"the approval {self.approval[:12]} by {plain(self.identity, 80)} does not count: {self.why}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A rejection that stands: its record, who says to have made it, and whether that is proved."""

    rejection: str
    identity: str
    why: str
    proved: bool

    def __str__(self) -> str:
        proof = "" if self.proved else " (not proved)"
        return f"{self.rejection[:12]} by {plain(self.identity, 80)}{proof}: {plain(self.why, 200)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ballot:
    """All decisions about one candidate, in the ledger's order."""

    votes: tuple[Vote, ...] = ()
    discounted: tuple[Discounted, ...] = ()
    rejections: tuple[Refused, ...] = ()


def decisions_about(candidate: Candidate, records: Sequence[Record]) -> tuple[Decision, ...]:
    """Return the decisions whose proofs matter: about the image or the digest, and what undoes those."""
    found = [
        record
        for record in records
        if isinstance(record, Approval | Rejection) and _touches(record, candidate)
    ]
    ids = {record.id for record in found}
    undone = [record for record in records if isinstance(record, Withdrawal) and record.approval in ids]
    return (*found, *undone)


def ballot(
    candidate: Candidate, records: Sequence[Record], proofs: Mapping[str, Proved], now: dt.datetime
) -> Ballot:
    """Return the ballot of a candidate.

    Args:
        candidate: Its record.
        records: The ledger, oldest first.
        proofs: Id of a decision's record to what became of its proof; a decision that is not in it is
            unproved.
        now: UTC.
    """
    about = decisions_about(candidate, records)
    undone = frozenset(_undone(about, proofs))
    votes: list[Vote] = []
    discounted: list[Discounted] = []
    for approval in (one for one in about if isinstance(one, Approval)):
        counted = _counted(approval, candidate, undone, proofs.get(approval.id, NOT_LOOKED_AT), now)
        if isinstance(counted, Vote):
            votes.append(counted)
        elif counted is not None:
            discounted.append(counted)
    return Ballot(
        votes=tuple(votes),
        discounted=tuple(discounted),
        rejections=tuple(_rejections(about, candidate, undone, proofs)),
    )


def _touches(decision: Approval | Rejection, candidate: Candidate) -> bool:
    name = f"{candidate.line}/{candidate.image}"
    return any(one.digest == candidate.digest or one.name == name for one in decision.decided)


def _undone(about: Sequence[Decision], proofs: Mapping[str, Proved]) -> Iterator[str]:
    """Yield the hashes of statements that were taken back."""
    by_id = {one.id: one for one in about}
    for withdrawal in (one for one in about if isinstance(one, Withdrawal)):
        target = by_id[withdrawal.approval]
        if isinstance(target, Approval) or _may_undo(
            proofs.get(target.id, NOT_LOOKED_AT), proofs.get(withdrawal.id, NOT_LOOKED_AT)
        ):
            yield _statement(target)


def _may_undo(rejection: Proved, withdrawal: Proved) -> bool:
    """Whether a no is taken back by who said it; one that nobody proved, by anybody who is listed."""
    if not isinstance(withdrawal, Signed):
        return False
    if not isinstance(rejection, Signed):
        return True
    return withdrawal.key == rejection.key or withdrawal.identity == rejection.identity


def _statement(decision: Decision) -> str:
    return digest_of(decision.statement()).value


def _counted(
    approval: Approval, candidate: Candidate, undone: frozenset[str], proof: Proved, now: dt.datetime
) -> Vote | Discounted | None:
    """Return the vote, why it is none, or nothing where it is an old one about an earlier image."""
    decided = _decided(approval, candidate)
    if decided is not None and decided.digest != candidate.digest and approval.expires <= now:
        return None
    why = _mismatch(decided, approval, candidate) or _lapsed(approval, undone, now)
    if not why and isinstance(proof, Unproved):
        why = proof.why
    if why or decided is None or isinstance(proof, Unproved):
        claimed = "nobody" if approval.proof is None else approval.proof.identity
        return Discounted(approval=approval.id, identity=claimed, why=why)
    return Vote(
        approval=approval.id,
        decided=decided,
        identity=proof.identity,
        key=proof.key,
        what=approval.what,
        why=approval.why,
        time=approval.time,
        expires=approval.expires,
    )


def _decided(approval: Approval, candidate: Candidate) -> Decided | None:
    name = f"{candidate.line}/{candidate.image}"
    return next((one for one in approval.decided if one.name == name), None)


def _mismatch(decided: Decided | None, approval: Approval, candidate: Candidate) -> str:
    """Return in what the approval speaks of something else than the candidate."""
    if decided is None:
        return f"it is for {', '.join(sorted(approval.names()))}, not for {candidate.line}/{candidate.image}"
    pairs = (
        ("digest", decided.digest, candidate.digest),
        ("repository", decided.repository, candidate.repository),
        ("tier", decided.tier, candidate.tier),
        ("candidate's record", decided.candidate, candidate.id),
    )
    for what, got, expected in pairs:
        if got != expected:
            return f"it is for another {what}: got {got}, expected {expected}"
    for kind in sorted(decided.evidence.keys() | candidate.evidence.keys()):
        seen, there = decided.evidence.get(kind), candidate.evidence.get(kind)
        if seen != there:
            got, expected = seen or "none", there or "none"
            return f"it is for another {plain(kind, 60)}: got {got}, expected {expected}"
    return ""


def _lapsed(approval: Approval, undone: frozenset[str], now: dt.datetime) -> str:
    if _statement(approval) in undone:
        return "it was withdrawn"
    if approval.expires <= now:
        return f"it expired at {stamp(approval.expires)}, now is {stamp(now)}"
    if approval.time > now:
        return f"it is dated {stamp(approval.time)}, now is {stamp(now)}"
    return ""


def _rejections(
    about: Sequence[Decision], candidate: Candidate, undone: frozenset[str], proofs: Mapping[str, Proved]
) -> Iterator[Refused]:
    for one in about:
        if not isinstance(one, Rejection) or _statement(one) in undone:
            continue
        if any(decided.digest == candidate.digest for decided in one.decided):
            yield Refused(
                rejection=one.id,
                identity="nobody" if one.proof is None else one.proof.identity,
                why=one.why,
                proved=isinstance(proofs.get(one.id), Signed),
            )
