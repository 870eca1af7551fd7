from __future__ import annotations

import contextlib
import itertools
import json
import multiprocessing
import random
import threading
import time
from collections.abc import Iterator
from multiprocessing.synchronize import Barrier as ProcessBarrier
from pathlib import Path
from typing import Any

import pytest
from cosigntool import attest, key_pair, sign
from faultyregistry import Fault, FaultyRegistry, faulty_registry
from memoryregistry import INDEX, MemoryRegistry, memory_registry
from records import NOON
from registries import RunningRegistry, running_registry

from images import push, tiny_image
from pipeline.adapters.referrers import Referrers
from pipeline.adapters.registry import Registry
from pipeline.adapters.transport import Patience
from pipeline.domain.artifact import Artifact, artifact_of, evidence_tag, fallback_tag
from pipeline.domain.evidence import Evidence, EvidenceKind
from pipeline.domain.image import Digest, Repository
from pipeline.domain.oci import OCI_INDEX, OCI_MANIFEST, Descriptor, digest_of
from pipeline.errors import RegistryError

pytestmark = pytest.mark.engine
WRITERS = 8
KINDS = (EvidenceKind.SBOM, EvidenceKind.DIFF, EvidenceKind.GATES, EvidenceKind.PROVENANCE)
TWO = (EvidenceKind.BOOT_TEST, EvidenceKind.CONSOLE)
_names = itertools.count()


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegistry]:
    with running_registry(tmp_path_factory.mktemp("registry")) as registry:
        yield registry


@pytest.fixture
def proxy(real: RunningRegistry) -> Iterator[FaultyRegistry]:
    with faulty_registry(real.host) as running:
        yield running


@contextlib.contextmanager
def referrers(host: str, *, seed: int = 0, attempts: int = 40) -> Iterator[tuple[Referrers, Registry]]:
    registry = Registry(host, insecure=True, patience=Patience(attempts=3, first=0.01, connect=5, read=20))
    store = Referrers(registry, jitter=random.Random(seed).random, pause=time.sleep, attempts=attempts)
    try:
        yield store, registry
    finally:
        registry.close()


def fresh(host: str) -> Repository:
    return Repository(registry=host, path=f"os/attached-{next(_names)}")


def candidate(registry: Registry, repository: Repository, text: str = "image") -> Descriptor:
    image = tiny_image(text=text)
    push(registry, repository, image)
    return Descriptor(media_type=OCI_MANIFEST, digest=image.digest, size=len(image.manifest))


def documents(
    subject: Descriptor, word: str = "first", kinds: tuple[EvidenceKind, ...] = KINDS
) -> list[Artifact]:
    return [
        artifact_of(subject, Evidence(kind=kind, data=f'{{"{kind}":"{word}"}}\n'.encode()), NOON)
        for kind in kinds
    ]


def held(registry: Registry, repository: Repository, subject: Descriptor) -> list[dict[str, Any]]:
    """Return the entries of the fallback index, as they are."""
    index = json.loads(registry.unparsed(repository.tagged(fallback_tag(subject.digest))))
    assert index["mediaType"] == OCI_INDEX
    entries = index["manifests"]
    assert isinstance(entries, list)
    return entries


def digests(artifacts: list[Artifact]) -> set[Digest]:
    return {one.digest for one in artifacts}


def listed(store: Referrers, repository: Repository, subject: Descriptor) -> set[Digest]:
    listing = store.entries(repository, subject.digest)
    assert listing.problems == ()
    return {entry.digest for entry in listing.entries}


def test_a_registry_without_the_api_gets_the_fallback_index(real: RunningRegistry) -> None:
    repository = fresh(real.host)
    with referrers(real.host) as (store, registry):
        subject = candidate(registry, repository)
        made = documents(subject)
        assert store.entries(repository, subject.digest).entries == ()
        store.store(repository, subject.digest, made)
        assert {entry["digest"] for entry in held(registry, repository, subject)} == {
            one.digest.value for one in made
        }
        listing = store.entries(repository, subject.digest)
        assert {entry.kind: entry.digest for entry in listing.entries} == {
            one.evidence.kind.value: one.digest for one in made
        }
        for one in made:
            assert store.manifest(repository, one.digest) == one.manifest
            assert store.blob(repository, one.evidence.digest) == one.evidence.data


