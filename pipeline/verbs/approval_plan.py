"""`pipeline approve --dry-run`: what an approval would be of, and what a token has to be for that proves it.

Rules: nothing is signed and no key is needed; what could not be approved by anybody is refused here already.
The variable handed on to the job names the decision, and the job's identity token names the variable.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipeline.domain.approval_summary import Brief
from pipeline.domain.decision import Approval
from pipeline.domain.idtoken import subject_of
from pipeline.verbs.deciding import Proposal, blocked, in_order, refuse_approval
from pipeline.verbs.standing import DecisionLedger, RuleBook, Signatures, Standings

SUBJECT = "PIPELINE_APPROVAL_SUBJECT"
"""The variable that names what is to be approved."""

Show = Callable[[Sequence[Brief], Sequence[str]], None]
"""Shows what would be signed, and warnings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalPlan:
    """An approval that nobody signed.

    Attributes:
        draft: What it would say.
    """

    draft: Approval

    @property
    def subject(self) -> str:
        """What a token's audience ends with, `approval:sha256:…`."""
        return f"{self.draft.kind}:{subject_of(self.draft)}"

    @property
    def dotenv(self) -> str:
        """The variable for later jobs, as a dotenv report."""
        return f"{SUBJECT}={self.subject}\n"

    @property
    def references(self) -> str:
        """The images, `repository@digest`, one a line."""
        return "".join(f"{one.repository}@{one.digest}\n" for one in self.draft.decided)


def plan_approval(
    proposals: Sequence[Proposal],
    *,
    ledger: DecisionLedger,
    rules: RuleBook,
    signatures: Signatures,
    show: Show,
    author: str,
    now: dt.datetime,
) -> ApprovalPlan:
    """Show what would be approved, and return it.

    Args:
        proposals: One for each image.
        ledger: Where the candidates are recorded.
        rules: What the protected branch says.
        signatures: Checks proofs.
        show: Shows what would be signed.
        author: Who asks, for people.
        now: UTC, whole seconds.

    Raises:
        UsageError: None is named, or an image twice.
        GateRefusedError: An image cannot be released whoever approves it.
        NotFoundError: A candidate is not in the ledger.
    """
    protected, records = rules.read(), ledger.read()
    ordered = in_order(proposals, records)
    standings = Standings(records, protected, signatures, now=now)
    found = [standings.of(one.candidate, one.known) for one in ordered]
    warnings = dict.fromkeys((*protected.notices, *(line for one in found for line in one.warnings)))
    show([Brief(decided=one.decided, facts=one.facts) for one in ordered], tuple(warnings))
    against = [
        f"{one.decided.name}: {refusal}"
        for one, standing in zip(ordered, found, strict=True)
        for refusal in standing.rule.image.refusals(standing.facts)
    ]
    refuse_approval([*blocked(ordered), *against])
    draft = Approval(
        time=now,
        author=author,
        decided=tuple(one.decided for one in ordered),
        what="not said yet",
        why="not said yet",
        expires=now + dt.timedelta(days=1),
    )
    return ApprovalPlan(draft=draft)
