"""What stays in a repository and what goes, manifest by manifest, each with its reasons.

Rules:
1. A digest goes only when something says that it may and nothing says that it must stay. A registry deletes
   every tag of a digest with it, so one tag that must stay, or that the ledger does not know, keeps it.
2. What belongs to an image shares its fate: platforms of an index, signatures, evidence, attestations, lists
   of referrers, and what refers to any of these.
3. What nobody recorded is kept and named; so is what belongs to an image that is gone without a record.
4. Deletion goes from what lists or is referred to down to the rest: at no moment can an image be pulled that
   has lost its signature, and no list is left that names what is gone (some registries refuse that).
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from pipeline.domain.holding import Held, Shelf
from pipeline.domain.image import Digest, Repository
from pipeline.domain.retention import Images

_NUMBERS = re.compile(r"(\d{1,9})", re.ASCII)
_DEEPEST = 32
"""Levels of "belongs to" that are followed; a signature of an attestation of a platform has three."""


class Role(StrEnum):
    """What a manifest is, in the order in which manifests are deleted."""

    RELEASE = "release"
    CANDIDATE = "candidate"
    PLATFORM = "platform"
    LIST = "list of referrers"
    ATTACHED = "signature or evidence"
    UNKNOWN = "unknown"


_ORDER = {role: number for number, role in enumerate(Role)}
_SHOWN = _ORDER | {Role.UNKNOWN: 0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One manifest of a repository.

    Attributes:
        repository, digest: Where and which.
        image: `line/image`.
        role: What it is.
        title: The release or the image it belongs to, for people.
        tags: Every tag that goes or stays with it.
        keep: Whether it stays.
        reasons: Why.
    """

    repository: Repository
    digest: Digest
    image: str
    role: Role
    title: str
    tags: tuple[str, ...]
    keep: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneResult:
    """What stays, what goes and what went.

    Attributes:
        rows: Every manifest that was found.
        elsewhere: Repositories of other registries that the ledger names; nobody looked there.
        deleted: The rows that were deleted; empty for a dry run.
    """

    rows: tuple[Row, ...]
    elsewhere: tuple[Repository, ...] = ()
    deleted: tuple[Row, ...] = ()

    @property
    def going(self) -> tuple[Row, ...]:
        """The rows that may go."""
        return tuple(row for row in self.rows if not row.keep)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fate:
    role: Role
    title: str
    keep: bool
    reasons: tuple[str, ...]


def rows_of(shelf: Shelf, images: Images) -> tuple[Row, ...]:
    """Return a row for every manifest of a repository, an image before what belongs to it."""
    judge = _Judge(shelf, images)
    name = images.repositories().get(shelf.repository, shelf.repository.path)
    rows = []
    for digest, held in shelf.held.items():
        fate = judge.fate(digest)
        row = Row(
            repository=shelf.repository, digest=digest, image=name, role=fate.role, title=fate.title,
            tags=held.tags, keep=fate.keep, reasons=fate.reasons,
        )  # fmt: skip
        rows.append(row)
    return tuple(sorted(rows, key=lambda row: (_natural(row.title), _SHOWN[row.role], row.digest)))


def in_order(rows: tuple[Row, ...]) -> tuple[Row, ...]:
    """Return rows in the order in which they are deleted."""
    return tuple(sorted(rows, key=lambda row: (_ORDER[row.role], row.title, row.digest)))