def test_many_documents_cost_few_requests_and_a_repetition_next_to_none(proxy: FaultyRegistry) -> None:
    repository = fresh(proxy.host)
    with referrers(proxy.host) as (store, registry):
        subject = candidate(registry, repository)
        made = documents(subject)
        proxy.requests.clear()
        store.store(repository, subject.digest, made)
        # Each: open and end the upload, the manifest. Once: the config, the probe, the index and its check.
        assert len(proxy.requests) == 3 * len(made) + 2 + 1 + 4
        assert proxy.count(f"PUT .*{fallback_tag(subject.digest)}") == 1
        proxy.requests.clear()
        store.store(repository, subject.digest, made)
        assert proxy.count("PUT .*blobs") == 0
        assert proxy.count(f"PUT .*{fallback_tag(subject.digest)}") == 0
        assert len(proxy.requests) == 2 * len(made) + 1


def writer(
    host: str, path: str, subject: Descriptor, number: int, start: threading.Barrier | ProcessBarrier
) -> None:
    """One of several writers; a function of the module, so that a process of its own can run it."""
    with referrers(host, seed=number) as (store, _):
        start.wait(120)
        for one in documents(subject, f"writer {number}", TWO):
            store.store(Repository(registry=host, path=path), subject.digest, [one])


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_eight_writers_at_once_lose_no_entry_of_anyone(proxy: FaultyRegistry, kind: str) -> None:
    # The delay makes the time between reading and writing the index long, so that they do collide.
    proxy.delay = 0.01
    repository = fresh(proxy.host)
    with referrers(proxy.host) as (_, registry):
        subject = candidate(registry, repository)
        strangers = stranger(registry, repository, subject)
        proxy.requests.clear()
        run_writers(kind, proxy.host, repository.path, subject)
        wanted = {
            one.digest.value
            for number in range(WRITERS)
            for one in documents(subject, f"writer {number}", TWO)
        }
        entries = held(registry, repository, subject)
        assert {entry["digest"] for entry in entries} == wanted | {strangers["digest"]}
        assert len(entries) == 2 * WRITERS + 1
        assert strangers in entries
        # They did collide: some wrote more often than they had something to write.
        assert proxy.count(f"PUT .*{fallback_tag(subject.digest)}$") > 2 * WRITERS


def run_writers(kind: str, host: str, path: str, subject: Descriptor) -> None:
    spawn = multiprocessing.get_context("spawn")
    start = threading.Barrier(WRITERS) if kind == "threads" else spawn.Barrier(WRITERS)
    arguments = [(host, path, subject, number, start) for number in range(WRITERS)]
    if kind == "threads":
        threads = [threading.Thread(target=writer, args=one) for one in arguments]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert not any(thread.is_alive() for thread in threads)
        return
    processes = [spawn.Process(target=writer, args=one) for one in arguments]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * WRITERS


def stranger(registry: Registry, repository: Repository, subject: Descriptor) -> dict[str, Any]:
    """Let somebody else's tool attach something, with keys this program does not know; return its entry."""
    empty = registry.put_blob(repository, b"{}")
    data = registry.put_blob(repository, b"somebody else's")
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": "application/vnd.example.note",
            "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": empty.value, "size": 2},
            "layers": [{"mediaType": "text/plain", "digest": data.value, "size": 15}],
            "subject": {"mediaType": OCI_MANIFEST, "digest": subject.digest.value, "size": subject.size},
        },
        indent=3,
    ).encode()
    entry = {
        "mediaType": OCI_MANIFEST,
        "digest": registry.put_manifest(repository, digest_of(manifest), manifest).value,
        "size": len(manifest),
        "artifactType": "application/vnd.example.note",
        "x-note": {"deep": [1, "two"]},
    }
    index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}).encode()
    registry.put_manifest(repository, fallback_tag(subject.digest), index)
    return entry


def test_who_overwrites_another_writers_index_mends_it() -> None:
    with memory_registry(api=False) as memory, referrers(memory.host) as (store, registry):
        repository = fresh(memory.host)
        subject = candidate(registry, repository)
        first, second = documents(subject, "first"), documents(subject, "second")
        tag = fallback_tag(subject.digest)

        def another(written: str) -> None:
            if written == tag:
                memory.before_tag = lambda _tag: None
                # Complete, checked and gone before the first writer's index, made without it, is stored.
                with referrers(memory.host) as (late, _):
                    late.store(repository, subject.digest, second)
                assert digests_in(memory, repository, tag) == digests(second)

        memory.before_tag = another
        store.store(repository, subject.digest, first)
        assert digests_in(memory, repository, tag) == digests(first) | digests(second)


