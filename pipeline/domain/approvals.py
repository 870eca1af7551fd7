"""Which approvals of a candidate are valid in themselves, by the ledger's records and their proofs.

Rules: an approval counts for exactly the image, digest, candidate record and evidence hashes it names, until
it expires, is withdrawn or its image is rejected. A yes counts only with its proof; a no counts without one,
for the way out of a wrong no is open: its maker takes it back, or the image is built again. What was
withdrawn is the statement, not the record: written again under another author it stays withdrawn. An identity
token, which does not cover the words, counts for the first decision that shows it and for no later one.
Whether there are enough is for `approval_rule` to say.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

from pipeline.domain.decision import Approval, Decided, Decision, Method, Rejection, Withdrawal
from pipeline.domain.idtoken import signed_part
from pipeline.domain.image import Digest
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


class Entry:
    """A decision of the ledger; its id and its statement's hash are made when first wanted."""

    def __init__(self, decision: Decision) -> None:
        self.decision = decision

    @cached_property
    def id(self) -> str:
        """Id of its record."""
        return self.decision.id

    @cached_property
    def statement(self) -> Digest:
        """Hash of what its proof covers."""
        return digest_of(self.decision.statement())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Void:
    """What does not count whatever its proof is worth: statements taken back, decisions with a used token."""

    withdrawn: frozenset[Digest]
    repeated: frozenset[Entry]

    def why(self, entry: Entry) -> str:
        """Return why a decision does not count; empty when it may."""
        if self.withdrawn and entry.statement in self.withdrawn:
            return "it was withdrawn"
        return "its token was used for an earlier decision" if entry in self.repeated else ""


class Decisions:
    """All decisions of a ledger, found by image and by digest, so that many images cost one look each."""

    def __init__(self, records: Iterable[Record]) -> None:
        self._about: dict[str | Digest, dict[int, Entry]] = {}
        self._withdrawals: dict[str, list[Entry]] = {}
        for place, record in enumerate(records):
            if isinstance(record, Approval | Rejection):
                entry = Entry(record)
                for one in record.decided:
                    self._about.setdefault(one.name, {})[place] = entry
                    self._about.setdefault(one.digest, {})[place] = entry
            elif isinstance(record, Withdrawal):
                self._withdrawals.setdefault(record.approval, []).append(Entry(record))

    def about(self, candidate: Candidate) -> tuple[Entry, ...]:
        """Return approvals and rejections of the image or of the digest, in the ledger's order."""
        name = f"{candidate.line}/{candidate.image}"
        found = {**self._about.get(name, {}), **self._about.get(candidate.digest, {})}
        return tuple(found[place] for place in sorted(found))

    def withdrawals(self, entry: Entry) -> tuple[Entry, ...]:
        """Return what takes a decision back."""
        return tuple(self._withdrawals.get(entry.id, ())) if self._withdrawals else ()


Prover = Callable[[Entry], Proved]
"""Tells what became of a decision's proof."""


def ballot(candidate: Candidate, decisions: Decisions, prove: Prover, now: dt.datetime) -> Ballot:
    """Return the ballot of a candidate; only proofs that matter are asked for.

    Args:
        candidate: Its record.
        decisions: Those of the ledger.
        prove: Tells what became of a decision's proof.
        now: UTC.
    """
    about = decisions.about(candidate)
    void = _Void(withdrawn=frozenset(_undone(about, decisions, prove)), repeated=frozenset(_repeated(about)))
    votes: list[Vote] = []
    discounted: list[Discounted] = []
    for entry in about:
        counted = _counted(entry, candidate, void, prove, now)
        if isinstance(counted, Vote):
            votes.append(counted)
        elif counted is not None:
            discounted.append(counted)
    return Ballot(
        votes=tuple(votes),
        discounted=tuple(discounted),
        rejections=tuple(_rejections(about, candidate, void, prove)),
    )


def _undone(about: Sequence[Entry], decisions: Decisions, prove: Prover) -> Iterator[Digest]:
    """Yield the hashes of statements that were taken back."""
    for target in about:
        for withdrawal in decisions.withdrawals(target):
            if isinstance(target.decision, Approval) or _may_undo(prove(target), prove(withdrawal)):
                yield target.statement


def _repeated(about: Sequence[Entry]) -> Iterator[Entry]:
    """Yield decisions whose token proved an earlier one, which said something else."""
    first: dict[str, Entry] = {}
    for entry in about:
        proof = entry.decision.proof
        if proof is not None and proof.method is Method.GITLAB:
            earlier = first.setdefault(signed_part(proof), entry)
            if earlier.statement != entry.statement:
                yield entry


def _may_undo(rejection: Proved, withdrawal: Proved) -> bool:
    """Whether a no is taken back by who said it; one that nobody proved, by anybody who is listed."""
    if not isinstance(withdrawal, Signed):
        return False
    if not isinstance(rejection, Signed):
        return True
    return withdrawal.key == rejection.key or withdrawal.identity == rejection.identity


def _counted(
    entry: Entry, candidate: Candidate, void: _Void, prove: Prover, now: dt.datetime
) -> Vote | Discounted | None:
    """Return the vote, why it is none, or nothing for a rejection and an old approval of an earlier image."""
    approval = entry.decision
    if not isinstance(approval, Approval):
        return None
    decided = _decided(approval, candidate)
    if decided is not None and decided.digest != candidate.digest and approval.expires <= now:
        return None
    why = _mismatch(decided, approval, candidate) or void.why(entry) or _lapsed(approval, now)
    proof = Unproved(why=why) if why else prove(entry)
    if isinstance(proof, Unproved):
        claimed = "nobody" if approval.proof is None else approval.proof.identity
        return Discounted(approval=entry.id, identity=claimed, why=proof.why)
    assert decided is not None  # noqa: S101 - without it there is a mismatch
    return vote_of(approval, entry.id, decided, proof)


def vote_of(approval: Approval, record: str, decided: Decided, signer: Signed) -> Vote:
    """Return what an approval, whose record's id is `record`, says of one of its images."""
    return Vote(
        approval=record,
        decided=decided,
        identity=signer.identity,
        key=signer.key,
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


def _lapsed(approval: Approval, now: dt.datetime) -> str:
    if approval.expires <= now:
        return f"it expired at {stamp(approval.expires)}, now is {stamp(now)}"
    if approval.time > now:
        return f"it is dated {stamp(approval.time)}, now is {stamp(now)}"
    return ""


def _rejections(
    about: Sequence[Entry], candidate: Candidate, void: _Void, prove: Prover
) -> Iterator[Refused]:
    for entry in about:
        one = entry.decision
        if not isinstance(one, Rejection) or entry.statement in void.withdrawn:
            continue
        if any(decided.digest == candidate.digest for decided in one.decided):
            yield Refused(
                rejection=entry.id,
                identity="nobody" if one.proof is None else one.proof.identity,
                why=one.why,
                proved=isinstance(prove(entry), Signed),
            )
