"""Images that are signed here, in a real registry: what cosign says of them, and what is read of cosign's."""

from __future__ import annotations

import base64
import itertools
import json
import random
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cosigntool import attest, cosign_program, key_pair, sign
from memoryregistry import memory_registry
from records import NOON, candidate
from registries import RunningRegistry, running_registry
from signingkit import FastSigner, Recording, imported_pair, signer_on

from images import index_of, push, tiny_image
from pipeline.adapters.referrers import Referrers, SignedStore
from pipeline.adapters.registry import Registry
from pipeline.adapters.transport import Patience
from pipeline.domain.artifact import BUNDLE, artifact_of, fallback_tag
from pipeline.domain.attestation import pae, read_bundle
from pipeline.domain.evidence import Evidence, EvidenceKind
from pipeline.domain.image import Digest, ImageRef, Repository
from pipeline.domain.oci import OCI_INDEX, OCI_MANIFEST, Descriptor
from pipeline.domain.predicates import Attest
from pipeline.domain.signature import (
    VerifyKey,
    claim_fault,
    read_signature_manifest,
    signature_tag,
    simple_signing,
)
from pipeline.verbs.evidence import list_evidence
from pipeline.verbs.signing import SignOrder, read_signed, sign_images

pytestmark = pytest.mark.engine
SBOM = "https://cyclonedx.org/bom"
VSA = "https://slsa.dev/verification_summary/v1"
SAID = (
    Attest(
        name="sbom",
        predicate_type=SBOM,
        predicate={"bomFormat": "CycloneDX", "components": [{"name": "é<&>"}]},
    ),
    Attest(name="approval", predicate_type=VSA, predicate={"verificationResult": "PASSED"}),
)
_names = itertools.count()


class Site:
    """A real registry, a real cosign with a key pair, and what signs with it."""

    def __init__(self, real: RunningRegistry, folder: Path) -> None:
        self.registry = Registry(real.host, insecure=True, patience=Patience(attempts=3, first=0.01))
        referrers = Referrers(self.registry, jitter=random.Random(1).random, pause=time.sleep)
        self.store, self.host = SignedStore(self.registry, referrers), real.host
        self.private, self.public = key_pair(folder, "release")
        self.processes = Recording()
        self.signer = signer_on(str(self.private), processes=self.processes)
        self.key = VerifyKey.parse("release.pub", self.public.read_text())

    def order(self, text: str = "image", said: tuple[Attest, ...] = SAID) -> SignOrder:
        """Push an image to a repository of its own."""
        repository = Repository(registry=self.host, path=f"os/signed-{next(_names)}")
        image = tiny_image(text=text)
        push(self.registry, repository, image)
        subject = Descriptor(media_type=OCI_MANIFEST, digest=image.digest, size=len(image.manifest))
        return SignOrder(repository=repository, subject=subject, attestations=said, created=NOON)

    def sign(self, *orders: SignOrder) -> dict[Digest, dict[str, Digest]]:
        return sign_images(orders, self.signer, self.store)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running_registry(tmp_path_factory.mktemp("registry")) as real:
        site = Site(real, tmp_path_factory.mktemp("keys"))
        yield site
        site.registry.close()


