"""What is seen of releases, as values: whom a yank affects, what is released, how everything stands.

Rules: these hold what was found and decide nothing; verbs make them, tables and JSON are made of them.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from pipeline.domain.hostcontrol.state import HostState
from pipeline.domain.image import Digest
from pipeline.domain.record import Candidate
from pipeline.domain.release import Seal, Yank
from pipeline.domain.trouble import HostStatus, ImageStatus, Trouble
from pipeline.errors import PipelineError


@dataclass(frozen=True, slots=True, kw_only=True)
class Affected:
    """A host that has to leave what was yanked.

    Attributes:
        use: What the host does with it (`runs`, `staged`, `wanted`, `may fall back to`, `channel`).
        host: Its name.
        seal: The release, the yanked one or one that is built on it.
        to: Where it can go; None when no sound release of its image is left.
    """

    use: str
    host: str
    seal: Seal
    to: Seal | None

    @property
    def command(self) -> str | None:
        """What moves it, to be typed; None when there is nowhere to go."""
        if self.to is None:
            return None
        why = f"{self.seal.image} v{self.seal.version} is bad"
        return f"pipeline rollback {self.seal.line}/{self.host} v{self.to.version} --why '{why}'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Yanking:
    """What a yank did, or would do, and what it leaves to be done.

    Attributes:
        seal: The release.
        yank: The record; one that was there before, or that would be written.
        written: Whether it was written now.
        already: Whether it was there before.
        tags: Aliases that still name the release, sorted; the channel is told by `hosts`.
        children: Releases that are built on it, directly or not.
        hosts: Who has to leave it or a release that is built on it.
    """

    seal: Seal
    yank: Yank
    written: bool = False
    already: bool = False
    tags: tuple[str, ...]
    children: tuple[Seal, ...]
    hosts: tuple[Affected, ...]

    @property
    def fleet_command(self) -> str | None:
        """What leads all hosts away in waves, to be typed; None where that is one host at most."""
        if sum(one.to is not None for one in self.hosts) <= 1:
            return None
        bad = f"{self.seal.name}:v{self.seal.version}"
        return f"pipeline rollback --all-hosts-on {bad} --why '{self.seal.image} v{self.seal.version} is bad'"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseView:
    """One release.

    Attributes:
        seal: Its record.
        candidate: What it was built from; None where the ledger does not have it.
        tags: Aliases and channel that name it now, sorted.
        yank: Why it is bad, or None.
        unsound: Whether something it is built on was yanked.
        removed: Why it was deleted from the registry, or None.
    """

    seal: Seal
    candidate: Candidate | None
    tags: tuple[str, ...]
    yank: Yank | None
    unsound: bool
    removed: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Releases:
    """What is released.

    Attributes:
        images: Image (`line/image`) to its releases, newest first; images in order of their names.
        notice: Why this may not be the newest there is; "" when it is.
    """

    images: Mapping[str, tuple[ReleaseView, ...]]
    notice: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What waits, what runs and what is wrong.

    Attributes:
        now: When it was looked at; UTC.
        troubles: What is wrong, the worst and oldest first.
        images: Every image, in order of their names.
        hosts: Every host, in order of their images.
        notices: What a person has to know to judge this, such as that the remote cannot be reached.
    """

    now: dt.datetime
    troubles: tuple[Trouble, ...]
    images: tuple[ImageStatus, ...]
    hosts: tuple[HostStatus, ...]
    notices: tuple[str, ...] = ()


class Source(StrEnum):
    """Who says so."""

    HOST = "the host"
    LEDGER = "the ledger"
    REGISTRY = "the registry"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One thing that is known of a host.

    Attributes:
        role: `wanted`, `channel`, `tag`, `booted`, `staged`, `fallback`, or another of the host's own.
        source: Who says so.
        digest: The image; None when that is not known, or there is none.
        seal: The release that has this digest; None for what is no release of the host's image.
        says: What is to be said beside, such as the reference a host gave.
        time: When it was recorded; None for what was asked now.
    """

    role: str
    source: Source
    digest: Digest | None = None
    seal: Seal | None = None
    says: str = ""
    time: dt.datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HostReport:
    """How one host stands.

    Attributes:
        now: When it was looked at; UTC.
        name, host: Its image (`line/host`) and its name.
        lines: What is known, wanted first.
        troubles: What is wrong, the worst first, by the ledger.
        notices: What else a person has to know.
        state: What the host said; None when it was not asked or did not answer.
        failure: Why the host, though asked, did not answer.
    """

    now: dt.datetime
    name: str
    host: str
    lines: tuple[Line, ...]
    troubles: tuple[Trouble, ...]
    notices: tuple[str, ...]
    state: HostState | None = None
    failure: PipelineError | None = field(default=None, compare=False)
