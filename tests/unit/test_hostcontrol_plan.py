"""The plan of a switch or a rollback: the toggle's rules, timers, Kairos' slots, what is told before."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hostfakes import target
from hostmachine import CURRENT, REPOSITORY, Machine, digest, entry, machine_state

from pipeline.domain.hostcontrol.bootc import parse_bootc
from pipeline.domain.hostcontrol.consequences import by_hand, consequences
from pipeline.domain.hostcontrol.kairos import parse_kairos
from pipeline.domain.hostcontrol.ostree import parse_rpm_ostree
from pipeline.domain.hostcontrol.plan import Action, plan_for
from pipeline.domain.hostcontrol.state import HostState, System, Timer
from pipeline.domain.hostcontrol.zfs import blockers, parse_pools
from pipeline.domain.image import Digest
from pipeline.errors import HostError

TIMER = Timer(unit="bootc-fetch-apply-updates.timer", active=True, enabled=True)


def bootc(*numbers: int, timers: tuple[Timer, ...] = (), **changes: Any) -> HostState:
    state = {**machine_state("bootc", *(numbers or (2, 1))), **changes}
    return parse_bootc(json.dumps(Machine(state).host_document()), timers)


def actions(state: HostState, number: int, **changes: Any) -> list[str]:
    return [step.action.value for step in plan_for(state, target(number, **changes))]


def test_the_fallback_is_reached_by_one_press_of_the_toggle() -> None:
    steps = plan_for(bootc(), target(1))
    assert [step.argv for step in steps] == [("bootc", "rollback"), ("systemctl", "reboot")]


def test_anything_else_is_switched_to_by_digest() -> None:
    steps = plan_for(bootc(), target(7))
    command = ("bootc", "switch", "--enforce-container-sigpolicy", f"{REPOSITORY}@{digest(7)}")
    assert [step.argv for step in steps] == [command, ("systemctl", "reboot")]


def test_the_toggle_is_not_pressed_where_it_would_lose_or_undo_something() -> None:
    assert actions(bootc(staged=entry(3)), 1) == ["switch", "reboot"], "a staged update would be dropped"
    assert actions(bootc(booted=1), 1) == ["switch"], "pressed by someone already; what runs is wanted"
    assert actions(bootc(booted=1), 2) == ["reboot"], "it is queued: only the reboot is left"
    assert actions(bootc(3, 2, 1), 1) == ["switch", "reboot"], "it swaps two only, never reaches the third"


@pytest.mark.parametrize(
    "absent",
    [["status.staged"], ["status.rollbackQueued", "spec.bootOrder"], ["status.rollbackQueued", "spec"]],
)
def test_the_toggle_is_not_pressed_where_something_is_unknown(absent: list[str]) -> None:
    assert actions(bootc(absent=absent), 1) == ["switch", "reboot"]


def test_an_unknown_fallback_is_switched_to_not_toggled() -> None:
    assert actions(bootc(entries=[entry(2), entry(1, unknown=True)]), 1) == ["switch", "reboot"]


def test_a_host_that_is_there_has_nothing_to_do() -> None:
    assert actions(bootc(), 2) == []
    assert actions(bootc(absent=["status.rollbackQueued", "spec.bootOrder"]), 2) == []
    assert actions(bootc(staged=entry(3)), 2) == ["switch"], "the next boot would leave it"


def test_what_is_staged_already_only_needs_the_reboot() -> None:
    assert actions(bootc(staged=entry(7)), 7) == ["reboot"]
    held = plan_for(bootc(staged=entry(7, held=True)), target(7))
    assert [step.argv[:3] for step in held] == [
        ("bootc", "upgrade", "--from-downloaded"),
        ("systemctl", "reboot"),
    ]


def test_a_manifest_of_an_index_counts_as_the_index() -> None:
    assert actions(bootc(), 9, platforms=frozenset({Digest(digest(2))})) == []


def test_update_timers_are_paused_first_and_only_when_something_changes() -> None:
    assert plan_for(bootc(timers=(TIMER,)), target(1))[0].argv == ("systemctl", "stop", TIMER.unit)
    assert actions(bootc(timers=(TIMER,)), 2, channel=True) == []


def test_a_timer_that_would_undo_the_rollback_is_masked() -> None:
    there = bootc(timers=(TIMER,))
    mark = ("systemctl", "mask", "pipeline-holds-bootc-fetch-apply-updates.timer")
    mask = ("systemctl", "mask", "--now", TIMER.unit)
    assert [step.argv for step in plan_for(there, target(2))] == [mark, mask]
    marked = bootc(timers=(dataclasses.replace(TIMER, held=True),))
    assert [step.argv for step in plan_for(marked, target(2))] == [mask], "a run was killed in between"
    assert actions(there, 2, channel=True) == [], "the channel names the wanted image: the timer stays there"
    pinned = bootc(entries=[entry(2, f"{REPOSITORY}@{digest(2)}")], timers=(TIMER,))
    assert actions(pinned, 2) == [], "a host on a digest is not moved by its timer"


def test_a_timer_that_a_rollback_masked_works_again_when_the_host_stays_there() -> None:
    masked = dataclasses.replace(TIMER, active=False, enabled=False, masked=True)
    held = bootc(timers=(dataclasses.replace(masked, held=True),))
    assert [step.argv for step in plan_for(held, target(2, channel=True))] == [
        ("systemctl", "unmask", TIMER.unit),
        ("systemctl", "start", TIMER.unit),
        ("systemctl", "unmask", "pipeline-holds-bootc-fetch-apply-updates.timer"),
    ]
    assert actions(held, 2) == [], "the host would still be moved"
    half = bootc(timers=(dataclasses.replace(TIMER, held=True),))
    assert actions(half, 2, channel=True) == ["free"], "only the mark is left"
    assert actions(bootc(timers=(masked,)), 2, channel=True) == [], "somebody else masked it"


def test_a_host_that_cannot_be_switched_is_refused() -> None:
    working = Timer(unit="bootc-fetch-apply-updates.timer", active=True, enabled=True, working=True)
    for state, said in (
        (bootc(absent=["status.booted"]), "does not run an image"),
        (bootc(entries=[entry(2, foreign=True)]), "changed on the host"),
        (bootc(timers=(working,)), "right now"),
    ):
        with pytest.raises(HostError, match=said):
            plan_for(state, target(7))


def test_rpm_ostree_has_the_same_rules_and_its_own_commands() -> None:
    def state(**changes: Any) -> HostState:
        machine = Machine({**machine_state("rpm-ostree", 2, 1), **changes})
        return parse_rpm_ostree(json.dumps(machine.ostree_document()))

    assert plan_for(state(), target(1))[0].argv == ("rpm-ostree", "rollback")
    reference = f"ostree-image-signed:docker://{REPOSITORY}@{digest(7)}"
    assert plan_for(state(), target(7))[0].argv == ("rpm-ostree", "rebase", reference)
    assert actions(state(staged=entry(3)), 1) == ["switch", "reboot"]
    assert actions(state(booted=1), 2) == ["reboot"]
    with pytest.raises(HostError, match="right now"):
        actions(state(transaction=["upgrade"]), 1)


def test_kairos_goes_to_its_fallback_and_makes_it_durable() -> None:
    def state(slot: int) -> HostState:
        machine = Machine(machine_state("kairos", 3, 2, 1, booted=slot))
        boot = ("active_boot", "passive_boot", "recovery_boot")[slot]
        return parse_kairos(boot, machine.state_yaml(), 1_790_000_000)

    assert actions(state(0), 3) == []
    assert actions(state(0), 2) == ["select", "reboot", "make-durable"]
    assert actions(state(0), 7) == ["switch", "reboot"]
    assert actions(state(1), 2) == ["make-durable"], "runs once from passive: the next boot would leave it"
    assert actions(state(1), 3) == ["reboot"]
    assert actions(state(2), 3) == ["reboot"]
    assert actions(state(2), 1) == ["make-durable"], "recovery holds it; an upgrade writes it to active"
    upgrade = plan_for(state(0), target(7))[0]
    assert upgrade.argv == ("kairos-agent", "upgrade", "--source", f"oci:{REPOSITORY}@{digest(7)}")


def facts(state: HostState, number: int, **changes: Any) -> str:
    wanted = target(number, **changes)
    return "\n".join(consequences(state, wanted, plan_for(state, wanted)))


def test_what_does_not_come_back_is_told_before() -> None:
    rolled, switched = facts(bootc(), 1), facts(bootc(staged=entry(3)), 7)
    assert "/var does not come back" in rolled
    assert "/etc comes back as it was" in rolled
    assert CURRENT in rolled
    assert "/etc is merged forward" in switched
    assert "staged update" in switched
    assert f"bootc switch --enforce-container-sigpolicy {CURRENT}" in switched
    assert facts(bootc(), 2) == ""
    queued = facts(bootc(booted=1), 2)
    assert "/etc comes back as it was" in queued


def test_commands_for_someone_at_the_host() -> None:
    assert by_hand(System.BOOTC, target(7)) == (
        f"bootc switch --enforce-container-sigpolicy {REPOSITORY}@{digest(7)}",
        "systemctl reboot",
    )


def test_every_action_is_planned_somewhere() -> None:
    kairos = Machine(machine_state("kairos", 3, 2, 1))
    plans = [
        plan_for(bootc(timers=(TIMER,)), target(1)),
        plan_for(bootc(timers=(TIMER,)), target(2)),
        plan_for(bootc(timers=(dataclasses.replace(TIMER, held=True),)), target(2, channel=True)),
        plan_for(bootc(), target(7)),
        plan_for(bootc(staged=entry(7, held=True)), target(7)),
        plan_for(parse_kairos("active_boot", kairos.state_yaml(), 1_790_000_000), target(2)),
    ]
    assert {step.action for steps in plans for step in steps} == set(Action)


POOLS = "tank\tfeature@lz4_compress\tactive\ntank\tfeature@draid\tenabled\ntank\tsize\t10G\n"


def test_a_pool_stays_importable_while_only_old_features_are_active() -> None:
    assert blockers(parse_pools(POOLS), "0.8.6") == ()
    assert blockers((), None) == ()


@pytest.mark.parametrize(
    ("feature", "module", "said"),
    [
        ("block_cloning", "2.1.15", "cannot import"),
        ("raidz_expansion", "2.2.7-1", "raidz_expansion"),
        ("something_of_tomorrow", "2.3.9", "something_of_tomorrow"),
        ("lz4_compress", "", "no ZFS"),
        ("lz4_compress", None, "not known"),
        ("lz4_compress", "newest", "no version"),
    ],
)
def test_a_pool_the_older_module_cannot_import_is_named(feature: str, module: str | None, said: str) -> None:
    pools = parse_pools(f"tank\tfeature@{feature}\tactive\n")
    (reason,) = blockers(pools, module)
    assert said in reason
    assert "tank" in reason


def test_a_feature_is_known_from_its_own_version_on() -> None:
    pools = parse_pools("tank\tfeature@block_cloning\tactive\n")
    assert blockers(pools, "2.2.0") == ()
    assert blockers(pools, "2.10.1") == ()


def test_zpool_words_in_another_form_are_refused() -> None:
    with pytest.raises(HostError, match="zpool"):
        parse_pools("tank feature@x active")
