"""Brings one host to a release by the host's own means, waits for its reboot, and proves what booted.

Rules: the plan is made anew from the host's state before every step, so that a run that was cut off is
continued by the same command; no action but those on timers is done twice in one run, so the toggle is never
pressed twice and a host that comes back wrong is not rebooted in circles; what counts is what the host says
after the boot, never that a command succeeded. A timer this run paused is started again when it fails before
the reboot.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from pipeline.domain.hostcontrol.consequences import consequences
from pipeline.domain.hostcontrol.plan import AFTERWARDS, Action, PlanStep, at_target, plan_for, prepared
from pipeline.domain.hostcontrol.state import BootEntry, HostState
from pipeline.domain.hostcontrol.target import Target
from pipeline.domain.hostcontrol.zfs import Pool, require_importable
from pipeline.domain.release import Step
from pipeline.errors import HostError, InterruptedRunError, PipelineError, ToolFailedError
from pipeline.verbs.host_journal import HostOrder

_REPEATABLE = AFTERWARDS | {Action.PAUSE}
_LONGEST = 40
"""Steps of one run; more means that a host does not do what it is told."""


class HostDriver(Protocol):
    """One host, reached."""

    @property
    def name(self) -> str:
        """The host, for messages."""

    def state(self) -> HostState:
        """Return what the host runs, has staged and could fall back to."""

    def boot_id(self) -> str:
        """Return the id of the boot that runs."""

    def pools(self) -> tuple[Pool, ...]:
        """Return its imported ZFS pools."""

    def carry_out(self, step: PlanStep) -> None:
        """Run a step's command; for a reboot, return when it was asked for."""

    def resume(self, unit: str) -> None:
        """Start a timer that was paused."""


class Journal(Protocol):
    """Keeps what happened to hosts."""

    def note(self, order: HostOrder, step: Step, why: str = "") -> None:
        """Record a step of an order, once."""


class Result(StrEnum):
    """What became of a host."""

    SWITCHED = "switched"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostPlan:
    """What would be done to a host.

    Attributes:
        order: What is wanted.
        state: What the host is now.
        steps: What would be done, in order.
        facts: What a person must know before it is.
    """

    order: HostOrder
    state: HostState
    steps: tuple[PlanStep, ...]
    facts: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HostOutcome:
    """What became of one host.

    Attributes:
        order: What was wanted.
        result: Switched, or unchanged since it was there.
        before, after: Its state then and now.
        steps: What was done.
        facts: What follows from it.
    """

    order: HostOrder
    result: Result
    before: HostState
    after: HostState
    steps: tuple[PlanStep, ...]
    facts: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """How to wait for a reboot.

    Attributes:
        reboot_seconds: Longest time from the order until the host answers with a new boot.
        every_seconds: Pause between looks.
        clock: Seconds that only grow.
        sleep: Waits that many seconds.
    """

    reboot_seconds: float = 900
    every_seconds: float = 5
    clock: Callable[[], float] = field(default=time.monotonic)
    sleep: Callable[[float], None] = field(default=time.sleep)


def status_of(driver: HostDriver) -> HostState:
    """Return what a host runs, has staged and could fall back to; asks once and changes nothing.

    `HostState.entries()` yields each installed image with its role, `digests` what must stay in the registry
    for this host, `complete` whether it told everything, `unknown` what it did not tell. A driver comes from
    `adapters.hosts.reach`, which takes the address as it stands on the command line (`ssh://user@host:port`).

    Raises:
        HostError: It cannot be reached or its answer is not understood.
    """
    return driver.state()


def plan_host(driver: HostDriver, order: HostOrder, *, unsafe_pools: bool = False) -> HostPlan:
    """Return what would be done to a host; changes nothing.

    Args:
        driver: The host.
        order: What is wanted.
        unsafe_pools: Go on although a ZFS pool could not be imported there.

    Raises:
        HostError: It cannot be reached, cannot be switched now, or would lose a pool.
    """
    state = driver.state()
    steps = plan_for(state, order.target)
    if not unsafe_pools and not order.target.is_(state.booted):
        require_importable(driver.pools(), order.target.zfs)
    return HostPlan(order=order, state=state, steps=steps, facts=consequences(state, order.target, steps))


