"""The ledger as it stood when a release was sealed: what was known, decided and yanked before that record.

Rules: what counts as "before" is the order of the ledger, which only grows, never the time a record gives
itself; only a parent may stand beside its child in one commit, whose records have no order of their own.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from functools import cached_property

from semver import Version

from pipeline.domain.decision import Approval, Decision, Release
from pipeline.domain.image import Digest, Repository, Tier
from pipeline.domain.lineage import CHANNEL, Lineage
from pipeline.domain.record import Candidate, Record
from pipeline.domain.release import Deployment, Reservation, Retention, Seal, Step, Yank

CLOCKS_DIFFER = dt.timedelta(hours=1)
"""How far the clocks of two machines that write the ledger may be apart."""

TIERS = tuple(Tier)
"""From the top; each tier's images are built on those of the one before."""


class LookBack:
    """A ledger that can be looked at as of any of its seals.

    Args:
        records: The ledger, oldest first.
    """

    def __init__(self, records: Iterable[Record]) -> None:
        self.records = tuple(records)
        self.lineage = Lineage(self.records)
        self._candidates: dict[str, tuple[int, Candidate]] = {}
        self._approvals: dict[str, tuple[int, Approval]] = {}
        self._objects: dict[int, int] = {}
        self._decisions: list[tuple[int, Decision]] = []
        self._released: dict[str, list[tuple[int, Record]]] = {}
        self._latest: list[dt.datetime] = []
        self._before: dict[int, Lineage] = {}
        for place, record in enumerate(self.records):
            self._latest.append(max(record.time, self._latest[-1]) if self._latest else record.time)
            self._file(place, record)

    def _file(self, place: int, record: Record) -> None:
        if isinstance(record, Candidate):
            self._candidates.setdefault(record.id, (place, record))
        elif isinstance(record, Decision):
            self._decisions.append((place, record))
            if isinstance(record, Approval):
                self._approvals.setdefault(record.id, (place, record))
        elif isinstance(record, Seal | Yank | Reservation | Deployment):
            self._released.setdefault(record.name, []).append((place, record))
            if isinstance(record, Seal):
                self._objects[id(record)] = place

    def holds(self, seal: Seal) -> bool:
        """Whether the ledger has exactly this record."""
        return self._place(seal) < len(self.records)

    def seal(self, name: str, version: str) -> Seal | None:
        """Return the release of a version; the first seal of a version is the one that counts."""
        return next((one for one in self.lineage.releases(name) if one.version == version), None)

    def repeated(self) -> tuple[Seal, ...]:
        """Return the seals of versions that had been released before: nobody but a forger writes one."""
        first = {id(one) for name in self.lineage.names for one in self.lineage.releases(name)}
        return tuple(one for one in self.records if isinstance(one, Seal) and id(one) not in first)

    def candidate(self, seal: Seal) -> Candidate | None:
        """Return the candidate's record that a seal names, if it was there before."""
        place, found = self._candidates.get(seal.candidate, (len(self.records), None))
        return found if place < self._place(seal) else None

    def candidate_named(self, record: str) -> Candidate | None:
        """Return a candidate by the id of its record."""
        return self._candidates.get(record, (0, None))[1]

    def approval(self, record: str, before: Seal) -> Approval | None:
        """Return an approval by the id of its record, if it was there before a seal."""
        place, found = self._approvals.get(record, (len(self.records), None))
        return found if place < self._place(before) else None

    def decisions(self, seal: Seal) -> tuple[Decision, ...]:
        """Return every decision that was there before a seal, oldest first."""
        place = self._place(seal)
        return tuple(one for there, one in self._decisions if there < place)

    def before(self, seal: Seal) -> Lineage:
        """Return the releases of the seal's own image as they were just before it."""
        place = self._place(seal)
        if place == len(self.records) or place not in self._before:
            earlier = (one for there, one in self._released.get(seal.name, ()) if there < place)
            self._before[place] = Lineage(earlier)
        return self._before[place]

    def history(self, seal: Seal) -> tuple[Record, ...]:
        """Return what was recorded of the seal's own image before it: its releases, and their candidates."""
        place = self._place(seal)
        found = [one for there, one in self._released.get(seal.name, ()) if there < place]
        built = (self.candidate_named(one.candidate) for one in found if isinstance(one, Seal))
        return (*(one for one in built if one is not None), *found)

    def predecessor(self, seal: Seal) -> Release | None:
        """Return the image's last release that was not yanked, just before a seal."""
        newest = self.before(seal).newest(seal.name)
        return None if newest is None else Release(version=newest.version, digest=newest.digest)

    def parent(self, seal: Seal) -> Seal | None:
        """Return the release a seal is built on; None where the ledger has none with that digest above it."""
        if seal.parent is None:
            return None
        candidate = self.candidate_named(seal.candidate)
        named = None if candidate is None or candidate.parent is None else candidate.parent.image
        found = None if named is None else self.lineage.at(named, seal.parent.digest)
        found = found or self.lineage.by_digest(seal.parent.digest)
        # A parent stands a tier higher: so no chain of parents has no end, whatever is in the ledger.
        return found if found is not None and TIERS.index(found.tier) < TIERS.index(seal.tier) else None

    def was_later(self, parent: Seal, seal: Seal) -> bool:
        """Whether a parent was released only after what is built on it."""
        return parent.time > seal.time and self._place(parent) > self._place(seal)

    def yanked_before(self, parent: Seal, seal: Seal) -> Yank | None:
        """Return why a release had been yanked when another was sealed."""
        place = self._place(seal)
        return next(
            (
                one
                for there, one in self._released.get(parent.name, ())
                if there < place and isinstance(one, Yank) and one.version == parent.version
            ),
            None,
        )

    def dated_back(self, seal: Seal) -> dt.datetime | None:
        """Return the time of an older record that is later than the seal says it is; None when there is none.

        Who may write to the ledger could else seal with a key that was revoked long ago.
        """
        place = self._place(seal)
        latest = self._latest[place - 1] if place else seal.time
        return latest if latest > seal.time + CLOCKS_DIFFER else None

    @cached_property
    def removed(self) -> frozenset[tuple[Repository, Digest]]:
        """What `prune` deleted."""
        retentions = (one for one in self.records if isinstance(one, Retention))
        return frozenset((gone.repository, gone.digest) for one in retentions for gone in one.removed)

    def kept(self, seal: Seal) -> bool:
        """Whether a release still has to be in the registry."""
        return (seal.repository, seal.digest) not in self.removed

    @cached_property
    def unfinished(self) -> tuple[Reservation, ...]:
        """The versions that were reserved and never sealed, and still can be; each once."""
        return tuple(one for one in self._unsealed if not self._passed_over(one))

    @cached_property
    def passed_over(self) -> tuple[Reservation, ...]:
        """The versions that were reserved and never sealed, and never will be: a higher one was taken."""
        return tuple(one for one in self._unsealed if self._passed_over(one))

    @cached_property
    def _unsealed(self) -> tuple[Reservation, ...]:
        found: dict[tuple[str, str], Reservation] = {}
        for record in self.records:
            if isinstance(record, Reservation) and self.seal(record.name, record.version) is None:
                found.setdefault((record.name, record.version), record)
        return tuple(found.values())

    def _passed_over(self, one: Reservation) -> bool:
        highest = self.lineage.highest(one.name, but=one.digest)
        return highest is not None and Version.parse(highest) > Version.parse(one.version)

    def wanted(self, name: str) -> Deployment | None:
        """Return the rollback that was begun and did not yet move the channel: the last that is wanted."""
        moves = [one for _, one in self._released.get(name, ()) if _moves_channel(one)]
        last = moves[-1] if moves else None
        return last if isinstance(last, Deployment) and last.step is Step.WANTED else None

    @cached_property
    def candidates(self) -> Sequence[Candidate]:
        """Every candidate's record, oldest first."""
        return tuple(one for _, one in self._candidates.values())

    def _place(self, seal: Seal) -> int:
        """Return where a seal stands; one that is not in the ledger stands at its end."""
        here = self._objects.get(id(seal))  # the ledger's own objects are found without hashing them
        return self._places.get(seal.id, len(self.records)) if here is None else here

    @cached_property
    def _places(self) -> dict[str, int]:
        """Where each seal stands, by the id of its record."""
        found: dict[str, int] = {}
        for place, record in enumerate(self.records):
            if isinstance(record, Seal):
                found.setdefault(record.id, place)
        return found


def _moves_channel(record: Record) -> bool:
    """Whether a record says that a channel moved, or that it is about to."""
    if isinstance(record, Deployment):
        return record.step in (Step.WANTED, Step.CHANNEL)
    return isinstance(record, Seal) and CHANNEL in record.aliases
