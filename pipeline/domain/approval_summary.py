"""What a person sees before signing: the facts of each candidate in words, the alike ones in one group.

Rules: everything that a group shows is so for each image in it; images are alike when tier, facts and
warnings are; what a person should look at comes first, and nothing is left out for being long.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.domain.decision import Decided
from pipeline.domain.dossier.difference import Risk
from pipeline.domain.dossier.dossier import Dossier, Missing
from pipeline.domain.record import Candidate


@dataclass(frozen=True, slots=True, kw_only=True)
class Brief:
    """One image as it is shown: what would be signed, and the facts in words."""

    decided: Decided
    facts: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Images of which the same is to be said, by name.

    Attributes:
        facts: What is so for all of them.
        only: Those of the facts that the first, largest group does not have; empty for that one itself.
        lacks: Facts of the first group that these do not have.
        images: What would be signed.
    """

    facts: tuple[str, ...]
    only: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    images: tuple[Decided, ...]


def grouped(briefs: Sequence[Brief]) -> tuple[Group, ...]:
    """Return the images in groups of alike ones, the largest first."""
    alike: dict[tuple[str, tuple[str, ...]], list[Decided]] = {}
    for one in briefs:
        alike.setdefault((one.decided.tier.value, one.facts), []).append(one.decided)
    ordered = sorted(alike.items(), key=lambda item: (-len(item[1]), item[0]))
    first = ordered[0][0][1] if ordered else ()
    return tuple(
        Group(
            facts=facts,
            only=tuple(fact for fact in facts if fact not in first),
            lacks=tuple(fact for fact in first if fact not in facts),
            images=tuple(sorted(images, key=lambda one: one.name)),
        )
        for (_, facts), images in ordered
    )


def facts_of(candidate: Candidate, dossier: Dossier | None = None) -> tuple[str, ...]:
    """Return the facts of a candidate in words: by its record alone, or by its dossier where there is one."""
    if dossier is None:
        return tuple(_recorded(candidate))
    return (*_judged(dossier), *_changed(dossier), *_proved(dossier), *_recorded(candidate))


def _recorded(candidate: Candidate) -> Iterator[str]:
    waived = [gate.gate for gate in candidate.gates if gate.ok and gate.verdict.value != "pass"]
    passed = sum(gate.ok for gate in candidate.gates)
    exceptions = f", of them waived: {', '.join(waived)}" if waived else ""
    yield f"gates: {passed} of {len(candidate.gates)} passed{exceptions}"
    yield f"evidence: {', '.join(sorted(candidate.evidence)) or 'NONE'}"
    if candidate.parent is not None:
        yield f"built on: {candidate.parent.image} {candidate.parent.digest}"
    if candidate.pins is not None:
        yield f"kernel: {candidate.pins.kernel}"
    clean = {True: "", False: ", WITH CHANGES THAT ARE IN NO COMMIT", None: ", state unknown"}
    yield f"definitions: commit {candidate.source.commit or 'unknown'}{clean[candidate.source.clean]}"
    yield f"built by: {candidate.builder.identity}, recorded by {candidate.author}"


def _judged(dossier: Dossier) -> Iterator[str]:
    yield from (f"BLOCKS: {point.text}" for point in dossier.judgement.blocks)
    yield from (f"look at: {point.text}" for point in dossier.judgement.cautions)


def _changed(dossier: Dossier) -> Iterator[str]:
    difference = dossier.difference
    if isinstance(difference, Missing):
        yield f"changes: not known, {difference.why}"
        return
    if not difference.predecessor:
        yield f"changes: nothing to compare with, {difference.because}"
        return
    told = [f"{one.total} {one.title}{_risk(one.risk)}" for one in difference.groups if one.total]
    yield f"changes: {'; '.join(told) or 'none'}"
    yield f"bump: {difference.bump.proposed}, {'; '.join(difference.bump.reasons) or 'no reason told'}"


def _proved(dossier: Dossier) -> Iterator[str]:
    boot, sbom, provenance = dossier.boot, dossier.sbom, dossier.provenance
    yield f"boot test: {boot.why if isinstance(boot, Missing) else boot.summary}"
    yield f"SBOM: {sbom.why if isinstance(sbom, Missing) else f'{sbom.total} components'}"
    if isinstance(provenance, Missing):
        yield f"provenance: {provenance.why}"
    else:
        yield f"provenance: SLSA build level {provenance.level}, {provenance.builder}"


def _risk(risk: Risk) -> str:
    return f" ({risk.value})" if risk.risky else ""
