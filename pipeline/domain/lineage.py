"""Which releases an image has, by the ledger alone, and which of them a candidate follows.

Rules: a release is a seal; the newest is the one of the highest version, not the last written; a release that
was yanked is still a release, and is never what a new one is compared with where there is another.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from semver import Version

from pipeline.domain.record import Record
from pipeline.domain.release import Seal, Yank


@dataclass(frozen=True, slots=True, kw_only=True)
class Predecessor:
    """What a candidate is compared with: the seal, or None, and why."""

    seal: Seal | None
    because: str


def releases(records: Iterable[Record], name: str) -> tuple[Seal, ...]:
    """Return the seals of an image (`line/image`), lowest version first."""
    found = [one for one in records if isinstance(one, Seal) and one.name == name]
    return tuple(sorted(found, key=lambda one: Version.parse(one.version)))


def yanked(records: Iterable[Record], name: str) -> frozenset[str]:
    """Return the versions of an image that were yanked."""
    return frozenset(one.version for one in records if isinstance(one, Yank) and one.name == name)


def proposed_version(before: Seal | None, bump: str) -> str:
    """Return the version of a release after `before`; `bump` is major, minor or patch, the first is 1.0.0."""
    if before is None:
        return "1.0.0"
    return str(Version.parse(before.version).next_version(part=bump))


def predecessor(records: Iterable[Record], name: str) -> Predecessor:
    """Return what a new candidate of an image is compared with."""
    known = tuple(records)
    bad = yanked(known, name)
    sealed = releases(known, name)
    good = [one for one in sealed if one.version not in bad]
    if good:
        return Predecessor(seal=good[-1], because=f"v{good[-1].version} is the last release of {name}")
    if sealed:
        return Predecessor(seal=None, because=f"every release of {name} was yanked")
    return Predecessor(seal=None, because=f"{name} has no release yet")
