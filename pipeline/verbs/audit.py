"""`pipeline audit`: every release tag, alias and signature in the registry against the ledger.

Rules:
1. Every image that ledger or definitions know is looked at. A repository that is gone is a finding; a
   registry that does not answer is an error, for then nobody knows.
2. Few requests, on threads with kept connections: one list of tags a repository, one question a release tag
   or alias, one for a release's signature, which is checked here. Attestations and evidence are looked for in
   the list of tags first, and asked for one by one only where a registry keeps them without tags.
3. What is only looked for here is read whole by `deep`, which verifies every release and all it is built on.
4. A ledger that grew meanwhile is read again before a fault is told: a seal may have been at work.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Protocol

from pipeline.domain.audit import (
    AuditReport,
    Finding,
    Home,
    What,
    copied_releases,
    homes_of,
    kept_releases,
    parent_findings,
    repeated_findings,
    tag_findings,
    tags_to_ask,
    unfinished_finding,
    yanked_findings,
)
from pipeline.domain.events import Reporter, Stage
from pipeline.domain.image import Digest, Repository
from pipeline.domain.lookback import TIERS, LookBack
from pipeline.domain.record import LedgerReader
from pipeline.domain.release import Seal
from pipeline.domain.sealed_record import parent_problems, record_problems
from pipeline.domain.signature import VerifyKey
from pipeline.domain.verification import Verification
from pipeline.domain.writers import Breach
from pipeline.errors import NotFoundError, UsageError
from pipeline.verbs.audit_keys import KeyParts, key_findings
from pipeline.verbs.audit_proofs import ProofStore, proof_findings
from pipeline.verbs.knowing import side_by_side
from pipeline.verbs.sifted import writer_findings

JOBS = 12
"""Requests under way at once."""

_TRIES = 3


class AuditStore(ProofStore, Protocol):
    """The registries that releases lie in; `adapters.registries.Registries` is one."""

    def tags(self, repository: Repository) -> tuple[str, ...]:
        """Return every tag of a repository."""


DeepCheck = Callable[[LookBack], Callable[[Seal], Verification]]
"""Makes what verifies a release by a ledger."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditParts:
    """What an audit works with.

    Attributes:
        ledger: The ledger.
        store: The registries.
        defined: Image (`line/name`) to the repository its definition puts it into.
        keys: Those that releases are signed with.
        people: Who may approve now.
        reporter: Shows progress.
        unsigned: Whether the settings let releases go unsigned.
        jobs: Requests under way at once.
        breaches: Tells which commits of the ledger were left out, for their authors may not write them.
    """

    ledger: LedgerReader
    store: AuditStore
    defined: Mapping[str, Repository]
    keys: Sequence[VerifyKey]
    people: KeyParts
    reporter: Reporter
    unsigned: bool = False
    jobs: int = JOBS
    breaches: Callable[[], Sequence[Breach]] = tuple


def audit(parts: AuditParts, *, images: Collection[str] = (), deep: DeepCheck | None = None) -> AuditReport:
    """Hold the registry against the ledger.

    Args:
        parts: What it works with.
        images: `line/name` of the images to look at; all of them when empty.
        deep: Verifies every release whole; None to leave it.

    Raises:
        UsageError: Neither ledger nor definitions know an image that is named.
        RegistryError: A registry does not answer.
        LedgerError: The ledger is damaged or was rewritten.
        LedgerRemoteError: The remote of ledger or protected branch cannot be reached.
    """
    with parts.reporter.stage("audit") as stage:
        look = LookBack(parts.ledger.read())
        for _ in range(_TRIES):
            report = _looked(look, parts, frozenset(images), deep, stage)
            if report.ok:
                break
            again = parts.ledger.read()
            if len(again) == len(look.records):
                break
            stage.note("the ledger grew meanwhile: looking again")
            look = LookBack(again)
        return report


def _looked(
    look: LookBack, parts: AuditParts, images: frozenset[str], deep: DeepCheck | None, stage: Stage
) -> AuditReport:
    wanted = _wanted(homes_of(look, parts.defined), images)
    stage.line(f"tags of {len(wanted)} repositories")
    homes = _named(_listed(wanted, parts), look, parts)
    seals = [(home, seal) for home in homes for seal in kept_releases(home, look) if home.tags is not None]
    copies = [(home, seal) for home in homes for seal in copied_releases(home, look)]
    stage.line(f"signatures of {len(seals) + len(copies)} releases")
    findings = [
        *writer_findings(parts.breaches(), images),
        *_of_ledger(homes, look, images),
        *chain.from_iterable(tag_findings(home, look) for home in homes),
        *_of_proofs([*seals, *copies], parts),
        *key_findings([seal for home in homes for seal in kept_releases(home, look)], look, parts.people),
    ]
    if deep is not None:
        stage.line(f"every chain of {len(seals)} releases")
        findings += _verified([seal for _, seal in seals], deep(look), parts, findings)
    return AuditReport(
        images=len({home.image for home in homes}),
        releases=len(seals),
        findings=tuple(sorted(findings, key=_order)),
        deep=deep is not None,
    )


