"""A host brought to a release: what is done, what is recorded, what is refused, continued after any crash."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hostfakes import MemoryAccess, MemoryLedger, driver, journal, on, order, proven, waiting
from hostmachine import REPOSITORY, TIMER, Machine, State, digest, entry, fresh, machine_state

from pipeline.domain.hostcontrol.plan import Action, PlanStep, at_target
from pipeline.domain.hostcontrol.state import HostState
from pipeline.domain.release import Deployment
from pipeline.errors import HostError, ToolFailedError
from pipeline.verbs.host_journal import HostOrder
from pipeline.verbs.hosts import HostOutcome, Result, plan_host, status_of, switch_host


def switch(
    machine: Machine,
    ledger: MemoryLedger,
    wanted: HostOrder,
    access: MemoryAccess | None = None,
    **options: Any,
) -> HostOutcome:
    host = driver(access or MemoryAccess(machine))
    return switch_host(host, wanted, journal=journal(ledger), waiting=waiting(), **options)


def ran(machine: Machine) -> str:
    found: str = machine.state["entries"][machine.state["booted"]]["digest"]
    return found


def test_a_rollback_by_the_toggle_is_proved_recorded_and_kept() -> None:
    machine, ledger = Machine(machine_state("bootc", 2, 1)), MemoryLedger()
    outcome = switch(machine, ledger, order(1))
    assert [step.action.value for step in outcome.steps] == ["pause", "rollback", "reboot", "hold", "hold"]
    assert (outcome.result, ran(machine), proven(outcome)) == (Result.SWITCHED, digest(1), True)
    assert ledger.steps == ["wanted", "staged", "booted"]
    assert machine.state["timers"][TIMER] == {"active": False, "enabled": True, "working": False}
    assert machine.count("bootc", "rollback") == 1


def test_a_switch_leaves_the_timer_as_it_was() -> None:
    machine, ledger = Machine(machine_state("bootc", 3, 2)), MemoryLedger()
    outcome = switch(machine, ledger, order(1))
    assert [step.action.value for step in outcome.steps] == ["pause", "switch", "reboot"]
    assert machine.state["timers"][TIMER]["active"] is True
    assert ran(machine) == digest(1)
    assert any("never updates itself" in fact for fact in outcome.facts)


def test_a_second_run_does_nothing_and_records_nothing() -> None:
    machine, ledger = Machine(machine_state("bootc", 2, 1)), MemoryLedger()
    switch(machine, ledger, order(1))
    before = len(machine.state["log"]), machine.state["boots"]
    again = switch(machine, ledger, order(1))
    assert (again.result, again.steps) == (Result.UNCHANGED, ())
    assert (ledger.steps, machine.state["boots"]) == (["wanted", "staged", "booted"], before[1])


@pytest.mark.parametrize("absent", [["status.rollbackQueued", "spec.bootOrder"], ["status.staged"]])
def test_a_host_that_tells_less_is_switched_and_proved_all_the_same(absent: list[str]) -> None:
    machine = Machine(machine_state("bootc", 2, 1, absent=absent))
    outcome = switch(machine, MemoryLedger(), order(1))
    assert [step.action.value for step in outcome.steps] == ["pause", "switch", "reboot"]
    assert ran(machine) == digest(1)


def test_a_host_that_comes_back_with_the_old_image_fails_and_is_not_rebooted_again() -> None:
    machine, ledger = Machine(machine_state("bootc", 3, 2, boot_fails=True)), MemoryLedger()
    with pytest.raises(HostError, match="rebooted and runs"):
        switch(machine, ledger, order(1))
    assert ledger.steps == ["wanted", "staged", "failed"]
    assert machine.state["boots"] == 1


def test_a_switch_that_the_host_ignores_is_told_once() -> None:
    machine, ledger = Machine(machine_state("bootc", 3, 2, switch_ignored=True)), MemoryLedger()
    with pytest.raises(HostError, match="was told to boot"):
        switch(machine, ledger, order(1))
    assert machine.count("bootc", "switch") == 1
    assert machine.state["boots"] == 0
    assert ledger.steps == ["wanted", "failed"]


def test_a_failed_switch_gives_the_timer_back_and_is_recorded() -> None:
    machine, ledger = Machine(machine_state("bootc", 3, 2, switch_fails=True)), MemoryLedger()
    with pytest.raises(ToolFailedError, match="signature was required"):
        switch(machine, ledger, order(1))
    assert machine.state["timers"][TIMER]["active"] is True
    failed = ledger.records[-1]
    assert isinstance(failed, Deployment)
    assert (failed.step.value, failed.digest.value) == ("failed", digest(1))
    assert "signature was required" in failed.why
    machine.state["switch_fails"] = False
    switch(machine, ledger, order(1))
    assert ledger.steps == ["wanted", "failed", "wanted", "staged", "booted"]


def test_a_run_that_is_interrupted_gives_the_timer_back() -> None:
    machine, ledger = Machine(machine_state("bootc", 3, 2)), MemoryLedger()

    def interrupted(step: PlanStep) -> None:
        if step.action is Action.SWITCH:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        switch(machine, ledger, order(1), on_step=interrupted)
    assert machine.state["timers"][TIMER]["active"] is True
    assert ledger.steps == ["wanted"], "the same command goes on"


def test_a_host_that_does_not_come_back_is_told_and_recorded() -> None:
    machine, ledger = Machine(machine_state("bootc", 2, 1)), MemoryLedger()
    access = MemoryAccess(machine)

    def gone(argv: Sequence[str]) -> None:
        if machine.state["boots"]:
            access.down = 2

    access.before = gone
    with pytest.raises(HostError, match="did not come back"):
        switch(machine, ledger, order(1), access)
    assert ledger.steps == ["wanted", "staged", "failed"]


def test_a_host_whose_services_start_late_is_waited_for() -> None:
    machine, ledger = Machine(machine_state("rpm-ostree", 2, 1)), MemoryLedger()
    access, late = MemoryAccess(machine), [3]

    def starting(argv: Sequence[str]) -> None:
        if machine.state["boots"] and argv[0] == "rpm-ostree" and late[0]:
            late[0] -= 1
            raise ToolFailedError("no bus yet", hint="wait", argv=tuple(argv), code=1, tail="no bus yet")

    access.before = starting
    assert proven(switch(machine, ledger, order(1), access))
    assert (ledger.steps, late) == (["wanted", "staged", "booted"], [0])


def test_a_refused_reboot_is_an_error_of_the_host() -> None:
    machine = Machine(machine_state("bootc", 2, 1, reboot_refused=True))
    with pytest.raises(ToolFailedError, match="inhibited"):
        switch(machine, MemoryLedger(), order(1))


def test_a_pool_that_would_be_lost_refuses_before_anything_is_done() -> None:
    pools = {"tank": {"block_cloning": "active"}}
    machine, ledger = Machine(machine_state("bootc", 2, 1, zpool=pools)), MemoryLedger()
    with pytest.raises(HostError, match="block_cloning"):
        switch(machine, ledger, order(1, zfs="2.1.11"))
    assert (ledger.steps, machine.count("bootc", "rollback")) == ([], 0)
    assert proven(switch(machine, ledger, order(1, zfs="2.2.2")))


def test_a_pool_is_let_go_only_when_told() -> None:
    pools = {"tank": {"block_cloning": "active"}}
    machine = Machine(machine_state("bootc", 2, 1, zpool=pools))
    assert proven(switch(machine, MemoryLedger(), order(1, zfs="2.1.11"), unsafe_pools=True))


def test_a_plan_changes_nothing() -> None:
    machine, host = on(machine_state("bootc", 2, 1))
    before = fresh(machine.state)
    plan = plan_host(host, order(1))
    assert [step.action for step in plan.steps] == [Action.PAUSE, Action.ROLLBACK, Action.REBOOT]
    assert {**machine.state, "log": []} == {**before, "log": []}
    assert status_of(host) == plan.state


def test_a_queued_rollback_of_someone_else_is_not_undone_by_the_toggle() -> None:
    machine, ledger = Machine(machine_state("bootc", 1, 2, booted=1)), MemoryLedger()
    switch(machine, ledger, order(2))
    assert machine.count("bootc", "rollback") == 0
    assert machine.state["staged"]["digest"] == digest(2)
    assert ledger.steps == ["wanted", "booted"]


def test_a_host_that_is_at_work_is_left_alone() -> None:
    machine, ledger = Machine(machine_state("bootc", 2, 1, at_work=True)), MemoryLedger()
    with pytest.raises(HostError, match="right now: bootc"):
        switch(machine, ledger, order(1))
    assert (ledger.steps, machine.count("bootc", "rollback")) == ([], 0)
    with pytest.raises(HostError, match="right now: kairos-agent upgrade"):
        switch(Machine(machine_state("kairos", 3, 2, 9, at_work=True)), ledger, order(1))


def test_a_timer_that_cannot_be_masked_is_told_though_the_host_is_there() -> None:
    machine, ledger = Machine(machine_state("bootc", 2, 1)), MemoryLedger()
    access = MemoryAccess(machine)

    def unmaskable(argv: Sequence[str]) -> None:
        if "--now" in argv:
            machine.state["timers"].clear()

    access.before = unmaskable
    with pytest.raises(ToolFailedError, match="not loaded"):
        switch(machine, ledger, order(1), access)
    assert ledger.steps == ["wanted", "staged", "booted", "failed"]
    machine.state["timers"] = {TIMER: {"active": True, "enabled": True, "working": False}}
    switch(machine, ledger, order(1))
    assert ledger.steps[4:] == ["booted"]


WAYS: dict[str, State] = {
    "toggle": machine_state("bootc", 2, 1),
    "switch": machine_state("bootc", 3, 2),
    "held back": machine_state("bootc", 3, 2, staged=entry(1, held=True)),
    "staged update": machine_state("bootc", 2, 1, staged=entry(3)),
    "rpm-ostree toggle": machine_state("rpm-ostree", 2, 1),
    "rpm-ostree switch": machine_state("rpm-ostree", 3, 2),
    "kairos fallback": machine_state("kairos", 2, 1, 9),
    "kairos upgrade": machine_state("kairos", 3, 2, 9),
    "kairos recovery": machine_state("kairos", 3, 2, 9, booted=2),
}


class CrashError(BaseException):
    """The driver is gone."""


class Crashing:
    """Counts the moments of a run; ends it at one of them, before or after what is asked there."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.seen = 0

    def moment(self) -> None:
        self.seen += 1
        if self.seen == self.at:
            raise CrashError


