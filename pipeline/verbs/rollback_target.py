"""Which host is meant, which release it shall go back to, and which hosts a bad release runs on.

Rules: the ledger's seals say what there is, so that a host whose definition is gone can still be brought
back; a yanked release is never a target, but may well be what is left; a host is on a release when its
channel names it, or when a way away from it was begun and has not ended.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass

from semver import Version

from pipeline.domain.hostcontrol.rollback import NotDone
from pipeline.domain.image import Digest, Tier
from pipeline.domain.overview import Overview, image_named
from pipeline.domain.record import Candidate, Record, candidates
from pipeline.domain.release import Seal, Step
from pipeline.domain.text import plain
from pipeline.errors import GateRefusedError, NotFoundError, UsageError
from pipeline.verbs.host_journal import ways_of

ZFS = "zfs"
"""The module set whose version decides what a pool needs."""

_WANTED = re.compile(r"v?([0-9]{1,9})(?:\.([0-9]{1,9}))?(?:\.([0-9]{1,9}))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One host's way to a release.

    Attributes:
        seal: The release it shall go to.
        left: The release its channel names, or that an unfinished way left; None where there is none.
        zfs, left_zfs: Version of the ZFS module of both; "" for none, None where that is not known.
        unsound: A yanked release that the wanted one is built on, or "".
    """

    seal: Seal
    left: Seal | None
    zfs: str | None = None
    left_zfs: str | None = None
    unsound: str = ""

    @property
    def name(self) -> str:
        """The host's image, `line/name`."""
        return self.seal.name

    @property
    def host(self) -> str:
        """The host's name."""
        return self.seal.image


