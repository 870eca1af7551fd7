"""The way from what a host runs to what it shall run, as data: steps with their exact commands.

Rules, for bootc and rpm-ostree:
1. `rollback` is a toggle that swaps two entries and drops a staged one without a word. It is planned only
   when the wanted image is the fallback, nothing is staged, and it is known that the toggle was not pressed
   yet. Where one of these is unknown, the host is switched to the digest, which may be said twice.
2. A rollback that is queued already is not queued again: only the reboot is left.
3. Timers that update the host are paused before anything changes. They come back with the next boot.
4. Where the host then runs the wanted image but follows a tag that is not known to name it, its timers are
   masked, or they would undo the rollback within hours. This comes after the boot: a rollback brings back the
   old /etc, and with it the old links of systemd. What was masked so is marked, and works again as soon as
   the host stays on the image without that; a mask without the mark is somebody else's and is left alone.
For Kairos: a fallback that holds the wanted image is selected for one boot and made durable by an upgrade to
that same image; else the active slot is upgraded.

The plan is made anew from the state before each step, so an interrupted run continues where the host is.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from pipeline.domain.hostcontrol.kairos import ACTIVE, PASSIVE
from pipeline.domain.hostcontrol.state import HostState, System, Timer
from pipeline.domain.hostcontrol.target import Target
from pipeline.errors import HostError


class Action(StrEnum):
    """What a step does to a host."""

    PAUSE = "pause"
    SWITCH = "switch"
    RELEASE = "release"
    ROLLBACK = "rollback"
    SELECT = "select"
    REBOOT = "reboot"
    MAKE_DURABLE = "make-durable"
    HOLD = "hold"
    FREE = "free"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanStep:
    """One step.

    Attributes:
        action: What it does.
        argv: The exact command on the host.
        why: What it is for.
    """

    action: Action
    argv: tuple[str, ...]
    why: str

    def __str__(self) -> str:
        return shlex.join(self.argv)


AFTERWARDS = frozenset({Action.HOLD, Action.FREE})
"""What is done to a host that is there already."""

_TOGGLE = "the wanted image is the fallback and nothing is staged"
_RELEASE = "the wanted image is downloaded and held back; this lets the next boot take it"
_FETCH = "the wanted image is fetched by digest, checked by the host's own policy, and staged"


def reboot_command(system: System) -> tuple[str, ...]:
    """Return the command that reboots a host; a Kairos host need not have systemd."""
    return ("reboot",) if system is System.KAIROS else ("systemctl", "reboot")


def switch_command(system: System, target: Target) -> tuple[str, ...]:
    """Return the command that fetches the target by digest and has the next boot run it."""
    match system:
        case System.BOOTC:
            return ("bootc", "switch", "--enforce-container-sigpolicy", target.reference)
        case System.RPM_OSTREE:
            return ("rpm-ostree", "rebase", f"ostree-image-signed:docker://{target.reference}")
        case System.KAIROS:
            return ("kairos-agent", "upgrade", "--source", f"oci:{target.reference}")


def plan_for(state: HostState, target: Target) -> tuple[PlanStep, ...]:
    """Return the steps from a state to the target; none when the host is there to stay.

    Raises:
        HostError: The host is not managed by what it was asked with, cannot be changed, or is at work.
    """
    require_managed(state)
    steps = tuple(_kairos(state, target) if state.system is System.KAIROS else _toggling(state, target))
    if all(step.action in AFTERWARDS for step in steps):
        return steps
    _require_idle(state)
    return (*_pauses(state), *steps)


def at_target(state: HostState, target: Target) -> bool:
    """Tell whether the host runs the target and nothing it told says that its next boot will not.

    An old bootc does not tell what boots next; a host of that kind is there when it runs the target.
    """
    return target.is_(state.booted) and (state.next is None or target.is_(state.next))


def prepared(state: HostState, target: Target) -> bool:
    """Tell whether the next boot of a host that runs something else is the target."""
    return not target.is_(state.booted) and target.is_(state.next)


def require_managed(state: HostState) -> None:
    """Let a host pass that can be switched.

    Raises:
        HostError: It cannot, with what to do about it.
    """
    if state.booted is None:
        raise HostError(
            f"the host does not run an image that {state.system} manages",
            hint="look at its status there; a live medium or an ordinary installation cannot be switched",
        )
    if state.read_only:
        raise HostError(
            "the host runs from a read-only medium", hint="boot the installed system, then run this again"
        )
    if state.booted.foreign:
        raise HostError(
            f"{state.booted} was changed on the host (layered packages or overrides)",
            hint="bring the changes into the definition and remove them with `rpm-ostree reset` on the host",
        )


def _require_idle(state: HostState) -> None:
    at_work = state.busy or next((timer.unit for timer in state.timers if timer.working), "")
    if at_work:
        raise HostError(
            f"the host is changing its images right now: {at_work}",
            hint="wait for it to end, then run the same command again",
        )


def _toggling(state: HostState, target: Target) -> Iterator[PlanStep]:
    if at_target(state, target):
        yield from _holds(state, target)
        return
    if not target.is_(state.next):
        yield _preparation(state, target)
    if not target.is_(state.booted):
        yield _reboot(state.system)


def _reboot(system: System) -> PlanStep:
    return PlanStep(
        action=Action.REBOOT, argv=reboot_command(system), why="what was prepared takes effect at boot"
    )


def _preparation(state: HostState, target: Target) -> PlanStep:
    if may_toggle(state, target):
        return PlanStep(action=Action.ROLLBACK, argv=(state.system.value, "rollback"), why=_TOGGLE)
    if target.is_(state.staged) and state.system is System.BOOTC:
        return PlanStep(action=Action.RELEASE, argv=("bootc", "upgrade", "--from-downloaded"), why=_RELEASE)
    return PlanStep(action=Action.SWITCH, argv=switch_command(state.system, target), why=_FETCH)


def may_toggle(state: HostState, target: Target) -> bool:
    """Tell whether pressing the toggle once leads to the target and loses nothing."""
    return (
        target.is_(state.fallback)
        and state.staged is None
        and not state.unknown & {"staged", "fallback"}
        and state.queued is False
    )


def _kairos(state: HostState, target: Target) -> Iterator[PlanStep]:
    if at_target(state, target):
        return
    durable = PlanStep(
        action=Action.MAKE_DURABLE,
        argv=switch_command(System.KAIROS, target),
        why="the fallback lasts one boot; an upgrade to the same image makes it the one that is booted",
    )
    if target.is_(state.booted):
        yield durable
    elif target.is_(state.next):
        yield _reboot(state.system)
    elif target.is_(state.fallback):
        yield PlanStep(
            action=Action.SELECT,
            argv=("kairos-agent", "bootentry", "--select", "fallback"),
            why=f"the {PASSIVE} slot holds the wanted image",
        )
        yield _reboot(state.system)
        yield durable
    else:
        yield PlanStep(
            action=Action.SWITCH,
            argv=switch_command(System.KAIROS, target),
            why=f"the wanted image is fetched by digest into the {ACTIVE} slot",
        )
        yield _reboot(state.system)


def _pauses(state: HostState) -> Iterator[PlanStep]:
    for timer in state.timers:
        if timer.active:
            yield PlanStep(
                action=Action.PAUSE,
                argv=("systemctl", "stop", timer.unit),
                why="an update in between would replace what is prepared",
            )


def _holds(state: HostState, target: Target) -> Iterator[PlanStep]:
    moved = next((entry for entry in (state.next, state.booted) if entry and not target.keeps(entry)), None)
    if moved is None:
        yield from _frees(state)
        return
    for timer in state.timers:
        if timer.active or timer.enabled:
            why = f"the host follows {moved.reference}; this timer would undo the rollback"
            if not timer.held:
                # First: a run that is killed in between must not leave a mask that nobody takes away.
                mark = ("systemctl", "mask", timer.mark)
                yield PlanStep(action=Action.HOLD, argv=mark, why=f"as a mark: {why}")
            yield PlanStep(action=Action.HOLD, argv=("systemctl", "mask", "--now", timer.unit), why=why)


def _frees(state: HostState) -> Iterator[PlanStep]:
    for timer in state.timers:
        if timer.held:
            for argv in release_commands(timer):
                yield PlanStep(
                    action=Action.FREE, argv=argv, why="a rollback masked this timer, and need not any more"
                )


def release_commands(timer: Timer) -> tuple[tuple[str, ...], ...]:
    """Return the commands that let a timer work again that a rollback masked; the mark goes last."""
    unmask = ("systemctl", "unmask", timer.unit)
    start = ("systemctl", "start", timer.unit)
    done = ("systemctl", "unmask", timer.mark)
    return (*((unmask,) if timer.masked else ()), *(() if timer.active else (start,)), done)
