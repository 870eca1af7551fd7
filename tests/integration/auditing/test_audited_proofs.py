"""Signatures, attestations and evidence that were removed, swapped or taken from elsewhere, each named."""

from __future__ import annotations

import dataclasses
import json

import pytest
from auditworld import BASE, WEB, Made, found, looked, problems, remove_tag, said, seal
from releaseworld import ReleaseWorld, documents_of
from signingkit import FastSigner

from images import push, tiny_image
from pipeline.domain.audit import What
from pipeline.domain.evidence import Evidence, EvidenceKind
from pipeline.domain.oci import OCI_MANIFEST
from pipeline.domain.signature import signature_manifest, signature_tag, simple_signing
from pipeline.verbs.evidence import store_evidence

pytestmark = pytest.mark.engine


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
