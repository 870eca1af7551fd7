"""Evidence of a candidate in a real registry, held against its record in the ledger."""

from __future__ import annotations

import io
import json
import random
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from records import NOON, candidate, digest
from registries import RunningRegistry, running_registry
from rich.console import Console

from images import push, tiny_image
from pipeline.adapters.referrers import Referrers
from pipeline.adapters.registry import Registry
from pipeline.domain.artifact import EMPTY, KIND, Artifact, artifact_of, fallback_tag
from pipeline.domain.evidence import Evidence, EvidenceKind
from pipeline.domain.evidence_report import EvidenceReport, Standing
from pipeline.domain.image import Digest, Repository
from pipeline.domain.oci import OCI_INDEX, OCI_MANIFEST, Descriptor, digest_of
from pipeline.domain.record import Candidate
from pipeline.errors import NotFoundError, RegistryError, UsageError
from pipeline.render.evidence import evidence_json, show_evidence, verdict
from pipeline.verbs.evidence import (
    fetch_evidence,
    list_evidence,
    load_evidence,
    store_evidence,
)

pytestmark = pytest.mark.engine
SBOM = Evidence(kind=EvidenceKind.SBOM, data=b'{"bomFormat":"CycloneDX"}\n')
DIFF = Evidence(kind=EvidenceKind.DIFF, data=b'{"packages":[]}\n')
CONSOLE = Evidence(kind=EvidenceKind.CONSOLE, data=b"[    0.0] Linux\r\n\xff\x1b[2J")


class Built:
    """A candidate in a repository of its own, with its evidence stored."""

    def __init__(self, registry: Registry, store: Referrers, host: str, path: str) -> None:
        self.registry = registry
        self.store = store
        self.repository = Repository(registry=host, path=path)
        image = tiny_image()
        push(registry, self.repository, image)
        self.subject = Descriptor(media_type=OCI_MANIFEST, digest=image.digest, size=len(image.manifest))
        self.hashes = store_evidence(
            store, self.repository, self.subject, [SBOM, DIFF, CONSOLE], created=NOON
        )

    def record(self, **evidence: Digest) -> Candidate:
        recorded = {**self.hashes, **evidence}
        return candidate(repository=self.repository, digest=self.subject.digest, evidence=recorded)

    def report(self, record: Candidate | None = None) -> EvidenceReport:
        return list_evidence(self.store, record or self.record())

    def artifact(self, evidence: Evidence) -> Artifact:
        return artifact_of(self.subject, evidence, NOON)

    def plant(self, manifest: bytes, *, entry: dict[str, object] | None = None) -> Digest:
        """Add a manifest and its entry to the index, as anybody with the right to push can."""
        found = self.registry.put_manifest(self.repository, digest_of(manifest), manifest)
        value = json.loads(manifest)
        self.index(
            {
                "mediaType": OCI_MANIFEST,
                "digest": found.value,
                "size": len(manifest),
                "artifactType": value.get("artifactType", ""),
                "annotations": value.get("annotations", {}),
            }
            | (entry or {})
        )
        return found

    def index(self, *entries: object, keep: bool = True) -> None:
        tag = fallback_tag(self.subject.digest)
        value = json.loads(self.registry.unparsed(self.repository.tagged(tag)))
        value["manifests"] = [*(value["manifests"] if keep else []), *entries]
        self.registry.put_unread(self.repository, tag, json.dumps(value).encode(), OCI_INDEX)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegistry]:
    with running_registry(tmp_path_factory.mktemp("registry")) as registry:
        yield registry


@pytest.fixture
def built(running: RunningRegistry, request: pytest.FixtureRequest) -> Iterator[Built]:
    registry = Registry(running.host, insecure=True)
    store = Referrers(registry, jitter=random.Random(1).random, pause=time.sleep)
    number = digest_of(request.node.name.encode()).short
    yield Built(registry, store, running.host, f"os/debian/{number}")
    registry.close()


def standings(report: EvidenceReport) -> list[tuple[str, Standing]]:
    return [(piece.name, piece.standing) for piece in report.pieces]


