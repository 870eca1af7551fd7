"""The first half of a seal: everything that is asked before anything is written.

Order: the images, their evidence and gates; the approvals, by the rule of the protected branch as it is now;
the way back; the parent; the version; the keys. Every image is looked at, and all reasons are told at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from pipeline.domain.approvals import Vote
from pipeline.domain.decision import Approval
from pipeline.domain.image import ImageRef, Tier
from pipeline.domain.lineage import Lineage
from pipeline.domain.oci import Descriptor
from pipeline.domain.record import Candidate, Record, harmless
from pipeline.domain.release import Seal
from pipeline.domain.sealing import Asked, ProposedBump, choose_version, refuse_second_seal, under_way
from pipeline.errors import GateRefusedError, NotFoundError, UsageError
from pipeline.verbs.host_pull import distrust_problems
from pipeline.verbs.knowing import known_of, proposed_bump, release_of, side_by_side
from pipeline.verbs.seal_checks import (
    Reason,
    by_ledger,
    parent_of,
    refuse,
    release_tag,
    standing_reasons,
)
from pipeline.verbs.seal_entry import tag_orders
from pipeline.verbs.seal_parts import Sealing, SealParts, SealPlan, SealRegistry
from pipeline.verbs.signing import UnsafeUnsigned, read_signed, require_known
from pipeline.verbs.standing import Known, Standing, Standings
from pipeline.verbs.whole import look_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What a person says beside the approvals.

    Attributes:
        asked: The version.
        what, why: What changes and why, for a rule by which nobody approves; "" otherwise.
    """

    asked: Asked = field(default_factory=Asked)
    what: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """One candidate in the registry: its manifest, what the difference proposes, and what is wrong."""

    subject: Descriptor | None
    bump: ProposedBump | None
    reasons: tuple[str, ...] = ()


def plan_seal(wanted: Sequence[Candidate], words: Words, parts: SealParts) -> SealPlan:
    """Return what a seal of these candidates does.

    Args:
        wanted: Their records, as the ledger has them.
        words: What a person says.
        parts: What seals are made with.

    Raises:
        UsageError: None is given, an image twice, or a version for several.
        NotFoundError: A candidate is not in the ledger, or a commit not in this clone.
        GateRefusedError: One may not be released; all reasons are told.
        SealConflictError: A version or a tag belongs to another image, or another seal is under way.
        SignatureError: The key that signs is none that hosts trust.
        RegistryError, LedgerError, LedgerRemoteError: They fail or refuse.
    """
    with parts.reporter.stage("read the ledger and who may approve"):
        rules, records = parts.rules.read(), parts.ledger.read()
    ordered = _in_order(wanted, words, records)
    lineage = Lineage(records)
    already, fresh = _split(ordered, lineage)
    if not isinstance(parts.signer, UnsafeUnsigned) and fresh:
        require_known(parts.signer.key, parts.keys)
    with parts.reporter.stage(f"evidence of {len(fresh)} images"):
        seen = side_by_side(lambda one: _look(one, lineage, parts), fresh, jobs=parts.jobs)
        known = known_of(fresh, parts.knowing, rules, records)
    found = Standings(records, rules, parts.signatures, now=parts.clock())
    standings = [found.of(one, what) for one, what in zip(fresh, known, strict=True)]
    judged = list(zip(fresh, seen, standings, strict=True))
    refuse(
        [
            *(reason for one in judged for reason in _reasons(*one, lineage)),
            *_parents_in_doubt(fresh, lineage, parts),
        ]
    )
    _require_trusted(fresh, lineage, parts)
    live = under_way(records, lineage, parts.clock())
    for one in fresh:
        refuse_second_seal(_name(one), one.digest, live)
    plan = SealPlan(
        sealings=_sealings(judged, known, words, lineage),
        already=tuple(already),
        rules=rules,
        approvals=_approvals(records, standings),
        warnings=tuple(dict.fromkeys(_warnings(rules.notices, standings, parts, fresh))),
    )
    with parts.reporter.stage("tags"), by_ledger(plan.sealings, parts.ledger.read, parts.clock):
        side_by_side(lambda one: release_tag(parts.registry, one), plan.sealings, jobs=parts.jobs)
        parts.tags.require(tag_orders(plan.sealings, parts))
    return plan


