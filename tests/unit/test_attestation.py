from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import json
from typing import Any

import pytest
from approvalkit import SIGNERS, approval, decided, settings
from hypothesis import given
from hypothesis import strategies as st
from records import NOON, candidate, digest
from signingkit import FastSigner

from pipeline.domain.artifact import BUNDLE, is_ours, read_artifact, read_attestation
from pipeline.domain.attestation import (
    PAYLOAD_TYPE,
    bundle_artifact,
    bundle_of,
    pae,
    read_bundle,
    statement_of,
)
from pipeline.domain.canonical import canonical_json, parse_canonical
from pipeline.domain.decision import Approval
from pipeline.domain.oci import OCI_MANIFEST, Descriptor, digest_of
from pipeline.domain.predicates import APPROVALS, SBOM, TEST_RESULT, VSA, Verified, attests_of, rules_digest
from pipeline.domain.protected_rules import ProtectedRules
from pipeline.domain.provenance import PREDICATE, STATEMENT
from pipeline.domain.record import Candidate, record_json
from pipeline.errors import RegistryError, SignatureError, UsageError

NAME = "127.0.0.1:5000/os/debian/base"
SUBJECT = Descriptor(media_type=OCI_MANIFEST, digest=digest(1), size=700)
SIGNER = FastSigner()

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
    max_leaves=12,
)


def bundle(statement: bytes) -> bytes:
    (signature,) = SIGNER.sign([pae(statement)])
    return bundle_of(statement, signature, SIGNER.key.hint)


def edited(**changes: object) -> bytes:
    """A good bundle with other values at `outer_inner` paths."""
    value = json.loads(bundle(statement_of(NAME, digest(1), "https://example.org/t", {})))
    for path, new in changes.items():
        *above, last = path.split("_")
        at: Any = value
        for key in above:
            at = at[key]
        at[last] = new
    return json.dumps(value).encode()


@given(values)
def test_a_statement_goes_through_its_bundle_unchanged(predicate: Any) -> None:
    statement = statement_of(NAME, digest(1), "https://example.org/t", predicate)
    found = read_bundle(bundle(statement))
    assert (found.statement, found.predicate) == (statement, predicate)
    assert found.subjects == (digest(1),)
    assert found.predicate_type == "https://example.org/t"
    assert found.hint == SIGNER.key.hint
    assert SIGNER.key.verifies(pae(found.statement), found.signature)
    assert parse_canonical(statement)["_type"] == STATEMENT


def test_what_is_signed_is_the_statement_with_its_type_and_lengths() -> None:
    # The example of the DSSE specification's form: version, length and type, length and body.
    assert pae(b"hello") == b"DSSEv1 28 application/vnd.in-toto+json 5 hello"
    assert pae(b"") != pae(b" ")


def test_a_fraction_cannot_be_attested() -> None:
    with pytest.raises(UsageError, match="cannot be written"):
        statement_of(NAME, digest(1), "https://example.org/t", {"share": 0.5})  # type: ignore[dict-item]


def test_a_bundle_is_an_artifact_that_refers_to_its_image() -> None:
    data = bundle(statement_of(NAME, digest(1), SBOM, {}))
    made = bundle_artifact("sbom", SUBJECT, SBOM, data, NOON)
    assert made == bundle_artifact("sbom", SUBJECT, SBOM, data, NOON)
    value = json.loads(made.manifest)
    assert value["artifactType"] == BUNDLE
    assert [one["mediaType"] for one in value["layers"]] == [BUNDLE]
    assert value["annotations"]["dev.sigstore.bundle.content"] == "dsse-envelope"
    assert value["annotations"]["dev.sigstore.bundle.predicateType"] == SBOM
    stored = read_attestation(made.manifest, digest(1))
    assert stored is not None
    assert (stored.kind, stored.document.digest) == ("sbom", digest_of(data))
    assert read_artifact(made.manifest, digest(1)) is None
    assert is_ours(made.manifest, digest(1))


