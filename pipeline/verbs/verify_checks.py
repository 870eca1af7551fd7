"""The checks that make up the verification of one release; each answers for one thing and for all of it.

Rules: a check reads what it needs and believes nothing before its hash, its signature or the ledger says so;
what is not there is a problem, a registry that does not answer is an error. Approvals are judged as of the
seal: by the rules of the protected branch then, by what the ledger held before it, at the seal's own time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from pipeline.domain.approvals import Vote
from pipeline.domain.attestation import Attestation
from pipeline.domain.dossier.reading import NotUnderstoodError
from pipeline.domain.evidence import EvidenceKind
from pipeline.domain.evidence_report import Standing as Piecewise
from pipeline.domain.protected_rules import ProtectedRules
from pipeline.domain.record import Candidate
from pipeline.domain.release import Seal
from pipeline.domain.sealed_record import parent_problems, record_problems
from pipeline.domain.text import plain
from pipeline.domain.verification import Check, parsed, provenance_problems, sbom_problems
from pipeline.errors import NotFoundError
from pipeline.verbs.evidence import fetch_evidence, list_evidence
from pipeline.verbs.knowing import Knowing, known_of
from pipeline.verbs.signing import SIGNATURE, read_signed
from pipeline.verbs.standing import Standing, Standings
from pipeline.verbs.verify_parts import Subject, VerifyParts

_APPROVAL = "approval"
_ATTESTED = frozenset({EvidenceKind.SBOM.value, EvidenceKind.PROVENANCE.value, EvidenceKind.BOOT_TEST.value})
"""The evidence that is attested wherever it is recorded."""


def check_record(one: Subject, parts: VerifyParts) -> Check:
    """Hold the seal against the other records of the ledger."""
    seal, yank = one.seal, parts.look.lineage.yank_of(one.seal)
    notes = () if yank is None else (f"it was yanked since: {plain(yank.why, 200)}",)
    said = f"sealed by {plain(seal.author, 80)} for {plain(seal.what, 120)}"
    return Check(name="record", said=said, problems=record_problems(seal, parts.look), notes=notes)


def check_tag(one: Subject, parts: VerifyParts) -> Check:
    """Ask the registry what the release tag names."""
    seal, tag = one.seal, f"v{one.seal.version}"
    if not parts.look.kept(seal):
        return Check(name="tag", problems=(f"{seal.digest} was pruned from the registry",))
    try:
        found = parts.registry.resolve(seal.repository.tagged(tag)).digest
    except NotFoundError:
        return Check(
            name="tag", problems=(f"{seal.repository} has no tag {tag}; the ledger says {seal.digest}",)
        )
    if found != seal.digest:
        return Check(name="tag", problems=(f"{tag} names {found}, the ledger says {seal.digest}",))
    return Check(name="tag", said=f"{tag} names {seal.digest}")


def check_signature(one: Subject, parts: VerifyParts) -> Check:
    """Verify the signature that hosts look for, and every attestation that the seal names."""
    seal = one.seal
    if not seal.signatures and parts.unsigned:
        note = "UNSAFE: released without a signature, as the settings allow: nobody can prove who released it"
        return Check(name="signature", said="none", notes=(note,))
    found = read_signed(parts.signed, seal.repository, seal.digest, parts.keys, seal.signatures)
    by_key = "" if found.key is None else f"by {found.key}"
    more = (*_unattested(seal), *_other_than_evidence(one, found.attestations))
    names = ", ".join(sorted(found.attestations)) or "nothing"
    return Check(
        name="signature",
        said=f"{by_key}; attested: {names}",
        problems=(*found.problems, *more),
        notes=found.notes,
    )


def _unattested(seal: Seal) -> Iterator[str]:
    missing = sorted(({_APPROVAL} | (_ATTESTED & seal.evidence.keys())) - seal.signatures.keys())
    if SIGNATURE not in seal.signatures:
        yield "the seal names no signature"
    if missing:
        yield f"the seal names no attestation of {', '.join(missing)}"


def _other_than_evidence(one: Subject, attestations: Mapping[str, Attestation]) -> Iterator[str]:
    """Yield the attested documents that say something else than the evidence of the same name."""
    for name in (EvidenceKind.SBOM.value, EvidenceKind.PROVENANCE.value):
        attested = attestations.get(name)
        if attested is None or one.candidate is None or name not in one.candidate.evidence:
            continue
        try:
            document = parsed(fetch_evidence(one.evidence, one.candidate, name))
        except (NotFoundError, NotUnderstoodError):
            continue  # the evidence itself is told of by its own check
        inner = document.get("predicate") if isinstance(document, dict) else None
        if attested.predicate not in (document, inner):
            yield f"what is attested as {name} is not the {name} that is in the evidence"
    approved = attestations.get(_APPROVAL)
    said = "" if approved is None else json.dumps(approved.predicate)
    for record in one.seal.approvals if approved is not None else ():
        if record not in said:
            yield f"the approval {record[:12]} is not among what is attested"


def check_evidence(one: Subject, parts: VerifyParts) -> Check:
    """Fetch and hash every document that seal and candidate name."""
    del parts
    if one.candidate is None:
        return Check(name="evidence", problems=("without the candidate's record nobody knows its evidence",))
    report = list_evidence(one.evidence, one.candidate)
    good = [piece.name for piece in report.pieces if piece.standing is Piecewise.MATCHES]
    lost = [
        f"{piece.name} {piece.digest}: {piece.problem}"
        for piece in report.pieces
        if piece.standing is Piecewise.MISSING
    ]
    none = () if good or lost else ("the ledger names no evidence of it",)
    said = f"as recorded: {', '.join(good)}" if good else ""
    return Check(name="evidence", said=said, problems=(*lost, *none), notes=report.problems)


def check_sbom(one: Subject, parts: VerifyParts) -> Check:
    """Read whether the SBOM covers this image."""
    del parts
    return _document(one, EvidenceKind.SBOM, "covers this digest")


def check_provenance(one: Subject, parts: VerifyParts) -> Check:
    """Read whether the provenance names this commit, this parent and this run."""
    del parts
    commit = "" if one.candidate is None else one.candidate.source.commit or "no commit"
    return _document(one, EvidenceKind.PROVENANCE, f"names commit {commit[:12]} and this parent")


def _document(one: Subject, kind: EvidenceKind, said: str) -> Check:
    if one.candidate is None or kind.value not in one.candidate.evidence:
        return Check(name=kind.value, problems=("the ledger names none",))
    try:
        data = fetch_evidence(one.evidence, one.candidate, kind.value)
    except NotFoundError as error:
        return Check(name=kind.value, problems=(plain(error.message),))
    judge = sbom_problems if kind is EvidenceKind.SBOM else provenance_problems
    return Check(name=kind.value, said=said, problems=judge(data, one.candidate))


def check_approvals(one: Subject, parts: VerifyParts) -> Check:
    """Hold the approvals against the rule as both were when it was sealed."""
    seal = one.seal
    if one.candidate is None:
        return Check(name="approvals", problems=("without the candidate's record nothing was approved",))
    rules = parts.rules.at(seal.time)
    standing = _standing(one.candidate, one, parts, rules)
    votes = {vote.approval: vote for vote in standing.counting}
    counted = [votes[record] for record in seal.approvals if record in votes]
    return Check(
        name="approvals",
        said=f"{_names(counted)} by the rules of {rules.source}" if counted else "",
        problems=(
            *(str(refusal) for refusal in standing.refusals),
            *_uncounted(seal, standing, votes),
            *_approvers(seal, counted),
        ),
        notes=(*standing.warnings, *rules.notices),
    )


def _standing(candidate: Candidate, one: Subject, parts: VerifyParts, rules: ProtectedRules) -> Standing:
    knowing = Knowing(store=one.evidence, authors=parts.authors, branch=parts.newcomers, jobs=1)
    known = known_of([candidate], knowing, rules, parts.look.history(one.seal))[0]
    decisions, now = parts.look.decisions(one.seal), one.seal.time
    # What was sealed in one act shares its approvals, whose proofs are then checked once.
    then = parts.standings.once(
        (len(decisions), now, rules.source), lambda: Standings(decisions, rules, parts.signatures, now=now)
    )
    return then.of(candidate, known)


def _uncounted(seal: Seal, standing: Standing, votes: Mapping[str, Vote]) -> Iterator[str]:
    """Yield the approvals that the seal rests on and that did not count, each with the reason."""
    ballot = standing.facts.ballot
    reasons = {one.approval: one.why for one in ballot.discounted}
    valid = {vote.approval: vote for vote in ballot.votes}
    for record in seal.approvals:
        if record in votes:
            continue
        vote = valid.get(record)
        why = reasons.get(record) or (
            f"{vote.identity} {'; '.join(standing.rule.why_not(vote, standing.facts))}"
            if vote
            else "it is of something else"
        )
        yield f"the approval {record[:12]} did not count: {why}"


def _approvers(seal: Seal, counted: Sequence[Vote]) -> Iterator[str]:
    signed = sorted({vote.identity for vote in counted})
    named = sorted(set(seal.approvers))
    if signed != named:
        shown, real = ", ".join(named) or "nobody", ", ".join(signed) or "nobody"
        yield f"the seal names {shown} as approvers, {real} approved"


def _names(votes: Sequence[Vote]) -> str:
    return ", ".join(sorted({vote.identity for vote in votes}))


def check_parent(one: Subject, parts: VerifyParts) -> Check:
    """Find the release that it is built on."""
    seal, parent = one.seal, parts.look.parent(one.seal)
    said = "nothing, it is the top" if seal.parent is None else ""
    if parent is not None:
        said = f"{parent.name} v{parent.version} sha256:{parent.digest.short}"
    return Check(name="parent", said=said, problems=parent_problems(seal, parts.look))


CHECKS = (
    check_record,
    check_tag,
    check_signature,
    check_evidence,
    check_sbom,
    check_provenance,
    check_approvals,
    check_parent,
)
"""All of them, in the order they are shown."""
