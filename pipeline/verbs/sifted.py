"""The ledger for verbs that show what is there, also when somebody wrote to it who may not.

Rules: what its author may not write is left out of the records, never shown as one of them, and told beside
them; every other fault of the ledger is an error as ever.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Protocol

from pipeline.domain.audit import Finding, What
from pipeline.domain.record import Record
from pipeline.domain.writers import Breach, Sifted


class Sifting(Protocol):
    """A ledger that tells good records from others; `adapters.ledger.Ledger` is one."""

    def read(self, *, offline: bool = False) -> tuple[Record, ...]:
        """Return every record, oldest first; raises when an author may not write what he wrote."""

    def sift(self) -> Sifted:
        """Return the records that their authors may write, and the commits of others."""


class SiftedLedger:
    """Implements `domain.record.LedgerReader` without what authors may not write.

    Attributes:
        breaches: The commits that the last reading left out.
    """

    def __init__(self, ledger: Sifting) -> None:
        self._ledger = ledger
        self.breaches: tuple[Breach, ...] = ()

    def read(self, *, offline: bool = False) -> tuple[Record, ...]:
        """Return the good records, oldest first; offline nothing is sifted.

        Raises:
            LedgerError: The ledger is damaged, rewritten or not understood.
            LedgerRemoteError: The remote cannot be reached.
        """
        if offline:
            return self._ledger.read(offline=True)
        found = self._ledger.sift()
        self.breaches = found.breaches
        return found.records


def writer_findings(breaches: Iterable[Breach], images: Collection[str]) -> Iterator[Finding]:
    """Yield each commit whose author may not write what is in it, of these images or of all."""
    for one in breaches:
        if images and not one.images & frozenset(images):
            continue
        yield Finding(
            what=What.WRITER,
            image=next(iter(one.images)) if len(one.images) == 1 else "",
            text=f"the ledger holds {one}; it is left out here",
            todo=f"git show {one.commit[:12]}; have it taken off the branch, for every other verb refuses it",
        )
