"""`pipeline reject`: a person's no to exactly these images; it counts at once, for every rule.

Rules: whoever has a key on the list of signers may say no, in whichever role, the builder and the author too.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.domain.decision import Rejection
from pipeline.verbs.deciding import Deciding, Proposal, in_order, record_decision, who_signs


def reject(proposals: Sequence[Proposal], parts: Deciding, *, why: str, dry_run: bool = False) -> Rejection:
    """Sign and record the rejection of all proposals in one record; return it.

    Args:
        proposals: One for each image.
        parts: What decisions are made with.
        why: Why not, one line.
        dry_run: Whether only to look: what is returned is neither signed nor recorded.

    Raises:
        UsageError: An image is named twice, the text does not do, or the key is unknown.
        NotFoundError: A candidate is not in the ledger.
        SignatureError: The signature did not come about, or does not verify.
        LedgerError, LedgerRaceError, LedgerRemoteError: It could not be recorded; nothing was.
    """
    rules = parts.rules.read()
    ordered = in_order(proposals, parts.ledger.read())
    signer = who_signs(parts, rules)
    draft = Rejection(
        time=parts.clock(), author=parts.author, why=why, decided=tuple(one.decided for one in ordered)
    )
    return draft if dry_run else record_decision(draft, parts, rules, signer)
