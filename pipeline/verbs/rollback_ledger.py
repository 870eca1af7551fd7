"""The ledger as a rollback needs it: read once, asked for a yank with each wish, kept here when cut off.

Rules: a wish for a release that was yanked or pruned meanwhile is refused in the write that would record it;
what was done is recorded whatever was yanked; cut off from the remote it goes on only when told, and what it
records waits in this clone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from pipeline.domain.lineage import Lineage
from pipeline.domain.record import Record
from pipeline.domain.release import Deployment, Step
from pipeline.errors import GateRefusedError, LedgerRemoteError

_OTHER = "take another release; `pipeline releases` lists them"


class RollbackLedger(Protocol):
    """The ledger; `adapters.ledger.Ledger` is one."""

    def read(self, *, offline: bool = False) -> tuple[Record, ...]:
        """Return every record, oldest first."""

    def kept(self) -> tuple[Record, ...]:
        """Return the records that wait here because the remote could not be reached."""

    def append(
        self, records: Sequence[Record], *, check: Callable[[tuple[Record, ...]], None] | None = None
    ) -> str:
        """Write records unless `check` raises on what is there just before."""


class OpenLedger:
    """The ledger as a rollback reads and writes it; its records are read once. Safe for threads.

    Args:
        ledger: The ledger.
        offline: Whether this clone's copy does where the remote cannot be reached; records then wait here.

    Raises:
        LedgerError: The ledger is damaged, rewritten or not understood.
        LedgerRemoteError: The remote cannot be reached, and `offline` is not set.
    """

    def __init__(self, ledger: RollbackLedger, *, offline: bool = False) -> None:
        self._ledger = ledger
        self._lock = threading.Lock()
        self.cut_off = ""
        try:
            self.records = ledger.read()
        except LedgerRemoteError as error:
            if not offline:
                raise
            self.cut_off = error.message
            self.records = (*ledger.read(offline=True), *ledger.kept())
        self.lineage = Lineage(self.records)

    def append(self, records: Sequence[Record]) -> str:
        """Write records; a wish for a release that was yanked or pruned meanwhile is refused with it.

        Raises:
            GateRefusedError: It was.
            LedgerError, LedgerRaceError, LedgerRemoteError: They could not be written.
        """
        with self._lock:
            return self._append_offline(records) if self.cut_off else self._append(records)

    def _append(self, records: Sequence[Record]) -> str:
        wishes = [one for one in records if isinstance(one, Deployment) and one.step is Step.WANTED]
        return self._ledger.append(records, check=_still_there(wishes) if wishes else None)

    def _append_offline(self, records: Sequence[Record]) -> str:
        try:
            return self._ledger.append(records)
        except LedgerRemoteError:
            waiting = {one.id for one in self._ledger.kept()}
            if not all(one.id in waiting for one in records):
                raise
            return ""


def _still_there(wishes: Sequence[Deployment]) -> Callable[[tuple[Record, ...]], None]:
    def check(there: tuple[Record, ...]) -> None:
        lineage = Lineage(there)
        for wish in wishes:
            if lineage.pruned(wish.repository, wish.digest):
                raise GateRefusedError(
                    f"{wish.name} v{wish.version} was deleted by `pipeline prune`", hint=_OTHER
                )
            releases = [one for one in lineage.releases(wish.name) if one.version == wish.version]
            yank = lineage.yank_of(releases[0]) if releases else None
            if yank is not None:
                raise GateRefusedError(f"{wish.name} v{wish.version} was yanked: {yank.why}", hint=_OTHER)

    return check
