"""Forgeries in a real registry and a real ledger, each named with its reason by verify or audit."""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
import json
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from approvalworld import SETTINGS
from faultyregistry import Fault, faulty_registry
from ledgers import REF, git
from records import deployment, yank
from registries import RunningRegistry, free_port, running_registry
from releaseworld import TIERS, Quiet, ReleaseWorld, Restorable, documents_of
from sealworld import KeysPull
from signingkit import FastSigner
from sshkeys import PROCESSES, listed, public

from images import push, tiny_image
from pipeline.adapters.authors import GitAuthors
from pipeline.adapters.gittags import GitTags, Tagging
from pipeline.adapters.referrers import Referrers, SignedStore
from pipeline.adapters.registries import Registries
from pipeline.adapters.registry import Registry
from pipeline.adapters.sshsig import SshSignatures
from pipeline.adapters.transport import Patience
from pipeline.domain.audit import AuditReport, What
from pipeline.domain.decision import Approval
from pipeline.domain.evidence import Evidence, EvidenceKind
from pipeline.domain.image import Digest, Repository, Tier
from pipeline.domain.oci import OCI_MANIFEST
from pipeline.domain.record import Candidate, Record
from pipeline.domain.release import Removed, Retention, Seal, Step
from pipeline.domain.signature import signature_manifest, signature_tag, simple_signing
from pipeline.errors import LedgerError, NotFoundError, RegistryError, UsageError
from pipeline.verbs.audit import audit
from pipeline.verbs.evidence import store_evidence
from pipeline.verbs.knowing import Knowing
from pipeline.verbs.reject import reject
from pipeline.verbs.seal import seal as release
from pipeline.verbs.seal_parts import SealParts
from pipeline.verbs.seal_plan import Words
from pipeline.verbs.verify import verify, verify_release

pytestmark = pytest.mark.engine
_COUNT = itertools.count()
WEB, BASE, UPSTREAM = "debian/web-1", "debian/base", "debian/upstream"


class Made:
    """The world with its releases, and what puts it back."""

    def __init__(self, folder: Path, running: RunningRegistry) -> None:
        (folder / "world").mkdir()
        self.running = running
        self.world = ReleaseWorld(folder / "world", running.host)
        upstream = self.world.release("upstream", Tier.UPSTREAM)
        base = self.world.release("base", Tier.BASE, on=upstream)
        self.world.release("web-1", Tier.INSTANCE, on=base)
        self.world.release("web-1", Tier.INSTANCE, "1.1.0", on=base)
        self.kept = Restorable(folder / "kept", folder / "world", running.storage)
        self.now = self.world.now


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    folder = tmp_path_factory.mktemp("audit")
    with running_registry(folder / "registry") as running:
        yield Made(folder, running)


@pytest.fixture
def world(made: Made) -> Iterator[ReleaseWorld]:
    yield made.world
    made.kept.restore()
    made.world.now = made.now


def seal(world: ReleaseWorld, name: str) -> Seal:
    return world.seals[name]


def looked(world: ReleaseWorld, *images: str, deep: bool = False) -> AuditReport:
    parts = world.verify_parts()
    return audit(
        world.audit_parts(),
        images=images,
        deep=(lambda _: partial(verify_release, parts=parts)) if deep else None,
    )


def found(report: AuditReport) -> list[tuple[What, str, str]]:
    return [(one.what, one.image, one.release) for one in report.findings]


def said(report: AuditReport) -> str:
    return "\n".join(one.text for one in report.findings)


def problems(world: ReleaseWorld, ref: str) -> str:
    return "\n".join(verify(ref, world.verify_parts()).problems)


def another(world: ReleaseWorld, image: str) -> Digest:
    """Push an image that nobody knows; each is another one, for the registry remembers what it once had."""
    return push(world.registry, world.repository(image), tiny_image(text=f"implant {next(_COUNT)}"))


def retag(world: ReleaseWorld, image: str, tag: str, to: Digest) -> None:
    repository = world.repository(image)
    world.registry.put_manifest(repository, tag, world.registry.manifest(repository.at(to)))


def remove_tag(made: Made, image: str, tag: str) -> None:
    """Remove a tag as who can reach the registry's files does; its API removes whole manifests alone."""
    shutil.rmtree(
        made.running.storage / f"docker/registry/v2/repositories/os/debian/{image}/_manifests/tags/{tag}"
    )


