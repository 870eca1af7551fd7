"""What a ledger adds up to: hosts step by step, releases below releases, and what is still there."""

from __future__ import annotations

import pytest
from records import NOON, candidate, deployment, seal, yank
from releasekit import base, host, later

from pipeline.domain.decision import Release
from pipeline.domain.overview import HostView, Overview
from pipeline.domain.record import Parent, Record
from pipeline.domain.release import Deployment, Removed, Retention, Seal, Step
from pipeline.domain.waiting import waits_unruled

OLD_BASE, OLD = base("1.0.0", 1)
WEB_BUILT, WEB = host("web-1", "1.0.0", 11, OLD)
WEB_NEXT_BUILT, WEB_NEXT = host("web-1", "1.1.0", 12, OLD)
TOP_BUILT = candidate(3, image="gpu", parent=Parent(image="debian/base", digest=OLD.digest))
TOP = seal("1.0.0", of=TOP_BUILT, parent=Release(version="1.0.0", digest=OLD.digest))
ON_TOP_BUILT, ON_TOP = host("db-1", "1.0.0", 13, TOP)
ESTATE: tuple[Record, ...] = (
    OLD_BASE, OLD, WEB_BUILT, WEB, WEB_NEXT_BUILT, WEB_NEXT, TOP_BUILT, TOP, ON_TOP_BUILT, ON_TOP,
)  # fmt: skip


def after(*steps: tuple[Seal, Step]) -> HostView:
    """The host after these steps, an hour apart."""
    made: list[Deployment] = [
        deployment(one, step, time=later(WEB_NEXT, hours=number)) for number, (one, step) in enumerate(steps)
    ]
    return Overview((*ESTATE, *made)).host("debian/web-1")


def version(one: Deployment | Release | None) -> str | None:
    return None if one is None else one.version


@pytest.mark.parametrize(
    ("steps", "runs", "fallback", "wanted", "staged", "failed"),
    [
        ((), None, None, None, None, None),
        (((WEB, Step.BOOTED),), "1.0.0", None, None, None, None),
        (((WEB, Step.WANTED),), None, None, "1.0.0", None, None),
        (((WEB, Step.BOOTED), (WEB_NEXT, Step.WANTED)), "1.0.0", None, "1.1.0", None, None),
        (
            ((WEB, Step.BOOTED), (WEB_NEXT, Step.WANTED), (WEB_NEXT, Step.STAGED)),
            "1.0.0", None, "1.1.0", "1.1.0", None,
        ),
        (
            ((WEB, Step.BOOTED), (WEB_NEXT, Step.STAGED), (WEB_NEXT, Step.BOOTED)),
            "1.1.0", "1.0.0", None, None, None,
        ),
        (
            ((WEB, Step.BOOTED), (WEB_NEXT, Step.WANTED), (WEB_NEXT, Step.STAGED), (WEB_NEXT, Step.FAILED)),
            "1.0.0", None, None, "1.1.0", "1.1.0",
        ),
        (((WEB, Step.FAILED), (WEB, Step.BOOTED)), "1.0.0", None, None, None, None),
        (((WEB, Step.FAILED), (WEB, Step.WANTED)), None, None, "1.0.0", None, None),
        (((WEB_NEXT, Step.WANTED), (WEB, Step.BOOTED)), "1.0.0", None, "1.1.0", None, None),
        (((WEB, Step.WANTED), (WEB, Step.CHANNEL), (WEB, Step.BOOTED)), "1.0.0", None, None, None, None),
    ],
)  # fmt: skip
def test_a_host_step_by_step(
    steps: tuple[tuple[Seal, Step], ...],
    runs: str | None,
    fallback: str | None,
    wanted: str | None,
    staged: str | None,
    failed: str | None,
) -> None:
    view = after(*steps)
    found = tuple(map(version, (view.runs, view.fallback, view.wanted, view.staged, view.failed)))
    assert found == (runs, fallback, wanted, staged, failed)


def test_the_first_boot_that_was_seen_tells_what_was_before() -> None:
    before = Release(version="0.9.0", digest=OLD.digest)
    view = Overview((*ESTATE, deployment(WEB, before=before))).host("debian/web-1")
    assert view.fallback == before


def test_hosts_of_one_name_in_two_lines_are_two() -> None:
    _, other = host("web-1", "1.0.0", 90, OLD)
    far = seal("1.0.0", 90, image="web-1", line="centos-stream10")
    overview = Overview((*ESTATE, other, far, deployment(WEB), deployment(far)))
    assert [one.name for one in overview.hosts] == [
        "centos-stream10/web-1", "debian/db-1", "debian/web-1",
    ]  # fmt: skip


def test_a_yank_reaches_through_every_tier_above() -> None:
    overview = Overview((*ESTATE, yank(OLD)))
    assert [one.name for one in overview.built_on(OLD)] == [
        "debian/db-1", "debian/gpu", "debian/web-1", "debian/web-1",
    ]  # fmt: skip
    assert not any(overview.sound(one) for one in (OLD, WEB, TOP, ON_TOP))
    assert overview.way_out("debian/db-1") is None
    between = Overview((*ESTATE, yank(TOP)))
    assert [between.sound(one) for one in (OLD, WEB, TOP, ON_TOP)] == [True, True, False, False]


def test_a_candidate_on_something_unsound_waits_for_another_build() -> None:
    overview = Overview((*ESTATE, yank(OLD)))
    late = candidate(99, image="db-2", parent=Parent(image=TOP.name, digest=TOP.digest))
    assert waits_unruled(late, overview, 0).needs[1:] == (
        "another build: debian/gpu v1.0.0 below it stands on a yanked release",
    )
    assert len(waits_unruled(late, Overview(ESTATE), 2).needs) == 1


def test_releases_that_claim_to_stand_on_each_other_end_the_walk() -> None:
    one = seal("1.0.0", 1, parent=Release(version="1.0.0", digest=TOP.digest))
    overview = Overview((one, TOP))
    assert overview.sound(one)
    assert overview.sound(TOP)
    assert {it.name for it in overview.built_on(one)} == {"debian/base", "debian/gpu"}
    assert not Overview((one, TOP, yank(TOP))).sound(one)


def test_nobody_is_sent_to_what_was_deleted() -> None:
    gone = Removed(repository=WEB_NEXT.repository, digest=WEB_NEXT.digest, reason="by hand")
    overview = Overview((*ESTATE, Retention(time=NOON, author="cron", removed=(gone,))))
    assert overview.way_out("debian/web-1") == WEB
    assert Overview(ESTATE).way_out("debian/web-1") == WEB_NEXT
