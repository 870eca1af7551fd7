"""Many hosts to their releases, in waves, with a limit on failures.

Rules: the first wave is small; the next one starts only when the failures so far are within the limit; inside
a wave no further host is begun once the limit is passed; one host's failure is its own and never ends another
that is under way. What was not begun is told. A run that is interrupted begins nothing more.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from pipeline.errors import InterruptedRunError, PipelineError, UsageError
from pipeline.verbs.host_journal import HostOrder

T = TypeVar("T")
"""What comes of one host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waves:
    """How many hosts at once.

    Attributes:
        first: Hosts of the first wave.
        size: Hosts of each further wave, all at once.
        failures: How many hosts may fail before nothing more is begun.
    """

    first: int = 1
    size: int = 10
    failures: int = 0

    def __post_init__(self) -> None:
        if self.first < 1 or self.size < 1 or self.failures < 0:
            raise UsageError(
                "a wave has at least one host, and the limit on failures is not negative",
                hint="give numbers from 1 on for the waves and from 0 on for failures",
            )

    def split(self, orders: Sequence[HostOrder]) -> Iterator[Sequence[HostOrder]]:
        """Yield the waves, in order."""
        if orders:
            yield orders[: self.first]
        for start in range(self.first, len(orders), self.size):
            yield orders[start : start + self.size]


@dataclass(frozen=True, slots=True, kw_only=True)
class HostReport(Generic[T]):
    """What became of one host of many.

    Attributes:
        order: What was wanted.
        outcome: What came of it, or None.
        error: Why it failed, or None; neither means that it was not begun.
    """

    order: HostOrder
    outcome: T | None = None
    error: PipelineError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout(Generic[T]):
    """What became of all hosts, in the order they were given."""

    hosts: tuple[HostReport[T], ...]

    @property
    def failed(self) -> tuple[HostReport[T], ...]:
        """Hosts that failed."""
        return tuple(one for one in self.hosts if one.error is not None)

    @property
    def left(self) -> tuple[HostReport[T], ...]:
        """Hosts that were not begun."""
        return tuple(one for one in self.hosts if one.error is None and one.outcome is None)


def roll_out(
    orders: Sequence[HostOrder],
    switch: Callable[[HostOrder], T],
    *,
    waves: Waves,
    on_host: Callable[[HostReport[T]], None] = lambda _: None,
    stop: Callable[[], None] = lambda: None,
) -> Rollout[T]:
    """Switch hosts in waves until all are done or too many failed.

    Args:
        orders: The hosts, each once.
        switch: Brings one host to its release; called from several threads.
        waves: How many at once, and how many may fail.
        on_host: Called when a host is done, from its thread.
        stop: Ends what is under way in the other threads, when the run is interrupted.

    Raises:
        UsageError: A host is named twice.
        InterruptedRunError: The run was ended.
    """
    names = [order.host for order in orders]
    if len(set(names)) != len(names):
        raise UsageError("a host is named twice", hint="name each host once")
    run = _Rolling(switch, waves.failures, on_host)
    found: dict[str, HostReport[T]] = {}
    for wave in waves.split(orders):
        if run.stopped:
            break
        with ThreadPoolExecutor(max_workers=len(wave), thread_name_prefix="host") as pool:
            try:
                found |= {report.order.host: report for report in pool.map(run.one, wave)}
            except BaseException:
                # Leaving the pool waits for its threads, which may wait for a host's reboot.
                run.end()
                stop()
                raise
    return Rollout(hosts=tuple(found.get(order.host, HostReport(order=order)) for order in orders))


class _Rolling(Generic[T]):
    """Counts failures over all threads."""

    def __init__(
        self,
        switch: Callable[[HostOrder], T],
        limit: int,
        on_host: Callable[[HostReport[T]], None],
    ) -> None:
        self._switch = switch
        self._limit = limit
        self._on_host = on_host
        self._failures = 0
        self._ended = False
        self._lock = threading.Lock()

    @property
    def stopped(self) -> bool:
        """Whether too many failed, or the run was ended."""
        with self._lock:
            return self._ended or self._failures > self._limit

    def end(self) -> None:
        """Begin nothing more."""
        with self._lock:
            self._ended = True

    def one(self, order: HostOrder) -> HostReport[T]:
        """Switch one host, unless too many failed already."""
        if self.stopped:
            return HostReport(order=order)
        report = self._tried(order)
        self._on_host(report)
        return report

    def _tried(self, order: HostOrder) -> HostReport[T]:
        try:
            return HostReport(order=order, outcome=self._switch(order))
        except InterruptedRunError:
            raise
        except PipelineError as error:
            with self._lock:
                self._failures += 1
            return HostReport(order=order, error=error)