def _require_trusted(fresh: Sequence[Candidate], lineage: Lineage, parts: SealParts) -> None:
    """Return if hosts of the releases before, and of the new ones, trust the key that is to sign.

    Raises:
        GateRefusedError: Some do not.
    """
    hosts = [one for one in fresh if one.tier is not Tier.UPSTREAM]
    if isinstance(parts.signer, UnsafeUnsigned) or not hosts:
        return
    before = [lineage.newest(_name(one)) for one in hosts]
    successions = [
        (None if seal is None else seal.repository.at(seal.digest), one.repository.at(one.digest))
        for one, seal in zip(hosts, before, strict=True)
    ]
    with parts.reporter.stage(f"whom {len(hosts)} images trust"):
        found = distrust_problems(parts.host_pull, successions, parts.signer.key)
    refuse(
        [(_name(one), text) for one, texts in zip(hosts, found, strict=True) for text in texts],
        hint="sign with the key they trust; a new key is added to signing.release_keys and released first, "
        "and signs from the next release on",
    )


def _in_order(wanted: Sequence[Candidate], words: Words, records: Sequence[Record]) -> list[Candidate]:
    ordered = sorted(wanted, key=_name)
    for what, seen in (
        ("image", [_name(one) for one in ordered]),
        ("digest", [one.digest for one in ordered]),
    ):
        if not seen or len(set(seen)) != len(seen):
            raise UsageError(
                f"a seal is about at least one image, and each {what} once", hint="name each image once"
            )
    if words.asked.version is not None and len(ordered) != 1:
        raise UsageError("--version is for one candidate", hint="leave it out: each gets the next version")
    there = {record.id for record in records}
    for one in ordered:
        if one.id not in there:
            raise NotFoundError(
                f"the ledger has no candidate {_name(one)} {one.digest} as it is given",
                hint="`pipeline log` lists the candidates",
            )
    return ordered


def _split(ordered: Sequence[Candidate], lineage: Lineage) -> tuple[list[Seal], list[Candidate]]:
    """Return the seals of what is released already, and the candidates that are not."""
    already, fresh = [], []
    yanked: list[Reason] = []
    for one in ordered:
        seal = lineage.at(_name(one), one.digest)
        if seal is None:
            fresh.append(one)
            continue
        already.append(seal)
        if (yank := lineage.yank_of(seal)) is not None:
            yanked.append((_name(one), f"it was released as v{seal.version} and yanked: {yank.why}"))
    refuse(yanked, hint="build it anew; what was yanked is not released again")
    return already, fresh


def _look(one: Candidate, lineage: Lineage, parts: SealParts) -> _Seen:
    """Look at a candidate and at the way back from it, in the registry."""
    ref = one.repository.at(one.digest)
    reasons = [f"the candidate {text}" for text in _not_whole(parts.registry, ref)]
    before = lineage.newest(_name(one))
    if before is not None:
        text = f"there is no way back: v{before.version}"
        reasons.extend(f"{text} {why}" for why in _no_way_back(before, parts))
    if reasons:
        return _Seen(subject=None, bump=None, reasons=tuple(reasons))
    try:
        bump = proposed_bump(parts.knowing.store, one)
    except (NotFoundError, GateRefusedError) as error:
        return _Seen(subject=None, bump=None, reasons=(error.message,))
    return _Seen(subject=parts.registry.resolve(ref), bump=bump)


def _parents_in_doubt(fresh: Sequence[Candidate], lineage: Lineage, parts: SealParts) -> Iterator[Reason]:
    """Yield what speaks against a parent's release: its record may be there and prove nothing.

    A seal that somebody wrote into the ledger without the release key has no signature that verifies.
    """
    built = [(one, parent_of(one, lineage)) for one in fresh]
    seals = list({seal.id: seal for _, seal in built if seal is not None}.values())
    found = side_by_side(lambda seal: tuple(_no_way_back(seal, parts)), seals, jobs=parts.jobs)
    why = {seal.id: texts for seal, texts in zip(seals, found, strict=True)}
    for one, seal in built:
        if seal is not None:
            yield from (
                (_name(one), f"its parent {seal.name} v{seal.version} {text}") for text in why[seal.id]
            )