class CrashingAccess(MemoryAccess):
    def __init__(self, machine: Machine, crash: Crashing) -> None:
        super().__init__(machine)
        self.crash = crash

    def ask(self, argv: Sequence[str], *, timeout: float = 60) -> Any:
        self.crash.moment()
        answer = super().ask(argv, timeout=timeout)
        self.crash.moment()
        return answer


class CrashingLedger(MemoryLedger):
    crash = Crashing(0)

    def append(self, records: Sequence[Any]) -> str:
        self.crash.moment()
        done = super().append(records)
        self.crash.moment()
        return done


@pytest.mark.parametrize("way", WAYS)
def test_whatever_the_moment_of_a_crash_the_same_command_completes_it(way: str) -> None:
    moments = 0
    while True:
        moments += 1
        machine, ledger = Machine(fresh(WAYS[way])), CrashingLedger()
        ledger.crash = Crashing(moments)
        try:
            switch(machine, ledger, order(1), CrashingAccess(machine, ledger.crash))
        except CrashError:
            pass
        else:
            break
        ledger.crash = Crashing(0)
        outcome = switch(machine, ledger, order(1))
        assert proven(outcome), moments
        assert machine.count("bootc", "rollback") + machine.count("rpm-ostree", "rollback") <= 1, moments
        assert machine.state["boots"] <= (2 if "kairos" in way else 1), moments
        wanted = [step for step in ledger.steps if step == "wanted"]
        assert (len(wanted), ledger.steps[-1]) == (1, "booted"), (moments, ledger.steps)
        assert ledger.steps.count("booted") == 1
    assert moments > 20


def test_every_way_ends_where_it_should_and_stays_there() -> None:
    for way, state in WAYS.items():
        machine, ledger = Machine(fresh(state)), MemoryLedger()
        outcome = switch(machine, ledger, order(1))
        assert proven(outcome), way
        machine.boot()
        after: HostState = status_of(driver(MemoryAccess(machine)))
        assert at_target(after, order(1).target), way


def test_records_name_the_release_it_left() -> None:
    machine, ledger = Machine(machine_state("bootc", 2, 1)), MemoryLedger()
    switch(machine, ledger, order(1))
    record = ledger.records[0]
    assert isinstance(record, Deployment)
    assert (record.host, record.version, record.why) == ("web1", "2.0.1", "2.1 loses mail")
    assert str(record.repository) == REPOSITORY
