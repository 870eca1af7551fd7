"""How a candidate stands against the approval rule: what the ledger, the proofs and the protected branch say.

Rules: nothing is asked of the checkout; every proof is checked anew; a decision whose proof was not checked
does not count; the answer is everything that is missing, not the first of it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from pipeline.domain.allowed_signers import AllowedSigners
from pipeline.domain.approval_rule import Facts, Refusal, Rule
from pipeline.domain.approvals import Decisions, Entry, Proved, Vote, ballot
from pipeline.domain.decision import Decision, Release
from pipeline.domain.gate import Verdict
from pipeline.domain.image import Tier
from pipeline.domain.protected_rules import ProtectedRules, rule_of
from pipeline.domain.record import Candidate, Record
from pipeline.errors import GateRefusedError


class Signatures(Protocol):
    """Checks the proofs of decisions; `adapters.sshsig.SshSignatures` is one."""

    def check(self, decision: Decision, signers: AllowedSigners, revoked: bytes, now: dt.datetime) -> Proved:
        """Return who proved a decision, or why nobody did; it has to hold when made and at `now`."""


class RuleBook(Protocol):
    """What the protected branch says; `adapters.protected.ProtectedBranch` is one."""

    def read(self) -> ProtectedRules:
        """Return the settings, the list of signers and the revoked keys."""


class DecisionLedger(Protocol):
    """The ledger, read and added to."""

    def read(self) -> tuple[Record, ...]:
        """Return every record, oldest first."""

    def append(
        self, records: Sequence[Record], *, check: Callable[[tuple[Record, ...]], None] | None = None
    ) -> str:
        """Write records unless `check` raises on what is there just before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of one candidate beside the ledger.

    Attributes:
        predecessor: The image's last release, or None.
        authors: Who wrote the commits since then that touch its definitions; None when not known.
        gates: What its gates' document says, gate to verdict; None when it cannot be had.
        held: Kinds of evidence that were fetched and have the recorded hash.
        newcomers: Fingerprints of keys that the change put on the list of signers.
    """

    predecessor: Release | None = None
    authors: tuple[str, ...] | None = None
    gates: Mapping[str, Verdict] | None = None
    held: frozenset[str] = frozenset()
    newcomers: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How one candidate stands.

    Attributes:
        facts: What was looked at.
        rule: The rule of its tier.
    """

    facts: Facts
    rule: Rule

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        """What is missing for a release; nothing when it may be released."""
        return self.rule.whole.refusals(self.facts)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the rule lets pass that a full one would not."""
        return self.rule.whole.warnings()

    @property
    def counting(self) -> tuple[Vote, ...]:
        """The approvals that count somewhere in the rule."""
        votes = self.facts.ballot.votes
        return tuple(vote for vote in votes if self.rule.people and not self.rule.why_not(vote, self.facts))

    def require(self) -> tuple[Vote, ...]:
        """Return the approvals that count, if the rule is satisfied.

        Raises:
            GateRefusedError: Something is missing; all of it is told.
        """
        missing = self.refusals
        if missing:
            candidate = self.facts.candidate
            raise GateRefusedError(
                f"{candidate.line}/{candidate.image} sha256:{candidate.digest.short} may not be released:\n"
                + "\n".join(f"  {one}" for one in missing),
                hint="get the approvals that are missing with `pipeline approve`, or build the image again",
            )
        return self.counting


class Standings:
    """How the candidates of one ledger stand at one time; each proof is checked once for all of them.

    Args:
        records: The ledger, oldest first.
        rules: What the protected branch says.
        signatures: Checks proofs.
        now: UTC, whole seconds; for a look back, the time of the release.
    """

    def __init__(
        self, records: Iterable[Record], rules: ProtectedRules, signatures: Signatures, *, now: dt.datetime
    ) -> None:
        self._decisions = Decisions(records)
        self._rules, self._signatures, self._now = rules, signatures, now
        self._proofs: dict[str, Proved] = {}
        self._people, self._roles = rules.settings.who(), rules.settings.members()
        self._rule_of = {tier: rule_of(rules.settings, tier) for tier in Tier}

    def of(self, candidate: Candidate, known: Known) -> Standing:
        """Return how one candidate stands.

        Args:
            candidate: Its record.
            known: What is known beside the ledger.
        """
        return Standing(
            facts=Facts(
                candidate=candidate,
                ballot=ballot(candidate, self._decisions, self._proved, self._now),
                predecessor=known.predecessor,
                authors=known.authors,
                gates=known.gates,
                held=known.held,
                newcomers=known.newcomers,
                people=self._people,
                roles=self._roles,
                signers=self._rules.signers,
                now=self._now,
            ),
            rule=self._rule_of[candidate.tier],
        )

    def _proved(self, entry: Entry) -> Proved:
        if entry.id not in self._proofs:
            rules = self._rules
            self._proofs[entry.id] = self._signatures.check(
                entry.decision, rules.signers, rules.revoked, self._now
            )
        return self._proofs[entry.id]