def digests_in(memory: MemoryRegistry, repository: Repository, tag: str) -> set[Digest]:
    index = json.loads(memory.tag_bytes(repository.path, tag))
    return {Digest(entry["digest"]) for entry in index["manifests"]}


def test_what_a_dead_writer_left_is_listed_and_mended_by_the_next(real: RunningRegistry) -> None:
    repository = fresh(real.host)
    with referrers(real.host) as (store, registry):
        subject = candidate(registry, repository)
        left, later = documents(subject, "left"), documents(subject, "later")
        store.store(repository, subject.digest, left)
        empty = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}).encode()
        registry.put_manifest(repository, fallback_tag(subject.digest), empty)
        assert listed(store, repository, subject) == digests(left)
        store.store(repository, subject.digest, later)
        assert {entry["digest"] for entry in held(registry, repository, subject)} == {
            one.digest.value for one in (*left, *later)
        }


def test_writers_that_never_pause_end_in_words() -> None:
    with memory_registry(api=False) as memory, referrers(memory.host, attempts=3) as (store, registry):
        repository = fresh(memory.host)
        subject = candidate(registry, repository)
        tag = fallback_tag(subject.digest)
        empty = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": []}).encode()
        store.store(repository, subject.digest, documents(subject, "first"))
        stop = threading.Event()

        def overwrite() -> None:
            while not stop.is_set():
                memory.plant(repository.path, empty, tag=tag)

        thread = threading.Thread(target=overwrite)
        thread.start()
        try:
            with pytest.raises(RegistryError, match=r"replaced the index .* 3 times"):
                store.store(repository, subject.digest, documents(subject, "second"))
        finally:
            stop.set()
            thread.join()


def test_the_referrers_api_is_used_where_there_is_one() -> None:
    with memory_registry(page=2) as memory, referrers(memory.host) as (store, registry):
        repository = fresh(memory.host)
        subject = candidate(registry, repository)
        made = documents(subject)
        store.store(repository, subject.digest, made)
        assert not [tag for _, tag in memory.tags if tag.startswith(("sha256-", "evidence-"))]
        assert listed(store, repository, subject) == digests(made)
        assert sum("/referrers/" in line and "begin=" in line for line in memory.requests) == 1
        memory.requests.clear()
        other = candidate(registry, repository, "another image")
        store.store(repository, other.digest, documents(other))
        assert not any("/referrers/" in line for line in memory.requests)


def test_entries_from_before_the_registry_had_the_api_are_listed_too() -> None:
    with memory_registry(api=False) as memory, referrers(memory.host) as (store, registry):
        repository = fresh(memory.host)
        subject = candidate(registry, repository)
        entry = stranger(registry, repository, subject)
        memory.api = True
        made = documents(subject)
        store.store(repository, subject.digest, made)
        assert listed(store, repository, subject) == digests(made) | {Digest(entry["digest"])}


def test_a_registry_that_does_not_confirm_the_subject_gets_the_index_as_well() -> None:
    with memory_registry(says_subject=False) as memory, referrers(memory.host) as (store, registry):
        repository = fresh(memory.host)
        subject = candidate(registry, repository)
        made = documents(subject)
        store.store(repository, subject.digest, made)
        assert digests_in(memory, repository, fallback_tag(subject.digest)) == digests(made)


def test_a_web_page_is_no_referrers_api(proxy: FaultyRegistry) -> None:
    repository = fresh(proxy.host)
    page = Fault(path="referrers", status=200, headers={"Content-Type": "text/html"}, body=b"<html>")
    with referrers(proxy.host) as (store, registry):
        subject = candidate(registry, repository)
        proxy.faults = [page]
        store.store(repository, subject.digest, documents(subject))
        assert listed(store, repository, subject) == digests(documents(subject))


