"""What is written of a release: the changelog entry of its git tag, what is attested to it, and its record.

Rules: everything here is made of records and evidence that the seal rests on, never of the time of the run,
so that a run that goes on where another was killed writes the same; texts from outside stay one line each.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline.domain.decision import Approval
from pipeline.domain.evidence import EvidenceKind
from pipeline.domain.image import Digest
from pipeline.domain.provenance import AUTHORITY
from pipeline.domain.record import Candidate, harmless, record_json
from pipeline.domain.record_codec import stamp
from pipeline.domain.release import Seal
from pipeline.domain.sealing import TagOrder
from pipeline.domain.text import plain
from pipeline.errors import GateRefusedError
from pipeline.verbs.evidence import EvidenceStore, fetch_evidence
from pipeline.verbs.knowing import release_of
from pipeline.verbs.seal_parts import Sealing, SealParts
from pipeline.verbs.signing import Attest, SignOrder, UnsafeUnsigned

CYCLONEDX = "https://cyclonedx.org/bom"
APPROVED = "https://in-toto.io/attestation/svr/v0.1"
"""Simple Verification Result: who verified which properties, here with the signed decisions beside them."""

BOOTED = f"{AUTHORITY}boot-test/v1"
VERIFIER = f"{AUTHORITY}seal/v1"

_REASONS = 20
_LONGEST = 400


def tag_orders(sealings: Sequence[Sealing], parts: SealParts) -> tuple[TagOrder, ...]:
    """Return the git tags that releases get; an image that was built from no commit gets none."""
    signed = not isinstance(parts.signer, UnsafeUnsigned)
    return tuple(
        TagOrder(
            name=one.git_tag,
            commit=one.candidate.source.commit,
            message=changelog_entry(one, signed=signed),
            mark=_mark(one),
        )
        for one in sealings
        if one.candidate.source.commit
    )


def changelog_entry(one: Sealing, *, signed: bool) -> str:
    """Return what changed, why, who approved it, and the difference in short."""
    before = "none, this is the first release" if one.before is None else f"v{one.before.version}"
    lines = [
        f"{one.name} {one.tag}",
        "",
        f"What: {one.what}",
        f"Why: {one.why}",
        f"Approved-by: {', '.join(one.approvers) or 'nobody, the rule asks for none'}",
        f"Before: {before}",
        *([] if one.parent is None or one.candidate.parent is None else [_parent(one)]),
        _mark(one),
        *([] if signed else ["Signed: no, and hosts with a policy refuse it (unsafe-none)"]),
        f"Bump: {one.bump.word}",
        *(f"- {plain(reason, _LONGEST)}" for reason in one.bump.reasons[:_REASONS]),
    ]
    if len(one.bump.reasons) > _REASONS:
        lines.append(f"- and {len(one.bump.reasons) - _REASONS} more")
    return "\n".join(plain(line, 2000) for line in lines)


def sign_order(one: Sealing, approvals: Sequence[Approval], store: EvidenceStore) -> SignOrder:
    """Return what is signed and attested of one release; its documents are fetched by their hashes.

    Raises:
        GateRefusedError: A document is not understood.
        NotFoundError, RegistryError: One cannot be had.
    """
    return SignOrder(
        repository=one.candidate.repository,
        subject=one.subject,
        attestations=tuple(_attests(one, approvals, store)),
        created=one.candidate.finished,
    )


def seal_record(one: Sealing, signatures: Mapping[str, Digest], time: dt.datetime, author: str) -> Seal:
    """Return the record of a release."""
    made = one.candidate
    return Seal(
        time=time,
        author=author,
        line=made.line,
        image=made.image,
        repository=made.repository,
        digest=made.digest,
        version=one.version,
        tier=made.tier,
        candidate=made.id,
        approvals=one.approvals,
        parent=one.parent,
        predecessor=release_of(one.before),
        evidence=dict(made.evidence),
        signatures=dict(signatures),
        aliases=one.aliases,
        git_tag=one.git_tag,
        bump=(one.bump.word, *(harmless(reason) for reason in one.bump.reasons[:_REASONS] if reason)),
        what=one.what,
        why=one.why,
        approvers=one.approvers,
    )


def _parent(one: Sealing) -> str:
    assert one.parent is not None  # noqa: S101 - asked before
    assert one.candidate.parent is not None  # noqa: S101
    return f"On: {one.candidate.parent.image} v{one.parent.version}"


def _mark(one: Sealing) -> str:
    return f"Image: {one.ref}"


def _attests(one: Sealing, approvals: Sequence[Approval], store: EvidenceStore) -> Iterator[Attest]:
    """Yield what is attested: SBOM, provenance, the approvals, the boot test where there was one."""
    recorded = one.candidate.evidence.keys()
    if EvidenceKind.SBOM in recorded:
        yield Attest(name="sbom", predicate_type=CYCLONEDX, predicate=_document(one.candidate, "sbom", store))
    if EvidenceKind.PROVENANCE in recorded:
        statement = _document(one.candidate, "provenance", store)
        if not isinstance(statement.get("predicateType"), str) or "predicate" not in statement:
            raise _unreadable(one.candidate, "provenance", "it is no in-toto statement")
        yield Attest(
            name="provenance", predicate_type=statement["predicateType"], predicate=statement["predicate"]
        )
    if EvidenceKind.BOOT_TEST in recorded:
        yield Attest(
            name="boot-test", predicate_type=BOOTED, predicate=_document(one.candidate, "boot-test", store)
        )
    yield _approved(one, approvals)


def _approved(one: Sealing, approvals: Sequence[Approval]) -> Attest:
    """Return what says that the rule was satisfied, with the signed decisions, for anybody to check."""
    mine = [approval for approval in approvals if approval.id in one.approvals]
    when = max((approval.time for approval in mine), default=one.candidate.finished)
    return Attest(
        name="approval",
        predicate_type=APPROVED,
        predicate={
            "verifier": {"id": VERIFIER},
            "timeCreated": stamp(when),
            "properties": [
                "BOOTC_PIPELINE_GATES_PASSED",
                "BOOTC_PIPELINE_EVIDENCE_COMPLETE",
                "BOOTC_PIPELINE_APPROVAL_RULE_SATISFIED",
            ],
            "version": one.version,
            "candidate": one.candidate.id,
            "approvals": [record_json(approval) for approval in mine],
        },
    )


def _document(candidate: Candidate, kind: str, store: EvidenceStore) -> dict[str, Any]:
    try:
        value = json.loads(fetch_evidence(store, candidate, kind))
    except ValueError as error:
        raise _unreadable(candidate, kind, f"it is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise _unreadable(candidate, kind, "it is no JSON object")
    return value


def _unreadable(candidate: Candidate, kind: str, why: str) -> GateRefusedError:
    return GateRefusedError(
        f"the {kind} of {candidate.line}/{candidate.image} cannot be attested: {why}",
        hint="build the image again with this version of the program",
    )
