"""Whatever a host has installed, staged, queued or does not tell: it ends on the wanted image or is refused.

The toggle is pressed once at most, and never where it loses something.
"""

from __future__ import annotations

from typing import Any

from hostfakes import MemoryAccess, MemoryLedger, driver, journal, order, proven, waiting
from hostmachine import REPOSITORY, TIMER, Machine, State, digest, entry, fresh, machine_state
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.hostcontrol.plan import at_target
from pipeline.errors import HostError
from pipeline.verbs.hosts import switch_host

KEYS = ["status.staged", "status.rollback", "status.rollbackQueued", "spec.bootOrder", "status.type", "spec"]


@st.composite
def hosts(draw: st.DrawFn) -> State:
    """A bootc or rpm-ostree host in any state: images 1 to 4, some unknown, held, pinned or queued."""
    system = draw(st.sampled_from(["bootc", "rpm-ostree"]))
    numbers = draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    state = machine_state(system, *numbers)
    for one in state["entries"]:
        one["unknown"] = draw(st.sampled_from([False, False, True]))
        if draw(st.booleans()):
            one["reference"] = f"{REPOSITORY}@{one['digest']}"
    state["booted"] = draw(st.integers(0, min(1, len(numbers) - 1)))
    if draw(st.booleans()):
        state["staged"] = entry(draw(st.integers(1, 4)), held=system == "bootc" and draw(st.booleans()))
    state["absent"] = draw(st.lists(st.sampled_from(KEYS), unique=True)) if system == "bootc" else []
    if "spec" in state["absent"]:
        state["absent"] = [key for key in state["absent"] if key != "spec.bootOrder"]
    if state["timers"] and draw(st.booleans()):
        state["timers"] = {}
    return state


def toggles(machine: Machine) -> int:
    return machine.count("bootc", "rollback") + machine.count("rpm-ostree", "rollback")


@given(hosts(), st.booleans())
def test_any_host_ends_on_the_wanted_image_or_is_refused_in_words(state: State, channel: bool) -> None:  # noqa: FBT001
    machine, ledger = Machine(fresh(state)), MemoryLedger()
    host = driver(MemoryAccess(machine))
    try:
        outcome = switch_host(host, order(1, channel=channel), journal=journal(ledger), waiting=waiting())
    except HostError as error:
        refused(machine, error)
        return
    assert proven(outcome)
    assert machine.state["entries"][machine.state["booted"]]["digest"] == digest(1)
    assert toggles(machine) <= 1
    assert machine.state["boots"] <= 1
    if toggles(machine):
        assert state["staged"] is None
        assert state["booted"] == 0
    stays(machine, channel=channel)


def refused(machine: Machine, error: HostError) -> None:
    """Only a host that cannot be told apart or does not do as told is refused, and never by two presses."""
    assert toggles(machine) <= 1
    assert machine.state["boots"] <= 1
    assert "was told to boot" in error.message or "rebooted and runs" in error.message, error.message


def stays(machine: Machine, *, channel: bool) -> None:
    """A timer that still waits to fire leaves the host where it is."""
    timer: dict[str, Any] = machine.state["timers"].get(TIMER, {})
    machine.state["tags"] = {f"{REPOSITORY}:current": digest(1 if channel else 4)}
    known = not machine.state["absent"]
    if timer.get("active"):
        machine.run(["bootc", "upgrade"])
    if known:
        machine.boot()
        state = driver(MemoryAccess(machine)).state()
        assert at_target(state, order(1).target)
