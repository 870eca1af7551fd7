"""A ledger in memory: read, added to, counted, and cut off from its remote when a test says so."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipeline.domain.record import Record
from pipeline.errors import LedgerRemoteError


class ShelfLedger:
    """Records in memory.

    `reads` counts; `down` takes the remote away; `between` are records that another writer adds just before
    the next one is taken.
    """

    def __init__(self, *records: Record) -> None:
        self.records = list(records)
        self.between: list[Record] = []
        self.reads = 0
        self.down = False

    def read(self, *, offline: bool = False) -> tuple[Record, ...]:
        self.reads += 1
        if self.down and not offline:
            raise LedgerRemoteError("origin cannot be reached", hint="mend the connection")
        return tuple(self.records)

    def append(
        self, records: Sequence[Record], *, check: Callable[[tuple[Record, ...]], None] | None = None
    ) -> str:
        self.records += self.between
        self.between = []
        if check is not None:
            check(tuple(self.records))
        self.records += records
        return "c" * 40