def test_what_was_sealed_as_it_should_verifies_whole(world: ReleaseWorld) -> None:
    verified = verify(f"{WEB}:v1", world.verify_parts())
    assert verified.problems == ()
    assert [one.title for one in verified.tiers] == [f"{WEB} v1.1.0", f"{BASE} v1.0.0", f"{UPSTREAM} v1.0.0"]
    assert looked(world).findings == ()
    report = looked(world, deep=True)
    assert (report.findings, report.images, report.releases, report.deep) == ((), 3, 4, True)


def test_what_the_seal_itself_makes_verifies(world: ReleaseWorld) -> None:
    """The other releases here are made by hand; this one by the verb that makes real ones."""
    one, _ = world.built("web-1", Tier.INSTANCE, on=seal(world, "base 1.0.0"))
    world.approved(one, "1.2.0")
    store = SignedStore(world.registry, world.referrers)
    tagging = Tagging(
        key=world.keys / "dan", unsigned=False, identity=("Dan", "dan@example.org"), clock=lambda: world.now
    )
    parts = SealParts(
        ledger=world.ledger(),
        rules=world.rules(),
        signatures=SshSignatures(PROCESSES),
        knowing=Knowing(store=world.referrers, authors=GitAuthors(world.images), branch=world.rules()),
        registry=world.registry,
        keys=(world.signer.key,),
        signer=world.signer,
        signed=store,
        host_pull=KeysPull(store, (world.signer.key,)),
        tags=GitTags(world.images, remote="origin", tagging=tagging, processes=PROCESSES),
        author="Cleo <cleo@example.org>",
        clock=lambda: world.now,
        reporter=Quiet(),
    )
    made = release([one], Words(), parts)
    assert [f"{sealed.seal.name} v{sealed.seal.version}" for sealed in made] == [f"{WEB} v1.2.0"]
    assert verify(WEB, world.verify_parts()).tiers[0].title == f"{WEB} v1.2.0"
    assert problems(world, WEB) == ""
    assert looked(world, deep=True).findings == ()


@pytest.mark.parametrize(
    "form", ["{name}", "{name}:1.1.0", "{repository}:v1", "{repository}:current", "{ref}"]
)
def test_a_release_is_named_in_every_form(world: ReleaseWorld, form: str) -> None:
    newest = seal(world, "web-1 1.1.0")
    ref = form.format(name=WEB, repository=newest.repository, ref=newest.repository.at(newest.digest))
    assert verify(ref, world.verify_parts()).tiers[0].title == f"{WEB} v1.1.0"


def test_what_is_no_release_is_refused_or_said(world: ReleaseWorld) -> None:
    with pytest.raises(NotFoundError):
        verify("debian/web-9", world.verify_parts())
    with pytest.raises(NotFoundError):
        verify(f"{world.repository('web-1')}:v7", world.verify_parts())
    with pytest.raises(UsageError):
        verify("web-1", world.verify_parts())
    stray = another(world, "web-1")
    assert f"the ledger has no release {stray}" in problems(world, str(world.repository("web-1").at(stray)))


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
    one, _ = world.built("db-1", Tier.INSTANCE, on=seal(world, "base 1.0.0"))
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


@pytest.mark.parametrize("how", ["stripped", "untagged"])
def test_a_signature_that_is_gone_is_named(world: ReleaseWorld, made: Made, how: str) -> None:
    base = seal(world, "base 1.0.0")
    if how == "untagged":
        remove_tag(made, "base", signature_tag(base.digest))
    else:
        held = json.loads(world.registry.unparsed(base.repository.tagged(signature_tag(base.digest))))
        held["layers"] = []
        world.registry.put_unread(
            base.repository, signature_tag(base.digest), json.dumps(held).encode(), OCI_MANIFEST
        )
    report = looked(world)
    assert found(report) == [(What.SIGNATURE, BASE, "v1.0.0")]
    assert ("gone" if how == "untagged" else "stripped") in said(report)
    assert "base v1.0.0: signature: " in problems(world, WEB)


def test_a_signature_by_another_key_is_none(world: ReleaseWorld) -> None:
    base, mallory = seal(world, "base 1.0.0"), FastSigner("mallory.pub")
    claim = simple_signing(base.repository, base.digest)
    image = signature_manifest(claim, mallory.sign([claim])[0])
    world.registry.put_blob(base.repository, image.config)
    world.registry.put_manifest(base.repository, signature_tag(base.digest), image.manifest)
    report = looked(world)
    assert found(report) == [(What.SIGNATURE, BASE, "v1.0.0")]
    assert "by no release key" in said(report)
    assert "no known key made it" in problems(world, BASE)