def test_an_entry_whose_manifest_was_deleted_does_not_block_the_index(real: RunningRegistry) -> None:
    repository = fresh(real.host)
    with referrers(real.host) as (store, registry):
        subject = candidate(registry, repository)
        strangers = stranger(registry, repository, subject)
        gone, later = documents(subject, "gone"), documents(subject, "later")
        store.store(repository, subject.digest, gone)
        registry.delete_manifest(repository, gone[0].digest)
        store.store(repository, subject.digest, later)
        entries = held(registry, repository, subject)
        assert strangers in entries
        assert {entry["digest"] for entry in entries} == {
            strangers["digest"],
            *(one.digest.value for one in (*gone[1:], *later)),
        }


def test_a_refusal_that_is_no_matter_of_entries_is_told(proxy: FaultyRegistry) -> None:
    repository = fresh(proxy.host)
    with referrers(proxy.host) as (store, registry):
        subject = candidate(registry, repository)
        proxy.faults = [Fault(path="PUT .*manifests/sha256-", status=403)]
        with pytest.raises(RegistryError, match="403"):
            store.store(repository, subject.digest, documents(subject))


def test_an_image_in_the_place_of_the_index_is_not_overwritten(real: RunningRegistry) -> None:
    repository = fresh(real.host)
    with referrers(real.host) as (store, registry):
        subject = candidate(registry, repository)
        other = tiny_image(text="not an index")
        push(registry, repository, other, fallback_tag(subject.digest))
        for call in (
            lambda: store.store(repository, subject.digest, documents(subject)),
            lambda: store.entries(repository, subject.digest),
        ):
            with pytest.raises(RegistryError, match="no OCI index"):
                call()
        assert registry.resolve(repository.tagged(fallback_tag(subject.digest))).digest == other.digest


def test_an_index_that_was_changed_on_the_way_is_refused(proxy: FaultyRegistry) -> None:
    repository = fresh(proxy.host)
    with referrers(proxy.host) as (store, registry):
        subject = candidate(registry, repository)
        store.store(repository, subject.digest, documents(subject))
        proxy.faults = [Fault(path="GET .*manifests/sha256-", flip=True)]
        with pytest.raises(RegistryError, match="in truth"):
            store.entries(repository, subject.digest)


def test_a_tag_that_only_looks_like_evidence_is_not_believed() -> None:
    with memory_registry(api=False) as memory, referrers(memory.host) as (store, registry):
        repository = fresh(memory.host)
        subject, other = candidate(registry, repository), candidate(registry, repository, "other")
        foreign = documents(other, "for another image")[0]
        for number, data in enumerate((foreign.manifest, b"{}", b"no json", documents(subject)[0].manifest)):
            tag = evidence_tag(subject.digest, Digest(f"sha256:{number:064x}"))
            memory.plant(repository.path, data, tag=tag, media_type=OCI_MANIFEST)
        assert listed(store, repository, subject) == set()


@pytest.mark.parametrize("broken", ["POST .*uploads", "PUT .*uploads", "PUT .*manifests/evidence"])
def test_a_dropped_connection_is_tried_again(proxy: FaultyRegistry, broken: str) -> None:
    repository = fresh(proxy.host)
    with referrers(proxy.host) as (store, registry):
        subject = candidate(registry, repository)
        for drop in ("before", "after"):
            proxy.faults = [Fault(path=broken, times=1, drop=drop)]
            made = documents(subject, drop)
            store.store(repository, subject.digest, made)
            assert digests(made) <= listed(store, repository, subject)


def test_evidence_and_cosign_leave_each_other_alone(real: RunningRegistry, tmp_path: Path) -> None:
    repository = fresh(real.host)
    key, _ = key_pair(tmp_path, "release")
    predicate = tmp_path / "predicate.json"
    predicate.write_text('{"said":"by cosign"}')
    with referrers(real.host) as (store, registry):
        subject = candidate(registry, repository)
        reference = str(repository.at(subject.digest))
        sign(key, reference)
        attest(key, reference, predicate)
        before = held(registry, repository, subject)
        signature = registry.resolve(repository.tagged(f"{fallback_tag(subject.digest)}.sig")).digest
        store.store(repository, subject.digest, documents(subject))
        after = held(registry, repository, subject)
        assert before
        assert after[: len(before)] == before
        attest(key, reference, predicate)
        assert digests(documents(subject)) <= listed(store, repository, subject)
        assert len(held(registry, repository, subject)) >= len(before) + len(KINDS)
        found = registry.resolve(repository.tagged(f"{fallback_tag(subject.digest)}.sig")).digest
        assert found == signature