def _wanted(homes: Sequence[Home], images: frozenset[str]) -> tuple[Home, ...]:
    unknown = sorted(images - {home.image for home in homes})
    if unknown:
        raise UsageError(
            f"neither the ledger nor the definitions know {', '.join(unknown)}",
            hint="name images as LINE/NAME, or none for all",
        )
    return tuple(home for home in homes if not images or home.image in images)


def _listed(homes: Sequence[Home], parts: AuditParts) -> tuple[Home, ...]:
    """Return the repositories with their tags."""

    def listed(home: Home) -> Home:
        try:
            tags = parts.store.tags(home.repository)
        except NotFoundError:
            return home
        return dataclasses.replace(home, tags=frozenset(tags))

    return side_by_side(listed, homes, jobs=parts.jobs)


def _named(homes: Sequence[Home], look: LookBack, parts: AuditParts) -> tuple[Home, ...]:
    """Return the repositories with what their release tags name."""

    def asked(question: tuple[Home, str]) -> Digest | None:
        home, tag = question
        try:
            return parts.store.resolve(home.repository.tagged(tag)).digest
        except NotFoundError:
            return None

    questions = [
        (home, tag) for home in homes if home.tags is not None for tag in sorted(tags_to_ask(home, look))
    ]
    answers = side_by_side(asked, questions, jobs=parts.jobs)
    named: dict[tuple[str, Repository], dict[str, Digest]] = {}
    for (home, tag), digest in zip(questions, answers, strict=True):
        if digest is not None:
            named.setdefault((home.image, home.repository), {})[tag] = digest
    return tuple(
        dataclasses.replace(home, named=named.get((home.image, home.repository), {})) for home in homes
    )


def _of_ledger(homes: Sequence[Home], look: LookBack, images: frozenset[str]) -> Iterator[Finding]:
    """Yield what the ledger alone tells."""
    for home in homes:
        for seal in kept_releases(home, look):
            for problem in (*record_problems(seal, look), *parent_problems(seal, look)):
                yield Finding(
                    what=What.RECORD,
                    image=seal.name,
                    release=f"v{seal.version}",
                    text=problem,
                    todo="find out who sealed it (`git log` of the ledger's branch), and yank it",
                )
        yield from yanked_findings(home, look)
        yield from parent_findings(home, look)
    known = {home.image for home in homes}
    yield from repeated_findings(one for one in look.repeated() if one.name in known)
    yield from (unfinished_finding(one) for one in look.unfinished if not images or one.name in images)


def _of_proofs(seals: Sequence[tuple[Home, Seal]], parts: AuditParts) -> Iterable[Finding]:
    def looked(pair: tuple[Home, Seal]) -> tuple[Finding, ...]:
        home, seal = pair
        return tuple(proof_findings(seal, home, parts.store, parts.keys, unsigned=parts.unsigned))

    return chain.from_iterable(side_by_side(looked, seals, jobs=parts.jobs))


def _verified(
    seals: Sequence[Seal],
    verify: Callable[[Seal], Verification],
    parts: AuditParts,
    found: Sequence[Finding],
) -> Iterator[Finding]:
    """Yield what verification finds; of each release itself, for what it is built on has its own."""
    told = {(one.image, one.release, one.text) for one in found}
    for tier in TIERS:  # from the top, so that no two threads wait for the same tier
        mine = [seal for seal in seals if seal.tier is tier]
        for seal, verification in zip(mine, side_by_side(verify, mine, jobs=parts.jobs), strict=True):
            for check in verification.tiers[0].checks:
                for problem in check.problems:
                    if (seal.name, f"v{seal.version}", problem) not in told:
                        yield Finding(
                            what=What.CHAIN,
                            image=seal.name,
                            release=f"v{seal.version}",
                            text=f"{check.name}: {problem}",
                            todo=f"pipeline verify {seal.name}:v{seal.version} shows the whole chain",
                        )


def _order(one: Finding) -> tuple[object, ...]:
    return (one.note, one.image, one.release, one.what.value, one.text)
