"""`pipeline approve`: a person's signed yes to exactly these images with exactly this evidence.

Rules: who may approve and by which rule comes from the protected branch; what cannot be released anyway, or
would not count, is refused before anybody is asked; a person answers at the terminal, unless the rule of
every image names the signer as a CI identity; one record holds all images of one act; it is recorded only if
its signature verifies and nothing that forbids it was recorded meanwhile.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from pipeline.domain.approval_summary import Brief
from pipeline.domain.approvals import Signed, vote_of
from pipeline.domain.decision import Approval
from pipeline.domain.protected_rules import ProtectedRules, rule_of
from pipeline.domain.record import Record
from pipeline.errors import GateRefusedError, UsageError
from pipeline.verbs.deciding import (
    Deciding,
    Proposal,
    blocked,
    in_order,
    record_decision,
    refuse_approval,
    who_signs,
)
from pipeline.verbs.standing import Standing, Standings

EXPIRES = dt.timedelta(days=7)
"""How long an approval counts unless told otherwise."""


class Person(Protocol):
    """Somebody at a terminal; `adapters.terminal.Terminal` is one."""

    def ask(self, text: str) -> bool:
        """Return whether the answer was yes."""


Show = Callable[[Sequence[Brief], Sequence[str]], None]
"""Shows what would be signed, and warnings; `render.approve.show_briefs` on a console."""


def approve(
    proposals: Sequence[Proposal],
    parts: Deciding,
    *,
    person: Person | None,
    show: Show,
    what: str,
    why: str,
    expires: dt.timedelta = EXPIRES,
) -> Approval:
    """Show, ask, sign and record the approval of all proposals in one record; return it.

    Args:
        proposals: One for each image.
        parts: What decisions are made with.
        person: Who is asked; None where nobody is: no terminal, or a CI job.
        show: Shows what would be signed.
        what: What changes, one line.
        why: Why it may be released, one line.
        expires: How long it counts.

    Raises:
        UsageError: There is nobody to ask, an image is named twice, a text does not do, or the key is
            unknown.
        GateRefusedError: An image cannot be released, the approval would not count, or the answer was no.
        NotFoundError: A candidate is not in the ledger.
        SignatureError: The signature did not come about, or does not verify.
        LedgerError, LedgerRaceError, LedgerRemoteError: It could not be recorded; nothing was.
    """
    rules, records = parts.rules.read(), parts.ledger.read()
    ordered = in_order(proposals, records)
    signer = who_signs(parts, rules)
    if person is None:
        _require_ci_identity(ordered, rules, signer)

    def draft() -> Approval:
        now = parts.clock()
        return Approval(
            time=now,
            author=parts.author,
            decided=tuple(one.decided for one in ordered),
            what=what,
            why=why,
            expires=now + expires,
        )

    def standings(there: Sequence[Record], now: dt.datetime) -> Iterator[Standing]:
        found = Standings(there, rules, parts.signatures, now=now)
        return (found.of(one.candidate, one.known) for one in ordered)

    first = draft()
    found = tuple(standings(records, first.time))
    refuse_approval([*blocked(ordered), *_useless(found, first, signer)])
    warnings = dict.fromkeys((*rules.notices, *(line for one in found for line in one.warnings)))
    show([Brief(decided=one.decided, facts=one.facts) for one in ordered], tuple(warnings))
    if person is not None and not person.ask(_question(first, signer, rules)):
        raise GateRefusedError("not approved: the answer was not yes", hint="nothing was signed or recorded")
    final = draft()
    return record_decision(
        final,
        parts,
        rules,
        signer,
        check=lambda there: refuse_approval(list(_useless(standings(there, final.time), final, signer))),
    )


def _require_ci_identity(proposals: Sequence[Proposal], rules: ProtectedRules, signer: Signed) -> None:
    for one in proposals:
        if signer.identity not in rule_of(rules.settings, one.candidate.tier).ci_identities:
            raise UsageError(
                f"nobody can be asked here, and the rule of {one.candidate.tier} images names no CI identity "
                f"{signer.identity}",
                hint="approve at a terminal outside CI, or add it to ci_identities on the protected branch",
            )


def _useless(
    standings: Sequence[Standing] | Iterator[Standing], draft: Approval, signer: Signed
) -> Iterator[str]:
    """Yield why images cannot be released whoever approves them, and why this approval would not count."""
    record = draft.id
    for one, standing in zip(draft.decided, standings, strict=True):
        vote = vote_of(draft, record, one, signer)
        yield from (f"{one.name}: {refusal}" for refusal in standing.rule.image.refusals(standing.facts))
        yield from (
            f"{one.name}: {signer.identity} {why}" for why in standing.rule.why_not(vote, standing.facts)
        )


def _question(draft: Approval, signer: Signed, rules: ProtectedRules) -> str:
    count = len(draft.decided)
    images = f"these {count} images" if count > 1 else f"{draft.decided[0].name} {draft.decided[0].digest}"
    return f"Approve {images} as {signer.identity}, by the rules of {rules.source}?"
