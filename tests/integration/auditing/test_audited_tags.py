"""Tags that were moved, pushed again, added or deleted in a real registry, each named by audit or verify."""

from __future__ import annotations

import datetime as dt
import shutil

import pytest
from auditworld import (
    BASE,
    WEB,
    Made,
    another,
    found,
    looked,
    new_host,
    problems,
    remove_tag,
    retag,
    said,
    seal,
)
from records import deployment
from releaseworld import ReleaseWorld

from images import push, tiny_image
from pipeline.domain.audit import What
from pipeline.domain.image import Tier
from pipeline.domain.release import Removed, Retention, Step
from pipeline.verbs.audit import audit

pytestmark = pytest.mark.engine


def test_a_release_tag_pushed_again_is_named(world: ReleaseWorld) -> None:
    stray = another(world, "base")
    retag(world, "base", "v1.0.0", stray)
    report = looked(world)
    assert found(report) == [(What.REPUSHED, BASE, "v1.0.0")]
    assert str(stray) in said(report)
    assert str(seal(world, "base 1.0.0").digest) in said(report)
    assert f"base v1.0.0: tag: v1.0.0 names {stray}" in problems(world, WEB)
    assert f"v1.0.0 names {stray}, the ledger says" in problems(world, f"{world.repository('base')}:v1.0.0")


def test_a_release_tag_moved_to_another_release_is_told_from_one_pushed_again(world: ReleaseWorld) -> None:
    retag(world, "web-1", "v1.1.0", seal(world, "web-1 1.0.0").digest)
    report = looked(world)
    assert found(report) == [(What.MOVED, WEB, "v1.1.0")]
    assert f"which is {WEB} v1.0.0" in said(report)


def test_a_deleted_tag_is_named(world: ReleaseWorld, made: Made) -> None:
    remove_tag(made, "base", "v1.0.0")
    assert found(looked(world)) == [(What.DELETED, BASE, "v1.0.0")]
    assert "has no tag v1.0.0" in problems(world, WEB)


def test_a_deleted_image_is_named_with_all_that_named_it(world: ReleaseWorld) -> None:
    gone = seal(world, "web-1 1.1.0")
    world.registry.delete_manifest(gone.repository, gone.digest)
    tags = [release for what, _, release in found(looked(world)) if what is What.DELETED]
    assert tags == ["current", "v1", "v1.1", "v1.1.0"]


def test_an_added_tag_is_named(world: ReleaseWorld) -> None:
    retag(world, "base", "v9.9.9", another(world, "base"))
    retag(world, "base", "latest", seal(world, "base 1.0.0").digest)
    retag(world, "base", "not-a-release", seal(world, "base 1.0.0").digest)
    assert found(looked(world)) == [(What.ADDED, BASE, "latest"), (What.ADDED, BASE, "v9.9.9")]


def test_tags_of_an_image_that_was_only_built_or_defined_are_looked_at(world: ReleaseWorld) -> None:
    one, _ = new_host(world)
    world.tagged(one, "v1.0.0")
    defined = world.repository("only-defined")
    push(world.registry, defined, tiny_image(), "current")
    report = audit(world.audit_parts(defined={"debian/only-defined": defined}))
    assert found(report) == [
        (What.ADDED, "debian/db-1", "v1.0.0"),
        (What.ADDED, "debian/only-defined", "current"),
    ]


def test_a_moved_alias_and_a_moved_channel_are_named(world: ReleaseWorld) -> None:
    old = seal(world, "web-1 1.0.0").digest
    retag(world, "web-1", "v1", old)
    retag(world, "web-1", "current", old)
    assert found(looked(world)) == [(What.CHANNEL, WEB, "current"), (What.MOVED, WEB, "v1")]


def test_a_rollback_that_was_not_finished_is_a_note_and_a_finished_one_nothing(world: ReleaseWorld) -> None:
    old = seal(world, "web-1 1.0.0")
    world.write(deployment(old, Step.WANTED, time=world.now))
    retag(world, "web-1", "current", old.digest)
    report = looked(world)
    assert (found(report), report.ok) == ([(What.UNFINISHED, WEB, "current")], True)
    assert "pipeline rollback web-1 v1.0.0" in report.findings[0].todo
    world.write(deployment(old, Step.CHANNEL, time=world.now + dt.timedelta(seconds=1)))
    assert found(looked(world)) == []


def test_a_seal_that_was_interrupted_is_a_note_with_the_command_that_finishes_it(world: ReleaseWorld) -> None:
    one, _ = new_host(world, "web-1")
    world.reserved(one, "1.2.0", [])
    world.tagged(one, "v1.2.0", "v1", "current")
    report = looked(world)
    assert (found(report), report.ok) == ([(What.UNFINISHED, WEB, "v1.2.0")], True)
    assert report.findings[0].todo == f"pipeline seal {one.repository}@{one.digest}"


def test_a_half_release_that_was_passed_over_is_named(world: ReleaseWorld) -> None:
    one, _ = new_host(world, "web-1")
    world.reserved(one, "1.2.0", [])
    world.tagged(one, "v1.2.0")
    world.release("web-1", Tier.INSTANCE, "1.3.0", on=seal(world, "base 1.0.0"))
    report = looked(world)
    assert found(report) == [(What.ADDED, WEB, "v1.2.0")]
    assert "never sealed" in said(report)


def test_what_was_pruned_is_not_missed(world: ReleaseWorld) -> None:
    old = seal(world, "web-1 1.0.0")
    gone = Removed(repository=old.repository, digest=old.digest, reason="older than the last 1 releases")
    world.write(Retention(time=world.now, author="prune", removed=(gone,)))
    assert found(looked(world)) == [(What.PRUNED, WEB, "v1.0"), (What.PRUNED, WEB, "v1.0.0")]
    world.registry.delete_manifest(old.repository, old.digest)
    assert found(looked(world)) == []
    assert "was pruned" in problems(world, f"{WEB}:v1.0.0")


def test_a_repository_that_is_gone_is_named(world: ReleaseWorld, made: Made) -> None:
    shutil.rmtree(made.running.storage / "docker/registry/v2/repositories/os/debian/web-1")
    report = looked(world)
    assert found(report) == [(What.REPOSITORY, WEB, "")]
    assert "there is no repository" in said(report)