def test_everything_recorded_is_fetched_and_hashed_anew(built: Built) -> None:
    report = built.report(built.record(layer=digest(5)))
    assert standings(report) == [
        ("boot-console", Standing.MATCHES),
        ("diff", Standing.MATCHES),
        ("layer", Standing.HASH_ONLY),
        ("sbom", Standing.MATCHES),
    ]
    assert report.ok
    sbom = report.pieces[-1]
    assert (sbom.digest, sbom.size) == (SBOM.digest, len(SBOM.data))
    assert sbom.artifact == built.artifact(SBOM).digest
    assert (report.foreign, report.problems) == ((), ())


def test_a_document_comes_back_byte_for_byte(built: Built) -> None:
    for one in (SBOM, DIFF, CONSOLE):
        assert fetch_evidence(built.store, built.record(), one.kind.value) == one.data
        assert (
            load_evidence(built.store, built.repository, built.subject.digest, one.kind, one.digest)
            == one.data
        )


def test_storing_again_changes_nothing(built: Built) -> None:
    tag = built.repository.tagged(fallback_tag(built.subject.digest))
    before = built.registry.resolve(tag)
    again = store_evidence(built.store, built.repository, built.subject, [CONSOLE, SBOM, DIFF], created=NOON)
    assert again == built.hashes
    assert built.registry.resolve(tag) == before


def test_names_that_do_not_exist_are_told(built: Built) -> None:
    with pytest.raises(UsageError, match="'gossip' is no kind"):
        fetch_evidence(built.store, built.record(), "gossip")
    with pytest.raises(NotFoundError, match="names no provenance") as error:
        fetch_evidence(built.store, built.record(), "provenance")
    assert error.value.hint == "it names boot-console, diff, sbom"
    with pytest.raises(NotFoundError, match=f"the gates {digest(4)} of .* is not in the registry"):
        fetch_evidence(built.store, built.record(gates=digest(4)), "gates")
    with pytest.raises(UsageError, match="two documents are sbom"):
        store_evidence(built.store, built.repository, built.subject, [SBOM, SBOM], created=NOON)


def test_what_is_missing_or_another_is_named(built: Built) -> None:
    report = built.report(built.record(gates=digest(4), diff=digest(5)))
    assert report.failed == ("diff", "gates")
    assert ("diff", Standing.DIFFERS) in standings(report)
    assert verdict(report) == "not as the ledger says: diff, gates"


def test_a_candidate_without_recorded_evidence_is_not_proved(built: Built) -> None:
    report = built.report(replace(built.record(), evidence={}))
    assert {standing for _, standing in standings(report)} == {Standing.NOT_RECORDED}
    assert not report.ok


def test_a_document_that_was_changed_in_the_registrys_storage_is_found(
    built: Built, running: RunningRegistry
) -> None:
    stored = running.blob_file(DIFF.digest.value)
    kept = stored.read_bytes()
    try:
        stored.write_bytes(kept.replace(b"[]", b"{}"))
        report = built.report()
        assert report.failed == ("diff",)
        assert next(one for one in report.pieces if one.name == "diff").problem.endswith("in truth")
        with pytest.raises(RegistryError, match="in truth"):
            fetch_evidence(built.store, built.record(), "diff")
    finally:
        stored.write_bytes(kept)


def test_a_lost_document_is_found(built: Built, running: RunningRegistry) -> None:
    stored = running.blob_file(CONSOLE.digest.value)
    kept = stored.read_bytes()
    stored.unlink()
    try:
        report = built.report()
        assert report.failed == ("boot-console",)
    finally:
        stored.write_bytes(kept)


def test_what_others_attached_is_listed_and_not_judged(built: Built) -> None:
    value = json.loads(built.artifact(SBOM).manifest)
    theirs = built.plant(
        json.dumps(value | {"annotations": {}, "artifactType": "application/x\x1b[2J"}).encode()
    )
    theirs_too = built.plant(json.dumps(value | {"annotations": {"by": "another tool"}}).encode())
    report = built.report()
    assert report.ok
    assert {entry.digest for entry in report.foreign} == {theirs, theirs_too}


