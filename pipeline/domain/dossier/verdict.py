"""Judges a dossier: what blocks an approval, and what a person should look at first.

Rules: a proof that is missing, does not hold or says no blocks; a person's own exception (a waiver, a pin by
hand) and everything risky is a caution; nothing is judged by being absent. A report of vulnerabilities is
optional: without one nothing is said, with one every critical or high one that came is a caution.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence

from pipeline.domain.dossier.difference import Change, Difference
from pipeline.domain.dossier.dossier import (
    Boot,
    EvidenceLine,
    GateLine,
    Held,
    History,
    Judgement,
    KernelPin,
    Maybe,
    Missing,
    Point,
    Provenance,
    Sbom,
)
from pipeline.domain.gate import Verdict
from pipeline.domain.image import Tier
from pipeline.domain.record import Candidate
from pipeline.domain.vulnerabilities import Severity, VulnerabilityChange

_SHORT = 60
_NAMED = 3
"""Names or reasons that a point tells before it only counts."""


def judge(
    candidate: Candidate,
    *,
    evidence: Sequence[EvidenceLine],
    history: Maybe[History],
    gates: Maybe[tuple[GateLine, ...]],
    boot: Maybe[Boot],
    difference: Maybe[Difference],
    pin: Maybe[KernelPin],
    sbom: Maybe[Sbom],
    provenance: Maybe[Provenance],
    vulnerabilities: Maybe[VulnerabilityChange],
    today: dt.date,
) -> Judgement:
    """Return what blocks and what to look at; arguments as in `Dossier`."""
    base = candidate.tier is Tier.BASE
    blocks = (
        *_gates_block(gates),
        *_boot_blocks(boot, needed=base),
        *_missing("The diff", "changes", difference),
        *_missing("The SBOM", "sbom", sbom),
        *_missing("The provenance", "provenance", provenance),
        *_evidence_blocks(evidence),
    )
    cautions = (
        *_difference_cautions(difference),
        *_vulnerability_cautions(vulnerabilities),
        *_source_cautions(candidate, history),
        *_waivers(gates),
        *_pin_cautions(pin, today=today, needed=base),
        *_sbom_cautions(sbom),
        *_instance_boot(boot, needed=base),
    )
    return Judgement(blocks=blocks, cautions=cautions)


def _gates_block(gates: Maybe[tuple[GateLine, ...]]) -> Iterator[Point]:
    if isinstance(gates, Missing):
        yield Point(text=f"The gates are missing: {gates.why}", section="gates")
        return
    if not gates:
        yield Point(text="No gate was asked", section="gates")
    for gate in gates:
        if not gate.ok:
            said = "said no" if gate.verdict is Verdict.FAIL else "could not be checked"
            yield Point(text=f"Gate {gate.gate} {said}: {gate.summary}", section="gates")


def _boot_blocks(boot: Maybe[Boot], *, needed: bool) -> Iterator[Point]:
    if isinstance(boot, Missing):
        if needed:
            yield Point(text=f"The boot test is missing: {boot.why}", section="boot")
    elif not boot.ok:
        yield Point(text=f"The boot test failed: {boot.summary}", section="boot")


def _missing(what: str, section: str, part: Difference | Sbom | Provenance | Missing) -> Iterator[Point]:
    if isinstance(part, Missing):
        yield Point(text=f"{what} is missing: {part.why}", section=section)


def _evidence_blocks(evidence: Sequence[EvidenceLine]) -> Iterator[Point]:
    said = {
        Held.DIFFERS: "is not what the ledger recorded: its hash differs",
        Held.LOST: "is recorded but cannot be fetched",
    }
    for one in evidence:
        if one.held in said:
            yield Point(text=f"The evidence {one.name} {said[one.held]}", section="evidence")


def _difference_cautions(difference: Maybe[Difference]) -> Iterator[Point]:
    if isinstance(difference, Missing):
        return
    if not difference.predecessor:
        yield Point(text=f"Nothing to compare with: {difference.because}", section="changes")
    for group in difference.risky:
        told = [_told(one) for one in group.changes if one.risky] or group.reasons
        yield Point(text=f"{group.title}: {_named(told, group.total)}", section=f"changes-{group.kind}")
    if difference.licences:
        names = [one.package for one in difference.licences]
        yield Point(text=f"Another licence: {_named(names)}", section="licences")


def _told(change: Change) -> str:
    """Name a change with what is risky about it, else what differs first, else what became of it."""
    before, after = (side.partition(", ")[0] for side in (change.before, change.after))
    if change.why:
        return f"{change.name} {change.why}"
    if before and after and len(before) + len(after) <= _SHORT:
        return f"{change.name} {before} → {after}"
    return f"{change.name} {change.how}"


def _vulnerability_cautions(change: Maybe[VulnerabilityChange]) -> Iterator[Point]:
    if isinstance(change, Missing):
        return
    bad = (Severity.CRITICAL, Severity.HIGH)
    new = change.came if change.compared else change.now
    names = [f"{one.id} in {one.package} ({one.severity})" for one in new if one.severity in bad]
    if names:
        verb = "came" if change.compared else "there"
        yield Point(
            text=f"Critical or high vulnerabilities {verb}: {_named(names)}", section="vulnerabilities"
        )


def _source_cautions(candidate: Candidate, history: Maybe[History]) -> Iterator[Point]:
    if candidate.source.clean is None:
        yield Point(text="Whether every definition was committed is not known", section="history")
    elif not candidate.source.clean:
        yield Point(text="Built from definitions that are in no commit", section="history")
    if isinstance(history, Missing):
        yield Point(text=f"The commits are missing: {history.why}", section="history")


def _waivers(gates: Maybe[tuple[GateLine, ...]]) -> Iterator[Point]:
    if isinstance(gates, Missing):
        return
    for gate in gates:
        if gate.verdict is Verdict.WAIVED:
            yield Point(text=f"Gate {gate.gate} is waived: {gate.summary}", section="gates")


def _pin_cautions(pin: Maybe[KernelPin], *, today: dt.date, needed: bool) -> Iterator[Point]:
    if isinstance(pin, Missing):
        if needed:
            yield Point(text=f"The kernel pin is missing: {pin.why}", section="pin")
    elif pin.expires is not None:
        said = "expired on" if today > pin.expires else "is set by hand until"
        yield Point(text=f"The pin of kernel {pin.kernel} {said} {pin.expires}: {pin.reason}", section="pin")


def _sbom_cautions(sbom: Maybe[Sbom]) -> Iterator[Point]:
    if isinstance(sbom, Missing):
        return
    if isinstance(sbom.scores, Missing):
        yield Point(text=f"The SBOM's score is missing: {sbom.scores.why}", section="sbom")


def _instance_boot(boot: Maybe[Boot], *, needed: bool) -> Iterator[Point]:
    if isinstance(boot, Missing) and not needed:
        yield Point(text=f"No boot test: {boot.why}", section="boot")


def _named(names: Sequence[str], total: int = 0) -> str:
    """Return the first names, and how many more there are of all."""
    shown = "; ".join(names[:_NAMED])
    more = max(total, len(names)) - min(len(names), _NAMED)
    return f"{shown}; and {more} more" if more else shown
