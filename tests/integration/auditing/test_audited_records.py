"""Records forged in a real ledger, approvals that do not count and keys that no longer do, each named."""

from __future__ import annotations

import dataclasses
import datetime as dt

import pytest
from approvalworld import SETTINGS
from auditworld import BASE, WEB, another, found, looked, new_host, problems, said, seal, sealed
from ledgers import REF, git
from records import yank
from releaseworld import TIERS, ReleaseWorld
from signingkit import FastSigner
from sshkeys import listed, public

from pipeline.domain.audit import What
from pipeline.domain.image import Tier
from pipeline.errors import LedgerError
from pipeline.verbs.reject import reject
from pipeline.verbs.verify import verify

pytestmark = pytest.mark.engine


def test_a_rewritten_ledger_ends_the_audit(world: ReleaseWorld) -> None:
    world.look()
    git(world.hub, "update-ref", REF, f"{REF}~1")
    with pytest.raises(LedgerError, match="rewritten or truncated"):
        looked(world)


def test_a_record_that_was_edited_ends_the_audit(world: ReleaseWorld) -> None:
    """An approval changed where it lies: its file no longer has the name its content gives."""
    clone = world.hub.parent / "mallory"
    git(world.hub.parent, "clone", "-q", "-b", "pipeline-ledger", str(world.hub), str(clone))
    path = next(one for one in clone.glob("records/*/*/*.json") if '"kind":"approval"' in one.read_text())
    path.write_text(path.read_text().replace("fixes the pool import", "says nothing of the implant"))
    git(clone, "commit", "-q", "-a", "-m", "tidy")
    git(clone, "push", "-q", "origin", "HEAD")
    with pytest.raises(LedgerError):
        looked(world)


def test_an_approval_edited_and_appended_again_does_not_count(world: ReleaseWorld) -> None:
    one, documents = new_host(world)
    approvals = world.approved(one, "1.0.0", by=["ben"])
    edited = dataclasses.replace(approvals[0], what="an implant")
    world.write(edited)
    sealed(world, one, documents, [edited])
    assert "approvals: the approval" in problems(world, "debian/db-1")
    assert "its signature is not good" in problems(world, "debian/db-1")


def test_a_release_that_its_own_builder_approved_does_not_verify(world: ReleaseWorld) -> None:
    one, documents = new_host(world)
    sealed(world, one, documents, [world.signed_by_hand("ada", one, "1.0.0")])
    assert "ada@example.org built it" in problems(world, "debian/db-1")


def test_an_approval_that_came_only_after_the_seal_does_not_count(world: ReleaseWorld) -> None:
    one, documents = new_host(world)
    sealed(world, one, documents, [])
    world.approved(one, "1.0.0", by=["ben"])
    assert "expected 1 distinct person" in problems(world, "debian/db-1")


def test_a_rejection_after_the_seal_changes_nothing_of_what_was(world: ReleaseWorld) -> None:
    """What a release was at its seal it stays; who finds it bad later yanks it."""
    candidate = world.look().candidate(seal(world, "web-1 1.1.0"))
    assert candidate is not None
    world.now += dt.timedelta(minutes=1)
    reject([world.proposal(candidate, "1.1.0")], world.deciding("dan"), why="it does not boot here")
    assert problems(world, WEB) == ""


def test_a_seal_that_nobody_approved_is_named_by_both(world: ReleaseWorld) -> None:
    """Mallory may push to registry and ledger, and has neither an approver's nor the release key."""
    one, documents = new_host(world)
    world.tagged(one, "v1.0.0", "v1.0", "v1", "current")
    signatures = world.signed(one, documents, [], signer=FastSigner("mallory.pub"))
    world.write(world.seal_of(one, "1.0.0", [], signatures, approvers=("ben@example.org",)))
    told = problems(world, "debian/db-1")
    for reason in (
        "record: v1.0.0 was not reserved before it was sealed",
        "signature: signature: no known key made it",
        "signature: approval: no known key made it",
        "approvals: approvals by people in the role 'managers': got none, expected 1 distinct person",
        "approvals: the seal names ben@example.org as approvers, nobody approved",
    ):
        assert reason in told
    report = looked(world)
    assert {what for what, _, _ in found(report)} == {What.RECORD, What.SIGNATURE}
    assert {image for _, image, _ in found(report)} == {"debian/db-1"}


def test_a_second_seal_of_a_version_is_named_and_changes_nothing(world: ReleaseWorld) -> None:
    first, stray = seal(world, "base 1.0.0"), another(world, "base")
    world.write(dataclasses.replace(first, digest=stray, time=world.now, author="Mallory"))
    report = looked(world)
    assert found(report) == [(What.RECORD, BASE, "v1.0.0")]
    assert str(stray) in said(report)


def test_a_seal_dated_back_to_when_a_key_was_good_is_named(world: ReleaseWorld) -> None:
    one, documents = new_host(world)
    approvals = world.approved(one, "1.0.0", by=["ben"])
    sealed(world, one, documents, approvals, time=world.now - dt.timedelta(days=2))
    assert "record: it is dated" in problems(world, "debian/db-1")
    assert "it is dated" in said(looked(world))


def test_a_revoked_key_is_named_by_audit_and_the_release_still_verifies(world: ReleaseWorld) -> None:
    world.now += dt.timedelta(days=1)
    world.settings(SETTINGS.format(rule=TIERS, more='revoked_keys = "keys/revoked"'))
    (world.images / "keys/revoked").write_text(public(world.keys / "ben") + "\n")
    world.commit("ben's laptop was stolen", "ada")
    world.push()
    report = looked(world)
    assert [what for what, _, _ in found(report)] == [What.KEY]
    assert "of ben@example.org was revoked since it approved debian/base v1.0.0" in said(report).replace(
        ": ", " "
    )
    assert not report.ok
    assert problems(world, WEB) == ""


def test_a_key_removed_since_is_named_and_one_that_ran_out_is_not(world: ReleaseWorld) -> None:
    world.now += dt.timedelta(days=1)
    options = 'namespaces="decision@bootc-pipeline",valid-before="20261122"'
    world.signers(
        *(listed(world.keys / name) for name in ("ada", "dan", "robot")),
        listed(world.keys / "cleo", options=options),
    )
    world.commit("ben left, cleo has a new key", "ada")
    world.push()
    report = looked(world)
    assert [what for what, _, _ in found(report)] == [What.KEY]
    assert "ben@example.org was removed" in said(report)
    assert problems(world, WEB) == ""


def test_a_release_on_a_yanked_parent_is_named_and_what_still_leads_to_it_noted(world: ReleaseWorld) -> None:
    world.write(yank(seal(world, "base 1.0.0"), time=world.now))
    report = looked(world)
    assert found(report) == [
        (What.PARENT, WEB, "v1.0.0"),
        (What.PARENT, WEB, "v1.1.0"),
        (What.YANKED, BASE, "v1"),
        (What.YANKED, BASE, "v1.0"),
    ]
    assert "zfs.ko does not load" in said(report)
    verified = verify(WEB, world.verify_parts())
    assert verified.ok
    assert "yanked since" in verified.tiers[1].checks[0].notes[0]


def test_a_release_sealed_on_a_parent_that_was_yanked_before_does_not_verify(world: ReleaseWorld) -> None:
    base = seal(world, "base 1.0.0")
    world.write(yank(base, time=world.now))
    one, documents = world.built("db-1", Tier.INSTANCE, on=base)
    sealed(world, one, documents, world.approved(one, "1.0.0"))
    assert "parent: its parent debian/base v1.0.0 had been yanked before" in problems(world, "debian/db-1")
