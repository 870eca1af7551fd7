"""What a release's attestations say: its SBOM, its provenance, its boot test, and that it was approved.

Rules: a predicate is the document that the ledger names by its hash, or is made of it and of the ledger's
records, never of anything else; what is not there is not attested. Same facts, same bytes.
Grammar: CycloneDX BOM, SLSA provenance and verification summary (VSA) version 1, in-toto test result v0.1.
The approval is a VSA whose extension fields, named by URIs as in-toto asks, tell who approved what and why.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.domain.canonical import Json, canonical_digest
from pipeline.domain.decision import Approval
from pipeline.domain.evidence import EvidenceKind
from pipeline.domain.image import Digest
from pipeline.domain.oci import digest_of
from pipeline.domain.protected_rules import ProtectedRules
from pipeline.domain.provenance import AUTHORITY, PREDICATE, oci_purl
from pipeline.domain.record import Candidate, record_json
from pipeline.domain.record_codec import stamp
from pipeline.errors import SignatureError

SBOM = "https://cyclonedx.org/bom"
VSA = "https://slsa.dev/verification_summary/v1"
TEST_RESULT = "https://in-toto.io/attestation/test-result/v0.1"

APPROVAL = "approval"
"""Name of the attestation that a release was approved; the others have the names of their evidence."""

ATTESTED = frozenset({EvidenceKind.SBOM.value, EvidenceKind.PROVENANCE.value, EvidenceKind.BOOT_TEST.value})
"""Kinds of evidence that are attested where they are there."""

APPROVALS = f"{AUTHORITY}approvals"
"""Extension field of the VSA: the ledger's records of the approvals, each with its proof."""