def cosign(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [cosign_program(), *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


def verify(key: Path, ref: str) -> subprocess.CompletedProcess[str]:
    """Ask cosign as hosts would: the legacy signature alone."""
    return cosign(
        "verify",
        f"--key={key}",
        "--insecure-ignore-tlog=true",
        "--new-bundle-format=false",
        "--allow-http-registry=true",
        ref,
    )


def verify_attestation(key: Path, kind: str, ref: str) -> subprocess.CompletedProcess[str]:
    return cosign(
        "verify-attestation",
        f"--key={key}",
        f"--type={kind}",
        "--insecure-ignore-tlog=true",
        "--allow-http-registry=true",
        ref,
    )


def reference(order: SignOrder) -> str:
    return str(order.repository.at(order.subject.digest))


def test_twenty_images_are_signed_without_starting_a_program(site: Site) -> None:
    orders = [site.order(f"image {number}", SAID[:1]) for number in range(20)]
    made = site.sign(*orders)
    for order in orders:
        found = read_signed(
            site.registry, order.repository, order.subject.digest, [site.key], made[order.subject.digest]
        )
        assert (found.problems, found.key) == ((), site.key)
    assert made == site.sign(*orders)
    assert site.processes.started == []
    assert verify(site.public, reference(orders[7])).returncode == 0


def test_cosign_accepts_what_is_signed_here(site: Site) -> None:
    order = site.order()
    site.sign(order)
    ref = reference(order)
    done = verify(site.public, ref)
    assert done.returncode == 0, done.stderr
    (claim,) = json.loads(done.stdout)
    assert claim["critical"]["image"]["docker-manifest-digest"] == order.subject.digest.value
    assert claim["critical"]["identity"]["docker-reference"] == str(order.repository)
    for said in SAID:
        done = verify_attestation(site.public, said.predicate_type, ref)
        assert done.returncode == 0, done.stderr
        statements = [json.loads(_payload(line)) for line in done.stdout.splitlines() if line.startswith("{")]
        assert [one["predicate"] for one in statements] == [said.predicate]
    assert verify_attestation(site.public, "https://example.org/other", ref).returncode != 0


def _payload(line: str) -> bytes:
    return base64.b64decode(json.loads(line)["payload"])


@pytest.mark.parametrize("kind", ["p384", "p521", "rsa2048", "ed25519"])
def test_cosign_accepts_images_signed_with_other_kinds_of_keys(site: Site, tmp_path: Path, kind: str) -> None:
    private, public = imported_pair(tmp_path, kind, "open sesame")
    order = site.order(said=SAID[:1])
    sign_images([order], signer_on(str(private), "open sesame"), site.store)
    for done in (verify(public, reference(order)), verify_attestation(public, SBOM, reference(order))):
        assert done.returncode == 0, done.stderr


def test_cosign_refuses_what_another_key_signed(site: Site, tmp_path: Path) -> None:
    order = site.order()
    site.sign(order)
    _, stranger = key_pair(tmp_path, "stranger")
    assert verify(stranger, reference(order)).returncode != 0
    assert verify_attestation(stranger, SBOM, reference(order)).returncode != 0


def test_what_cosign_signed_is_read_here(site: Site, tmp_path: Path) -> None:
    order = site.order(said=())
    predicate = tmp_path / "predicate.json"
    predicate.write_text('{"said":"by cosign"}')
    sign(site.private, reference(order))
    attest(site.private, reference(order), predicate)
    tag = order.repository.tagged(signature_tag(order.subject.digest))
    theirs = site.registry.resolve(tag).digest
    found = read_signed(
        site.registry, order.repository, order.subject.digest, [site.key], {"signature": theirs}
    )
    assert (found.problems, found.notes, found.key) == ((), (), site.key)
    assert site.sign(order)[order.subject.digest] == {"signature": theirs}
    (entry,) = site.store.entries(order.repository, order.subject.digest).entries
    manifest = json.loads(site.registry.unparsed(order.repository.at(entry.digest)))
    assert manifest["artifactType"] == BUNDLE
    (layer,) = manifest["layers"]
    said = read_bundle(site.registry.blob(order.repository, Digest(layer["digest"])))
    assert said.subjects == (order.subject.digest,)
    assert said.predicate == {"said": "by cosign"}
    assert said.hint == site.key.hint
    assert site.key.verifies(pae(said.statement), said.signature)


def test_what_is_made_here_has_the_form_that_cosign_gives_it(site: Site, tmp_path: Path) -> None:
    ours, theirs = site.order("one"), site.order("two", said=())
    site.sign(ours)
    predicate = tmp_path / "predicate.json"
    predicate.write_text('{"said":"by cosign"}')
    sign(site.private, reference(theirs))
    attest(site.private, reference(theirs), predicate)
    forms = [signature_form(site, order) for order in (ours, theirs)]
    assert forms[0] == forms[1]
    bundles = [bundle_form(site, order) for order in (ours, theirs)]
    assert bundles[0] == bundles[1]


def signature_form(site: Site, order: SignOrder) -> object:
    """Return the structure of a signature manifest and its config, and whether the claim is as made here."""
    data = site.registry.manifest(order.repository.tagged(signature_tag(order.subject.digest)))
    (layer,) = read_signature_manifest(data)
    payload = site.registry.blob(order.repository, layer.payload.digest)
    assert payload == simple_signing(order.repository, order.subject.digest)
    assert claim_fault(payload, order.repository, order.subject.digest) == ""
    manifest = json.loads(data)
    config = json.loads(site.registry.blob(order.repository, Digest(manifest["config"]["digest"])))
    return shape(manifest), shape(config)


def bundle_form(site: Site, order: SignOrder) -> object:
    """Return the structure of a bundle's artifact, the bundle and the statement in it."""
    entries = site.store.entries(order.repository, order.subject.digest).entries
    manifest = json.loads(site.registry.unparsed(order.repository.at(entries[0].digest)))
    # cosign repeats the artifact's type in the config's descriptor, where the specification has no such key.
    manifest["config"].pop("artifactType", None)
    manifest["annotations"] = {
        key: text for key, text in manifest["annotations"].items() if not key.startswith("io.bootc-pipeline.")
    }
    bundle = site.registry.blob(order.repository, Digest(manifest["layers"][0]["digest"]))
    statement = json.loads(read_bundle(bundle).statement)
    statement.pop("predicate")
    return shape(manifest), shape(json.loads(bundle)), shape(statement)


def shape(value: object) -> object:
    """Return a value with its keys, types and media types, without what differs from image to image."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in sorted(value.items())}
    if isinstance(value, list):
        return [shape(item) for item in value]
    if isinstance(value, str) and value.startswith(("application/", "dsse")):
        return value
    return type(value).__name__


def test_an_index_and_its_manifests_are_accepted_by_cosign(site: Site) -> None:
    repository = Repository(registry=site.host, path=f"os/signed-{next(_names)}")
    images = [tiny_image("amd64"), tiny_image("arm64")]
    for image in images:
        push(site.registry, repository, image)
    data = index_of(*images)
    digest = site.registry.put_manifest(repository, "all", data)
    subject = Descriptor(media_type=OCI_INDEX, digest=digest, size=len(data))
    names = site.sign(SignOrder(repository=repository, subject=subject, created=NOON))[digest]
    for one in (digest, *(image.digest for image in images)):
        done = verify(site.public, str(repository.at(one)))
        assert done.returncode == 0, done.stderr
    assert read_signed(site.registry, repository, digest, [site.key], names).ok


def test_a_signature_that_was_copied_to_another_repository_is_refused_by_both(site: Site) -> None:
    order, other = site.order("same"), site.order("same")
    names = site.sign(order)[order.subject.digest]
    for digest in names.values():
        copy_artifact(site, order.repository, other.repository, order.repository.at(digest))
    tag = signature_tag(order.subject.digest)
    data = site.registry.manifest(order.repository.tagged(tag))
    site.registry.put_manifest(other.repository, tag, data)
    found = read_signed(site.registry, other.repository, other.subject.digest, [site.key], names)
    assert found.key is None
    assert "another repository" in found.problems[0]


def copy_artifact(site: Site, source: Repository, destination: Repository, ref: ImageRef) -> None:
    data = site.registry.unparsed(ref)
    value = json.loads(data)
    for part in (value["config"], *value["layers"]):
        site.registry.put_blob(destination, site.registry.blob(source, Digest(part["digest"])))
    site.registry.put_manifest(destination, ref.pinned, data)


def fast(host: str, seed: int = 0) -> tuple[Registry, SignedStore]:
    registry = Registry(host, insecure=True, patience=Patience(attempts=5, first=0.01))
    return registry, SignedStore(
        registry, Referrers(registry, jitter=random.Random(seed).random, pause=time.sleep)
    )


def test_attestations_are_found_when_the_index_that_lists_them_was_lost(site: Site) -> None:
    order, signer = site.order(), FastSigner()
    made = sign_images([order], signer, site.store)
    tag = fallback_tag(order.subject.digest)
    site.registry.put_manifest(order.repository, tag, index_of())
    entries = site.store.entries(order.repository, order.subject.digest).entries
    assert sorted(entry.attestation for entry in entries) == ["approval", "sbom"]
    assert sign_images([order], signer, site.store) == made
    assert signer.calls == [3]


@pytest.mark.parametrize("api", [True, False])
def test_evidence_and_attestations_lie_side_by_side(*, api: bool) -> None:
    document = Evidence(kind=EvidenceKind.DIFF, data=b"{}\n")
    with memory_registry(api=api) as running:
        registry, store = fast(running.host)
        repository = Repository(registry=running.host, path="os/base")
        image = tiny_image()
        push(registry, repository, image)
        subject = Descriptor(media_type=OCI_MANIFEST, digest=image.digest, size=len(image.manifest))
        held = artifact_of(subject, document, NOON)
        store.attach(repository, image.digest, [held])
        signer = FastSigner()
        order = SignOrder(repository=repository, subject=subject, attestations=SAID, created=NOON)
        made = sign_images([order], signer, store)[image.digest]
        listing = store.entries(repository, image.digest)
        assert {entry.digest for entry in listing.entries} == {held.digest, made["sbom"], made["approval"]}
        assert {entry.kind for entry in listing.entries} == {"diff", ""}
        one = candidate(repository=repository, digest=image.digest, evidence={"diff": document.digest})
        report = list_evidence(Referrers(registry, jitter=random.Random(1).random, pause=time.sleep), one)
        assert (report.ok, len(report.foreign), report.problems) == (True, 2, ())
        assert sign_images([order], signer, store)[image.digest] == made
        registry.close()


def test_several_seals_of_one_release_at_once_all_end_well(site: Site) -> None:
    order, signer = site.order(), FastSigner()
    start = threading.Barrier(4)

    def seal(seed: int) -> dict[str, Digest]:
        registry, store = fast(site.host, seed)
        start.wait(60)
        made = sign_images([order], signer, store)[order.subject.digest]
        registry.close()
        return made

    with ThreadPoolExecutor(4) as pool:
        everybody = list(pool.map(seal, range(4)))
    for names in everybody:
        found = read_signed(site.registry, order.repository, order.subject.digest, [signer.key], names)
        assert found.ok, found.problems
    again = sign_images([order], signer, site.store)[order.subject.digest]
    assert again["signature"] in {names["signature"] for names in everybody}