def _no_way_back(before: Seal, parts: SealParts) -> Iterator[str]:
    """Yield why hosts could not go back to the release before (rule: the way back exists first)."""
    try:
        there = parts.registry.resolve(before.repository.tagged(f"v{before.version}")).digest
    except NotFoundError:
        yield "has lost its tag"
        return
    if there != before.digest:
        yield f"was released as {before.digest}, and its tag names {there}"
        return
    yield from _not_whole(parts.registry, before.repository.at(before.digest))
    if isinstance(parts.signer, UnsafeUnsigned):
        return
    if not before.signatures:
        again = f"pipeline yank {before.name} v{before.version}"
        yield f"was released without a signature; yank it first: {again}"
        return
    signed = read_signed(
        parts.signed,
        before.repository,
        before.digest,
        parts.keys,
        before.signatures,
        attestations=False,
    )
    yield from (f"does not verify: {problem}" for problem in signed.problems)


def _not_whole(registry: SealRegistry, ref: ImageRef) -> Iterator[str]:
    """Yield what of an image the registry has lost."""
    try:
        missing = look_at(registry, ref).missing
    except NotFoundError:
        yield f"{ref} is gone from the registry"
        return
    yield from (f"cannot be pulled: {text} of {ref.repository}" for text in missing)


def _reasons(one: Candidate, seen: _Seen, standing: Standing, lineage: Lineage) -> Iterator[Reason]:
    """Yield all that forbids the release of one candidate."""
    name = _name(one)
    yield from ((name, text) for text in seen.reasons)
    yield from ((name, str(refusal)) for refusal in standing.refusals)
    yield from ((name, text) for text in standing_reasons(one, lineage))


def _sealings(
    judged: Sequence[tuple[Candidate, _Seen, Standing]],
    known: Sequence[Known],
    words: Words,
    lineage: Lineage,
) -> tuple[Sealing, ...]:
    found: list[Sealing] = []
    lower: list[Reason] = []
    for (one, seen, standing), what in zip(judged, known, strict=True):
        try:
            found.append(_sealing(one, seen, standing.require(), words, lineage, what))
        except GateRefusedError as error:
            lower.append((_name(one), error.message))
    refuse(lower, hint="a version may be raised, never lowered: leave --bump and --version out")
    return tuple(found)


def _sealing(
    one: Candidate, seen: _Seen, votes: tuple[Vote, ...], words: Words, lineage: Lineage, known: Known
) -> Sealing:
    assert seen.subject is not None  # noqa: S101 - without them there was a reason, and no plan
    assert seen.bump is not None  # noqa: S101
    chosen = choose_version(
        lineage,
        _name(one),
        one.digest,
        proposed=seen.bump.word,
        approved=[vote.decided.version for vote in votes],
        asked=words.asked,
    )
    return Sealing(
        candidate=one,
        subject=seen.subject,
        version=chosen.version,
        reserved=chosen.reserved,
        before=lineage.newest(_name(one)),
        parent=release_of(parent_of(one, lineage)),
        bump=seen.bump,
        known=replace(known, predecessor=release_of(lineage.newest(_name(one)))),
        votes=votes,
        what=_said([vote.what for vote in votes] or [words.what or words.why], _name(one)),
        why=_said([vote.why for vote in votes] or [words.why], _name(one)),
    )


def _said(texts: Sequence[str], name: str) -> str:
    """Return what the approvers said, each once.

    Raises:
        UsageError: Nobody said anything.
    """
    said = "; ".join(dict.fromkeys(text for text in texts if text))
    if not said:
        raise UsageError(
            f"nobody has to approve {name} by its rule, so nobody says what changes and why",
            hint="say it yourself: --what TEXT --why TEXT",
        )
    return harmless(said)


def _approvals(records: Sequence[Record], standings: Sequence[Standing]) -> tuple[Approval, ...]:
    counting = {vote.approval for standing in standings for vote in standing.counting}
    return tuple(one for one in records if isinstance(one, Approval) and one.id in counting)


def _warnings(
    notices: Sequence[str], standings: Sequence[Standing], parts: SealParts, fresh: Sequence[Candidate]
) -> Iterator[str]:
    yield from notices
    for standing in standings:
        yield from standing.warnings
    yield from parts.warnings
    if isinstance(parts.signer, UnsafeUnsigned):
        yield parts.signer.warning
    for one in fresh:
        if one.source.commit is None:
            yield f"{_name(one)} was built from no git commit: it gets no git tag"


def _name(one: Candidate) -> str:
    return f"{one.line}/{one.image}"