_WARNINGS = f"{AUTHORITY}warnings"
_BOOT = f"{AUTHORITY}boot"
_VERIFIER = f"{AUTHORITY}release-seal"
_AGAIN = "build the candidate again; without its evidence it cannot be released"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attest:
    """What is to be said of an image.

    Attributes:
        name: How a release's record calls it: `sbom`, `provenance`, `approval`, `boot-test`.
        predicate_type: URI of the kind of statement.
        predicate: What is said; whole numbers only, as canonical JSON has them.
    """

    name: str
    predicate_type: str
    predicate: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What a seal found before it released a candidate.

    Attributes:
        version: The release it becomes, MAJOR.MINOR.PATCH.
        approvals: The records of the approvals that counted, with their proofs.
        rules: What the protected branch said.
        warnings: What the rule let pass that a full one would not.
        time: A time that belongs to the decision, such as the last approval's, so that a repetition says the
            same; UTC, whole seconds.
    """

    version: str
    approvals: tuple[Approval, ...]
    rules: ProtectedRules
    warnings: tuple[str, ...] = ()
    time: dt.datetime


def attests_of(
    candidate: Candidate, documents: Mapping[str, bytes], verified: Verified
) -> tuple[Attest, ...]:
    """Return what is to be attested to a candidate that becomes a release, for `verbs.signing.SignOrder`.

    Args:
        candidate: Its record.
        documents: Kind of evidence (`EvidenceKind.value`) to the document, as `verbs.evidence.load_evidence`
            returned it. Of them `sbom`, `provenance` and `boot-test` are attested; what is not given is not.
        verified: What the seal found.

    Returns:
        In this order, as far as they are there: `sbom` (CycloneDX), `provenance` (SLSA), `boot-test` (test
        result), and always `approval` (VSA). Same arguments, same values.

    Raises:
        SignatureError: A document is not the one that the candidate's record names, or cannot be read.
    """
    found = {kind: _document(candidate, kind, data) for kind, data in documents.items() if kind in ATTESTED}
    made = [
        Attest(name=kind, predicate_type=predicate_type, predicate=make(found[kind], candidate))
        for kind, (predicate_type, make) in _MAKERS.items()
        if kind in found
    ]
    summary = _summary(candidate, verified, proved="provenance" in found)
    return (*made, Attest(name=APPROVAL, predicate_type=VSA, predicate=summary))


def rules_digest(rules: ProtectedRules) -> Digest:
    """Return the hash of everything the protected branch says: the table, the signers, the revoked keys."""
    return canonical_digest(
        {
            "approval": rules.settings.model_dump(mode="json"),
            "signers": digest_of(rules.signers.data).value,
            "revoked": digest_of(rules.revoked).value,
        }
    )


def _document(candidate: Candidate, kind: str, data: bytes) -> dict[str, Any]:
    what = f"the {kind} of {candidate.repository}@{candidate.digest}"
    if digest_of(data) != candidate.evidence.get(kind):
        raise SignatureError(f"{what} is not the one that the ledger names", hint=_AGAIN)
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise SignatureError(f"{what} is no JSON: {error}", hint=_AGAIN) from None
    if not isinstance(value, dict):
        raise SignatureError(f"{what} is no JSON object", hint=_AGAIN)
    return value


def _bom(document: dict[str, Any], _: Candidate) -> Json:
    return document


def _provenance(document: dict[str, Any], candidate: Candidate) -> Json:
    subjects = document.get("subject")
    named = (
        [one.get("digest") for one in subjects if isinstance(one, dict)] if isinstance(subjects, list) else []
    )
    if document.get("predicateType") != PREDICATE or named != [{"sha256": candidate.digest.hex}]:
        raise SignatureError(
            f"the provenance of {candidate.repository}@{candidate.digest} speaks of something else",
            hint=_AGAIN,
        )
    predicate: Json = document.get("predicate")
    return predicate


def _test_result(document: dict[str, Any], candidate: Candidate) -> Json:
    steps = [one for one in document.get("steps", ()) if isinstance(one, dict)]
    kind = EvidenceKind.BOOT_TEST
    return {
        "result": "PASSED" if document.get("ok") is True else "FAILED",
        "configuration": [
            {
                "name": kind.value,
                "uri": _evidence_uri(candidate, kind),
                "digest": {"sha256": candidate.evidence[kind].hex},
                "mediaType": kind.media_type,
            }
        ],
        "passedTests": [str(one.get("step")) for one in steps if one.get("ok") is True],
        "failedTests": [str(one.get("step")) for one in steps if one.get("ok") is not True],
        _BOOT: {key: document.get(key) for key in ("kernel", "accelerator", "full")},
    }


_MAKERS = {
    EvidenceKind.SBOM.value: (SBOM, _bom),
    EvidenceKind.PROVENANCE.value: (PREDICATE, _provenance),
    EvidenceKind.BOOT_TEST.value: (TEST_RESULT, _test_result),
}


def _summary(candidate: Candidate, verified: Verified, *, proved: bool) -> Json:
    return {
        "verifier": {"id": _VERIFIER},
        "timeVerified": stamp(verified.time),
        "resourceUri": f"{oci_purl(candidate.repository, candidate.digest)}&tag=v{verified.version}",
        "policy": {
            "name": verified.rules.source,
            "uri": f"{AUTHORITY}approval-rules/{candidate.tier.value}",
            "digest": {"sha256": rules_digest(verified.rules).hex},
        },
        "inputAttestations": list(_inputs(candidate, verified)),
        "verificationResult": "PASSED",
        # Level 1 asks that there is provenance, which the seal saw. More rests on the builder's word.
        "verifiedLevels": [f"SLSA_BUILD_LEVEL_{int(proved)}"],
        "slsaVersion": "1.1",
        APPROVALS: [record_json(one) for one in verified.approvals],
        _WARNINGS: list(verified.warnings),
    }


def _inputs(candidate: Candidate, verified: Verified) -> Iterator[dict[str, Json]]:
    for what, one in (("candidate", candidate.id), *(("approval", each.id) for each in verified.approvals)):
        yield {"name": what, "uri": f"{AUTHORITY}record/{one}", "digest": {"sha256": one}}
    for kind, digest in sorted(candidate.evidence.items()):
        found: dict[str, Json] = {"name": kind, "digest": {"sha256": digest.hex}}
        # Logs stay with who built and are named by their hash alone; a registry holds the kinds of evidence.
        yield found | {"uri": _evidence_uri(candidate, kind)} if kind in set(EvidenceKind) else found


def _evidence_uri(candidate: Candidate, kind: str) -> str:
    return f"oci://{candidate.repository}@{candidate.evidence[kind]}"