def test_an_attestation_of_another_image_or_form_is_not_ours() -> None:
    data = bundle(statement_of(NAME, digest(1), SBOM, {}))
    made = bundle_artifact("sbom", SUBJECT, SBOM, data, NOON).manifest
    with pytest.raises(RegistryError, match="another image"):
        read_attestation(made, digest(2))
    assert not is_ours(made, digest(2))
    value = json.loads(made)
    for key, new in (("artifactType", "text/plain"), ("layers", value["layers"] * 2), ("layers", [])):
        with pytest.raises(RegistryError, match="not one Sigstore bundle"):
            read_attestation(json.dumps(value | {key: new}).encode(), digest(1))
    cosigns = {key: text for key, text in value["annotations"].items() if key.startswith("dev.sigstore")}
    theirs = json.dumps(value | {"annotations": cosigns}).encode()
    assert read_attestation(theirs, digest(1)) is None
    assert not is_ours(theirs, digest(1))
    with pytest.raises(UsageError, match="no time"):
        bundle_artifact("sbom", SUBJECT, SBOM, data, dt.datetime(2026, 1, 1))  # noqa: DTZ001


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "no valid JSON"),
        (b"[]", "no object"),
        (b'{"a":1,"a":2}', "twice"),
        (b"[" * 100_000, "no valid JSON"),
        (edited(mediaType="text/plain"), "no Sigstore bundle"),
        (edited(dsseEnvelope=[]), "no object"),
        (edited(dsseEnvelope_payloadType="text/plain"), "no in-toto statement"),
        (edited(dsseEnvelope_payload="%%"), "no base64"),
        (edited(dsseEnvelope_payload=None), "no base64"),
        (edited(dsseEnvelope_signatures=[]), "exactly one signature"),
        (edited(dsseEnvelope_signatures=[{"sig": "AA=="}, {"sig": "AA=="}]), "exactly one signature"),
        (edited(dsseEnvelope_signatures=["x"]), "no object"),
        (edited(verificationMaterial=None), "no object"),
        (edited(dsseEnvelope_payload=base64.b64encode(b"{}").decode()), "of the type"),
        (
            edited(dsseEnvelope_payload=base64.b64encode(canonical_json({"_type": STATEMENT})).decode()),
            "no subjects",
        ),
        (
            edited(
                dsseEnvelope_payload=base64.b64encode(
                    canonical_json({"_type": STATEMENT, "subject": [{"digest": {"sha256": "\u202e"}}]})
                ).decode()
            ),
            "no digest",
        ),
    ],
)
def test_what_is_no_bundle_is_told(data: bytes, why: str) -> None:
    with pytest.raises(SignatureError, match=why) as caught:
        read_bundle(data)
    assert "\u202e" not in caught.value.message


@given(st.binary(max_size=60))
def test_a_bundle_may_be_any_bytes(data: bytes) -> None:
    with pytest.raises(SignatureError):
        read_bundle(data)


BOM = {"bomFormat": "CycloneDX", "specVersion": "1.6", "components": []}
PROVENANCE = {
    "_type": STATEMENT,
    "subject": [{"name": NAME, "digest": {"sha256": digest(1).hex}}],
    "predicateType": PREDICATE,
    "predicate": {"buildDefinition": {"buildType": "t"}, "runDetails": {}},
}
BOOT = {
    "ok": True,
    "kernel": "6.12.94",
    "accelerator": "tcg",
    "full": True,
    "steps": [{"step": "boot", "ok": True}, {"step": "modules", "ok": True}],
}
RULES = ProtectedRules(settings=settings(), signers=SIGNERS, source="origin/main at 1234567")


def documents(**changes: object) -> dict[str, bytes]:
    found = {"sbom": BOM, "provenance": PROVENANCE, "boot-test": BOOT, "gates": {"ok": True}} | {
        name.replace("_", "-"): value for name, value in changes.items()
    }
    return {name: canonical_json(value) for name, value in found.items() if value is not None}  # type: ignore[arg-type]


def of(given: dict[str, bytes], **changes: object) -> Candidate:
    return candidate(1, evidence={name: digest_of(data) for name, data in given.items()}, **changes)


def approved(one: Candidate) -> Approval:
    return approval("ben", decided(one))


def verified(one: Candidate, **changes: Any) -> Verified:
    known: dict[str, Any] = {"version": "1.2.0", "approvals": (approved(one),), "rules": RULES, "time": NOON}
    return Verified(**(known | changes))


def test_a_release_is_attested_by_its_evidence_and_its_approvals() -> None:
    held = documents()
    one = of(held)
    made = attests_of(one, held, verified(one))
    assert [(each.name, each.predicate_type) for each in made] == [
        ("sbom", SBOM),
        ("provenance", PREDICATE),
        ("boot-test", TEST_RESULT),
        ("approval", VSA),
    ]
    assert made == attests_of(one, dict(reversed(held.items())), verified(one))
    sbom, provenance, boot, _ = (each.predicate for each in made)
    assert sbom == BOM
    assert provenance == PROVENANCE["predicate"]
    assert isinstance(boot, dict)
    assert (boot["result"], boot["passedTests"], boot["failedTests"]) == ("PASSED", ["boot", "modules"], [])
    assert boot["configuration"][0]["digest"] == {"sha256": one.evidence["boot-test"].hex}