def test_a_signature_taken_from_another_release_is_none(world: ReleaseWorld) -> None:
    old, new = seal(world, "web-1 1.0.0"), seal(world, "web-1 1.1.0")
    stolen = world.registry.unparsed(old.repository.tagged(signature_tag(old.digest)))
    world.registry.put_manifest(new.repository, signature_tag(new.digest), stolen)
    assert found(looked(world)) == [(What.SIGNATURE, WEB, "v1.1.0")]
    assert "it is for another digest" in problems(world, WEB)


def test_a_removed_attestation_is_named(world: ReleaseWorld) -> None:
    base = seal(world, "base 1.0.0")
    world.registry.delete_manifest(base.repository, base.signatures["provenance"])
    report = looked(world)
    assert found(report) == [(What.ATTESTATION, BASE, "v1.0.0")]
    assert "provenance" in said(report)
    assert "provenance: the attestation" in problems(world, BASE)


def test_a_swapped_sbom_is_named(world: ReleaseWorld) -> None:
    base = seal(world, "base 1.0.0")
    listing = world.referrers.entries(base.repository, base.digest)
    for entry in listing.entries:
        if entry.kind == "sbom":
            world.registry.delete_manifest(base.repository, entry.digest)
    clean = Evidence(kind=EvidenceKind.SBOM, data=b'{"bomFormat":"CycloneDX","components":[]}')
    subject = world.registry.resolve(base.repository.at(base.digest))
    store_evidence(world.referrers, base.repository, subject, [clean], created=world.now)
    report = looked(world, deep=True)
    assert (What.CHAIN, BASE, "v1.0.0") in found(report)
    assert "evidence: sbom" in said(report)
    assert "base v1.0.0: evidence: sbom" in problems(world, BASE)


def test_evidence_that_is_gone_is_named(world: ReleaseWorld) -> None:
    base = seal(world, "base 1.0.0")
    for entry in world.referrers.entries(base.repository, base.digest).entries:
        if entry.kind in ("sbom", "gates"):
            world.registry.delete_manifest(base.repository, entry.digest)
    report = looked(world)
    assert found(report) == [(What.EVIDENCE, BASE, "v1.0.0")]
    assert "gates, sbom" in said(report)


def test_a_damaged_document_is_a_problem_of_the_release(world: ReleaseWorld, made: Made) -> None:
    base = seal(world, "base 1.0.0")
    made.running.blob_file(base.evidence["provenance"].value).write_bytes(b"{}")
    assert "base v1.0.0: evidence: provenance" in problems(world, BASE)


def test_an_sbom_and_a_provenance_of_another_image_do_not_cover_this_one(world: ReleaseWorld) -> None:
    other = world.look().candidate(seal(world, "web-1 1.0.0"))
    assert other is not None
    repository = world.repository("db-1")
    tiny = tiny_image(text="db")
    push(world.registry, repository, tiny)
    documents = documents_of(other)
    hashes = world.stored(repository, tiny, documents)
    forged = dataclasses.replace(
        other,
        image="db-1",
        repository=repository,
        digest=tiny.digest,
        evidence=hashes,
        time=world.now,
        run="other",
    )
    world.write(forged)
    approvals = world.approved(forged, "1.0.0")
    world.reserved(forged, "1.0.0", approvals)
    world.tagged(forged, "v1.0.0", "v1.0", "v1", "current")
    signatures = world.signed(forged, documents, approvals)
    world.write(world.seal_of(forged, "1.0.0", approvals, signatures))
    told = problems(world, "debian/db-1")
    assert f"sbom: it covers {other.digest.hex}, not {tiny.digest.hex}" in told
    assert f"provenance: it is of {other.digest.hex}, not of {tiny.digest.hex}" in told
    assert "provenance: it is of the run run-1, the ledger says other" in told


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
    one, documents = world.built("db-1", Tier.INSTANCE, on=seal(world, "base 1.0.0"))
    approvals = world.approved(one, "1.0.0", by=["ben"])
    edited = dataclasses.replace(approvals[0], what="an implant")
    world.write(edited)
    sealed(world, one, documents, [edited])
    assert "approvals: the approval" in problems(world, "debian/db-1")
    assert "its signature is not good" in problems(world, "debian/db-1")


def sealed(
    world: ReleaseWorld,
    one: Candidate,
    documents: dict[str, bytes],
    approvals: list[Approval],
    **changes: object,
) -> Seal:
    """Do by hand what a seal does, without asking anything."""
    world.reserved(one, "1.0.0", approvals)
    world.tagged(one, "v1.0.0", "v1.0", "v1", "current")
    signatures = world.signed(one, documents, approvals)
    made = world.seal_of(one, "1.0.0", approvals, signatures, **changes)
    world.write(made)
    return made


