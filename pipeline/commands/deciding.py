"""The verbs with which people decide: approve, reject, withdraw."""

from __future__ import annotations

import datetime as dt
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.commands.console import console
from pipeline.commands.proving import dossier_of
from pipeline.errors import UsageError
from pipeline.wiring import Parts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.adapters.protected import ProtectedBranch
    from pipeline.domain.protected_rules import ProtectedRules
    from pipeline.domain.record import Candidate
    from pipeline.domain.release import Seal
    from pipeline.verbs.deciding import Deciding, Proposal
    from pipeline.verbs.standing import Known


def approve(parts: Parts) -> int:
    """`approve CANDIDATE…`."""
    from pipeline.adapters.terminal import somebody  # noqa: PLC0415
    from pipeline.render.approve import show_briefs, show_decision  # noqa: PLC0415
    from pipeline.verbs.approve import approve as verb  # noqa: PLC0415

    options = parts.options
    branch = parts.releasing.branch
    proposals = _proposals(parts, branch, version=options.version)
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


def reject(parts: Parts) -> int:
    """`reject CANDIDATE…`."""
    from pipeline.render.approve import show_decision  # noqa: PLC0415
    from pipeline.verbs.reject import reject as verb  # noqa: PLC0415

    branch = parts.releasing.branch
    made = verb(_proposals(parts, branch, version=None), _deciding(parts, branch), why=parts.options.why)
    show_decision(made, console=console(), as_json=parts.options.json)
    return 0


def withdraw(parts: Parts) -> int:
    """`withdraw DECISION`."""
    from pipeline.render.approve import show_decision  # noqa: PLC0415
    from pipeline.verbs.withdraw import withdraw as verb  # noqa: PLC0415

    made = verb(parts.options.decision, _deciding(parts, parts.releasing.branch), why=parts.options.why)
    show_decision(made, console=console(), as_json=parts.options.json)
    return 0


def _deciding(parts: Parts, branch: ProtectedBranch) -> Deciding:
    from pipeline.adapters.sshsig import SshKey, SshSignatures  # noqa: PLC0415
    from pipeline.verbs.deciding import Deciding  # noqa: PLC0415

    options = parts.options
    key = options.key or parts.environment.get("PIPELINE_APPROVAL_KEY")
    if not key:
        raise UsageError(
            "no key is named to sign with",
            hint="give --key FILE (for a key in an agent, its public half), or set PIPELINE_APPROVAL_KEY",
        )
    return Deciding(
        ledger=parts.ledger,
        rules=branch,
        signatures=SshSignatures(parts.processes),
        key=SshKey(parts.processes, Path(os.path.expanduser(key))),  # noqa: PTH111 - a path a user typed
        identity=options.identity,
        author=parts.author[0],
        clock=parts.clock,
    )


def _proposals(parts: Parts, branch: ProtectedBranch, *, version: str | None) -> tuple[Proposal, ...]:
    """Return what is proposed for each candidate that was named, or for all of a run.

    Raises:
        UsageError: None is named, or a version is given for several.
    """
    from pipeline.domain.record import candidates  # noqa: PLC0415

    options = parts.options
    found: Sequence[Candidate] = [parts.candidate_record(name) for name in options.candidates]
    if options.run:
        found = [*found, *(one for one in candidates(parts.ledger.read()) if one.run == options.run)]
    if not found:
        raise UsageError("no candidate is named", hint="name candidates, or a run with --run")
    if version is not None and len(found) != 1:
        raise UsageError("--version is for one candidate", hint="leave it out: each gets the next version")
    rules = branch.read()
    return tuple(_proposal(parts, one, branch, rules, version=version) for one in found)


def _proposal(
    parts: Parts, record: Candidate, branch: ProtectedBranch, rules: ProtectedRules, *, version: str | None
) -> Proposal:
    from pipeline.domain.approval_summary import facts_of  # noqa: PLC0415
    from pipeline.domain.lineage import Lineage  # noqa: PLC0415
    from pipeline.verbs.deciding import Proposal  # noqa: PLC0415

    name = f"{record.line}/{record.image}"
    lineage = Lineage(parts.ledger.read())
    before = lineage.newest(name)
    dossier = dossier_of(parts, record)
    return Proposal(
        candidate=record,
        version=version or lineage.next_version(name, _bump(parts, record), digest=record.digest),
        known=_known(parts, record, before, branch, rules),
        facts=facts_of(record, dossier),
        blocks=tuple(point.text for point in dossier.judgement.blocks),
    )


def _bump(parts: Parts, record: Candidate) -> str:
    """Return the part of the version that the recorded diff asks to raise."""
    from pipeline.verbs.evidence import fetch_evidence  # noqa: PLC0415

    document = json.loads(fetch_evidence(parts.proofs.referrers, record, "diff"))
    return str(document["bump"]["proposed"])


def _known(
    parts: Parts, record: Candidate, before: Seal | None, branch: ProtectedBranch, rules: ProtectedRules
) -> Known:
    from pipeline.adapters.authors import GitAuthors  # noqa: PLC0415
    from pipeline.domain.decision import Release  # noqa: PLC0415
    from pipeline.domain.dossier_parts import read_gates  # noqa: PLC0415
    from pipeline.domain.evidence_report import Standing  # noqa: PLC0415
    from pipeline.domain.record import candidates  # noqa: PLC0415
    from pipeline.verbs.evidence import fetch_evidence, list_evidence  # noqa: PLC0415
    from pipeline.verbs.standing import Known  # noqa: PLC0415

    store = parts.proofs.referrers
    report = list_evidence(store, record)
    gates = read_gates(json.loads(fetch_evidence(store, record, "gates")), record.digest)
    sealed = {one.id: one for one in candidates(parts.ledger.read())}
    since = None if before is None else sealed[before.candidate].source.commit
    until = record.source.commit
    paths = (record.line, "pipeline.toml", f"../Containerfiles/{record.line}")
    return Known(
        predecessor=None if before is None else Release(version=before.version, digest=before.digest),
        authors=None if until is None else GitAuthors(parts.images).authors(since, until, paths),
        gates={one.gate: one.verdict for one in gates},
        # What is a hash alone (logs, the layer) has no document that could be lost.
        held=frozenset(
            one.name for one in report.pieces if one.standing in (Standing.MATCHES, Standing.HASH_ONLY)
        ),
        newcomers=branch.newcomers(rules, since, until),
    )
