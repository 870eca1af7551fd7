"""What a host runs, boots next and could fall back to, in one form for all systems.

Rules: what a host did not say is unknown, never a default: `unknown` names it, and the plan takes the way
that is safe without it. Texts come from the host; they are cleaned before they are shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NoReturn

from pipeline.domain.image import Digest
from pipeline.domain.text import plain
from pipeline.errors import HostError, UsageError

_SHOWN = 200
_HOLD = "pipeline-holds-"


class System(StrEnum):
    """What manages a host's images."""

    BOOTC = "bootc"
    RPM_OSTREE = "rpm-ostree"
    KAIROS = "kairos"


@dataclass(frozen=True, slots=True, kw_only=True)
class BootEntry:
    """One image a host has installed.

    Attributes:
        reference: What it was installed from, or None where the host does not say.
        digest: Its manifest's digest, or None where the host does not say.
        version: The image's own version, or "".
        pinned: Whether the host keeps it whatever else is installed.
        held: Downloaded only: a reboot alone does not boot it.
        foreign: Changed on the host, so that the host's own tool refuses to switch it.
        slot: Name of its place where places have names (`active`), else "".
    """

    reference: str | None = None
    digest: Digest | None = None
    version: str = ""
    pinned: bool = False
    held: bool = False
    foreign: bool = False
    slot: str = ""

    @property
    def follows_tag(self) -> bool:
        """Whether an update would fetch something newer; an entry installed by digest stays as it is."""
        return self.reference is not None and "@" not in self.reference

    def __str__(self) -> str:
        name = plain(self.reference or "an image of unknown origin", _SHOWN)
        if self.digest is None or self.digest.value in name:
            return name
        return f"{name} ({self.digest.short})"


def mark_of(unit: str) -> str:
    """Return the name of the unit that is masked with a timer to tell that a rollback did it."""
    return f"{_HOLD}{unit}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Timer:
    """A unit that updates the host by itself.

    Attributes:
        unit: Its name.
        active: Whether it waits to fire.
        enabled: Whether it will at the next boot.
        working: Whether what it starts is at work now.
        masked: Whether it cannot be started at all.
        held: Whether a rollback masked it.
    """

    unit: str
    active: bool
    enabled: bool
    working: bool = False
    masked: bool = False
    held: bool = False

    @property
    def mark(self) -> str:
        """The unit whose name says who masked the timer: there is none of that name, it is only masked too.

        So the mark lies where the mask does, in /etc, and goes and comes back with it.
        """
        return mark_of(self.unit)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostState:
    """What a host said of itself at one moment.

    Attributes:
        system: What manages it.
        booted: What runs; None when the host is not managed by this system.
        staged: What was prepared for the next boot.
        fallback: What ran before.
        next: What boots next by default; None when that cannot be told.
        others: Further entries, such as pinned ones.
        queued: Whether the fallback is queued for the next boot; None when unknown.
        unknown: Names of what the host did not say (`staged`, `fallback`, `queued`).
        read_only: Whether the host cannot be changed at all (a live medium).
        busy: What the host is doing to its images right now, or "".
        timers: What updates the host by itself.
    """

    system: System
    booted: BootEntry | None
    staged: BootEntry | None = None
    fallback: BootEntry | None = None
    next: BootEntry | None = None
    others: tuple[BootEntry, ...] = ()
    queued: bool | None = None
    unknown: frozenset[str] = frozenset()
    read_only: bool = False
    busy: str = ""
    timers: tuple[Timer, ...] = ()

    def entries(self) -> Iterator[tuple[str, BootEntry]]:
        """Yield every entry with its role, what runs first."""
        for role, entry in (("booted", self.booted), ("staged", self.staged), ("fallback", self.fallback)):
            if entry is not None:
                yield role, entry
        for entry in self.others:
            yield "pinned" if entry.pinned else "other", entry

    @property
    def digests(self) -> frozenset[Digest]:
        """Digests that must stay in the registry for this host."""
        return frozenset(entry.digest for _, entry in self.entries() if entry.digest is not None)

    @property
    def complete(self) -> bool:
        """Whether the host named the digest of everything it has; if not, nothing may be deleted for it."""
        return (
            self.booted is not None
            and not self.unknown & {"staged", "fallback"}
            and all(entry.digest is not None for _, entry in self.entries())
        )


def digest_or_none(value: object) -> Digest | None:
    """Return a digest a host named; one in another form is as good as unknown."""
    try:
        return Digest(value) if isinstance(value, str) else None
    except UsageError:
        return None


def not_understood(system: System, what: str) -> NoReturn:
    """Refuse an answer of a host.

    Raises:
        HostError: Always.
    """
    raise HostError(
        f"what {system} on the host said is not understood: {plain(what, _SHOWN)}",
        hint=f"look at `{system} status` on the host; a newer version of it may speak another form",
    )
