"""The parts of approval rules: tests of one approval, and what is asked of the image itself.

Rules: as in `approval_rule`, whose values they use; a part does one thing.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.domain.approval_rule import Facts, Refusal, Safe
from pipeline.domain.approvals import Vote
from pipeline.domain.decision import release_words
from pipeline.domain.gate import Verdict
from pipeline.domain.idtoken import ACCOUNT
from pipeline.domain.people import Same


@dataclass(frozen=True, slots=True)
class NotBuilder:
    """Who built the image, or started the job that did, cannot approve it."""

    def refuses(self, vote: Vote, facts: Facts) -> str:
        """Return that the approver built it, or that nobody knows who did."""
        candidate = facts.candidate
        return _same_person(vote, (candidate.builder.identity, candidate.author), "built it", facts)


@dataclass(frozen=True, slots=True)
class NotAuthor:
    """Who wrote the change cannot approve it."""

    def refuses(self, vote: Vote, facts: Facts) -> str:
        """Return that the approver wrote it, or that nobody knows who did."""
        if facts.authors is None:
            return "does not count while the authors of the change are not known"
        return _same_person(vote, facts.authors, "wrote the change", facts)


@dataclass(frozen=True, slots=True)
class NotOlderThan:
    """An approval stops counting after a while, whatever expiry it names itself."""

    age: dt.timedelta

    def refuses(self, vote: Vote, facts: Facts) -> str:
        """Return how old it is, if too old."""
        if facts.now - vote.time <= self.age:
            return ""
        return f"approved {(facts.now - vote.time).days} days ago, expected {self.age.days} at most"


@dataclass(frozen=True, slots=True)
class OfPredecessor:
    """What was looked at is the difference to the release that is the last one now."""

    def refuses(self, vote: Vote, facts: Facts) -> str:
        """Return which other release it was compared with."""
        seen, now = vote.decided.predecessor, facts.predecessor
        if seen == now:
            return ""
        return f"approved the difference to {release_words(seen)}, the last release is {release_words(now)}"


@dataclass(frozen=True, slots=True)
class NotNewcomer:
    """A key cannot approve the change that put it on the list."""

    def refuses(self, vote: Vote, facts: Facts) -> str:
        """Return that the key came with the change."""
        return "signed with a key that came with this very change" if vote.key in facts.newcomers else ""


@dataclass(frozen=True, slots=True)
class TokenNamed:
    """A job's token counts only for those the rule names, wherever it was used."""

    identities: frozenset[str]

    def refuses(self, vote: Vote, facts: Facts) -> str:  # noqa: ARG002 - a test has one form
        """Return that the rule does not name whose token it is."""
        if not vote.identity.startswith(ACCOUNT) or vote.identity in self.identities:
            return ""
        return "approved with a job's token, and is none of the rule's ci_identities"


@dataclass(frozen=True, slots=True)
class NotRejected(Safe):
    """Nobody said no."""

    def refusals(self, facts: Facts) -> tuple[Refusal, ...]:
        """Return every no that stands."""
        return tuple(
            Refusal(what="rejections", got=str(one), expected="none that stands")
            for one in facts.ballot.rejections
        )


@dataclass(frozen=True, slots=True)
class GatesPass(Safe):
    """Every gate passed or is waived, and record and document agree about it."""

    def refusals(self, facts: Facts) -> tuple[Refusal, ...]:
        """Return which gates did not pass, and where record and document differ."""
        recorded = {gate.gate: gate.verdict for gate in facts.candidate.gates}
        refused = [f"{gate.gate} {gate.verdict}" for gate in facts.candidate.gates if not gate.ok]
        if not recorded or refused:
            return (Refusal(what="gates", got=", ".join(refused) or "none asked", expected="all pass"),)
        if facts.gates is None:
            return (Refusal(what="the gates' document", got="none", expected="the one that is recorded"),)
        edited = sorted(
            name
            for name in recorded.keys() | facts.gates.keys()
            if recorded.get(name) != facts.gates.get(name)
        )
        return tuple(
            Refusal(
                what=f"gate {name}",
                got=f"{_said(recorded.get(name))} in the record",
                expected=f"{_said(facts.gates.get(name))}, as in its document",
            )
            for name in edited
        )


@dataclass(frozen=True, slots=True)
class EvidenceComplete(Safe):
    """These kinds of evidence are recorded, and every recorded document is there unchanged."""

    kinds: frozenset[str]

    def refusals(self, facts: Facts) -> tuple[Refusal, ...]:
        """Return what is not recorded, and what is not there as recorded."""
        recorded = facts.candidate.evidence.keys()
        missing, lost = sorted(self.kinds - recorded), sorted(recorded - facts.held)
        found = []
        if missing:
            got = ", ".join(sorted(recorded)) or "none"
            found.append(Refusal(what="recorded evidence", got=got, expected=f"also {', '.join(missing)}"))
        if lost:
            found.append(
                Refusal(
                    what="evidence in the registry",
                    got=f"{', '.join(lost)} missing or changed",
                    expected="every document as recorded",
                )
            )
        return tuple(found)


def _same_person(vote: Vote, names: Sequence[str], did: str, facts: Facts) -> str:
    """Return that the approver is one of the named, or that one of these is unknown."""
    same = Same(facts.people, facts.signers)
    approver = same.signer(vote.identity, vote.key)
    for name in names:
        if approver in {same.stands_for(person) for person in facts.people.persons(name)}:
            return did
    unknown = [name for name in names if not facts.people.knows(name)]
    return f"does not count while it is not told who {unknown[0]!r} is, who {did}" if unknown else ""


def _said(verdict: Verdict | None) -> str:
    return "not asked" if verdict is None else verdict.value
