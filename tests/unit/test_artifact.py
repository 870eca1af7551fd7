from __future__ import annotations

import datetime as dt
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import NOON, digest

from pipeline.domain.artifact import (
    EMPTY,
    KIND,
    Artifact,
    Entry,
    artifact_of,
    evidence_tag,
    fallback_tag,
    index_entry,
    joined,
    merged_index,
    read_artifact,
    read_index,
    without_entries,
)
from pipeline.domain.evidence import Evidence, EvidenceKind
from pipeline.domain.image import RELEASE_TAG, ImageRef, Repository
from pipeline.domain.oci import (
    DOCUMENT_LIMIT,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    canonical,
    digest_of,
    parse,
)
from pipeline.errors import RegistryError, UsageError

SUBJECT = Descriptor(media_type=OCI_MANIFEST, digest=digest(1), size=700)
OTHERS = {
    "mediaType": OCI_MANIFEST,
    "digest": digest(77).value,
    "size": 1234,
    "artifactType": "application/vnd.dev.sigstore.bundle.v0.3+json",
    "annotations": {"dev.sigstore.bundle.content": "dsse-envelope"},
    "x-unknown": [1, 2.5, None],
}


def made(kind: EvidenceKind = EvidenceKind.DIFF, data: bytes = b'{"a":1}\n') -> Artifact:
    return artifact_of(SUBJECT, Evidence(kind=kind, data=data), NOON)


def entry_for(artifact: Artifact) -> dict[str, Any]:
    entry = index_entry(artifact.manifest, SUBJECT.digest)
    assert entry is not None
    return entry


def index(*items: object, **more: object) -> bytes:
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": items} | more).encode()


@pytest.mark.parametrize("kind", EvidenceKind)
def test_an_artifact_is_one_document_that_refers_to_the_candidate(kind: EvidenceKind) -> None:
    artifact = made(kind, b"what was found")
    value = json.loads(artifact.manifest)
    assert value["artifactType"] == kind.media_type
    assert value["subject"] == {"mediaType": OCI_MANIFEST, "digest": digest(1).value, "size": 700}
    assert value["config"] == {
        "mediaType": "application/vnd.oci.empty.v1+json",
        "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
        "size": 2,
    }
    assert digest_of(EMPTY).value == value["config"]["digest"]
    (layer,) = value["layers"]
    assert (layer["digest"], layer["size"]) == (digest_of(b"what was found").value, 14)
    title = f"{kind.value}{kind.suffix}"
    assert layer["annotations"] == {"org.opencontainers.image.title": title}
    assert value["annotations"] == {
        "org.opencontainers.image.title": title,
        "org.opencontainers.image.created": "2026-11-21T12:00:00Z",
        "io.bootc-pipeline.evidence": kind.value,
    }
    parse(artifact.manifest)
    found = read_artifact(artifact.manifest, SUBJECT.digest)
    assert found is not None
    assert (found.kind, found.document.digest) == (kind.value, artifact.evidence.digest)


def test_the_same_document_gives_the_same_artifact() -> None:
    assert made().manifest == made().manifest
    assert made(data=b"{}\n").digest != made().digest


@pytest.mark.parametrize(
    "moment",
    [
        NOON.replace(tzinfo=None),
        NOON.replace(microsecond=1),
        NOON.astimezone(dt.timezone(dt.timedelta(hours=1))),
    ],
)
def test_a_time_that_could_be_written_in_two_ways_is_refused(moment: dt.datetime) -> None:
    with pytest.raises(UsageError, match="no time"):
        artifact_of(SUBJECT, Evidence(kind=EvidenceKind.SBOM, data=b""), moment)


def test_tags_are_tags_and_no_release() -> None:
    repository = Repository(registry="localhost", path="os/base")
    for tag in (fallback_tag(digest(1)), evidence_tag(digest(1), digest(2))):
        ImageRef(repository=repository, tag=tag)
        assert not RELEASE_TAG.fullmatch(tag)
    assert fallback_tag(digest(10)) == f"sha256-{10:064x}"


def test_an_index_entry_says_what_the_referrers_api_would() -> None:
    artifact = made()
    entry = entry_for(artifact)
    assert entry == {
        "mediaType": OCI_MANIFEST,
        "digest": artifact.digest.value,
        "size": len(artifact.manifest),
        "artifactType": EvidenceKind.DIFF.media_type,
        "annotations": json.loads(artifact.manifest)["annotations"],
    }
    assert index_entry(artifact.manifest, digest(2)) is None


def test_entries_of_others_stay_with_every_key() -> None:
    merged = merged_index(
        index(OTHERS, "not even an object", annotations={"keep": "me"}), [entry_for(made())]
    )
    assert merged is not None
    value = json.loads(merged)
    assert value["manifests"] == [OTHERS, "not even an object", entry_for(made())]
    assert value["annotations"] == {"keep": "me"}


