"""Rules of the release seal that need nothing but the ledger: which version, and who is sealing already.

Rules: versions only grow; a person may raise what the difference proposes and the approvals name, never lower
it; a version that is reserved for an image is finished before it gets another one; while a reservation is
younger than `LEASE`, no other digest of that image is sealed; later, a higher version passes it over.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from semver import Version

from pipeline.domain.decision import require_version
from pipeline.domain.image import Digest
from pipeline.domain.lineage import Lineage
from pipeline.domain.record import Record
from pipeline.domain.record_codec import stamp
from pipeline.domain.release import Reservation, Seal
from pipeline.domain.text import plain
from pipeline.errors import GateRefusedError, SealConflictError, UsageError

LEASE = dt.timedelta(minutes=30)
"""How long a reservation keeps others from sealing the same image: longer than any seal takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a person asks the version to be: a part to raise, a version, or neither."""

    bump: str | None = None
    version: str | None = None

    def __post_init__(self) -> None:
        if self.bump is not None and self.version is not None:
            raise UsageError("both a bump and a version are given", hint="give --bump or --version")
        if self.version is not None:
            require_version(self.version)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposedBump:
    """What the recorded difference proposes: major, minor or patch, and the reasons in words."""

    word: str
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A version, and whether an earlier run reserved it already."""

    version: str
    reserved: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TagOrder:
    """An annotated git tag that a release gets.

    Attributes:
        name: `line/image/vX.Y.Z`.
        commit: Full id of the commit its definitions are from.
        message: The changelog entry.
        mark: A line of the message that names the image by digest; a tag without it is another one.
    """

    name: str
    commit: str
    message: str
    mark: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedSeal:
    """What people are shown of one image that is to be released.

    Attributes:
        name: `line/image`.
        version, before: The version, and that of the release before it, or None.
        digest: What is released.
        bump: What the difference proposes.
        approvers: Whose approvals count.
        tags: The tag it gets, then those that move to it.
        git_tag: Name of its git tag, or "".
        what, why: From the approvals.
        reserved: Whether an earlier run began to seal it.
    """

    name: str
    version: str
    before: str | None
    digest: Digest
    bump: ProposedBump
    approvers: tuple[str, ...]
    tags: tuple[str, ...]
    git_tag: str
    what: str
    why: str
    reserved: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SealSummary:
    """What a seal is going to do, what is released already, and what a person has to know."""

    planned: tuple[PlannedSeal, ...]
    already: tuple[Seal, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """A release, and whether this run made it."""

    seal: Seal
    new: bool


def choose_version(
    lineage: Lineage, name: str, digest: Digest, *, proposed: str, approved: Sequence[str], asked: Asked
) -> Chosen:
    """Return the version an image (`line/image`) is released as.

    Args:
        lineage: The releases there are.
        name: The image.
        digest: What is to be released.
        proposed: The part of the version that the difference asks to raise.
        approved: Versions that the approvals name.
        asked: What a person asks for.

    Raises:
        GateRefusedError: What is asked for is lower than the difference or an approval says.
        SealConflictError: It is taken, or another one is reserved for this image.
    """
    highest = lineage.highest(name, but=digest)
    wanted = asked.version or (asked.bump and lineage.next_version(name, asked.bump, digest=digest))
    mine = lineage.reservation(name, digest)
    if mine is not None and _still_fits(mine.version, highest, approved):
        if wanted and wanted != mine.version:
            _refuse_second(name, mine, wanted)
        return Chosen(version=mine.version, reserved=True)
    least = max((lineage.next_version(name, proposed, digest=digest), *approved), key=Version.parse)
    chosen = wanted or least
    refuse_taken(lineage, name, chosen, digest)
    if Version.parse(chosen) < Version.parse(least):
        raise GateRefusedError(
            f"{name} would be v{chosen}, lower than v{least}, which its difference and its approvals ask for",
            hint="a version may be raised, never lowered: leave --bump and --version out, or ask for more",
        )
    return Chosen(version=chosen)


def refuse_taken(lineage: Lineage, name: str, version: str, digest: Digest) -> None:
    """Let a version pass that this image's digest may have.

    Raises:
        SealConflictError: It belongs to another digest, or a higher one was sealed or reserved.
    """
    holder = lineage.holder(name, version)
    if holder is not None and holder != digest:
        raise SealConflictError(
            f"{name} v{version} belongs to sha256:{holder.short}, not to sha256:{digest.short}",
            hint="a version is never given twice; seal without --version, and the next free one is taken",
        )
    highest = lineage.highest(name, but=digest)
    if highest is not None and Version.parse(version) <= Version.parse(highest):
        raise SealConflictError(
            f"{name} v{version} is not above v{highest}, which was released or reserved before",
            hint="versions only grow; seal without --version, and the next free one is taken",
        )


def under_way(records: Iterable[Record], lineage: Lineage, now: dt.datetime) -> Mapping[str, Reservation]:
    """Return, for each image that is being sealed now, the newest reservation that says so.

    Args:
        records: The ledger, oldest first.
        lineage: The releases there are in it.
        now: UTC.
    """
    found: dict[str, Reservation] = {}
    for one in records:
        if isinstance(one, Reservation) and now - one.time < LEASE and not _sealed(lineage, one):
            found[one.name] = one
    return found


def refuse_second_seal(name: str, digest: Digest, live: Mapping[str, Reservation]) -> None:
    """Let an image pass that nobody seals from another digest.

    Raises:
        SealConflictError: Somebody does.
    """
    other = live.get(name)
    if other is not None and other.digest != digest:
        raise SealConflictError(
            f"{name} v{other.version} is being sealed from sha256:{other.digest.short} since "
            f"{stamp(other.time)} by {plain(other.author, 80)}",
            hint=f"let that seal finish, or run it again; it is given up at {stamp(other.time + LEASE)}",
        )


def git_tag(name: str, version: str) -> str:
    """Return the name of a release's git tag."""
    return f"{name}/v{version}"


def _still_fits(version: str, highest: str | None, approved: Sequence[str]) -> bool:
    """Whether a reserved version may be used: nothing above it was given away, no approval asks more."""
    reserved = Version.parse(version)
    above = highest is None or reserved > Version.parse(highest)
    return above and all(reserved >= Version.parse(one) for one in approved)


def _refuse_second(name: str, mine: Reservation, wanted: str) -> NoReturn:
    raise SealConflictError(
        f"v{mine.version} is reserved for {name} sha256:{mine.digest.short} since {stamp(mine.time)}, "
        f"and v{wanted} is asked for",
        hint=f"an earlier run did not finish: seal without --bump, or with --version {mine.version}",
    )


def _sealed(lineage: Lineage, one: Reservation) -> bool:
    return any(seal.version == one.version for seal in lineage.releases(one.name))
