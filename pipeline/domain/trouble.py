"""How images and hosts stand, and what of it a person has to look at, the worst first.

Rules: what is told of a host comes from records alone, so "was not seen" never means "is not"; a trouble's
text leaves out whose it is, so that alike ones of many hosts read alike and can be grouped.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum

from pipeline.domain.image import Tier
from pipeline.domain.overview import HostView, Overview
from pipeline.domain.record import Candidate
from pipeline.domain.release import Deployment, Seal
from pipeline.domain.waiting import Stage, Wait

UNSEEN = dt.timedelta(hours=1)
"""After this long a host that was sent to a release and was not seen there is worth a look."""


class Severity(IntEnum):
    """How bad something is, the worst first."""

    HOST_FAILED = 0
    CHANNEL_YANKED = 1
    HOST_YANKED = 2
    HOST_UNSEEN = 3
    SEAL_BEGUN = 4
    CANDIDATE_STOPPED = 5
    RELEASE_UNSOUND = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Something that a person has to look at.

    Attributes:
        severity: How bad.
        subject: The host or image.
        since: Since when; UTC.
        says: What is wrong, without the subject's name.
        do: What to do about it, to be typed, or "".
    """

    severity: Severity
    subject: str
    since: dt.datetime
    says: str
    do: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageStatus:
    """One image.

    Attributes:
        name: `line/image`.
        tier: Its tier; None for one of which nothing says it.
        candidate: The newest candidate, unless it is a release or was deleted.
        waits: What that waits for; None without one.
        newest: The newest release that was not yanked, or None.
        released: Whether it ever was released, though all of it may be yanked.
    """

    name: str
    tier: Tier | None
    candidate: Candidate | None
    waits: Wait | None
    newest: Seal | None
    released: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class HostStatus:
    """One host.

    Attributes:
        view: What the ledger tells of it.
        channel: The record that moved its channel last; None when it has none.
    """

    view: HostView
    channel: Deployment | Seal | None


def troubles(
    images: Iterable[ImageStatus], hosts: Iterable[HostStatus], overview: Overview, now: dt.datetime
) -> tuple[Trouble, ...]:
    """Return what a person has to look at, the worst first, of equals the oldest."""
    found = [trouble for one in images for trouble in _image_troubles(one, overview)]
    found += [trouble for one in hosts for trouble in host_troubles(one, overview, now)]
    return tuple(sorted(found, key=lambda one: (one.severity, one.since, one.subject)))


def host_troubles(one: HostStatus, overview: Overview, now: dt.datetime) -> Iterator[Trouble]:
    """Yield what is wrong with one host."""
    view = one.view
    look = f"pipeline status {view.name} --host-access ssh://{view.host}"
    if view.failed is not None:
        yield Trouble(
            severity=Severity.HOST_FAILED,
            subject=view.host,
            since=view.failed.time,
            says=f"did not reach v{view.failed.version}: {view.failed.why}",
            do=look,
        )
    yield from _yanked(one, overview)
    if view.wanted is not None and now - view.wanted.time > UNSEEN:
        yield Trouble(
            severity=Severity.HOST_UNSEEN,
            subject=view.host,
            since=view.wanted.time,
            says=f"was sent to v{view.wanted.version} and was not seen there",
            do=look,
        )


def badness(seal: Seal, overview: Overview) -> tuple[dt.datetime, str] | None:
    """Return since when and why nothing should run a release; None for a sound one."""
    if overview.sound(seal):
        return None
    one: Seal | None = seal
    while one is not None and (yank := overview.lineage.yank_of(one)) is None:
        one = overview.parent_of(one)
    assert one is not None  # noqa: S101 - what is not sound stands on something yanked
    assert yank is not None  # noqa: S101
    of = "which" if one is seal else f"built on {one.name} v{one.version}, which"
    return yank.time, f"{of} was yanked: {yank.why}"


def _yanked(one: HostStatus, overview: Overview) -> Iterator[Trouble]:
    view = one.view
    followed = None if one.channel is None else overview.lineage.at(view.name, one.channel.digest)
    ran = None if view.runs is None else overview.lineage.at(view.name, view.runs.digest)
    uses: list[tuple[Severity, str, Seal | None]]
    if followed is not None and followed == ran:
        uses = [(Severity.CHANNEL_YANKED, "runs, and its channel names,", ran)]
    else:
        uses = [(Severity.CHANNEL_YANKED, "its channel names", followed), (Severity.HOST_YANKED, "runs", ran)]
    for severity, what, seal in uses:
        bad = None if seal is None else badness(seal, overview)
        if seal is not None and bad is not None:
            out = _way_out(view, overview)
            stuck = "" if out else "; no good release of it is left"
            says = f"{what} v{seal.version}, {bad[1]}{stuck}"
            yield Trouble(severity=severity, subject=view.host, since=bad[0], says=says, do=out)


def _way_out(view: HostView, overview: Overview) -> str:
    out = overview.way_out(view.name)
    return "" if out is None else f"pipeline rollback {view.name} v{out.version} --why '…'"


_STOPPED = {
    Stage.REJECTED: Severity.CANDIDATE_STOPPED,
    Stage.REFUSED: Severity.CANDIDATE_STOPPED,
    Stage.UNFINISHED: Severity.SEAL_BEGUN,
}


def _image_troubles(one: ImageStatus, overview: Overview) -> Iterator[Trouble]:
    severity = None if one.waits is None else _STOPPED.get(one.waits.stage)
    if one.waits is not None and severity is not None:
        yield Trouble(
            severity=severity,
            subject=one.name,
            since=one.waits.since,
            says=f"its newest candidate waits for {one.waits.needs[0]}",
            do=f"pipeline seal {one.name}" if severity is Severity.SEAL_BEGUN else "",
        )
    bad = None if one.newest is None else badness(one.newest, overview)
    if one.newest is not None and bad is not None:
        yield Trouble(
            severity=Severity.RELEASE_UNSOUND,
            subject=one.name,
            since=bad[0],
            says=f"its newest release v{one.newest.version} is {bad[1]}",
        )