def test_a_release_that_its_own_builder_approved_does_not_verify(world: ReleaseWorld) -> None:
    one, documents = world.built("db-1", Tier.INSTANCE, on=seal(world, "base 1.0.0"))
    sealed(world, one, documents, [world.signed_by_hand("ada", one, "1.0.0")])
    assert "ada@example.org built it" in problems(world, "debian/db-1")


def test_an_approval_that_came_only_after_the_seal_does_not_count(world: ReleaseWorld) -> None:
    one, documents = world.built("db-1", Tier.INSTANCE, on=seal(world, "base 1.0.0"))
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
    one, documents = world.built("db-1", Tier.INSTANCE, on=seal(world, "base 1.0.0"))
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
    one, documents = world.built("db-1", Tier.INSTANCE, on=seal(world, "base 1.0.0"))
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


def test_a_seal_that_was_interrupted_is_a_note_with_the_command_that_finishes_it(world: ReleaseWorld) -> None:
    one, _ = world.built("web-1", Tier.INSTANCE, on=seal(world, "base 1.0.0"))
    world.reserved(one, "1.2.0", [])
    world.tagged(one, "v1.2.0", "v1", "current")
    report = looked(world)
    assert (found(report), report.ok) == ([(What.UNFINISHED, WEB, "v1.2.0")], True)
    assert report.findings[0].todo == f"pipeline seal {one.repository}@{one.digest}"


def test_a_half_release_that_was_passed_over_is_named(world: ReleaseWorld) -> None:
    one, _ = world.built("web-1", Tier.INSTANCE, on=seal(world, "base 1.0.0"))
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


def test_images_are_chosen_by_name(world: ReleaseWorld) -> None:
    retag(world, "base", "v1", another(world, "base"))
    assert found(looked(world, WEB)) == []
    assert found(looked(world, BASE)) == [(What.REPUSHED, BASE, "v1")]
    with pytest.raises(UsageError, match="debian/web-9"):
        looked(world, "debian/web-9")


def test_a_ledger_that_grew_meanwhile_is_read_again(world: ReleaseWorld) -> None:
    """The tags of a release are there before its record: nobody forged it who read the ledger too early."""
    world.release("web-1", Tier.INSTANCE, "1.2.0", on=seal(world, "base 1.0.0"))
    newest = world.look().records

    class Growing:
        """Tells at first what was there before the last release."""

        reads = 0

        def read(self, *, offline: bool = False) -> tuple[Record, ...]:
            del offline
            self.reads += 1
            early = next(at for at, one in enumerate(newest) if "1.2.0" in one.title)
            return newest[: early - 3] if self.reads == 1 else newest

    assert found(audit(world.audit_parts(ledger=Growing()))) == []


@pytest.mark.parametrize("status", [401, 429, 503])
def test_a_registry_that_refuses_or_fails_is_an_error_and_never_a_good_end(
    world: ReleaseWorld, status: int
) -> None:
    with faulty_registry(world.host, Fault(path="tags/list", status=status)) as faulty:
        far = Repository(registry=faulty.host, path="os/debian/base")
        with pytest.raises(RegistryError):
            audit(world.audit_parts(defined={"debian/far": far}, store=beside(world)))


def test_a_registry_that_is_away_is_an_error(world: ReleaseWorld) -> None:
    away = Repository(registry=f"127.0.0.1:{free_port()}", path="os/debian/base")
    with pytest.raises(RegistryError):
        audit(world.audit_parts(defined={"debian/far": away}, store=beside(world)))


def test_a_registry_that_goes_away_while_a_release_is_verified_is_an_error(world: ReleaseWorld) -> None:
    """Its own words count: a release is not bad because nobody answers."""
    with faulty_registry(world.host, Fault(path="manifests", status=503)) as faulty:
        one = seal(world, "upstream 1.0.0")
        far = dataclasses.replace(one, repository=dataclasses.replace(one.repository, registry=faulty.host))
        parts = dataclasses.replace(world.verify_parts(), registry=beside(world), signed=beside(world))
        with pytest.raises(RegistryError):
            verify_release(far, parts)


def beside(world: ReleaseWorld) -> Registries:
    """The world's registry, and any other, asked once."""
    hurried = Patience(attempts=1, connect=5, read=5)

    def opened(host: str) -> tuple[Registry, Referrers]:
        if host == world.host:
            return world.registry, world.referrers
        return Registry(host, insecure=True, patience=hurried), world.referrers

    return Registries(opened)
