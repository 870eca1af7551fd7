"""`pipeline yank`: what is recorded, who is affected, and the command that leads each away."""

from __future__ import annotations

import json
import shlex

import pytest
from memoryledger import ShelfLedger
from records import NOON, candidate, deployment, seal, yank
from releasekit import base, host, later, shown

from pipeline.arguments import parser
from pipeline.domain.record import Record
from pipeline.domain.release import Step, Yank
from pipeline.domain.seen import Yanking
from pipeline.errors import NotFoundError, UsageError
from pipeline.render import yank as render
from pipeline.verbs.rollback_target import Ways
from pipeline.verbs.yank import yank as verb

OLD_BASE, OLD = base("1.0.0", 1)
NEW_BASE, NEW = base("1.1.0", 2)
WEB_BUILT, WEB = host("web-1", "1.0.0", 11, OLD)
WEB_NEXT_BUILT, WEB_NEXT = host("web-1", "1.1.0", 12, NEW)
DB_BUILT, DB = host("db-1", "1.0.0", 13, NEW)
ESTATE: tuple[Record, ...] = (
    OLD_BASE, OLD, NEW_BASE, NEW, WEB_BUILT, WEB, WEB_NEXT_BUILT, WEB_NEXT, DB_BUILT, DB,
    deployment(WEB), deployment(WEB_NEXT, time=later(WEB_NEXT, hours=2)), deployment(DB),
)  # fmt: skip


def yanked(
    ledger: ShelfLedger, image: str = "debian/base", version: str = "v1.1.0", *, dry_run: bool = False
) -> Yanking:
    return verb(
        ledger, image, version, why="zfs.ko does not load", author="Cleo", clock=lambda: NOON, dry_run=dry_run
    )


def test_a_yank_is_recorded_for_exactly_that_release() -> None:
    ledger = ShelfLedger(*ESTATE)
    found = yanked(ledger)
    assert found.written
    record = ledger.records[-1]
    assert isinstance(record, Yank)
    assert (record.name, record.version, record.digest) == ("debian/base", "1.1.0", NEW.digest)
    assert (record.repository, record.author, record.why) == (NEW.repository, "Cleo", "zfs.ko does not load")
    assert len(ledger.records) == len(ESTATE) + 1


def test_who_is_affected_is_told_with_the_command_that_leads_away() -> None:
    found = yanked(ShelfLedger(*ESTATE))
    assert found.tags == ("v1", "v1.1")
    assert [(one.name, one.version) for one in found.children] == [
        ("debian/db-1", "1.0.0"),
        ("debian/web-1", "1.1.0"),
    ]
    assert [(one.host, one.use, one.command) for one in found.hosts] == [
        ("db-1", "runs", None),
        ("web-1", "runs", "pipeline rollback debian/web-1 v1.0.0 --why 'web-1 v1.1.0 is bad'"),
    ]


def test_a_host_s_own_release_that_is_only_its_fallback_or_channel_counts_too() -> None:
    back = ShelfLedger(*ESTATE, deployment(WEB, Step.CHANNEL, time=later(WEB_NEXT, hours=3)))
    found = yanked(back, "web-1", "1.0.0")
    assert [(one.host, one.use) for one in found.hosts] == [("web-1", "wanted")]
    fallback = yanked(ShelfLedger(*ESTATE), "debian/web-1", "1.0.0")
    assert [(one.use, one.to and one.to.version) for one in fallback.hosts] == [("may fall back to", "1.1.0")]
    fresh = yanked(ShelfLedger(OLD_BASE, OLD, WEB_BUILT, WEB), "web-1", "1.0.0")
    assert [(one.use, one.to) for one in fresh.hosts] == [("channel", None)]
    assert fresh.tags == ("v1", "v1.0")


def test_yanked_already_is_success_and_nothing_is_written() -> None:
    first = yank(NEW, "the first reason")
    ledger = ShelfLedger(*ESTATE, first)
    found = yanked(ledger)
    assert (found.already, found.written, found.yank) == (True, False, first)
    assert len(ledger.records) == len(ESTATE) + 1


def test_who_comes_second_is_told_and_writes_nothing() -> None:
    ledger = ShelfLedger(*ESTATE)
    ledger.between = [yank(NEW, "the other was first")]
    found = yanked(ledger)
    assert (found.already, found.written, found.yank.why) == (True, False, "the other was first")
    assert sum(isinstance(one, Yank) for one in ledger.records) == 1


def test_a_dry_run_tells_the_same_and_writes_nothing() -> None:
    ledger, dry = ShelfLedger(*ESTATE), ShelfLedger(*ESTATE)
    planned, done = yanked(dry, dry_run=True), yanked(ledger)
    assert len(dry.records) == len(ESTATE)
    assert not planned.written
    assert (planned.hosts, planned.children, planned.tags) == (done.hosts, done.children, done.tags)


@pytest.mark.parametrize("version", ["v1", "v1.1", "current", "", "1.1.0.0", "v1.1.x", "\x1b[2J"])
def test_only_a_whole_version_is_yanked(version: str) -> None:
    with pytest.raises(UsageError):
        yanked(ShelfLedger(*ESTATE), version=version)