class _Judge:
    """Finds the fate of each manifest of one repository; what is found once is remembered."""

    def __init__(self, shelf: Shelf, images: Images) -> None:
        self._shelf = shelf
        self._verdicts = images.in_repository(shelf.repository)
        self._tags = images.tags(shelf.repository)
        self._removed = {
            digest: time
            for (repository, digest), time in images.removed.items()
            if repository == shelf.repository
        }
        self._parents: dict[Digest, list[Digest]] = {}
        for one in shelf.held.values():
            for child in () if one.lists_referrers else one.children:
                self._parents.setdefault(child, []).append(one.digest)
        self._known: dict[Digest, _Fate] = {}
        self._open: list[Digest] = []

    def fate(self, digest: Digest) -> _Fate:
        if digest in self._known:
            return self._known[digest]
        if digest in self._open or len(self._open) >= _DEEPEST:
            return _Fate(
                role=Role.UNKNOWN, title="", keep=True, reasons=("what it belongs to cannot be told",)
            )
        self._open.append(digest)
        try:
            self._known[digest] = self._judged(self._shelf.held[digest])
        finally:
            self._open.pop()
        return self._known[digest]

    def _judged(self, held: Held) -> _Fate:
        opinions = [*self._as_image(held), *self._as_platform(held), *self._as_attached(held)]
        opinions += self._cut_short(held, judged=bool(opinions))
        strange = tuple(self._strange(held))
        if not opinions:
            why = ("the ledger does not know it", *strange)
            title = f"unknown {held.digest.short}"
            return _Fate(role=Role.UNKNOWN, title=title, keep=True, reasons=why)
        first = opinions[0]
        for_it = tuple(reason for one in opinions if one.keep for reason in one.reasons) + strange
        if for_it:
            return _Fate(role=first.role, title=first.title, keep=True, reasons=tuple(dict.fromkeys(for_it)))
        why_not = dict.fromkeys(reason for one in opinions for reason in one.reasons)
        return _Fate(role=first.role, title=first.title, keep=False, reasons=tuple(why_not))

    def _as_image(self, held: Held) -> Iterator[_Fate]:
        verdict = self._verdicts.get(held.digest)
        if verdict is None:
            return
        role = Role.RELEASE if verdict.released else Role.CANDIDATE
        title = verdict.title if verdict.released else f"candidate {held.digest.short}"
        yield _Fate(role=role, title=title, keep=verdict.keep, reasons=verdict.reasons)

    def _as_platform(self, held: Held) -> Iterator[_Fate]:
        for parent in self._parents.get(held.digest, ()):
            fate = self.fate(parent)
            stays = "stays" if fate.keep else "goes"
            yield _Fate(
                role=Role.PLATFORM,
                title=fate.title,
                keep=fate.keep,
                reasons=(f"a platform of sha256:{parent.short}, which {stays}",),
            )

    def _as_attached(self, held: Held) -> Iterator[_Fate]:
        role = Role.LIST if held.lists_referrers else Role.ATTACHED
        for subject in sorted(held.subjects()):
            if subject in self._shelf.held:
                fate = self.fate(subject)
                stays = "stays" if fate.keep else "goes"
                reason = f"belongs to sha256:{subject.short}, which {stays}"
                yield _Fate(role=role, title=fate.title, keep=fate.keep, reasons=(reason,))
                continue
            when = self._removed.get(subject)
            if when is None:
                reason = (
                    f"belongs to sha256:{subject.short}, which is not here though no deletion is recorded"
                )
            else:
                reason = f"left over from sha256:{subject.short}, deleted {_day(when)}"
            title = f"left over from {subject.short}"
            yield _Fate(role=role, title=title, keep=when is None, reasons=(reason,))

    def _cut_short(self, held: Held, *, judged: bool) -> Iterator[_Fate]:
        """What was recorded as deleted and does not belong to anything any more."""
        when = self._removed.get(held.digest)
        if when is not None and not judged:
            reason = f"recorded as deleted {_day(when)}, which was cut short"
            yield _Fate(role=Role.ATTACHED, title="left over", keep=False, reasons=(reason,))

    def _strange(self, held: Held) -> Iterator[str]:
        unknown = [tag for tag in held.tags if tag not in self._tags and not held.bound(tag)]
        if unknown:
            yield f"the ledger does not know its tag {', '.join(unknown)}"
        for tag in held.tags:
            wanted = self._tags.get(tag, held.digest)
            if wanted != held.digest:
                yield f"its tag {tag} should name sha256:{wanted.short} by the ledger; see `pipeline audit`"


def _natural(title: str) -> tuple[tuple[bool, int, str], ...]:
    """Return what sorts v1.2.0 before v1.10.0, and releases before candidates."""
    parts = _NUMBERS.split(title)
    numbers = tuple((False, int(part), "") if part.isdecimal() else (True, 0, part) for part in parts)
    return ((not title.startswith("v"), 0, ""), *numbers)


def _day(when: dt.datetime) -> str:
    return f"{when:%Y-%m-%d}"
