"""The dossier is put together from its documents, and whatever is missing or wrong is said."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from typing import Any

import dossiers
import pytest
import records

from pipeline.domain.canonical import canonical_digest
from pipeline.domain.dossier.changes import read_difference
from pipeline.domain.dossier.difference import Difference, How, Risk
from pipeline.domain.dossier.dossier import Dossier, EvidenceLine, Held, Missing
from pipeline.domain.dossier.kinds import READERS
from pipeline.domain.dossier.reading import NotUnderstoodError
from pipeline.domain.evidence import EvidenceKind
from pipeline.domain.gate import Verdict
from pipeline.domain.image import Tier
from pipeline.domain.record import GateRecord, SourceState
from pipeline.render.dossier import dossier_json

IMAGE = records.digest(1)


def difference(**changes: object) -> Difference:
    return read_difference(dossiers.diff_document(**changes), IMAGE)


def blocks(dossier: Dossier) -> list[str]:
    return [point.text for point in dossier.judgement.blocks]


def cautions(dossier: Dossier) -> str:
    return "\n".join(point.text for point in dossier.judgement.cautions)


def test_a_candidate_with_all_its_proofs_may_be_approved_and_its_risks_are_named() -> None:
    dossier = dossiers.dossier()
    assert blocks(dossier) == []
    assert dossier.judgement.ok
    for told in (
        "6.12.93+deb13-amd64 → 6.12.94+deb13-amd64",
        "zfs 2.3.2-2 → 2.3.9-1",
        "/usr/bin/newgrp gains setuid",
        "user _envoy",
        "/etc/ssh/sshd_config",
        "openssh-server:amd64 goes down",
        "Another licence: redis",
        "CVE-2026-00001 in openssh-server (high)",
        "no-compiler is waived",
    ):
        assert told in cautions(dossier)
    assert "CVE-2026-00003" not in cautions(dossier)


@pytest.mark.parametrize("kind", [kind for kind in EvidenceKind if kind is not EvidenceKind.CONSOLE])
def test_a_document_that_is_lost_blocks_and_says_why(kind: EvidenceKind) -> None:
    documents = {**dossiers.documents(), kind: Missing(why="the registry lost it")}
    dossier = dossiers.dossier(documents=documents)
    assert any("the registry lost it" in text for text in blocks(dossier))


@pytest.mark.parametrize(
    "kind", [EvidenceKind.DIFF, EvidenceKind.SBOM, EvidenceKind.PROVENANCE, EvidenceKind.BOOT_TEST]
)
@pytest.mark.parametrize("document", [None, [], {}, {"schema": 99}, "text", 7])
def test_a_document_that_is_not_understood_blocks(kind: EvidenceKind, document: Any) -> None:
    dossier = dossiers.dossier(documents={**dossiers.documents(), kind: document})
    assert any("not understood" in text for text in blocks(dossier))


def test_a_document_of_another_image_proves_nothing() -> None:
    other = dossiers.candidate(digest=records.digest(77))
    dossier = dossiers.dossier(candidate=other)
    assert sum("it is of another image" in text for text in blocks(dossier)) == 5


def test_evidence_whose_hash_differs_or_that_is_lost_blocks() -> None:
    lines = tuple(
        EvidenceLine(name=held.value, digest=records.digest(5), held=held)
        for held in (Held.DIFFERS, Held.LOST)
    )
    assert len(blocks(dossiers.dossier(evidence=lines))) == 2


def test_a_failed_boot_test_blocks_with_what_failed() -> None:
    steps = (dataclasses.replace(dossiers.boot_result().steps[1], ok=False, found="0 loaded, 1 failed"),)
    documents = {**dossiers.documents(), EvidenceKind.BOOT_TEST: dossiers.boot_document(steps=steps)}
    assert blocks(dossiers.dossier(documents=documents)) == [
        "The boot test failed: modules: 0 loaded, 1 failed"
    ]


def test_only_a_base_needs_a_boot_test() -> None:
    documents = dossiers.documents()
    del documents[EvidenceKind.BOOT_TEST]
    assert "boot test is missing" in blocks(dossiers.dossier(documents=documents))[0]
    host = dossiers.candidate(tier=Tier.INSTANCE)
    told = dossiers.dossier(candidate=host, documents=documents)
    assert blocks(told) == []
    assert "No boot test" in cautions(told)


def test_a_gate_that_said_no_blocks() -> None:
    gate = GateRecord(gate="one-kernel", verdict=Verdict.FAIL, summary="two kernels")
    documents = dossiers.documents()
    del documents[EvidenceKind.GATES]
    dossier = dossiers.dossier(candidate=dossiers.candidate(gates=(gate,)), documents=documents)
    assert blocks(dossier) == ["Gate one-kernel said no: two kernels"]


def test_no_gate_at_all_blocks() -> None:
    documents = dossiers.documents()
    del documents[EvidenceKind.GATES]
    dossier = dossiers.dossier(candidate=dossiers.candidate(gates=()), documents=documents)
    assert "The gates are missing" in blocks(dossier)[0]


def test_gates_that_the_record_knows_otherwise_block() -> None:
    document = dossiers.gates_document()
    document["gates"][2]["verdict"] = "pass"
    dossier = dossiers.dossier(documents={**dossiers.documents(), EvidenceKind.GATES: document})
    assert "say different things" in blocks(dossier)[0]


def test_definitions_that_are_in_no_commit_and_commits_that_are_missing_are_cautions() -> None:
    source = SourceState(commit="a" * 40, clean=False, dirty=("images/debian/base/base.toml",))
    dossier = dossiers.dossier(
        candidate=dossiers.candidate(source=source), history=Missing(why="a shallow clone")
    )
    assert "in no commit" in cautions(dossier)
    assert "The commits are missing: a shallow clone" in cautions(dossier)


@pytest.mark.parametrize(("day", "word"), [(21, "is set by hand until"), (23, "expired on")])
def test_a_pin_by_hand_is_a_caution(day: int, word: str) -> None:
    pin = dataclasses.replace(dossiers.pin(), expires=dt.date(2026, 11, 22))
    assert word in cautions(dossiers.dossier(pin=pin, today=dt.date(2026, 11, day)))


def test_a_pin_that_moved_on_is_not_shown_as_the_image_s() -> None:
    pin = dataclasses.replace(dossiers.pin(), kernel="6.12.200")
    dossier = dossiers.dossier(pin=pin)
    assert isinstance(dossier.pin, Missing)
    assert "today's pin is 6.12.200" in cautions(dossier)


def test_the_document_s_kinds_are_those_that_are_put_in_words() -> None:
    assert {risk["part"] for risk in dossiers.diff_document()["risks"]} == set(READERS)


def test_the_groups_have_the_document_s_order_and_counts() -> None:
    document = dossiers.diff_document()
    told = difference()
    assert [group.kind for group in told.groups] == [risk["part"] for risk in document["risks"]]
    assert [group.total for group in told.groups] == [risk["count"] for risk in document["risks"]]
    assert told.digest == canonical_digest(document)
    assert told.groups[0].risk is Risk.HIGH


def test_changes_are_told_in_words_of_what_differs() -> None:
    told = difference()
    (zfs,) = told.group("modules").changes
    assert zfs.before == "2.3.2-2, for 6.12.93+deb13-amd64, source 8A5C1D6F"
    assert "licence" not in zfs.after
    packages = {one.name: one for one in told.group("packages").changes}
    assert (packages["nano:amd64"].how, packages["openssh-server:amd64"].how) == (How.REMOVED, How.DOWN)
    assert packages["libc6:amd64"].after == "2.41-12+deb13u1"
    (sshd,) = told.group("texts").changes
    assert (sshd.cut, sshd.lines[0]) == (3, "@@ -12,3 +12,4 @@")
    files = {one.name: one for one in told.group("files").changes}
    assert files["/usr/bin/newgrp"].after == "file, mode 4755, owner 0:0"
    assert told.group("units").changes[0].after.endswith("multi-user.target.wants/tailscaled.service")


def test_a_kind_nobody_knows_is_shown_with_its_count() -> None:
    document = dossiers.diff_document()
    document["risks"].append(
        {"part": "firmware", "title": "Firmware", "risk": "high", "reasons": ["x: y"], "count": 4}
    )
    (group,) = [one for one in read_difference(document, IMAGE).groups if one.title == "Firmware"]
    assert "4 changes that this program cannot show" in group.changes[0].name
    assert group.kind == "other"


def test_a_first_image_is_told_by_area() -> None:
    told = difference(old=None, files=(), because="no release yet")
    assert told.predecessor == ""
    assert [one.name for one in told.group("files").changes] == ["programs", "documentation"]
    assert told.sizes.before is None


@pytest.mark.parametrize(
    ("where", "wrong"),
    [
        ("risks", [{"part": "kernel"}]),
        ("size", {}),
        ("bump", None),
        ("packages", [{"name": 7}]),
        ("because", 5),
    ],
)
def test_a_damaged_diff_names_the_field(where: str, wrong: Any) -> None:
    document = {**dossiers.diff_document(), where: wrong}
    with pytest.raises(NotUnderstoodError, match=where):
        read_difference(document, IMAGE)


def test_a_diff_with_fractions_has_no_hash_and_is_not_understood() -> None:
    document = dossiers.diff_document()
    document["size"]["extra"] = 1.5
    with pytest.raises(NotUnderstoodError, match="canonical"):
        read_difference(document, IMAGE)


def test_the_commands_name_the_digest() -> None:
    dossier = dossiers.dossier()
    assert dossier.approve[:3] == ("pipeline", "approve", f"127.0.0.1:5000/os/debian/base@{IMAGE}")
    assert dossier.reject[1] == "reject"


def test_the_json_is_plain_values_with_every_part_and_what_is_missing() -> None:
    whole = dossiers.dossier(vulnerabilities=Missing(why="none was given"))
    document = json.loads(json.dumps(dossier_json(whole)))
    assert document["judgement"]["ok"] is True
    assert document["vulnerabilities"] == {"missing": "none was given"}
    assert document["candidate"]["digest"] == str(IMAGE)
    assert document["difference"]["digest"] == str(canonical_digest(dossiers.diff_document()))
    assert {one.name for one in dataclasses.fields(whole)} == set(document)
