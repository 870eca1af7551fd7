"""`pipeline releases`: what is released, from one look at the ledger, for people, programs and changelogs."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memoryledger import ShelfLedger
from records import NOON, candidate, deployment, seal, yank
from releasekit import base, counted, host, later, shown

from pipeline.domain.decision import Release
from pipeline.domain.overview import Overview, image_named
from pipeline.domain.record import Record, harmless
from pipeline.domain.release import Removed, Retention, Step
from pipeline.domain.seen import Releases
from pipeline.errors import NotFoundError, UsageError
from pipeline.render import releases as render
from pipeline.verbs.releases import releases as verb

OLD_BASE, OLD = base("1.9.0", 1)
NEW_BASE, NEW = base("1.10.0", 2)
WEB_BUILT, WEB = host("web-1", "1.0.0", 11, OLD)
WEB_NEXT_BUILT, WEB_NEXT = host("web-1", "1.1.0", 12, NEW)
ESTATE: tuple[Record, ...] = (OLD_BASE, OLD, NEW_BASE, NEW, WEB_BUILT, WEB, WEB_NEXT_BUILT, WEB_NEXT)


def versions(found: Releases, name: str) -> list[str]:
    return [view.seal.version for view in found.images[name]]


def test_the_newest_release_comes_first_by_version_not_by_time() -> None:
    found = verb(ShelfLedger(*reversed(ESTATE)))
    assert list(found.images) == ["debian/base", "debian/web-1"]
    assert versions(found, "debian/base") == ["1.10.0", "1.9.0"]
    assert versions(verb(ShelfLedger(*ESTATE), image="web-1"), "debian/web-1") == ["1.1.0", "1.0.0"]
    assert list(verb(ShelfLedger(*ESTATE), only="centos-stream10").images) == []


def test_tags_stand_at_the_release_they_name_now() -> None:
    back = deployment(WEB, Step.CHANNEL, time=later(WEB_NEXT, hours=2))
    found = verb(ShelfLedger(*ESTATE, back)).images["debian/web-1"]
    assert [view.tags for view in found] == [("v1", "v1.1"), ("current", "v1.0")]


def test_yanks_reach_what_is_built_on_them() -> None:
    found = verb(ShelfLedger(*ESTATE, yank(OLD)))
    base_views, web_views = found.images["debian/base"], found.images["debian/web-1"]
    assert [(view.yank is not None, view.unsound) for view in base_views] == [(False, False), (True, True)]
    assert [(view.yank is not None, view.unsound) for view in web_views] == [(False, False), (False, True)]


def test_what_was_deleted_stays_on_the_list() -> None:
    gone = Removed(repository=OLD.repository, digest=OLD.digest, reason="not among the last 10")
    found = verb(ShelfLedger(*ESTATE, Retention(time=NOON, author="cron", removed=(gone,))))
    assert [view.removed for view in found.images["debian/base"]] == [None, "not among the last 10"]
    assert "deleted: not among" in shown(render.as_tables(found), width=300)


def test_a_release_knows_what_it_was_built_from() -> None:
    again = candidate(2, parent=None, run="run-2")
    found = verb(ShelfLedger(*ESTATE, again)).images["debian/base"][0]
    assert found.candidate == NEW_BASE
    assert verb(ShelfLedger(NEW)).images["debian/base"][0].candidate is None


def test_without_its_remote_it_says_so_and_shows_what_was_seen_last() -> None:
    ledger = ShelfLedger(*ESTATE)
    ledger.down = True
    found = verb(ledger)
    assert versions(found, "debian/base") == ["1.10.0", "1.9.0"]
    assert found.notice == "origin cannot be reached; shown is what this clone saw last"
    assert found.notice in shown(render.as_tables(found))


def test_people_see_what_why_and_who() -> None:
    text = shown(render.as_tables(verb(ShelfLedger(*ESTATE, yank(OLD)))))
    new, old = (next(line for line in text.splitlines() if f"v{it} " in line) for it in ("1.10.0", "1.9.0"))
    assert "v1, v1.10" in new
    assert "YANKED" in old
    for word in ("6.12.94+deb13-amd64", "a newer kernel", "ben@example.org", "built on a yanked release"):
        assert word in " ".join(text.split())
    assert "the channel" in text
    assert "nothing is released yet" in shown(render.as_tables(verb(ShelfLedger())))
    assert "not released yet" in shown(render.as_tables(verb(ShelfLedger(OLD_BASE), image="base")))


def test_json_is_the_seals_and_what_is_known_beside() -> None:
    data = json.loads(json.dumps(render.as_json(verb(ShelfLedger(*ESTATE, yank(OLD))))))
    newest, old = data["images"][0]["releases"]
    assert (newest["id"], newest["digest"], newest["version"]) == (NEW.id, str(NEW.digest), "1.10.0")
    assert newest["pins"]["modules"] == {"zfs": "2.3.2"}
    assert newest["source"]["commit"] == "a" * 40
    assert (newest["tags"], newest["channel"], newest["yank"]) == (["v1", "v1.10"], False, None)
    assert old["yank"]["why"] == "zfs.ko does not load"
    assert data["images"][1]["releases"][0]["channel"] is True


def test_the_changelog_tells_what_why_who_and_what_was_before() -> None:
    before = Release(version="1.9.0", digest=OLD.digest)
    one = seal("1.10.0", of=NEW_BASE, predecessor=before)
    text = render.as_changelog(verb(ShelfLedger(OLD_BASE, OLD, NEW_BASE, one, yank(OLD))))
    assert text.startswith("# Releases\n\n## debian/base\n\n### v1.10.0 - 2026-11-21\n\na newer kernel\n\n")
    for line in (
        "- Why: fixes the pool import",
        "- Approved by: ben@example.org, cleo@example.org",
        "- Version raised by: minor; zfs 2.3.2 in place of 2.3.1",
        "- Built with: 6.12.94+deb13-amd64, zfs 2.3.2",
        "- Release before: v1.9.0",
        f"- Digest: `{one.digest}`",
        "**Yanked** 2026-11-22: zfs.ko does not load",
    ):
        assert line in text.splitlines()


@given(st.text(min_size=1, max_size=60).map(harmless).filter(bool))
def test_no_text_becomes_markup_in_the_changelog(text: str) -> None:
    made = render.as_changelog(verb(ShelfLedger(seal(what=text, why="<img src=x onerror=y> [a](b) `c` *d*"))))
    assert "\\<img src=x onerror=y\\> \\[a\\](b) \\`c\\` \\*d\\*" in made
    what = made.splitlines()[6]
    bare = what.replace("\\\\", "").replace("\\", "\0")
    assert re.match(r" *([-+=]|[0-9]+[.)]( |$))", what) is None
    assert all(bare[place - 1 : place] == "\0" for place, char in enumerate(bare) if char in "<[`*_#")


@pytest.mark.parametrize("image", ["bose", "debian/bose", "\x1b[2J"])
def test_an_image_that_is_not_there_names_the_nearest(image: str) -> None:
    with pytest.raises(NotFoundError) as caught:
        verb(ShelfLedger(*ESTATE), image=image)
    assert "debian/base" in caught.value.hint


def test_a_name_is_the_wanted_line_s_before_it_is_another_s() -> None:
    known = ("a/x", "b/x", "b/y")
    assert image_named("y", known, "a") == "b/y"
    assert image_named("x", known, "a") == "a/x"
    assert image_named("b/x", known, "a") == "b/x"
    with pytest.raises(UsageError, match="several lines"):
        image_named("x", known, None)


def estate(images: int, releases: int) -> list[Record]:
    records: list[Record] = [OLD_BASE, OLD]
    for image in range(images):
        for number in range(releases):
            built, sealed = host(f"web-{image}", f"1.{number}.0", 1000 * image + number + 10, OLD)
            records += [built, sealed, deployment(sealed)]
    return records


def test_a_thousand_releases_of_fifty_images_cost_one_read_and_no_walk_for_each() -> None:
    few, many = ShelfLedger(*estate(5, 20)), ShelfLedger(*estate(50, 20))
    cost = {}
    for ledger in (few, many):
        found, looked = counted(lambda it=ledger: verb(it))  # type: ignore[misc]
        text, rendered = counted(lambda it=found: (render.as_json(it), render.as_changelog(it))[1])  # type: ignore[misc]
        cost[ledger] = looked, rendered
        assert ledger.reads == 1
    assert sum(len(views) for views in found.images.values()) == 1001
    assert text.count("### v1.19.0") == 50
    # Ten times the releases, about ten times the work; a walk over all for each would be a hundred times.
    assert cost[many][0] < 15 * cost[few][0]
    assert cost[many][1] < 15 * cost[few][1]


def test_a_base_under_a_thousand_releases_is_asked_about_without_walking_over_all() -> None:
    def ask(records: list[Record]) -> int:
        overview = Overview(records)
        children = overview.built_on(OLD)
        assert all(overview.sound(one) and overview.candidate_of(one) for one in children)
        return sum(len(overview.used_by(one)) for one in children)

    (few, cheap), (many, dear) = (counted(lambda it=it: ask(estate(it, 1))) for it in (100, 1000))  # type: ignore[misc]
    assert (few, many) == (100, 1000)
    assert dear < 15 * cheap
