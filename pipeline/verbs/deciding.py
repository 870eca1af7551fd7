"""What approving, rejecting and withdrawing have in common: who signs, with what, and how it is recorded.

Rules: a decision is recorded only if its proof, made just before, verifies against the list of signers on the
protected branch; the list says whom a key speaks for, never the one who signs.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from pipeline.domain.allowed_signers import AllowedSigners
from pipeline.domain.approvals import Signed, Unproved
from pipeline.domain.decision import Decided, Decision, Proof
from pipeline.domain.protected_rules import ProtectedRules
from pipeline.domain.record import Candidate, Record
from pipeline.domain.text import plain
from pipeline.errors import GateRefusedError, NotFoundError, SignatureError, UsageError
from pipeline.verbs.standing import DecisionLedger, Known, RuleBook, Signatures

_Decision = TypeVar("_Decision", bound=Decision)
Check = Callable[[tuple[Record, ...]], None]
NOTHING_KNOWN = Known()


class Key(Protocol):
    """The key of who decides; `adapters.sshsig.SshKey` and `adapters.gitlab.GitlabToken` are two."""

    def fingerprint(self) -> str:
        """Return its name: `SHA256:…`, or the account of a token."""

    def principals(self, signers: AllowedSigners) -> tuple[str, ...]:
        """Return whom it speaks for, by what the protected branch says; sorted, empty when it is unknown."""

    def sign(self, statement: bytes, identity: str) -> Proof:
        """Return the proof of a statement; may talk to the person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deciding:
    """What decisions are made with.

    Attributes:
        ledger, rules, signatures: Where they are recorded, who may make them, how proofs are checked.
        key: The key of who decides.
        identity: The principal to sign as; None for the only one the key speaks for.
        author: Who records it, for people.
        clock: Tells the time; UTC, whole seconds.
    """

    ledger: DecisionLedger
    rules: RuleBook
    signatures: Signatures
    key: Key
    identity: str | None = None
    author: str
    clock: Callable[[], dt.datetime]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """One candidate that is proposed for release.

    Attributes:
        candidate: Its record.
        version: MAJOR.MINOR.PATCH it would be released as.
        known: What is known beside the ledger; its predecessor is what the image was compared with.
        facts: What is shown of it.
        blocks: What its dossier says that forbids an approval.
    """

    candidate: Candidate
    version: str
    known: Known = NOTHING_KNOWN
    facts: tuple[str, ...] = ()
    blocks: tuple[str, ...] = ()

    @property
    def decided(self) -> Decided:
        """What a decision says of it."""
        one = self.candidate
        return Decided(
            line=one.line,
            image=one.image,
            tier=one.tier,
            repository=one.repository,
            digest=one.digest,
            candidate=one.id,
            version=self.version,
            predecessor=self.known.predecessor,
            evidence=dict(one.evidence),
        )


def in_order(proposals: Sequence[Proposal], records: Sequence[Record]) -> tuple[Proposal, ...]:
    """Return the proposals sorted by name, as a decision lists them.

    Raises:
        UsageError: There is none, or an image is named twice.
        NotFoundError: A candidate is not in the ledger.
    """
    ordered = tuple(sorted(proposals, key=lambda one: one.decided.name))
    names = [one.decided.name for one in ordered]
    if not names or len(names) != len(set(names)):
        raise UsageError("a decision is about at least one image, each once", hint="name each image once")
    there = {record.id for record in records}
    for one in ordered:
        if one.candidate.id not in there:
            raise NotFoundError(
                f"the ledger has no candidate {one.decided.name} {one.candidate.digest} as it is given",
                hint="`pipeline log` lists the candidates",
            )
    return ordered


def who_signs(parts: Deciding, rules: ProtectedRules) -> Signed:
    """Return the principal and the key that will sign.

    Raises:
        UsageError: The list does not have the key, the key does not speak for the wanted principal, or it
            speaks for several and none was chosen.
    """
    key = parts.key.fingerprint()
    names = parts.key.principals(rules.signers)
    if not names:
        raise UsageError(
            f"the key {key} is not on the list of signers of {rules.source}",
            hint="use a key that is, or have yours added there by a merged change; for a job's token, its "
            "issuer in [approval.gitlab]",
        )
    chosen = parts.identity or (names[0] if len(names) == 1 else "")
    if chosen not in names:
        wanted = plain(chosen, 80) or "one of them alone"
        raise UsageError(
            f"the key {key} speaks for {', '.join(names)}, not for {wanted}",
            hint="name one of them to sign as",
        )
    return Signed(identity=chosen, key=key)


def blocked(proposals: Sequence[Proposal]) -> Iterator[str]:
    """Yield what dossiers say that forbids an approval."""
    for one in proposals:
        yield from (f"{one.decided.name}: {text}" for text in one.blocks)


def refuse_approval(reasons: Sequence[str]) -> None:
    """Let an approval pass against which nothing speaks.

    Raises:
        GateRefusedError: There are reasons; all of them are told.
    """
    if reasons:
        raise GateRefusedError(
            "this cannot be approved:\n" + "\n".join(f"  {one}" for one in dict.fromkeys(reasons)),
            hint="mend what is named and build again, or let somebody approve whose approval counts",
        )


def record_decision(
    draft: _Decision, parts: Deciding, rules: ProtectedRules, signer: Signed, check: Check | None = None
) -> _Decision:
    """Sign a decision, verify the signature, record it and return it.

    Raises:
        SignatureError: The signature did not come about, or does not verify.
        LedgerError, LedgerRaceError, LedgerRemoteError: It could not be recorded; nothing was.
    """
    decision = dataclasses.replace(draft, proof=parts.key.sign(draft.statement(), signer.identity))
    proved = parts.signatures.check(decision, rules.signers, rules.revoked, decision.time)
    if isinstance(proved, Unproved) or proved.key != signer.key:
        why = proved.why if isinstance(proved, Unproved) else f"it was made with the key {proved.key}"
        raise SignatureError(
            f"the decision was signed, but {why}; nothing was recorded",
            hint=f"the list of signers is that of {rules.source}; the key has to be valid there, a token has "
            "to be made for this very decision",
        )
    parts.ledger.append([decision], check=check or _anything)
    return decision


def _anything(records: tuple[Record, ...]) -> None:
    """Let everything pass; that there is a check keeps a decision from being delivered later, unseen."""
