"""Which releases each image has, by the ledger alone: which a candidate follows, which tags must name what.

Rules: a release is a seal, the first of its version; the newest is the one of the highest version, not the
last written; a release that was yanked is still a release, and is never what a new one is compared with,
built on or moved to; a version that was reserved is never given to another digest, even when its seal was
never finished; a tag names what the last record that moved it says. Each question costs a look-up or a walk
over one image's releases, never over all.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from semver import Version

from pipeline.domain.image import Digest, Repository, Tier
from pipeline.domain.nearest import nearest
from pipeline.domain.record import Candidate, Record
from pipeline.domain.release import Deployment, Reservation, Retention, Seal, Step, Yank
from pipeline.domain.text import plain
from pipeline.errors import GateRefusedError, NotFoundError, UsageError

CHANNEL = "current"
"""The tag a host tracks; hosts' images alone have it."""

FIRST = "1.0.0"

_WANTED = re.compile(r"v?(0|[1-9][0-9]{0,8})(?:\.(0|[1-9][0-9]{0,8}))?(?:\.(0|[1-9][0-9]{0,8}))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Predecessor:
    """What a candidate is compared with: the seal, or None, and why."""

    seal: Seal | None
    because: str


class Lineage:
    """The releases of all images in a ledger.

    Args:
        records: The ledger, oldest first.
    """

    def __init__(self, records: Iterable[Record]) -> None:
        self._seals: dict[str, dict[str, Seal]] = {}
        self._yanks: dict[str, dict[str, Yank]] = {}
        self._reserved: dict[str, list[Reservation]] = {}
        self._holders: dict[str, dict[str, Digest]] = {}
        self._moves: dict[str, list[Deployment | Seal]] = {}
        known = tuple(records)
        self._removed = removed_of(known)
        for record in known:
            if isinstance(record, Seal):
                self._keep(record)
            elif isinstance(record, Yank):
                self._yanks.setdefault(record.name, {}).setdefault(record.version, record)
            elif isinstance(record, Reservation):
                self._reserved.setdefault(record.name, []).append(record)
                self._hold(record)
            elif isinstance(record, Deployment) and record.step is Step.CHANNEL:
                self._moves.setdefault(record.name, []).append(record)
        self._releases = {
            name: tuple(sorted(seals.values(), key=lambda one: Version.parse(one.version)))
            for name, seals in self._seals.items()
        }
        self._at = {name: {one.digest: one for one in seals} for name, seals in self._releases.items()}
        self._anywhere: dict[Digest, Seal] = {}
        for name in self.names:
            for digest, one in self._at[name].items():
                self._anywhere.setdefault(digest, one)

    def _keep(self, seal: Seal) -> None:
        """Take a seal, unless its version was released before: a release never changes."""
        there = self._seals.setdefault(seal.name, {})
        if seal.version not in there:
            there[seal.version] = seal
            self._moves.setdefault(seal.name, []).append(seal)
            self._hold(seal)

    def _hold(self, record: Reservation | Seal) -> None:
        self._holders.setdefault(record.name, {}).setdefault(record.version, record.digest)

    @property
    def names(self) -> tuple[str, ...]:
        """Every image (`line/image`) that has a release, sorted."""
        return tuple(sorted(self._seals))

    def releases(self, name: str) -> tuple[Seal, ...]:
        """Return the seals of an image (`line/image`), lowest version first, the yanked among them."""
        return self._releases.get(name, ())

    def good(self, name: str) -> tuple[Seal, ...]:
        """Return the releases that were not yanked, lowest version first."""
        return tuple(one for one in self.releases(name) if self.yank_of(one) is None)

    def newest(self, name: str) -> Seal | None:
        """Return the highest release that was not yanked."""
        good = self.good(name)
        return good[-1] if good else None

    def yank_of(self, seal: Seal) -> Yank | None:
        """Return why a release was yanked, None for a good one."""
        return self._yanks.get(seal.name, {}).get(seal.version)

    def at(self, name: str, digest: Digest) -> Seal | None:
        """Return the highest release of an image that has this digest; None for a candidate."""
        return self._at.get(name, {}).get(digest)

    def pruned(self, repository: Repository, digest: Digest) -> bool:
        """Tell whether an image was recorded as deleted, and not as there again since."""
        return (repository, digest) in self._removed

    def by_digest(self, digest: Digest) -> Seal | None:
        """Return a release with this digest, of whatever image; of several, of the first by name."""
        return self._anywhere.get(digest)

    def find(self, name: str, wanted: str, *, yanked: bool = False) -> Seal:
        """Return the release that a person means: `v2`, `v2.0` (the highest of these), `v2.0.3` or `2.0.3`.

        Args:
            name: `line/image`.
            wanted: The version.
            yanked: Whether a yanked release may be found, when it is named in full.

        Raises:
            UsageError: It is no version.
            NotFoundError: The image has no such release.
            GateRefusedError: It has, but every such release was yanked.
        """
        match = _WANTED.fullmatch(wanted)
        if match is None:
            raise UsageError(
                f"{plain(wanted, 60)!r} is no version",
                hint="write v2, v2.0 or v2.0.3",
            )
        parts = [int(part) for part in match.groups() if part is not None]
        fits = [one for one in self.releases(name) if _begins(one.version, parts)]
        good = [one for one in fits if self.yank_of(one) is None]
        if good:
            return good[-1]
        if not fits:
            known = [f"v{one.version}" for one in reversed(self.good(name))]
            raise NotFoundError(
                f"{name} has no release {plain(wanted, 60)}",
                hint=nearest(wanted, known)
                if known
                else f"{self.predecessor(name).because}; `pipeline status` tells what waits",
            )
        if yanked and len(parts) == 3:  # noqa: PLR2004 - a whole version names one release
            return fits[-1]
        yank = self.yank_of(fits[-1])
        raise GateRefusedError(
            f"{name} v{fits[-1].version} was yanked: {'' if yank is None else yank.why}",
            hint=f"take another release; `pipeline releases {name}` lists them",
        )

    def reservation(self, name: str, digest: Digest) -> Reservation | None:
        """Return the highest version that was reserved for a digest and is not sealed yet."""
        sealed = self._seals.get(name, {})
        mine = [
            one for one in self._reserved.get(name, ()) if one.digest == digest and one.version not in sealed
        ]
        return max(mine, key=lambda one: Version.parse(one.version), default=None)

    def holder(self, name: str, version: str) -> Digest | None:
        """Return the digest a version belongs to: the first to reserve or to seal it has it."""
        return self._holders.get(name, {}).get(version)

    def highest(self, name: str, *, but: Digest | None = None) -> str | None:
        """Return the highest version ever sealed, or reserved for another digest than `but`."""
        taken = [
            *(one.version for one in self.releases(name)),
            *(one.version for one in self._reserved.get(name, ()) if one.digest != but),
        ]
        return max(taken, key=Version.parse, default=None)

    def next_version(self, name: str, bump: str, *, digest: Digest | None = None) -> str:
        """Return the version a candidate's release gets; `bump` is major, minor or patch, the first is 1.0.0.

        Versions only grow: what was yanked, or reserved for another digest, counts as taken.
        """
        highest = self.highest(name, but=digest)
        return FIRST if highest is None else str(Version.parse(highest).next_version(part=bump))

    def predecessor(self, name: str) -> Predecessor:
        """Return what a new candidate of an image is compared with."""
        newest = self.newest(name)
        if newest is not None:
            return Predecessor(seal=newest, because=f"v{newest.version} is the last release of {name}")
        if self.releases(name):
            return Predecessor(seal=None, because=f"every release of {name} was yanked")
        return Predecessor(seal=None, because=f"{name} has no release yet")

    def channel(self, name: str) -> Deployment | Seal | None:
        """Return the record that moved an image's channel last; None for an image that has none."""
        moved = [
            one for one in self._moves.get(name, ()) if isinstance(one, Deployment) or CHANNEL in one.aliases
        ]
        return moved[-1] if moved else None

    def tags(self, name: str) -> Mapping[str, Digest]:
        """Return every release tag, alias and channel of an image and the digest it must name."""
        found: dict[str, Digest] = {}
        for move in self._moves.get(name, ()):
            aliases = (CHANNEL,) if isinstance(move, Deployment) else move.aliases
            found.update(dict.fromkeys(aliases, move.digest))
        return found | {f"v{one.version}": one.digest for one in self.releases(name)}


def removed_of(records: Iterable[Record]) -> dict[tuple[Repository, Digest], dt.datetime]:
    """Return what was recorded as deleted, and when; what was recorded as there again since is left out."""
    found: dict[tuple[Repository, Digest], dt.datetime] = {}
    for record in records:
        if isinstance(record, Retention):
            found |= {(one.repository, one.digest): record.time for one in record.removed}
        elif isinstance(record, Candidate | Seal):
            found.pop((record.repository, record.digest), None)
    return found


def aliases_of(version: str, tier: Tier) -> tuple[str, ...]:
    """Return the tags that move to a new release beside its own: `v2.1`, `v2`, a host's channel."""
    parsed = Version.parse(version)
    aliases = (f"v{parsed.major}.{parsed.minor}", f"v{parsed.major}")
    return (*aliases, CHANNEL) if tier is Tier.INSTANCE else aliases


def predecessor(records: Iterable[Record], name: str) -> Predecessor:
    """Return what a new candidate of an image is compared with."""
    return Lineage(records).predecessor(name)


def _begins(version: str, parts: list[int]) -> bool:
    return list(Version.parse(version).to_tuple()[: len(parts)]) == parts
