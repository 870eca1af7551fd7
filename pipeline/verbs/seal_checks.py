"""What has to be true for a seal, asked of a ledger as it is at that moment.

Rules: the same is asked before anything is written, when versions are reserved, before channels move and when
the release is recorded, each time of the newest records; all reasons are told, alike ones once for all.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from pipeline.domain.image import Digest, Tier
from pipeline.domain.lineage import Lineage
from pipeline.domain.protected_rules import ProtectedRules
from pipeline.domain.record import Candidate, Record
from pipeline.domain.release import Seal
from pipeline.domain.sealing import refuse_second_seal, refuse_taken, under_way
from pipeline.domain.text import plain
from pipeline.errors import GateRefusedError, SealConflictError
from pipeline.verbs.knowing import release_of
from pipeline.verbs.seal_back import named
from pipeline.verbs.seal_parts import Sealing, SealRegistry
from pipeline.verbs.standing import Signatures, Standings

_SHOWN = 3

Reason = tuple[str, str]
"""An image's name and why it may not be released."""


class OvertakenError(Exception):
    """Another run released some of the images meanwhile; holds their seals. Never leaves these verbs."""

    def __init__(self, seals: Sequence[Seal]) -> None:
        super().__init__(", ".join(one.title for one in seals))
        self.seals = tuple(seals)


def recheck(
    sealings: Sequence[Sealing],
    records: tuple[Record, ...],
    rules: ProtectedRules,
    signatures: Signatures,
    *,
    now: dt.datetime,
    reserved: bool,
) -> None:
    """Return if the images may still be released as planned, by these records.

    Args:
        sealings: What is planned.
        records: The ledger as it is now, oldest first.
        rules: What the protected branch says.
        signatures: Checks proofs.
        now: UTC.
        reserved: Whether their versions must be reserved already.

    Raises:
        OvertakenError: Another run released some of them.
        SealConflictError: A version belongs to another image, or another seal is under way.
        GateRefusedError: An approval, a parent or a rule says no by now.
    """
    lineage = Lineage(records)
    overtaken = [seal for one in sealings if (seal := lineage.at(one.name, one.candidate.digest))]
    if overtaken:
        raise OvertakenError(overtaken)
    _refuse_others(sealings, records, lineage, now)
    for one in sealings:
        digest = one.candidate.digest
        if reserved and lineage.holder(one.name, one.version) != digest:
            raise SealConflictError(
                f"the ledger has no reservation of {one.name} v{one.version} for sha256:{digest.short}",
                hint="the ledger was changed; look at `pipeline log` and run the same command again",
            )
    standings = Standings(records, rules, signatures, now=now)
    refuse([reason for one in sealings for reason in _no_longer(one, lineage, standings)])


@contextlib.contextmanager
def by_ledger(
    sealings: Sequence[Sealing], read: Callable[[], tuple[Record, ...]], now: Callable[[], dt.datetime]
) -> Iterator[None]:
    """Let the ledger tell why a tag is another's, where it can: another seal may have begun meanwhile.

    Raises:
        SealConflictError: As the ledger explains it, else as it was raised.
        LedgerError, LedgerRemoteError: The ledger cannot be read.
    """
    try:
        yield
    except SealConflictError:
        records = read()
        _refuse_others(sealings, records, Lineage(records), now())
        raise


def _refuse_others(
    sealings: Sequence[Sealing], records: Sequence[Record], lineage: Lineage, now: dt.datetime
) -> None:
    live = under_way(records, lineage, now)
    for one in sealings:
        refuse_taken(lineage, one.name, one.version, one.candidate.digest)
        refuse_second_seal(one.name, one.candidate.digest, live)


def named_by(registry: SealRegistry, one: Sealing, tag: str) -> Digest | None:
    """Return what a tag of an image's repository names now; None where there is no such tag."""
    return named(registry, one.candidate.repository, tag)


def release_tag(registry: SealRegistry, one: Sealing) -> Digest | None:
    """Return what a release's tag names: its own digest, or nothing yet.

    Raises:
        SealConflictError: It names something else; a release tag never changes.
    """
    held = named_by(registry, one, one.tag)
    if held not in (None, one.candidate.digest):
        raise SealConflictError(
            f"{one.candidate.repository}:{one.tag} is {held}, not {one.candidate.digest}",
            hint="find out who wrote it (`pipeline audit`), or seal with a higher --version",
        )
    return held


def standing_reasons(candidate: Candidate, lineage: Lineage) -> Iterator[str]:
    """Yield why a release can stand on neither the candidate nor its parent: not released, yanked, pruned."""
    if lineage.pruned(candidate.repository, candidate.digest):
        yield "it was deleted by `pipeline prune`"
    parent = candidate.parent
    if parent is None:
        if candidate.tier is not Tier.UPSTREAM:
            yield f"its record names no parent, and only an {Tier.UPSTREAM} image has none"
        return
    seal = lineage.at(parent.image, parent.digest)
    if seal is None:
        yield f"its parent {parent.image} sha256:{parent.digest.short} is not released; seals go from the top"
    elif (yank := lineage.yank_of(seal)) is not None:
        yield f"its parent {parent.image} v{seal.version} was yanked: {plain(yank.why, 200)}"
    elif lineage.pruned(seal.repository, seal.digest):
        yield f"its parent {parent.image} v{seal.version} was deleted by `pipeline prune`"


def refuse(reasons: Sequence[Reason], hint: str = "") -> None:
    """Raise with all reasons, alike ones told once for all their images; return when there is none.

    Raises:
        GateRefusedError: There is a reason.
    """
    if not reasons:
        return
    by_text: dict[str, list[str]] = {}
    for name, text in dict.fromkeys(reasons):
        by_text.setdefault(text, []).append(name)
    lines = [f"  {_names(names)}: {text}" for text, names in by_text.items()]
    raise GateRefusedError(
        "this cannot be sealed:\n" + "\n".join(lines),
        hint=hint or "mend what is named: get approvals, seal the parent first, or build the image again",
    )


def parent_of(candidate: Candidate, lineage: Lineage) -> Seal | None:
    """Return the release a candidate is built on."""
    return None if candidate.parent is None else lineage.at(candidate.parent.image, candidate.parent.digest)


def _no_longer(one: Sealing, lineage: Lineage, standings: Standings) -> Iterable[Reason]:
    """Yield why a planned image may not be released by the records there are now."""
    known = replace(one.known, predecessor=release_of(lineage.newest(one.name)))
    standing = standings.of(one.candidate, known)
    for refusal in standing.refusals:
        yield one.name, str(refusal)
    gone = set(one.approvals) - {vote.approval for vote in standing.counting}
    if gone:
        yield one.name, f"the approval {min(gone)[:12]} does not count any more; run the same command again"
    for text in standing_reasons(one.candidate, lineage):
        yield one.name, text


def _names(names: Sequence[str]) -> str:
    shown, rest = ", ".join(names[:_SHOWN]), len(names) - _SHOWN
    return f"{shown} and {rest} more" if rest > 0 else shown