def test_the_approval_names_rules_records_evidence_and_people() -> None:
    held = documents()
    one = of(held)
    summary: Any = attests_of(one, held, verified(one, warnings=("anybody may",)))[-1].predicate
    assert summary["verificationResult"] == "PASSED"
    assert summary["timeVerified"] == "2026-11-21T12:00:00Z"
    assert summary["resourceUri"].startswith(f"pkg:oci/base@{one.digest}?")
    assert summary["resourceUri"].endswith("&tag=v1.2.0")
    assert summary["policy"]["digest"] == {"sha256": rules_digest(RULES).hex}
    assert summary["policy"]["name"] == "origin/main at 1234567"
    assert summary["verifiedLevels"] == ["SLSA_BUILD_LEVEL_1"]
    inputs = {(each["name"], each["digest"]["sha256"]) for each in summary["inputAttestations"]}
    assert inputs == {
        ("candidate", one.id), ("approval", approved(one).id),
        *((name, found.hex) for name, found in one.evidence.items()),
    }  # fmt: skip
    assert all(each["uri"] for each in summary["inputAttestations"])
    (record,) = summary[APPROVALS]
    assert record == record_json(approved(one))
    assert record["proof"]["identity"] == "ben@example.org"
    assert "anybody may" in json.dumps(summary)


def test_a_log_that_stays_with_the_builder_is_named_by_its_hash_alone() -> None:
    one = candidate(1, evidence={"log zfs": digest(3), "diff": digest(4)})
    summary: Any = attests_of(one, {}, verified(one))[-1].predicate
    given = {each["name"]: each for each in summary["inputAttestations"]}
    assert given["log zfs"] == {"name": "log zfs", "digest": {"sha256": digest(3).hex}}
    assert given["diff"]["uri"] == f"oci://{one.repository}@{digest(4)}"


def test_other_rules_have_another_hash() -> None:
    revoked = ProtectedRules(settings=settings(), signers=SIGNERS, revoked=b"x", source="main")
    assert rules_digest(RULES) == rules_digest(dataclasses.replace(RULES, source="elsewhere"))
    stricter = dataclasses.replace(RULES, settings=settings(outsiders=("somebody@example.org",)))
    assert len({rules_digest(each) for each in (RULES, revoked, stricter)}) == 3


def test_what_is_not_there_is_not_attested() -> None:
    held = documents(sbom=None, provenance=None, boot_test=None)
    one = of(held)
    (summary,) = attests_of(one, held, verified(one, approvals=()))
    assert summary.name == "approval"
    assert isinstance(summary.predicate, dict)
    assert summary.predicate["verifiedLevels"] == ["SLSA_BUILD_LEVEL_0"]
    assert summary.predicate[APPROVALS] == []


def test_a_boot_test_that_failed_says_so() -> None:
    held = documents(
        boot_test={"ok": False, "steps": [{"step": "boot", "ok": True}, {"step": "zfs", "ok": False}]}
    )
    one = of(held)
    boot: Any = attests_of(one, held, verified(one))[2].predicate
    assert (boot["result"], boot["passedTests"], boot["failedTests"]) == ("FAILED", ["boot"], ["zfs"])


@pytest.mark.parametrize(
    ("kind", "data"),
    [("sbom", b"[]"), ("sbom", b"{"), ("provenance", b"{}"), ("boot-test", b"\xff")],
)
def test_a_document_that_cannot_be_attested_is_told(kind: str, data: bytes) -> None:
    held = documents() | {kind: data}
    one = of(held)
    with pytest.raises(SignatureError, match=kind):
        attests_of(one, held, verified(one))


def test_a_document_that_the_ledger_does_not_name_is_not_attested() -> None:
    held = documents()
    one = of(held)
    with pytest.raises(SignatureError, match="not the one that the ledger names"):
        attests_of(one, held | {"sbom": canonical_json({})}, verified(one))


def test_the_provenance_of_another_image_is_not_attested() -> None:
    subject = [{"name": NAME, "digest": {"sha256": digest(2).hex}}]
    held = documents(provenance=PROVENANCE | {"subject": subject})
    one = of(held)
    with pytest.raises(SignatureError, match="something else"):
        attests_of(one, held, verified(one))


def test_the_payload_type_is_the_one_in_toto_has() -> None:
    assert json.loads(bundle(b"{}"))["dsseEnvelope"]["payloadType"] == PAYLOAD_TYPE
