"""Which keys of approvers were revoked or removed since they approved a release that is still there.

Rules: a release stays what it was when it was sealed; that a key is no longer good is a finding of its own,
for a person to judge. Each key is asked about once, however many releases rest on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pipeline.domain.approvals import Signed, Unproved
from pipeline.domain.audit import Finding, What
from pipeline.domain.decision import Approval, Method, Proof
from pipeline.domain.lookback import LookBack
from pipeline.domain.protected_rules import ProtectedRules
from pipeline.domain.release import Seal
from pipeline.domain.text import plain
from pipeline.verbs.standing import RuleBook, Signatures

_SHOWN = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyParts:
    """Who may approve now, and what checks proofs."""

    rules: RuleBook
    signatures: Signatures


def key_findings(seals: Sequence[Seal], look: LookBack, parts: KeyParts) -> Iterator[Finding]:
    """Yield each key that approved one of the releases and is no longer good.

    Args:
        seals: The releases.
        look: The ledger.
        parts: Who may approve now.

    Raises:
        LedgerRemoteError: The protected branch cannot be reached.
        ToolMissingError: What checks proofs is not installed.
    """
    used = _used(seals, look)
    if not used:
        return
    rules = parts.rules.read()
    for (identity, key), (approval, released) in sorted(used.items()):
        why = _gone(approval, rules, parts.signatures)
        if why:
            yield Finding(
                what=What.KEY,
                image=released[0].name if len({one.name for one in released}) == 1 else "",
                text=f"the key {plain(key, 80)} of {plain(identity, 80)} {why}: {_named(released)}",
                todo="look at what it approved; a key that only went out of use stays, with valid-before",
            )


def _used(seals: Iterable[Seal], look: LookBack) -> Mapping[tuple[str, str], tuple[Approval, list[Seal]]]:
    """Return the keys that approved, each with one of its approvals and all its releases."""
    found: dict[tuple[str, str], tuple[Approval, list[Seal]]] = {}
    for seal in seals:
        for record in seal.approvals:
            approval = look.approval(record, seal)
            proof = None if approval is None else approval.proof
            if approval is not None and proof is not None and proof.method is Method.SSH:
                found.setdefault((proof.identity, proof.key), (approval, []))[1].append(seal)
    return found


def _gone(approval: Approval, rules: ProtectedRules, signatures: Signatures) -> str:
    """Return what became of a key; empty when it is still listed and not revoked."""
    proof: Proof | None = approval.proof
    if proof is None or proof.identity not in rules.signers.principals_of(proof.key):
        return "was removed from the list of signers since it approved"
    if not rules.revoked:
        return ""
    now = signatures.check(approval, rules.signers, rules.revoked, approval.time)
    if isinstance(now, Signed):
        return ""
    then = signatures.check(approval, rules.signers, b"", approval.time)
    return "was revoked since it approved" if isinstance(then, Signed) and isinstance(now, Unproved) else ""


def _named(seals: Sequence[Seal]) -> str:
    names = [f"{one.name} v{one.version}" for one in seals]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
