"""What is written of a release: the changelog entry of its git tag, what is attested to it, and its record.

Rules: everything here is made of records and evidence that the seal rests on, never of the time of the run,
so that a run that goes on where another was killed writes the same; texts from outside stay one line each.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence

from pipeline.domain.image import Digest
from pipeline.domain.predicates import ATTESTED, Verified, attests_of
from pipeline.domain.record import harmless
from pipeline.domain.release import Seal
from pipeline.domain.sealing import TagOrder
from pipeline.domain.text import plain
from pipeline.verbs.evidence import EvidenceReader, fetch_evidence
from pipeline.verbs.knowing import release_of
from pipeline.verbs.seal_parts import Sealing, SealParts, SealPlan
from pipeline.verbs.signing import SignOrder, UnsafeUnsigned

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


def sign_order(one: Sealing, plan: SealPlan, store: EvidenceReader) -> SignOrder:
    """Return what is signed and attested of one release; its documents are fetched by their hashes.

    Raises:
        SignatureError: A document is not understood.
        NotFoundError, RegistryError: One cannot be had.
    """
    candidate = one.candidate
    kinds = sorted(ATTESTED & candidate.evidence.keys())
    documents = {kind: fetch_evidence(store, candidate, kind) for kind in kinds}
    mine = tuple(approval for approval in plan.approvals if approval.id in one.approvals)
    verified = Verified(
        version=one.version,
        approvals=mine,
        rules=plan.rules,
        warnings=plan.warnings,
        time=max((approval.time for approval in mine), default=candidate.finished),
    )
    return SignOrder(
        repository=candidate.repository,
        subject=one.subject,
        attestations=attests_of(candidate, documents, verified),
        created=candidate.finished,
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
