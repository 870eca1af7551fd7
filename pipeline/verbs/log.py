"""`pipeline log [IMAGE]`: what happened, oldest first, straight from the ledger."""

from __future__ import annotations

import difflib

from pipeline.domain.record import LedgerReader, Record
from pipeline.domain.text import plain
from pipeline.errors import NotFoundError


def log(ledger: LedgerReader, *, image: str | None = None, offline: bool = False) -> tuple[Record, ...]:
    """Return the records of one image (`base`, or `debian/base` where lines share names), or of all.

    Args:
        ledger: Where the records are.
        image: The image's name; None for every image.
        offline: Ask no remote; the newest records may be missing.

    Raises:
        NotFoundError: No record speaks of that image.
        LedgerError: The ledger is damaged, rewritten or not understood.
        LedgerRemoteError: The remote cannot be reached.
    """
    records = ledger.read(offline=offline)
    if image is None:
        return records
    found = tuple(
        record
        for record in records
        if any(image in (name, name.partition("/")[2]) for name in record.names())
    )
    if not found:
        raise NotFoundError(f"the ledger has no record of {plain(image)!r}", hint=_nearest(image, records))
    return found


def _nearest(image: str, records: tuple[Record, ...]) -> str:
    known = sorted({name for record in records for name in record.names()})
    if not known:
        return "the ledger is empty: build an image first, with `pipeline build`"
    names = {name.partition("/")[2]: name for name in known} | {name: name for name in known}
    near = difflib.get_close_matches(image, names, n=1, cutoff=0.5)
    return f"did you mean {names[near[0]]}?" if near else f"known are {', '.join(known[:10])}"
