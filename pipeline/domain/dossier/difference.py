"""What differs from the predecessor, as the dossier shows it: kinds of changes in words, licences, sizes.

Rules: as in `dossier`. `changes.read_difference` makes it of the diff's document.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pipeline.domain.image import Digest


class Risk(StrEnum):
    """How closely a kind of change wants to be looked at, the riskiest first; the diff's document says it."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"
    NONE = "none"

    @property
    def risky(self) -> bool:
        """Whether to look there before anything else."""
        return self in (Risk.CRITICAL, Risk.HIGH)


NOISE = "noise"
"""The kind of what differs in any two builds."""


class How(StrEnum):
    """What became of a thing."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"
    UP = "up"
    DOWN = "down"
    SAME = "same"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One thing that differs from the predecessor.

    Attributes:
        name: What it is: a package, a path, a unit, a user.
        how: What became of it; `same` is another build under one version.
        before, after: Both states in words, as far as they differ; empty where there is none.
        risky: Whether the diff names it among the reasons of its kind.
        why: What is risky about it, where more is said than what became of it.
        lines: A unified text difference, one entry a line; empty where there is none.
        cut: Lines of the text difference that are left out.
    """

    name: str
    how: How
    before: str = ""
    after: str = ""
    risky: bool = False
    why: str = ""
    lines: tuple[str, ...] = ()
    cut: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeGroup:
    """All changes of one kind.

    Attributes:
        kind: Stable name (`kernel`, `modules`, `privileges`, …), an anchor too.
        title: For people.
        risk: The highest risk in it; none where nothing changed.
        reasons: What is risky in it; empty where nothing is.
        total: Number of changes, also where they are summed up instead of listed.
        changes: The risky ones first.
    """

    kind: str
    title: str
    risk: Risk
    reasons: tuple[str, ...]
    total: int
    changes: tuple[Change, ...] = ()

    def count(self, how: How) -> int:
        """Return to how many of the listed this happened."""
        return sum(one.how is how for one in self.changes)


@dataclass(frozen=True, slots=True, kw_only=True)
class LicenceChange:
    """A package whose licence is another one, or that brought one along."""

    package: str
    before: str
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeOf:
    """Bytes of one package before and after; None where it is not there."""

    name: str
    before: int | None
    after: int | None

    @property
    def delta(self) -> int:
        """Bytes it grew by; negative where it shrank."""
        return (self.after or 0) - (self.before or 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerLine:
    """One layer: what made it, bytes to fetch, bytes of its files, and whether the predecessor has it too."""

    digest: str
    made_by: str
    size: int
    unpacked: int
    shared: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseSize:
    """Bytes of the files of all layers of one earlier release, for the trend."""

    name: str
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How large the image is and why, in bytes.

    Attributes:
        before, after: Files of all layers together; `before` is None without a predecessor.
        grown: By how much the files grew, layers merged; negative where they shrank.
        download: All layers together, as they are fetched.
        fetched: What a host that has the predecessor must fetch.
        packages: The largest packages and those whose size differs, the largest first.
        folders: Folders whose files grew or shrank, with by how much, the most first.
        layers: In the image's order, the base's first.
        trend: The last releases, oldest first, without this candidate.
    """

    before: int | None
    after: int
    grown: int
    download: int
    fetched: int
    packages: tuple[SizeOf, ...] = ()
    folders: tuple[tuple[str, int], ...] = ()
    layers: tuple[LayerLine, ...] = ()
    trend: tuple[ReleaseSize, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bump:
    """Which number of the version the diff asks to raise, and why."""

    proposed: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What differs from the predecessor.

    Attributes:
        predecessor: The image it is compared with; empty for none.
        because: Why this one, or why none.
        groups: Every kind there is, the risky ones first; an empty one says that nothing of it changed.
        licences: Licence changes.
        sizes: Sizes.
        bump: The proposed version.
        digest: Canonical hash of the document, which an approval binds.
    """

    predecessor: str
    because: str
    groups: tuple[ChangeGroup, ...]
    licences: tuple[LicenceChange, ...]
    sizes: Sizes
    bump: Bump
    digest: Digest

    def group(self, kind: str) -> ChangeGroup:
        """Return one group by its kind.

        Raises:
            KeyError: There is no such kind.
        """
        return {one.kind: one for one in self.groups}[kind]

    @property
    def risky(self) -> tuple[ChangeGroup, ...]:
        """The kinds to look at before anything else."""
        return tuple(group for group in self.groups if group.risk.risky)

    @property
    def total(self) -> int:
        """Number of all changes but noise."""
        return sum(group.total for group in self.groups if group.kind != NOISE)
