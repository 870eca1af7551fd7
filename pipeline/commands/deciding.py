"""The verbs with which people decide: approve, reject, withdraw."""

from __future__ import annotations

import datetime as dt
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.commands.console import console
from pipeline.commands.proving import dossier_of
from pipeline.errors import UsageError
from pipeline.wiring import Parts
from pipeline.wiring.typed import typed_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.adapters.protected import ProtectedBranch
    from pipeline.domain.lineage import Lineage
    from pipeline.domain.record import Candidate
    from pipeline.verbs.deciding import Deciding, Key, Proposal
    from pipeline.verbs.knowing import Knowing
    from pipeline.verbs.standing import Known


def approve(parts: Parts) -> int:
    """`approve CANDIDATE…`."""
    from pipeline.adapters.terminal import somebody  # noqa: PLC0415
    from pipeline.render.approve import show_briefs, show_decision  # noqa: PLC0415
    from pipeline.verbs.approve import approve as verb  # noqa: PLC0415

    options = parts.options
    branch = parts.releasing.branch
    proposals = _proposals(parts, branch, version=options.version)
    if options.dry_run:
        return _plan(parts, proposals)
    if not options.why:
        raise UsageError("an approval needs a reason", hint="give --why TEXT")
    made = verb(
        proposals,
        _deciding(parts, branch),
        person=somebody(sys.stdin, sys.stderr, parts.environment),
        show=lambda briefs, warnings: show_briefs(briefs, warnings, console=console(sys.stderr)),
        what=options.what or options.why,
        why=options.why,
        expires=dt.timedelta(days=options.expires),
    )
    show_decision(made, console=console(), as_json=options.json)
    return 0


def _plan(parts: Parts, proposals: Sequence[Proposal]) -> int:
    """Show what would be approved, and hand it on to the jobs after this one; sign nothing."""
    from pipeline.render.approve import show_briefs  # noqa: PLC0415
    from pipeline.verbs.approval_plan import plan_approval  # noqa: PLC0415

    options = parts.options
    plan = plan_approval(
        proposals,
        ledger=parts.ledger,
        rules=parts.releasing.branch,
        signatures=parts.releasing.signatures,
        show=lambda briefs, warnings: show_briefs(briefs, warnings, console=console(sys.stderr)),
        author=parts.author[0],
        now=parts.clock(),
    )
    if options.out:
        folder = Path(options.out)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "approval.env").write_text(plan.dotenv, encoding="utf-8")
        (folder / "references.txt").write_text(plan.references, encoding="utf-8")
    images = plan.references.splitlines()
    if options.json:
        console().print_json(data={"subject": plan.subject, "images": images})
    else:
        sys.stdout.write(f"would approve {len(images)} image(s): {plan.subject}\n")
    return 0


def reject(parts: Parts) -> int:
    """`reject CANDIDATE…`."""
    from pipeline.render.approve import show_decision  # noqa: PLC0415
    from pipeline.verbs.reject import reject as verb  # noqa: PLC0415

    branch, options = parts.releasing.branch, parts.options
    proposals = _proposals(parts, branch, version=None)
    made = verb(proposals, _deciding(parts, branch), why=options.why, dry_run=options.dry_run)
    show_decision(made, console=console(), as_json=options.json)
    return 0


def withdraw(parts: Parts) -> int:
    """`withdraw DECISION`."""
    from pipeline.render.approve import show_decision  # noqa: PLC0415
    from pipeline.verbs.withdraw import withdraw as verb  # noqa: PLC0415

    options = parts.options
    deciding = _deciding(parts, parts.releasing.branch)
    made = verb(options.decision, deciding, why=options.why, dry_run=options.dry_run)
    show_decision(made, console=console(), as_json=options.json)
    return 0