@given(st.lists(st.binary(max_size=4), unique=True, min_size=1, max_size=6), st.randoms())
def test_merging_is_a_union_that_settles(data: list[bytes], random: Any) -> None:
    entries = [entry_for(made(data=one)) for one in data]
    held: bytes | None = None
    shuffled = random.sample(entries, len(entries))
    for one in shuffled:
        held = merged_index(held, [one, shuffled[0]]) or held
    assert held is not None
    assert {entry.digest.value for entry in read_index(held).entries} == {one["digest"] for one in entries}
    assert merged_index(held, entries) is None


@pytest.mark.parametrize(
    "held",
    [
        b"",
        b"[]",
        b"\xff",
        b'{"manifests": {}}',
        canonical({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": [], "config": {}}),
        index(mediaType="application/vnd.docker.distribution.manifest.list.v2+json"),
        b'{"manifests":[],"manifests":[]}',
        b"[" * 100_000,
        b" " * (DOCUMENT_LIMIT + 1),
    ],
)
def test_what_is_no_index_is_neither_read_nor_overwritten(held: bytes) -> None:
    with pytest.raises(RegistryError):
        read_index(held)
    with pytest.raises(RegistryError):
        merged_index(held, [entry_for(made())])


def test_an_index_does_not_grow_without_bounds() -> None:
    held = index({**OTHERS, "annotations": {"fill": "x" * (DOCUMENT_LIMIT - 1000)}})
    with pytest.raises(RegistryError, match="larger than"):
        merged_index(held, [entry_for(made()) for _ in range(8)])


@pytest.mark.parametrize(
    ("item", "said"),
    [
        (7, "no descriptor"),
        ({}, "no digest: 'None'"),
        ({"digest": "sha256:short"}, "no digest: 'sha256:short'"),
        ({"digest": "sha512:" + "0" * 128}, "no digest"),
        ({"digest": "\x1b[31m"}, r"no digest: '\\\\x1b\[31m'"),
        ({"digest": digest(3).value}, "no size"),
        ({"digest": digest(3).value, "size": -1}, "no size"),
        ({"digest": digest(3).value, "size": True}, "no size"),
        ({"digest": digest(3).value, "size": 1 << 40}, "no size"),
        ({"digest": digest(3).value, "size": 5, "artifactType": ["x"]}, "artifact type"),
        ({"digest": digest(3).value, "size": 5, "annotations": "x"}, "annotations"),
    ],
)
def test_a_damaged_entry_is_told_and_hides_no_other(item: object, said: str) -> None:
    listing = read_index(index(item, entry_for(made())))
    assert [entry.digest for entry in listing.entries] == [made().digest]
    (problem,) = listing.problems
    assert problem.startswith("entry 0 of the index")
    assert re.search(said, problem)


keys = st.sampled_from(["digest", "size", "artifactType", "annotations", KIND]) | st.text(max_size=3)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just(digest(5).value),
    lambda deeper: st.lists(deeper, max_size=3) | st.dictionaries(keys, deeper, max_size=4),
    max_leaves=12,
)


@given(values)
def test_no_entry_breaks_the_reader(item: object) -> None:
    listing = read_index(index(item))
    assert len(listing.entries) + len(listing.problems) == 1


def test_an_entry_is_taken_out_by_its_digest_alone() -> None:
    left = without_entries(index(OTHERS, entry_for(made()), 5), [digest(77)])
    assert json.loads(left)["manifests"] == [entry_for(made()), 5]


def test_listings_are_joined_without_repetition() -> None:
    one, two = read_index(index(OTHERS, 5)), read_index(index(5, OTHERS, entry_for(made())))
    both = joined([one, two])
    assert [entry.digest for entry in both.entries] == sorted([digest(77), made().digest])
    assert both.problems == ("entry 1 of the index is no descriptor", "entry 0 of the index is no descriptor")
    assert both.entries[0] == Entry(
        digest=digest(77), size=1234, artifact_type="application/vnd.dev.sigstore.bundle.v0.3+json", kind=""
    )


def changed(**changes: object) -> bytes:
    return canonical(json.loads(made().manifest) | changes)


def test_what_others_attach_is_not_ours() -> None:
    assert read_artifact(changed(annotations={}), SUBJECT.digest) is None


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        (changed(subject={"digest": digest(2).value}), "another image"),
        (changed(subject="x"), "another image"),
        (changed(annotations={KIND: "gossip\x1b[2J"}), r"unknown kind of evidence 'gossip\\\\x1b"),
        (changed(annotations={KIND: "sbom"}), "not one document of the type application/vnd.cyclonedx"),
        (changed(layers=[]), "not one document"),
        (changed(layers=json.loads(made().manifest)["layers"] * 2), "not one document"),
        (changed(artifactType=5), "not one document"),
        (changed(layers=[{"mediaType": "x", "size": 1}]), "no digest"),
        (index(entry_for(made())), "is an index"),
        (b"{}", "schemaVersion"),
    ],
)
def test_evidence_that_is_not_what_it_says_is_refused(manifest: bytes, said: str) -> None:
    with pytest.raises(RegistryError, match=said):
        read_artifact(manifest, SUBJECT.digest)
