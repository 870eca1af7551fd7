"""`pipeline withdraw`: who approved, or rejected, takes it back; it counts at once.

Rules: a decision is taken back by who made it, with the same principal or key; an approval that a release
rests on already is history, and the release is yanked instead.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pipeline.domain.approvals import Signed
from pipeline.domain.decision import Approval, Rejection, Withdrawal
from pipeline.domain.record import Record
from pipeline.domain.release import Seal
from pipeline.domain.text import plain
from pipeline.errors import GateRefusedError, NotFoundError, UsageError
from pipeline.verbs.deciding import Deciding, record_decision, who_signs

_PREFIX = re.compile(r"[0-9a-f]{8,64}")


def withdraw(name: str, parts: Deciding, *, why: str, dry_run: bool = False) -> Withdrawal:
    """Sign and record that an approval or a rejection is taken back; return the record.

    Args:
        name: Id of its record, or at least the first eight digits.
        parts: What decisions are made with.
        why: Why, one line.
        dry_run: Whether only to look: what is returned is neither signed nor recorded.

    Raises:
        UsageError: The name is no id, several records begin so, or the key is unknown.
        NotFoundError: There is no such decision.
        GateRefusedError: Somebody else made it, or a release rests on it.
        SignatureError: The signature did not come about, or does not verify.
        LedgerError, LedgerRaceError, LedgerRemoteError: It could not be recorded; nothing was.
    """
    rules, records = parts.rules.read(), parts.ledger.read()
    target = _named(name, records)
    signer = who_signs(parts, rules)
    _require_own(target, signer)
    draft = Withdrawal(
        time=parts.clock(),
        author=parts.author,
        why=why,
        approval=target.id,
        images=tuple(sorted(target.names())),
    )

    def check(there: tuple[Record, ...]) -> None:
        _require_open(target, there)

    check(records)
    return draft if dry_run else record_decision(draft, parts, rules, signer, check)


def _named(name: str, records: Sequence[Record]) -> Approval | Rejection:
    if not _PREFIX.fullmatch(name):
        raise UsageError(
            f"{plain(name, 80)!r} is no record's id", hint="give at least its first eight digits"
        )
    found = [one for one in records if isinstance(one, Approval | Rejection) and one.id.startswith(name)]
    if not found:
        raise NotFoundError(
            f"the ledger has no approval or rejection {name}", hint="`pipeline log` lists the decisions"
        )
    if len(found) > 1:
        raise UsageError(f"{len(found)} decisions begin with {name}", hint="give more digits")
    return found[0]


def _require_own(target: Approval | Rejection, signer: Signed) -> None:
    proof = target.proof
    if proof is not None and signer.identity != proof.identity and signer.key != proof.key:
        raise GateRefusedError(
            f"the {target.kind} {target.id[:12]} was made by {proof.identity}, not by {signer.identity}",
            hint="only who decided takes it back; to stop an image that others approved, reject it",
        )


def _require_open(target: Approval | Rejection, records: Sequence[Record]) -> None:
    for record in records:
        if isinstance(record, Seal) and target.id in record.approvals:
            raise GateRefusedError(
                f"{record.name} v{record.version} was released on the approval {target.id[:12]}",
                hint="a release stays what it was; mark it bad with `pipeline yank`",
            )
