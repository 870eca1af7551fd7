"""What the protected branch says, and the rule of a tier composed from its settings.

Rules: every part that a rule should have is in it unless the settings switch it off, and then a part that
warns stands in its place; a tier without people gets a rule that refuses.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.domain.allowed_signers import AllowedSigners
from pipeline.domain.approval_parts import (
    EvidenceComplete,
    GatesPass,
    NotAuthor,
    NotBuilder,
    NotNewcomer,
    NotOlderThan,
    NotRejected,
    OfPredecessor,
    TokenNamed,
)
from pipeline.domain.approval_rule import AllOf, AnyOf, AtLeast, Part, Rule, Unsafe, VoteTest
from pipeline.domain.approval_settings import ApprovalSettings, RuleTable
from pipeline.domain.evidence import EvidenceKind
from pipeline.domain.image import Tier

_EVIDENCE = (EvidenceKind.SBOM, EvidenceKind.DIFF, EvidenceKind.GATES, EvidenceKind.PROVENANCE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtectedRules:
    """What the protected branch says.

    Attributes:
        settings: Its table `[approval]`.
        signers: Its list of signers, and the issuer of tokens.
        revoked: Its revoked keys, as ssh-keygen takes them; empty for none.
        source: Where it was read, with the commit, for people.
        notices: What a person has to know about that, such as that no remote protects it.
    """

    settings: ApprovalSettings
    signers: AllowedSigners
    revoked: bytes = b""
    source: str
    notices: tuple[str, ...] = ()


def rule_of(settings: ApprovalSettings, tier: Tier) -> Rule:
    """Return the rule of one tier, composed of its parts."""
    table = settings.rule_table(tier)
    tests = tuple(_tests(table))
    every = tuple(AtLeast(count=one.at_least, role=one.role, counting=tests) for one in table.people)
    some = tuple(AtLeast(count=one.at_least, role=one.role, counting=tests) for one in table.any_of)
    return Rule(
        approvals=_counted(table, every, some),
        image=AllOf(
            (NotRejected(), GatesPass(), EvidenceComplete(_needed(table, tier)), *_switched_off(table))
        ),
        people=(*every, *some),
        ci_identities=frozenset(table.ci_identities),
    )


def _counted(table: RuleTable, every: tuple[AtLeast, ...], some: tuple[AtLeast, ...]) -> Part:
    if table.unsafe_no_approval:
        return Unsafe(switch="unsafe_no_approval", lets="nobody has to approve")
    return AllOf((*every, AnyOf(some))) if some else AllOf(every)


def _tests(table: RuleTable) -> Iterator[VoteTest]:
    if not table.unsafe_builder_may_approve:
        yield NotBuilder()
    if not table.unsafe_author_may_approve:
        yield NotAuthor()
        yield NotNewcomer()
    yield NotOlderThan(dt.timedelta(days=table.not_older_than_days))
    yield OfPredecessor()
    yield TokenNamed(frozenset(table.ci_identities))


def _needed(table: RuleTable, tier: Tier) -> frozenset[str]:
    usual = (*_EVIDENCE, *([EvidenceKind.BOOT_TEST] if tier is Tier.BASE else []))
    needed = {kind.value for kind in usual} | set(table.evidence)
    return frozenset(needed - set(table.unsafe_without_evidence))


def _switched_off(table: RuleTable) -> Iterator[Unsafe]:
    if table.unsafe_builder_may_approve:
        yield Unsafe(switch="unsafe_builder_may_approve", lets="who built the image may approve it")
    if table.unsafe_author_may_approve:
        yield Unsafe(switch="unsafe_author_may_approve", lets="who wrote the change may approve it")
    if table.unsafe_without_evidence:
        kinds = ", ".join(table.unsafe_without_evidence)
        yield Unsafe(switch="unsafe_without_evidence", lets=f"evidence may be missing: {kinds}")