@pytest.mark.parametrize(
    ("image", "version", "hint"),
    [
        ("debian/bose", "v1.1.0", "debian/base"),
        ("base", "v1.1.9", "v1.1.0"),
        ("\x1b[2J", "v1.1.0", "there are"),
    ],
)
def test_what_is_not_released_is_not_yanked(image: str, version: str, hint: str) -> None:
    ledger = ShelfLedger(*ESTATE)
    with pytest.raises(NotFoundError) as caught:
        yanked(ledger, image, version)
    assert hint in caught.value.hint
    assert len(ledger.records) == len(ESTATE)


def test_an_image_that_was_only_built_is_not_called_unknown() -> None:
    built = candidate(77, image="mail-1")
    with pytest.raises(NotFoundError, match="debian/mail-1 has no release") as caught:
        yanked(ShelfLedger(*ESTATE, built), "mail-1")
    assert "debian/mail-1 has no release yet" in caught.value.hint


def test_a_name_of_several_lines_is_not_guessed() -> None:
    other = seal("1.1.0", 40, line="centos-stream10")
    with pytest.raises(UsageError, match="several lines have an image 'base'"):
        yanked(ShelfLedger(*ESTATE, other), "base")
    found = verb(
        ShelfLedger(*ESTATE, other),
        "base",
        "1.1.0",
        why="x",
        author="Cleo",
        clock=lambda: NOON,
        line="debian",
    )
    assert found.seal == NEW


def test_people_see_who_has_to_go_where() -> None:
    text = shown(render.as_text(yanked(ShelfLedger(*ESTATE)), every=False))
    assert "debian/base v1.1.0 is yanked: zfs.ko does not load" in text
    assert "still named by v1, v1.1; each moves with the next release of its version" in text
    assert "2 releases built on it: debian/db-1 v1.0.0, debian/web-1 v1.1.0" in text
    assert "pipeline rollback debian/web-1 v1.0.0 --why 'web-1 v1.1.0 is bad'" in text
    assert "no good release of these is left" in text
    assert "nothing in the registry is touched" in text


def test_a_release_that_nothing_needs_is_told_as_such() -> None:
    newer = ShelfLedger(OLD_BASE, OLD, NEW_BASE, seal("2.0.0", of=NEW_BASE), seal("2.0.1", 9, parent=None))
    found = yanked(newer, version="2.0.0")
    assert (found.tags, found.children, found.hosts) == ((), (), ())
    assert "nothing else names it and no host is known to run it" in shown(render.as_text(found, every=False))


def test_many_hosts_are_told_together_and_each_when_asked() -> None:
    hosts = [host(f"web-{number}", "1.1.0", 100 + number, NEW) for number in range(1, 32)]
    before = [host(f"web-{number}", "1.0.0", 200 + number, OLD) for number in range(1, 32)]
    records = [one for pair in (*before, *hosts) for one in pair]
    found = yanked(ShelfLedger(*ESTATE[:4], *records, *(deployment(one) for _, one in hosts)))
    text = shown(render.as_text(found, every=False))
    assert "31 hosts running it or what is built on it: web-1 (v1.1.0), web-10" in text
    assert text.count("pipeline rollback debian/web-") == 1
    assert "pipeline rollback --all-hosts-on debian/base:v1.1.0 --why 'base v1.1.0 is bad'" in text
    assert shown(render.as_text(found, every=True)).count("pipeline rollback debian/web-") == 31


def test_every_command_that_is_told_is_one_that_rollback_takes() -> None:
    hosts = [host(f"web-{number}", "1.1.0", 100 + number, NEW) for number in range(2, 5)]
    before = [host(f"web-{number}", "1.0.0", 200 + number, OLD) for number in range(2, 5)]
    ledger = ShelfLedger(*ESTATE[:8], *(one for pair in (*before, *hosts) for one in pair))
    found = yanked(ledger)
    ways = Ways(ledger.read())
    for one in found.hosts:
        words = parser().parse_args(shlex.split(str(one.command))[1:]).words
        way = ways.to(*words)
        assert (way.host, way.seal) == (one.host, one.to)
    fleet = parser().parse_args(shlex.split(str(found.fleet_command))[1:])
    went, left_out = ways.from_release(fleet.all_hosts_on, None)
    assert sorted(way.host for way in went) == ["web-1", "web-2", "web-3", "web-4"]
    assert left_out == ()


def test_json_holds_everything() -> None:
    found = yanked(ShelfLedger(*ESTATE))
    data = json.loads(json.dumps(render.as_json(found)))
    assert data["yank"]["kind"] == "yank"
    assert (data["written"], data["already"], data["tags"]) == (True, False, ["v1", "v1.1"])
    assert data["fleet_command"] is None
    assert data["hosts"][1] == {
        "host": "web-1", "use": "runs", "image": "debian/web-1", "version": "1.1.0", "to": "1.0.0",
        "command": "pipeline rollback debian/web-1 v1.0.0 --why 'web-1 v1.1.0 is bad'",
    }  # fmt: skip
    assert {one["image"] for one in data["children"]} == {"debian/db-1", "debian/web-1"}
