"""`pipeline yank IMAGE VERSION`: marks a release bad, and tells who still needs to leave it.

Rules: who may write the ledger may yank, and is recorded as the author; nothing in the registry is touched,
so that who runs the release can still pull it; seal, rollback and channels refuse it from then on. A release
that is yanked already stays as it is: success, nothing done.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable

from pipeline.domain.image import Tier
from pipeline.domain.lineage import CHANNEL, Lineage
from pipeline.domain.overview import Overview, Use, image_named
from pipeline.domain.record import Record
from pipeline.domain.release import Seal, Yank
from pipeline.domain.seen import Affected, Yanking
from pipeline.domain.text import plain
from pipeline.errors import UsageError
from pipeline.verbs.standing import DecisionLedger

_WHOLE = re.compile(r"v?[0-9]+\.[0-9]+\.[0-9]+")


class _YankedMeanwhileError(Exception):
    """Somebody else was first."""


def yank(
    ledger: DecisionLedger,
    image: str,
    version: str,
    *,
    why: str,
    author: str,
    clock: Callable[[], dt.datetime],
    line: str | None = None,
    dry_run: bool = False,
) -> Yanking:
    """Record that a release is bad and return who is affected.

    Args:
        ledger: Where it is recorded.
        image: `LINE/NAME`, or `NAME`.
        version: The whole version.
        why: Why, one line.
        author: Who yanks.
        clock: Tells the time; UTC, whole seconds.
        line: The line that is asked for, or the default one.
        dry_run: Record nothing.

    Raises:
        UsageError: The version is not whole, or several lines have such an image.
        NotFoundError: There is no such image or release.
        LedgerError, LedgerRaceError, LedgerRemoteError: It could not be recorded; nothing was.
    """
    if not _WHOLE.fullmatch(version):
        raise UsageError(
            f"{plain(version, 60)!r} is no whole version", hint="a yank is for one release: write v2.0.3"
        )
    records = ledger.read()
    lineage = Lineage(records)
    seal = lineage.find(image_named(image, Overview(records).names, line), version, yanked=True)
    if lineage.yank_of(seal) is not None:
        return _told(seal, records, already=True)
    record = Yank(
        time=clock(),
        author=author,
        line=seal.line,
        image=seal.image,
        repository=seal.repository,
        digest=seal.digest,
        version=seal.version,
        why=why,
    )
    if dry_run:
        return _told(seal, (*records, record))

    def check(there: tuple[Record, ...]) -> None:
        now = Lineage(there)
        if now.yank_of(now.find(seal.name, seal.version, yanked=True)) is not None:
            raise _YankedMeanwhileError

    try:
        ledger.append([record], check=check)
    except _YankedMeanwhileError:
        return _told(seal, ledger.read(), already=True)
    return _told(seal, (*records, record), written=True)


def _told(
    seal: Seal, records: tuple[Record, ...], *, written: bool = False, already: bool = False
) -> Yanking:
    """Return what a ledger with the yank in it says of the release."""
    overview = Overview(records)
    lineage = overview.lineage
    record = lineage.yank_of(seal)
    assert record is not None  # noqa: S101 - the records hold it
    children = overview.built_on(seal)
    named = lineage.tags(seal.name)
    return Yanking(
        seal=seal,
        yank=record,
        written=written,
        already=already,
        tags=tuple(sorted(tag for tag in named if named[tag] == seal.digest and _moves(tag))),
        children=children,
        hosts=tuple(one for bad in (seal, *children) for one in _affected(bad, overview)),
    )


def _moves(tag: str) -> bool:
    """Tell an alias from a release's own tag, which never moves, and from the channel, which is a host's."""
    return tag != CHANNEL and not _WHOLE.fullmatch(tag)


def _affected(seal: Seal, overview: Overview) -> list[Affected]:
    uses: list[Use] = list(overview.used_by(seal))
    channel = overview.lineage.channel(seal.name)
    follows = seal.tier is Tier.INSTANCE and channel is not None and channel.digest == seal.digest
    if follows and all(use == "may fall back to" for use, _ in uses):
        uses.insert(0, ("channel", overview.host(seal.name)))
    to = overview.way_out(seal.name)
    return [Affected(use=use, host=view.host, seal=seal, to=to) for use, view in uses]