def _deciding(parts: Parts, branch: ProtectedBranch) -> Deciding:
    from pipeline.verbs.deciding import Deciding  # noqa: PLC0415

    options = parts.options
    return Deciding(
        ledger=parts.ledger,
        rules=branch,
        signatures=parts.releasing.signatures,
        key=_key(parts),
        identity=options.identity,
        author=parts.author[0],
        clock=parts.clock,
    )


def _key(parts: Parts) -> Key:
    """Return what the person decides with: the key that is named, else the token of the CI job.

    Raises:
        UsageError: There is neither.
        SignatureError: The variable holds no token.
    """
    from pipeline.adapters.gitlab import GitlabToken  # noqa: PLC0415
    from pipeline.adapters.sshsig import SshKey  # noqa: PLC0415

    token = parts.environment.get("PIPELINE_APPROVAL_TOKEN")
    if token and not parts.options.key:
        return GitlabToken(token)
    key = parts.options.key or parts.environment.get("PIPELINE_APPROVAL_KEY")
    if not key:
        raise UsageError(
            "no key is named to sign with",
            hint="give --key FILE (for a key in an agent, its public half), or set PIPELINE_APPROVAL_KEY; in "
            "a GitLab job, hand on its token as PIPELINE_APPROVAL_TOKEN",
        )
    return SshKey(parts.processes, typed_path(key))


def named_candidates(parts: Parts) -> tuple[Candidate, ...]:
    """Return the candidates that were named on the command line, and all of the run that was.

    Raises:
        UsageError: None is named.
        NotFoundError: The ledger has no such candidate.
    """
    from pipeline.domain.record import candidates  # noqa: PLC0415

    options = parts.options
    found: Sequence[Candidate] = [parts.candidate_record(name) for name in options.candidates]
    if options.run:
        found = [*found, *(one for one in candidates(parts.ledger.read()) if one.run == options.run)]
    if not found:
        raise UsageError("no candidate is named", hint="name candidates, or a run with --run")
    return tuple({one.id: one for one in found}.values())


def knowing(parts: Parts, branch: ProtectedBranch, *, jobs: int = 8) -> Knowing:
    """Return where knowledge of candidates comes from."""
    from pipeline.adapters.authors import GitAuthors  # noqa: PLC0415
    from pipeline.verbs.knowing import Knowing  # noqa: PLC0415

    return Knowing(store=parts.proofs.referrers, authors=GitAuthors(parts.images), branch=branch, jobs=jobs)


def _proposals(parts: Parts, branch: ProtectedBranch, *, version: str | None) -> tuple[Proposal, ...]:
    """Return what is proposed for each candidate that was named.

    Raises:
        UsageError: None is named, or a version is given for several.
    """
    from pipeline.domain.lineage import Lineage  # noqa: PLC0415
    from pipeline.verbs.knowing import known_of  # noqa: PLC0415

    found = named_candidates(parts)
    if version is not None and len(found) != 1:
        raise UsageError("--version is for one candidate", hint="leave it out: each gets the next version")
    records = parts.ledger.read()
    known = known_of(found, knowing(parts, branch), branch.read(), records)
    lineage = Lineage(records)
    return tuple(
        _proposal(parts, one, what, lineage, version=version) for one, what in zip(found, known, strict=True)
    )


def _proposal(
    parts: Parts, record: Candidate, known: Known, lineage: Lineage, *, version: str | None
) -> Proposal:
    from pipeline.domain.approval_summary import facts_of  # noqa: PLC0415
    from pipeline.verbs.deciding import Proposal  # noqa: PLC0415
    from pipeline.verbs.knowing import proposed_bump  # noqa: PLC0415

    name = f"{record.line}/{record.image}"
    dossier = dossier_of(parts, record, whole=False)
    bump = "" if version else proposed_bump(parts.proofs.referrers, record).word
    return Proposal(
        candidate=record,
        version=version or lineage.next_version(name, bump, digest=record.digest),
        known=known,
        facts=facts_of(record, dossier),
        blocks=tuple(point.text for point in dossier.judgement.blocks),
    )