def test_a_second_document_of_a_kind_neither_helps_nor_harms(built: Built) -> None:
    newer = Evidence(kind=EvidenceKind.DIFF, data=b'{"another":"run"}\n')
    store_evidence(built.store, built.repository, built.subject, [newer], created=NOON)
    report = built.report()
    assert report.ok
    assert standings(report)[-1] == ("diff", Standing.DIFFERS)
    assert built.report(built.record(diff=newer.digest)).ok


def test_entries_that_lie_are_damaged_and_stand_for_nothing(built: Built) -> None:
    honest = built.artifact(DIFF).manifest
    blob = built.registry.put_blob(built.repository, b"short")
    long = json.loads(honest)
    long["layers"][0] |= {"digest": blob.value, "size": 4000}
    huge = json.loads(honest)
    huge["layers"][0] |= {"digest": blob.value, "size": 1 << 50}
    moved = json.loads(honest)
    moved["subject"]["digest"] = digest(3).value
    lies = {
        built.plant(json.dumps(long).encode()): "5 bytes, not 4000",
        built.plant(json.dumps(huge).encode()): "more than are read",
        built.plant(json.dumps(moved).encode()): "another image",
        built.plant(json.dumps(json.loads(honest), indent=1).encode(), entry={"size": 7}): "not 7",
    }
    report = built.report(built.record(diff=blob))
    assert report.failed == ("diff",)
    damaged = {one.artifact: one.problem for one in report.pieces if one.standing is Standing.DAMAGED}
    assert damaged.keys() == lies.keys()
    for artifact, said in lies.items():
        assert said in damaged[artifact]
    assert built.report().ok


def test_a_damaged_index_is_told_and_hides_nothing(built: Built) -> None:
    built.index({"mediaType": OCI_MANIFEST, "digest": built.subject.digest.value, "size": -1})
    report = built.report()
    assert report.ok
    assert len(report.problems) == 1
    assert "has no size a manifest can have: -1" in report.problems[0]


def test_a_flood_of_entries_ends(built: Built) -> None:
    value = json.loads(built.artifact(DIFF).manifest)
    entries = []
    for number in range(210):
        flood = json.dumps(value | {"annotations": {KIND: "gates", "number": str(number)}}).encode()
        found = built.registry.put_manifest(built.repository, digest_of(flood), flood)
        entries.append(
            {
                "mediaType": OCI_MANIFEST,
                "digest": found.value,
                "size": len(flood),
                "annotations": {KIND: "gates"},
            }
        )
    built.index(*entries)
    report = built.report()
    assert report.ok
    assert report.problems == ("213 entries say they are evidence; 200 were looked into",)


def test_the_report_is_drawn_and_written(built: Built) -> None:
    built.plant(
        json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": OCI_MANIFEST,
                "artifactType": "[red]x\x1b[2J",
                "config": {"mediaType": "x/y", "digest": digest_of(EMPTY).value, "size": 2},
                "layers": [],
            }
        ).encode()
    )
    report = built.report(built.record(gates=digest(4)))
    text, document = io.StringIO(), io.StringIO()
    show_evidence(report, console=Console(file=text, width=140), as_json=False)
    show_evidence(report, console=Console(file=document), as_json=True)
    drawn = text.getvalue()
    assert "\x1b" not in drawn
    assert "[red]x\\x1b[2J" in drawn
    assert "gates missing: no artifact in the registry" in drawn
    lines = [line.split() for line in drawn.splitlines()]
    artifact = built.artifact(SBOM).digest.short
    assert ["sbom", "matches", SBOM.digest.short, str(len(SBOM.data)), artifact] in lines
    value = json.loads(document.getvalue())
    assert value == evidence_json(report)
    assert value["ok"] is False
    assert value["candidate"] == f"{built.repository}@{built.subject.digest}"
    assert value["evidence"][-1] == {
        "name": "sbom",
        "standing": "matches",
        "digest": SBOM.digest.value,
        "size": len(SBOM.data),
        "artifact": built.artifact(SBOM).digest.value,
        "problem": "",
    }
