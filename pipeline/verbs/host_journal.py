"""What is recorded of a host on its way to a release: one record a step, each step once a way.

Rules: a way begins with `wanted` and ends with `booted` or `failed`, or when a release moves the channel on;
run again after a crash, the same way goes on and nothing is recorded twice; a step is recorded when it was
seen on the host or in the registry, not when ordered. Safe to use from several threads.
"""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from pipeline.domain.decision import Release
from pipeline.domain.hostcontrol.target import Target
from pipeline.domain.image import NAME
from pipeline.domain.lineage import CHANNEL
from pipeline.domain.record import LedgerWriter, Record, harmless
from pipeline.domain.release import Deployment, Seal, Step
from pipeline.errors import UsageError

_ENDS = frozenset({Step.BOOTED, Step.FAILED})


@dataclass(frozen=True, slots=True, kw_only=True)
class HostOrder:
    """One host and where it shall go.

    Attributes:
        host: Its name.
        target: The release.
        why: Why, one line, for the record.
        before: The release it leaves, where that is known.
    """

    host: str
    target: Target
    why: str
    before: Release | None = None

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.host):
            raise UsageError(f"{self.host!r} is no host", hint="use lower-case letters, digits and '-'")


class HostJournal:
    """Records steps in the ledger.

    Args:
        ledger: Where records go.
        known: The ledger's records so far, oldest first.
        clock: The time, UTC.
        author: Who records.
    """

    def __init__(
        self, ledger: LedgerWriter, known: Iterable[Record], *, clock: Callable[[], dt.datetime], author: str
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._author = author
        self._lock = threading.Lock()
        self._ways = ways_of(known)

    def begin(self, order: HostOrder) -> None:
        """Record that a host's channel is about to be moved, unless that is the last that was recorded.

        Raises:
            LedgerError, LedgerRaceError, LedgerRemoteError: The ledger did not take it.
        """
        with self._lock:
            way = self._ways.get(_key(order), [])
            if not way or way[-1].step is not Step.WANTED or way[-1].digest != order.target.digest:
                self._write(order, Step.WANTED, order.why)

    def note(self, order: HostOrder, step: Step, why: str = "") -> None:
        """Record a step unless this way has it already.

        Raises:
            LedgerError, LedgerRaceError, LedgerRemoteError: The ledger did not take it.
        """
        with self._lock:
            if self._has(order, step):
                return
            self._write(order, step, why or order.why)

    def _write(self, order: HostOrder, step: Step, why: str) -> None:
        record = self._record(order, step, why)
        self._ledger.append([record])
        _keep(self._ways, record)

    def _has(self, order: HostOrder, step: Step) -> bool:
        way = self._ways.get(_key(order), [])
        same = bool(way) and way[-1].digest == order.target.digest
        if not same:
            return False
        if way[-1].step in _ENDS:
            # The way is over: seeing its end once more is no news, anything else begins the next.
            return step is way[-1].step is Step.BOOTED
        return any(record.step is step for record in way)

    def _record(self, order: HostOrder, step: Step, why: str) -> Deployment:
        target = order.target
        return Deployment(
            time=self._clock().replace(microsecond=0),
            author=self._author,
            line=target.line,
            image=target.image,
            repository=target.repository,
            digest=target.digest,
            version=target.version,
            host=order.host,
            step=step,
            why=harmless(why),
            before=order.before,
        )


Ways = dict[tuple[str, str], list[Deployment]]
"""Line and name of a host to the records of the way it is on, or was on last."""


def ways_of(records: Iterable[Record]) -> Ways:
    """Return each host's last way; a release that has moved its channel since leaves it none."""
    ways: Ways = {}
    for record in records:
        if isinstance(record, Deployment):
            _keep(ways, record)
        elif isinstance(record, Seal) and CHANNEL in record.aliases:
            ways.pop((record.line, record.image), None)
    return ways


def _key(order: HostOrder) -> tuple[str, str]:
    return order.target.line, order.host


def _keep(ways: Ways, record: Deployment) -> None:
    way = ways.setdefault((record.line, record.host), [])
    if record.step is Step.WANTED or (way and way[-1].digest != record.digest):
        way.clear()
    way.append(record)
