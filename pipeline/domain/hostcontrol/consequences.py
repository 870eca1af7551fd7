"""What a person must know before a host is switched: what comes back, what does not, what follows.

Rules: facts of the systems, said before anything is done; nothing here decides.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from pipeline.domain.hostcontrol.plan import AFTERWARDS, Action, PlanStep, reboot_command, switch_command
from pipeline.domain.hostcontrol.state import HostState, System
from pipeline.domain.hostcontrol.target import Target

_VAR = (
    "/var does not come back: data, databases and their schemas stay as the newer release left them, "
    "and so do volumes and storage of containers"
)
_ETC_FORWARD = "/etc is merged forward: local changes are kept on top of the wanted image's own /etc"
_ETC_BACK = (
    "/etc comes back as it was when the wanted image last ran: changes to /etc since then are not in it, "
    "and return only with the image they were made on"
)
_ETC_EITHER = (
    "/etc: a switch keeps local changes on top of the wanted image's own, a rollback to the host's fallback "
    "brings /etc back as it was when that image last ran"
)
STAYS = (
    _VAR,
    _ETC_EITHER,
    "a host that follows the channel takes the release at its next update by itself",
)
"""What is true of a host that was not asked."""

_KAIROS_STAYS = "/usr/local and /oem do not come back; /etc is made anew at each boot from the image and /oem"
_KAIROS_ONCE = (
    "the fallback is booted once; if the upgrade after it fails, the next boot takes the active slot"
)


def consequences(state: HostState, target: Target, steps: Sequence[PlanStep]) -> tuple[str, ...]:
    """Return what carrying out the plan means, one fact a line."""
    return tuple(_facts(state, target, {step.action for step in steps}))


def _facts(state: HostState, target: Target, actions: set[Action]) -> Iterator[str]:
    if not actions - AFTERWARDS:
        if Action.FREE in actions:
            yield "the host stays on the release: the update timers that a rollback masked work again"
        return
    if state.system is System.KAIROS:
        yield _KAIROS_STAYS
        if Action.SELECT in actions:
            yield _KAIROS_ONCE
        return
    yield _VAR
    toggled = Action.ROLLBACK in actions or (state.queued is True and target.is_(state.next))
    yield _ETC_BACK if toggled else _ETC_FORWARD
    if state.staged is not None and not target.is_(state.staged):
        yield f"the staged update {state.staged} is replaced"
    if Action.SWITCH in actions:
        yield _pinned(state.system, target)
    elif toggled and state.fallback is not None and not target.keeps(state.fallback):
        yield (
            f"the host then follows {state.fallback.reference}, which is not known to name the wanted image; "
            "its update timers are masked after the boot, until this is run again when it does"
        )


def _pinned(system: System, target: Target) -> str:
    tag = target.channel or target.repository.tagged("current")
    command = {
        System.BOOTC: ("bootc", "switch", "--enforce-container-sigpolicy", str(tag)),
        System.RPM_OSTREE: ("rpm-ostree", "rebase", f"ostree-image-signed:docker://{tag}"),
        System.KAIROS: switch_command(System.KAIROS, target),
    }[system]
    return (
        "the host is then pinned to a digest and never updates itself again; "
        f"`{shlex.join(command)}` lets it follow the channel"
    )


def by_hand(system: System, target: Target) -> tuple[str, ...]:
    """Return the commands for someone who sits at a host that cannot be reached from here."""
    return (shlex.join(switch_command(system, target)), shlex.join(reboot_command(system)))
