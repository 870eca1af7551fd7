"""What hosts say of themselves, read: bootc's, rpm-ostree's and Kairos' own words."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hostmachine import CURRENT, REPOSITORY, Machine, digest, entry, machine_state
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.hostcontrol.bootc import parse_bootc
from pipeline.domain.hostcontrol.kairos import parse_kairos
from pipeline.domain.hostcontrol.ostree import parse_rpm_ostree
from pipeline.domain.hostcontrol.state import HostState
from pipeline.domain.image import Digest
from pipeline.errors import HostError


def bootc(**changes: Any) -> HostState:
    state = {**machine_state("bootc", 2, 1), **changes}
    return parse_bootc(json.dumps(Machine(state).host_document()))


def of(found: HostState) -> dict[str, str]:
    return {role: one.digest.value if one.digest else "?" for role, one in found.entries()}


def test_bootc_names_what_runs_and_what_it_falls_back_to() -> None:
    found = bootc()
    assert of(found) == {"booted": digest(2), "fallback": digest(1)}
    assert found.next == found.booted
    assert found.queued is False
    assert found.complete
    assert found.booted is not None
    assert found.booted.follows_tag


def test_a_staged_image_is_next_unless_it_is_held_back() -> None:
    found = bootc(staged=entry(3))
    assert found.next == found.staged
    assert of(found)["staged"] == digest(3)
    held = bootc(staged=entry(3, held=True))
    assert held.next == held.booted


def test_a_queued_rollback_is_next() -> None:
    found = bootc(booted=1)
    assert found.queued is True
    assert found.next == found.fallback
    assert of(found) == {"booted": digest(1), "fallback": digest(2)}


def test_an_absent_key_is_unknown_and_a_null_one_is_not() -> None:
    found = bootc(absent=["status.staged", "status.rollbackQueued", "spec.bootOrder"])
    assert found.unknown == {"staged", "queued"}
    assert found.next is None
    assert not found.complete
    assert bootc().unknown == frozenset()


@pytest.mark.parametrize(("booted", "queued"), [(0, False), (1, True)])
def test_the_boot_order_tells_where_the_queue_does_not(booted: int, queued: bool) -> None:  # noqa: FBT001
    assert bootc(booted=booted, absent=["status.rollbackQueued"]).queued is queued


def test_a_host_is_bootcs_by_what_runs_not_by_its_type() -> None:
    assert bootc(type=None).booted is not None
    assert bootc(absent=["status.type"]).booted is not None
    nothing = json.dumps(
        {"apiVersion": "v1", "kind": "BootcHost", "status": {"type": "bootcHost", "booted": None}}
    )
    assert parse_bootc(nothing).booted is None
    assert parse_bootc('{"apiVersion": "v1", "kind": "BootcHost"}').booted is None


def test_pinned_and_unknown_images_are_kept_apart() -> None:
    state = machine_state("bootc", 3, 2, 1)
    state["entries"][2]["pinned"] = True
    state["entries"][1]["unknown"] = True
    found = parse_bootc(json.dumps(Machine(state).host_document()))
    assert of(found) == {"booted": digest(3), "fallback": "?", "pinned": digest(1)}
    assert found.digests == {Digest(digest(3)), Digest(digest(1))}
    assert not found.complete


def test_a_digest_in_another_form_is_unknown() -> None:
    state = machine_state("bootc", 1)
    state["entries"][0]["digest"] = "sha512:abc"
    found = parse_bootc(json.dumps(Machine(state).host_document()))
    assert found.booted is not None
    assert found.booted.digest is None


def read_or_refused(parse: Callable[[str], HostState], text: str) -> object:
    """What the host says it runs; None also when it is refused."""
    try:
        return parse(text).booted
    except HostError:
        return None


HOSTILE = [
    "", "null", "[]", '"x"', "{", "[" * 5000, '{"status": []}', '{"status": {"booted": "x"}}',
    '{"status": {"booted": {"image": {"imageDigest": 7}}}}', '{"status": {"rollbackQueued": "yes"}}',
    '{"status": {"otherDeployments": {"a": 1}}}', '{"status": {"otherDeployments": [1]}}',
    '{"spec": 1, "status": {}}', '{"deployments": {"a": 1}}', '{"deployments": [{"booted": 1}]}',
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_what_is_not_understood_never_becomes_a_host(text: str) -> None:
    for parse in (parse_bootc, parse_rpm_ostree):
        assert read_or_refused(parse, text) is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.sampled_from(["booted", "staged", "rollback", "rollbackQueued", "otherDeployments", "readOnly"]),
        json_values | st.fixed_dictionaries({"image": json_values, "pinned": json_values}),
    )
)
def test_any_status_is_read_or_refused(status: dict[str, Any]) -> None:
    try:
        found = parse_bootc(json.dumps({"status": status}))
    except HostError:
        return
    assert (found.booted is not None) == (status.get("booted") is not None)


def ostree(**changes: Any) -> HostState:
    return parse_rpm_ostree(
        json.dumps(Machine({**machine_state("rpm-ostree", 2, 1), **changes}).ostree_document())
    )


def test_rpm_ostree_lists_in_boot_order() -> None:
    found = ostree()
    assert of(found) == {"booted": digest(2), "fallback": digest(1)}
    assert found.next == found.booted
    assert found.booted is not None
    assert found.booted.reference == CURRENT
    queued = ostree(booted=1)
    assert (of(queued), queued.queued) == ({"booted": digest(1), "fallback": digest(2)}, True)
    assert queued.next == queued.fallback


def test_rpm_ostree_staged_layered_busy_and_branches() -> None:
    assert ostree(staged=entry(3)).next == ostree(staged=entry(3)).staged
    layered = ostree(entries=[entry(2, foreign=True)])
    assert layered.booted is not None
    assert layered.booted.foreign
    assert ostree(transaction=["upgrade"]).busy
    branch = ostree(entries=[entry(2, unknown=True)]).booted
    assert branch is not None
    assert (branch.digest, branch.reference) == (None, "fedora:fedora/42/x86_64/silverblue")


STARTED = 1_790_000_000


def kairos(slot: int = 0, *, record: bool = True) -> HostState:
    machine = Machine(machine_state("kairos", 3, 2, 1, booted=slot))
    boot = machine.run(["kairos-agent", "state", "get", "boot"])[1]
    return parse_kairos(boot, machine.state_yaml() if record else None, STARTED)


def test_kairos_runs_the_old_image_until_it_reboots_after_an_upgrade() -> None:
    machine = Machine(machine_state("kairos", 3, 2, 1))
    machine.run(["kairos-agent", "upgrade", "--source", f"oci:{REPOSITORY}@{digest(7)}"])
    found = parse_kairos("active_boot", machine.state_yaml(), STARTED)
    assert of(found)["booted"] == digest(3)
    assert found.next is not None
    assert found.next.digest == Digest(digest(7))
    after = parse_kairos("active_boot", machine.state_yaml(), STARTED + 1000)
    assert of(after) == {"booted": digest(7), "fallback": digest(3), "other": digest(1)}


@pytest.mark.parametrize("date", [None, "yesterday", 7, [], "2026-13-01T00:00:00Z"])
def test_kairos_without_a_date_does_not_tell_what_runs(date: object) -> None:
    record = {"date": date, "state": {"active": {"source": f"oci://{REPOSITORY}@{digest(5)}"}}}
    found = parse_kairos("active_boot", json.dumps(record), STARTED)
    assert of(found)["booted"] == "?"
    assert found.next is not None
    assert found.next.digest == Digest(digest(5))


def test_kairos_slots() -> None:
    assert of(kairos(0)) == {"booted": digest(3), "fallback": digest(2), "other": digest(1)}
    passive = kairos(1)
    assert of(passive) == {"booted": digest(2), "staged": digest(3), "other": digest(1)}
    assert passive.next == passive.staged
    assert of(kairos(2)) == {"booted": digest(1), "staged": digest(3), "fallback": digest(2)}


def test_kairos_without_its_record_knows_no_image() -> None:
    found = kairos(0, record=False)
    assert found.booted is not None
    assert found.booted.digest is None
    assert not found.complete


def test_kairos_from_a_live_medium_runs_nothing_that_can_be_switched() -> None:
    found = parse_kairos("livecd_boot", None, STARTED)
    assert (found.booted, found.read_only) == (None, True)


def test_kairos_takes_the_digest_that_was_asked_for() -> None:
    record = {
        "state": {
            "active": {"source": f"oci://{REPOSITORY}@{digest(5)}", "source-metadata": {"digest": digest(6)}}
        }
    }
    found = parse_kairos("active_boot", json.dumps(record), STARTED).next
    assert found is not None
    assert found.digest == Digest(digest(5))


@pytest.mark.parametrize("record", ["[]", "a: [", "1", "!!python/object:os.system {}", "x" * 300_000])
def test_a_broken_record_is_refused(record: str) -> None:
    with pytest.raises(HostError):
        parse_kairos("active_boot", record, STARTED)
