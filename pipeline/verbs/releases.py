"""`pipeline releases [IMAGE]`: what is released, newest first, by the ledger alone.

Rules: the ledger is read once and no registry is asked, so that it answers at once and anywhere; whether the
registry agrees is for `audit` to say. Where the ledger's remote cannot be reached, what this clone saw last
is shown, and said so.
"""

from __future__ import annotations

from pipeline.domain.image import Digest
from pipeline.domain.overview import Overview, image_named
from pipeline.domain.record import LedgerReader, Record
from pipeline.domain.seen import Releases, ReleaseView
from pipeline.errors import LedgerRemoteError


def releases(
    ledger: LedgerReader, *, image: str | None = None, only: str | None = None, line: str | None = None
) -> Releases:
    """Return the releases of one image, or of all.

    Args:
        ledger: Where the records are.
        image: `LINE/NAME`, or `NAME`; None for every image.
        only: One line's images alone; None for all.
        line: The line that decides between images of one name.

    Raises:
        NotFoundError: There is no such image.
        UsageError: Several lines have such an image.
        LedgerError: The ledger is damaged, rewritten or not understood.
    """
    records, notice = latest_records(ledger)
    overview = Overview(records)
    if image is None:
        wanted = tuple(name for name in overview.lineage.names if only in (None, name.partition("/")[0]))
    else:
        wanted = (image_named(image, overview.names, line),)
    return Releases(images={name: _views(name, overview) for name in wanted}, notice=notice)


def latest_records(ledger: LedgerReader) -> tuple[tuple[Record, ...], str]:
    """Return the ledger's records, and why they may not be the newest.

    Raises:
        LedgerError: The ledger is damaged, rewritten or not understood.
    """
    try:
        return ledger.read(), ""
    except LedgerRemoteError as error:
        return ledger.read(offline=True), f"{error.message}; shown is what this clone saw last"


def _views(name: str, overview: Overview) -> tuple[ReleaseView, ...]:
    lineage = overview.lineage
    named: dict[Digest, list[str]] = {}
    for tag, digest in lineage.tags(name).items():
        named.setdefault(digest, []).append(tag)
    own = {f"v{seal.version}" for seal in lineage.releases(name)}
    return tuple(
        ReleaseView(
            seal=seal,
            candidate=overview.candidate_of(seal),
            tags=tuple(sorted(tag for tag in named.get(seal.digest, ()) if tag not in own)),
            yank=lineage.yank_of(seal),
            unsound=not overview.sound(seal),
            removed=overview.removed(seal),
        )
        for seal in reversed(lineage.releases(name))
    )