def switch_host(
    driver: HostDriver,
    order: HostOrder,
    *,
    journal: Journal,
    waiting: Waiting,
    unsafe_pools: bool = False,
    on_step: Callable[[PlanStep], None] = lambda _: None,
) -> HostOutcome:
    """Bring a host to a release and return what it runs then; continue where an earlier run was cut off.

    Args:
        driver: The host.
        order: What is wanted.
        journal: Where each step is recorded.
        waiting: How to wait for the reboot.
        unsafe_pools: Go on although a ZFS pool could not be imported there.
        on_step: Called before each step.

    Raises:
        HostError: It cannot be reached or switched, or it came back with something else.
        ToolFailedError: A command on it failed.
        LedgerError, LedgerRaceError, LedgerRemoteError: A step could not be recorded.
    """
    plan = plan_host(driver, order, unsafe_pools=unsafe_pools)
    if any(step.action not in AFTERWARDS for step in plan.steps):
        journal.note(order, Step.WANTED)
    run = _Run(driver, order.target, waiting, on_step)
    try:
        after = _carry_out(run, order, journal, plan.state)
    except (InterruptedRunError, KeyboardInterrupt):
        run.resume()
        raise
    except PipelineError as error:
        run.resume()
        _note_failure(journal, order, error)
        raise
    return HostOutcome(
        order=order,
        result=Result.SWITCHED if run.done else Result.UNCHANGED,
        before=plan.state,
        after=after,
        steps=tuple(run.done),
        facts=plan.facts,
    )


def _carry_out(run: _Run, order: HostOrder, journal: Journal, state: HostState) -> HostState:
    while True:
        run.require_right_boot(state)
        if prepared(state, order.target):
            journal.note(order, Step.STAGED)
        if at_target(state, order.target):
            journal.note(order, Step.BOOTED)
        steps = plan_for(state, order.target)
        if not steps:
            return state
        run.carry_out(run.next_of(steps, state), state)
        state = run.look()


def _note_failure(journal: Journal, order: HostOrder, error: PipelineError) -> None:
    """Record why it failed; what went wrong is told even where that cannot be recorded."""
    with contextlib.suppress(PipelineError):
        journal.note(order, Step.FAILED, error.message)


class _Run:
    """One run on one host: which actions were done, which timers paused."""

    def __init__(
        self, driver: HostDriver, target: Target, waiting: Waiting, on_step: Callable[[PlanStep], None]
    ) -> None:
        self._driver = driver
        self._target = target
        self._waiting = waiting
        self._on_step = on_step
        self._paused: list[str] = []
        self.done: list[PlanStep] = []

    def look(self) -> HostState:
        return self._driver.state()

    def next_of(self, steps: tuple[PlanStep, ...], state: HostState) -> PlanStep:
        """Return the step to do now: what was just done and does not show in the state is stepped over."""
        first = steps[0].action
        hidden = first is Action.SELECT or (first is Action.SWITCH and state.next is None)
        just_done = bool(self.done) and self.done[-1].action is first
        return steps[1] if hidden and just_done else steps[0]

    def require_right_boot(self, state: HostState) -> None:
        """Refuse to go on when the host rebooted into something else.

        Raises:
            HostError: It did.
        """
        rebooted = any(step.action is Action.REBOOT for step in self.done)
        if rebooted and not self._target.is_(state.booted):
            raise HostError(
                f"{self._driver.name} rebooted and runs {_shown(state.booted)}, not {self._target.reference}",
                hint="read the log of the failed boot on the host (`journalctl -b -1`) before trying again",
            )

    def carry_out(self, step: PlanStep, state: HostState) -> None:
        self._refuse_again(step, state)
        self._on_step(step)
        if step.action is Action.REBOOT:
            self._reboot(step)
        else:
            if step.action is Action.PAUSE:
                self._paused.append(step.argv[-1])
            self._driver.carry_out(step)
        self.done.append(step)

    def resume(self) -> None:
        """Start again what was paused, as far as the host can be reached."""
        for unit in self._paused:
            with contextlib.suppress(PipelineError):
                self._driver.resume(unit)

    def _reboot(self, step: PlanStep) -> None:
        before = self._driver.boot_id()
        self._driver.carry_out(step)
        self._paused.clear()
        _wait_for_boot(self._driver, before, self._waiting)

    def _refuse_again(self, step: PlanStep, state: HostState) -> None:
        if len(self.done) >= _LONGEST:
            raise HostError(
                f"{self._driver.name} does not do what it is told: {step}", hint="look at the host's log"
            )
        if step.action in _REPEATABLE or all(done.action is not step.action for done in self.done):
            return
        raise HostError(
            f"{self._driver.name} was told to boot {self._target.reference} next, "
            f"but would boot {_shown(state.next)}",
            hint="look at its status on the host; it may hold a rollback that someone else has queued",
        )


def _shown(entry: BootEntry | None) -> str:
    if entry is None:
        return "something it does not tell"
    return f"{entry} in its {entry.slot} slot" if entry.slot else str(entry)


def _wait_for_boot(driver: HostDriver, before: str, waiting: Waiting) -> None:
    """Return when the host answers with another boot than `before` and tells its state.

    Soon after a boot a host may answer before the services that know its images do.
    """
    end = waiting.clock() + waiting.reboot_seconds
    while waiting.clock() < end:
        waiting.sleep(waiting.every_seconds)
        with contextlib.suppress(HostError, ToolFailedError):
            if driver.boot_id() != before:
                driver.state()
                return
    raise HostError(
        f"{driver.name} did not come back within {waiting.reboot_seconds:.0f} s of its reboot",
        hint="look at its console; run the same command again when it answers, it continues from there",
    )
