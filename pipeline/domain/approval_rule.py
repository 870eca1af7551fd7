"""The rule that an approved candidate must satisfy, composed of small parts.

Rules: a part looks at facts and answers with what it refuses, each quoting what it got and what it expected;
no answer is a yes, and a rule of no parts refuses. A test of one approval says why it does not count; an
approval that does not count neither helps nor harms. What is not known (authors, a builder nobody lists)
refuses. What weakens a rule is called `Unsafe…` and warns each time.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pipeline.domain.allowed_signers import AllowedSigners
from pipeline.domain.approvals import Ballot, Vote
from pipeline.domain.decision import Release
from pipeline.domain.gate import Verdict
from pipeline.domain.people import People, Same
from pipeline.domain.record import Candidate


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a rule may look at.

    Attributes:
        candidate: The candidate's record.
        ballot: Its approvals that are valid in themselves, and those that are not.
        predecessor: The image's last release now, or None.
        authors: Who wrote the commits since the predecessor that touch its definitions; None when not known.
        gates: What the gates' document says, gate to verdict; None when it cannot be had.
        held: Kinds of evidence that were fetched and have the recorded hash.
        newcomers: Fingerprints of keys that the approved change itself put on the list of signers.
        people, roles, signers: Who is who, who is in which role, and whose keys count; from the protected
            branch.
        now: UTC.
    """

    candidate: Candidate
    ballot: Ballot
    predecessor: Release | None
    authors: tuple[str, ...] | None
    gates: Mapping[str, Verdict] | None
    held: frozenset[str]
    newcomers: frozenset[str] = frozenset()
    people: People
    roles: Mapping[str, frozenset[str]]
    signers: AllowedSigners
    now: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One thing that is not as the rule wants it.

    Attributes:
        what: What was looked at.
        got, expected: Both sides.
        notes: What did not count, and why.
    """

    what: str
    got: str
    expected: str
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        notes = "".join(f"; {note}" for note in self.notes)
        return f"{self.what}: got {self.got}, expected {self.expected}{notes}"


class Part(Protocol):
    """A part of a rule, or a rule."""

    def refusals(self, facts: Facts) -> tuple[Refusal, ...]:
        """Return what is not as it must be; nothing means yes."""

    def warnings(self) -> tuple[str, ...]:
        """Return what this part lets pass that a full rule would not."""


class VoteTest(Protocol):
    """A test of one approval."""

    def refuses(self, vote: Vote, facts: Facts) -> str:
        """Return why the approval does not count; empty when it does."""


class Safe:
    """A part that weakens nothing."""

    def warnings(self) -> tuple[str, ...]:
        """Return nothing."""
        return ()


@dataclass(frozen=True, slots=True)
class AllOf:
    """Every part says yes; of no parts, none does."""

    parts: Sequence[Part]

    def refusals(self, facts: Facts) -> tuple[Refusal, ...]:
        """Return what all parts refuse."""
        if not self.parts:
            return (_EMPTY,)
        return tuple(refusal for part in self.parts for refusal in part.refusals(facts))

    def warnings(self) -> tuple[str, ...]:
        """Return the parts' warnings."""
        return tuple(warning for part in self.parts for warning in part.warnings())


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one part says yes; of no parts, none does."""

    parts: Sequence[Part]

    def refusals(self, facts: Facts) -> tuple[Refusal, ...]:
        """Return what each part refuses, unless one refuses nothing."""
        if not self.parts:
            return (_EMPTY,)
        found = [part.refusals(facts) for part in self.parts]
        return () if not all(found) else tuple(refusal for refusals in found for refusal in refusals)

    def warnings(self) -> tuple[str, ...]:
        """Return the parts' warnings."""
        return tuple(warning for part in self.parts for warning in part.warnings())


_EMPTY = Refusal(what="the approval rule", got="a rule that asks nothing", expected="at least one part")


@dataclass(frozen=True, slots=True, kw_only=True)
class AtLeast(Safe):
    """So many distinct people, each with a key of their own, from a role, whose approvals count.

    Attributes:
        count: How many.
        role: The role they are in.
        counting: Tests each approval has to pass.
    """

    count: int
    role: str
    counting: tuple[VoteTest, ...] = ()

    def refusals(self, facts: Facts) -> tuple[Refusal, ...]:
        """Return the shortage, with what did not count."""
        if self.count < 1:
            return (_EMPTY,)
        good, notes = self._sorted(facts)
        people = Same(facts.people, facts.signers).count((vote.identity, vote.key) for vote in good)
        if people >= self.count:
            return ()
        if people < len(good):
            notes.append(f"{_names(good)} are {people} by their keys and names")
        return (
            Refusal(
                what=f"approvals by people in the role {self.role!r}",
                got=f"{people} ({_names(good)})" if good else "none",
                expected=f"{self.count} distinct {'people' if self.count > 1 else 'person'}",
                notes=(*notes, *(str(one) for one in facts.ballot.discounted)),
            ),
        )

    def why_not(self, vote: Vote, facts: Facts) -> str:
        """Return why one approval does not count here; empty when it does."""
        if not facts.people.persons(vote.identity) & facts.roles.get(self.role, frozenset()):
            return f"is not in the role {self.role!r}"
        return next((why for test in self.counting if (why := test.refuses(vote, facts))), "")

    def _sorted(self, facts: Facts) -> tuple[list[Vote], list[str]]:
        good: list[Vote] = []
        notes: list[str] = []
        for vote in facts.ballot.votes:
            why = self.why_not(vote, facts)
            if why:
                notes.append(f"{vote.identity} {why}")
            else:
                good.append(vote)
        return good, notes


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsafe:
    """Asks nothing in place of a part that was switched off; warns each time."""

    switch: str
    lets: str

    def refusals(self, facts: Facts) -> tuple[Refusal, ...]:  # noqa: ARG002 - a part has one form
        """Return nothing."""
        return ()

    def warnings(self) -> tuple[str, ...]:
        """Return what is let pass."""
        return (f"UNSAFE: {self.switch} is set: {self.lets}",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """The rule of one tier: its parts, and who may approve without a terminal.

    Attributes:
        approvals: What is asked of the approvals.
        image: What is asked of the image itself.
        people: The parts that count people.
        ci_identities: Principals that may sign where no person is.
    """

    approvals: Part
    image: Part
    people: tuple[AtLeast, ...] = ()
    ci_identities: frozenset[str] = field(default_factory=frozenset)

    @property
    def whole(self) -> Part:
        """Everything that is asked."""
        return AllOf((self.approvals, self.image))

    def why_not(self, vote: Vote, facts: Facts) -> tuple[str, ...]:
        """Return why an approval would count nowhere in the rule; empty when it would somewhere."""
        reasons = [part.why_not(vote, facts) for part in self.people]
        return tuple(dict.fromkeys(reasons)) if all(reasons) else ()


def _names(votes: Sequence[Vote]) -> str:
    return ", ".join(sorted(vote.identity for vote in votes))