class Ways:
    """Finds ways in one ledger.

    Args:
        records: The ledger, oldest first.
        line: Only hosts of this line, or None.
        default: The line that is meant where a name is in several, or None.
        defined: Hosts that the definitions name, `line/name`, for hints.
    """

    def __init__(
        self,
        records: Sequence[Record],
        *,
        line: str | None = None,
        default: str | None = None,
        defined: Iterable[str] = (),
    ) -> None:
        self._overview = Overview(records)
        self._lineage = self._overview.lineage
        self._line, self._default = line, default
        self._defined = frozenset(defined)
        self._journal = ways_of(records)
        self._by_digest = {one.digest: one for one in candidates(records)}

    def to(self, host: str, wanted: str) -> Way:
        """Return the way of one host.

        Args:
            host: `NAME` or `LINE/NAME`.
            wanted: A version: `v2.0` is the highest good 2.0.x.

        Raises:
            UsageError: It is no version, no host, or several lines have a host of that name.
            NotFoundError: There is no such host, or it has no such release.
            GateRefusedError: Every such release was yanked.
        """
        seal = self._lineage.find(self._named(host), wanted)
        left, way = self._channel(seal.name), self._journal.get((seal.line, seal.image), [])
        if way and way[-1].digest == seal.digest:
            left = self._begun(seal.name) or left
        return self._way(seal, left)

    def from_release(self, bad: str, wanted: str | None) -> tuple[tuple[Way, ...], tuple[NotDone, ...]]:
        """Return the ways of every host that is on a release, and the hosts for which there is none.

        Args:
            bad: The version they are on, in full or its beginning, or `LINE/IMAGE:VERSION` for every host
                whose release is built on one of that image; it may be yanked.
            wanted: Where to; None for the highest release below the one each is on that was not yanked, like
                all it is built on, and is not what is left.

        Raises:
            UsageError: It is no version.
            NotFoundError: No host is on it.
        """
        bads = self._bad(bad)
        ways: list[Way] = []
        left_out: list[NotDone] = []
        for name in self._hosts():
            left = next((one for one in self._on(name) if _id(one) in bads), None)
            if left is None:
                continue
            try:
                ways.append(self._way(self._target(left, wanted, bads), left))
            except (NotFoundError, GateRefusedError) as error:
                left_out.append(NotDone(name=name, error=error))
        if not ways and not left_out:
            on = sorted({f"v{one.version}" for name in self._hosts() for one in self._on(name)})
            raise NotFoundError(
                f"no host is on {plain(bad, 60)}",
                hint=f"hosts are on {', '.join(on)}" if on else "no host has a release yet",
            )
        return tuple(ways), tuple(left_out)

    def _bad(self, text: str) -> frozenset[tuple[str, str]]:
        """Return every hosts' release that a text means, by name and version."""
        image, colon, version = text.rpartition(":")
        parts = _parts(version)
        names = (image,) if colon else self._hosts()
        meant = [one for name in names for one in self._lineage.releases(name) if _begins(one.version, parts)]
        built = (child for one in meant for child in self._overview.built_on(one)) if colon else ()
        return frozenset(_id(one) for one in (*meant, *built))

    def _hosts(self) -> tuple[str, ...]:
        return tuple(
            name
            for name in self._lineage.names
            if self._lineage.releases(name)[-1].tier is Tier.INSTANCE
            and (self._line is None or name.partition("/")[0] == self._line)
        )

    def _named(self, text: str) -> str:
        if text in self._lineage.names and text not in self._hosts() and self._line is None:
            raise UsageError(
                f"{text} is no host's image", hint="name a host; its image is rolled back with its base in it"
            )
        defined = (one for one in self._defined if self._line in (None, one.partition("/")[0]))
        return image_named(text, sorted({*self._hosts(), *defined}), self._line or self._default)

    def _on(self, name: str) -> tuple[Seal, ...]:
        """Return the releases a host may be on: its channel's, and what an unfinished way left."""
        return tuple(one for one in (self._channel(name), self._begun(name)) if one is not None)

    def _channel(self, name: str) -> Seal | None:
        moved = self._lineage.channel(name)
        return None if moved is None else self._lineage.at(name, moved.digest)

    def _begun(self, name: str) -> Seal | None:
        line, _, host = name.partition("/")
        way = self._journal.get((line, host), [])
        before = next((one.before for one in way if one.before is not None), None)
        if before is None or way[-1].step is Step.BOOTED:
            return None
        return self._lineage.at(name, before.digest)

    def _target(self, left: Seal, wanted: str | None, bads: Container[tuple[str, str]]) -> Seal:
        if wanted is not None:
            return self._lineage.find(left.name, wanted)
        for one in reversed(self._lineage.good(left.name)):
            if _order(one) < _order(left) and _id(one) not in bads and self._overview.sound(one):
                return one
        raise NotFoundError(
            f"{left.name} has no good release below v{left.version}",
            hint="build, approve and seal a new release for it",
        )

    def _way(self, seal: Seal, left: Seal | None) -> Way:
        return Way(
            seal=seal,
            left=left,
            zfs=self._zfs(self._overview.candidate_of(seal)),
            left_zfs=None if left is None else self._zfs(self._overview.candidate_of(left)),
            unsound=self._unsound(seal),
        )

    def _unsound(self, seal: Seal) -> str:
        below = self._overview.parent_of(seal)
        while below is not None and self._lineage.yank_of(below) is None:
            below = self._overview.parent_of(below)
        return "" if below is None else f"{below.name} v{below.version}"

    def _zfs(self, candidate: Candidate | None) -> str | None:
        """Return the version that an image or the images below it were built with.

        Only a chain of records that reaches the upstream shows that an image has none.
        """
        seen: set[Digest] = set()
        while candidate is not None and candidate.digest not in seen:
            seen.add(candidate.digest)
            modules: Mapping[str, str] = candidate.pins.modules if candidate.pins is not None else {}
            if ZFS in modules:
                return modules[ZFS]
            if candidate.parent is None:
                return ""
            candidate = self._by_digest.get(candidate.parent.digest)
        return None


def _id(seal: Seal) -> tuple[str, str]:
    return seal.name, seal.version


def _order(seal: Seal) -> Version:
    return Version.parse(seal.version)


def _parts(text: str) -> tuple[int, ...]:
    match = _WANTED.fullmatch(text)
    if match is None:
        raise UsageError(f"{plain(text, 60)!r} is no version", hint="write v2, v2.1 or v2.1.0")
    return tuple(int(part) for part in match.groups() if part is not None)


def _begins(version: str, parts: Sequence[int]) -> bool:
    return tuple(Version.parse(version).to_tuple()[: len(parts)]) == tuple(parts)
