from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from typing import Any

import pytest
from records import NOON
from signingkit import FastSigner, MemoryStore

from images import TinyImage, index_of, tiny_image
from pipeline.domain.artifact import Attachment
from pipeline.domain.image import Digest, ImageRef, Repository
from pipeline.domain.oci import OCI_INDEX, OCI_MANIFEST, Descriptor, canonical, digest_of
from pipeline.domain.signature import SIMPLE_SIGNING, signature_manifest, signature_tag, simple_signing
from pipeline.errors import PipelineError, RegistryError, SignatureError, ToolMissingError, UsageError
from pipeline.verbs.signing import (
    Attest,
    SignedImage,
    SignOrder,
    UnsafeUnsigned,
    read_signed,
    require_known,
    sign_further,
    sign_images,
)

HOME = Repository(registry="registry.example.org", path="os/debian/base")
OTHER = Repository(registry="registry.example.org", path="os/debian/other")
SAID = (
    Attest(name="sbom", predicate_type="https://cyclonedx.org/bom", predicate={"components": []}),
    Attest(name="approval", predicate_type="https://example.org/vsa", predicate={"by": "Ben"}),
)


class World:
    """A registry with images in it, and a key."""

    def __init__(self) -> None:
        self.store, self.signer = MemoryStore(), FastSigner()

    def image(
        self, number: int = 1, repository: Repository = HOME, said: tuple[Attest, ...] = SAID
    ) -> SignOrder:
        return self.order(tiny_image(text=str(number)), repository, said)

    def order(self, image: TinyImage, repository: Repository, said: tuple[Attest, ...] = SAID) -> SignOrder:
        digest = self.store.put_manifest(repository, image.digest, image.manifest)
        subject = Descriptor(media_type=OCI_MANIFEST, digest=digest, size=len(image.manifest))
        return SignOrder(repository=repository, subject=subject, attestations=said, created=NOON)

    def sign(self, *orders: SignOrder, signer: Any = None) -> dict[Digest, dict[str, Digest]]:
        return sign_images(orders, signer or self.signer, self.store)

    def read(self, order: SignOrder, names: dict[str, Digest], **how: Any) -> SignedImage:
        self.store.requests.clear()
        return read_signed(
            self.store, order.repository, order.subject.digest, [self.signer.key], names, **how
        )

    def replace_tag(self, order: SignOrder, payload: bytes, signature: bytes) -> None:
        """Push another signature manifest under the order's signature tag."""
        made = signature_manifest(payload, signature)
        self.store.offer_blob(order.repository, payload)
        self.store.put_manifest(order.repository, signature_tag(order.subject.digest), made.manifest)


@pytest.fixture
def world() -> World:
    return World()


def test_what_is_signed_is_read_back(world: World) -> None:
    order = world.image()
    names = world.sign(order)[order.subject.digest]
    assert set(names) == {"signature", "sbom", "approval"}
    found = world.read(order, names)
    assert found.ok
    assert found.key == world.signer.key
    assert {name: one.predicate for name, one in found.attestations.items()} == {
        one.name: one.predicate for one in SAID
    }
    assert (found.problems, found.notes) == ((), ())


def test_many_images_are_signed_in_one_call(world: World) -> None:
    orders = [world.image(number) for number in range(20)]
    made = world.sign(*orders)
    assert world.signer.calls == [20 * 3]
    assert set(made) == {order.subject.digest for order in orders}
    assert all(world.read(order, made[order.subject.digest]).ok for order in orders)


def test_reading_costs_few_requests(world: World) -> None:
    order = world.image()
    names = world.sign(order)[order.subject.digest]
    world.read(order, names)
    assert len(world.store.requests) == 2 + 2 * len(SAID)
    found = world.read(order, names, attestations=False)
    assert (found.ok, found.attestations) == (True, {})
    assert [one.split()[0] for one in world.store.requests] == ["GET", "GET", "HEAD", "HEAD"]


def test_what_is_there_is_kept(world: World) -> None:
    order = world.image()
    first = world.sign(order)
    world.store.requests.clear()
    assert world.sign(order) == first
    assert world.store.writes() == []
    assert world.signer.calls == [3]


@pytest.mark.parametrize("steps", range(7))
def test_a_run_that_was_cut_off_goes_on(world: World, steps: int) -> None:
    order = world.image()
    cut = CutOff(world.store, steps)
    with pytest.raises(RegistryError, match="cut off"):
        sign_images([order], world.signer, cut)
    names = world.sign(order)[order.subject.digest]
    assert world.read(order, names).ok
    again = world.sign(order)[order.subject.digest]
    assert again == names


class CutOff(MemoryStore):
    """A store that fails after so many writes."""

    def __init__(self, store: MemoryStore, steps: int) -> None:
        super().__init__()
        self.manifests, self.blobs, self.tags = store.manifests, store.blobs, store.tags
        self._left = steps

    def _write(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise RegistryError("cut off", hint="run it again")

    def offer_blob(self, repository: Repository, data: bytes) -> bool:
        self._write()
        return super().offer_blob(repository, data)

    def put_manifest(self, repository: Repository, reference: str | Digest, data: bytes) -> Digest:
        self._write()
        return super().put_manifest(repository, reference, data)


def test_nothing_is_pushed_when_one_signature_does_not_verify(world: World) -> None:
    orders = [world.image(number) for number in range(3)]
    world.store.requests.clear()
    for signer in (Wrong(world.signer), Short(world.signer), Long(world.signer)):
        with pytest.raises(SignatureError, match="nothing was pushed"):
            world.sign(*orders, signer=signer)
    assert world.store.writes() == []


class Wrong(FastSigner):
    """Signs with another key than it says, one text of many."""

    def __init__(self, signer: FastSigner) -> None:
        super().__init__()
        self._good, self.key = signer, signer.key

    def sign(self, blobs: Sequence[bytes]) -> tuple[bytes, ...]:
        return (*self._good.sign(blobs[:-1]), *super().sign(blobs[-1:]))


class Short(Wrong):
    def sign(self, blobs: Sequence[bytes]) -> tuple[bytes, ...]:
        return self._good.sign(blobs[:-1])


class Long(Wrong):
    def sign(self, blobs: Sequence[bytes]) -> tuple[bytes, ...]:
        return self._good.sign([*blobs, b"more"])


def test_an_index_is_signed_with_each_of_its_manifests(world: World) -> None:
    images = [tiny_image("amd64"), tiny_image("arm64")]
    for image in images:
        world.store.put_manifest(HOME, image.digest, image.manifest)
    data = index_of(*images)
    subject = Descriptor(media_type=OCI_INDEX, digest=digest_of(data), size=len(data))
    world.store.put_manifest(HOME, subject.digest, data)
    order = SignOrder(repository=HOME, subject=subject, created=NOON)
    names = world.sign(order)[subject.digest]
    assert set(names) == {"signature", *(f"signature@{image.digest}" for image in images)}
    for digest in (subject.digest, *(image.digest for image in images)):
        assert (HOME, signature_tag(digest)) in world.store.tags
    assert world.read(order, names).ok
    del world.store.tags[HOME, signature_tag(images[1].digest)]
    found = world.read(order, names)
    assert found.key == world.signer.key
    assert len(found.problems) == 1
    assert images[1].digest.value in found.problems[0]


def test_a_stripped_signature_is_told(world: World) -> None:
    order = world.image()
    names = world.sign(order)[order.subject.digest]
    tag = (HOME, signature_tag(order.subject.digest))
    empty = json.loads(world.store.manifests[HOME, world.store.tags[tag]]) | {"layers": []}
    world.store.put_manifest(HOME, tag[1], canonical(empty))
    found = world.read(order, names)
    assert found.key is None
    assert "it was stripped" in found.problems[0]
    del world.store.tags[tag]
    found = world.read(order, names)
    assert "there is none" in found.problems[0]
    assert not found.ok


def test_a_signature_by_another_key_is_told(world: World) -> None:
    order = world.image()
    names = world.sign(order, signer=FastSigner())[order.subject.digest]
    found = world.read(order, names)
    assert found.key is None
    assert all("no known key made it" in one for one in found.problems)
    assert len(found.problems) == 3
    assert world.signer.key.fingerprint in found.problems[0]


def test_an_edited_payload_is_told(world: World) -> None:
    order = world.image()
    names = world.sign(order)[order.subject.digest]
    payload = simple_signing(HOME, order.subject.digest)
    (signature,) = world.signer.sign([payload])
    world.replace_tag(order, payload.replace(b'"optional":null', b'"optional":{"v":"9"}'), signature)
    found = world.read(order, names)
    assert found.key is None
    assert "no known key made it" in found.problems[0]


@pytest.mark.parametrize(
    ("what", "payload"),
    [
        ("another digest", lambda _: simple_signing(HOME, Digest("sha256:" + "5" * 64))),
        ("another repository", lambda digest: simple_signing(OTHER, digest)),
    ],
)
def test_a_signature_made_for_something_else_is_told(world: World, what: str, payload: Any) -> None:
    order = world.image()
    names = world.sign(order)[order.subject.digest]
    claim = payload(order.subject.digest)
    world.replace_tag(order, claim, world.signer.sign([claim])[0])
    found = world.read(order, names)
    assert found.key is None
    assert what in found.problems[0]


def test_a_copy_read_under_its_own_name_is_not_signed(world: World) -> None:
    order = world.image()
    names = world.sign(order)[order.subject.digest]
    store = world.store
    for (where, digest), data in list(store.manifests.items()):
        assert where == HOME
        store.manifests[OTHER, digest] = data
    store.blobs |= {(OTHER, digest): data for (_, digest), data in store.blobs.items()}
    store.tags |= {(OTHER, tag): digest for (_, tag), digest in store.tags.items()}
    digest = order.subject.digest
    found = read_signed(store, OTHER, digest, [world.signer.key], names)
    assert found.key is None
    assert "another repository" in found.problems[0]


def test_a_signature_of_somebody_else_stays_beside_ours(world: World) -> None:
    order, stranger = world.image(), FastSigner()
    world.sign(order, signer=stranger)
    names = world.sign(order)[order.subject.digest]
    assert world.read(order, names).ok
    theirs = read_signed(
        world.store, HOME, order.subject.digest, [stranger.key], {"signature": names["signature"]}
    )
    assert theirs.key == stranger.key


def test_a_signature_that_was_written_anew_is_noted(world: World) -> None:
    order = world.image()
    names = world.sign(order)[order.subject.digest]
    payload = simple_signing(HOME, order.subject.digest)
    world.replace_tag(order, payload, world.signer.sign([payload])[0])
    found = world.read(order, names)
    assert found.ok
    assert "release.pub" in found.notes[0]
    del names["signature"]
    assert "does not name it" in world.read(order, names).problems[0]


def test_what_was_signed_is_gone(world: World) -> None:
    order = world.image()
    names = world.sign(order)[order.subject.digest]
    payload = digest_of(simple_signing(HOME, order.subject.digest))
    del world.store.blobs[HOME, payload]
    assert "cannot be had" in world.read(order, names).problems[0]
    assert world.read(order, world.sign(order)[order.subject.digest]).ok


def test_damaged_attestations_are_told_and_made_again(world: World) -> None:
    order = world.image()
    names = world.sign(order)[order.subject.digest]
    gone = dict(world.store.manifests)
    del gone[HOME, names["sbom"]]
    world.store.manifests = gone
    assert world.read(order, names).problems == (f"sbom: the attestation {names['sbom']} is gone",)
    assert not world.read(order, names, attestations=False).ok
    bundle = json.loads(gone[HOME, names["approval"]])["layers"][0]["digest"]
    world.store.blobs[HOME, Digest(bundle)] += b" "
    assert len(world.read(order, names).problems) == 2
    again = world.sign(order)[order.subject.digest]
    assert again["signature"] == names["signature"]
    assert world.read(order, again).ok


def test_an_attestation_by_another_name_is_told(world: World) -> None:
    order = world.image()
    names = world.sign(order)[order.subject.digest]
    swapped = names | {"sbom": names["approval"], "approval": names["sbom"]}
    found = world.read(order, swapped)
    assert len(found.problems) == 2
    assert found.attestations == {}
    nonsense = names | {"sbom": order.subject.digest}
    assert "no attestation of that name" in world.read(order, nonsense).problems[0]


def test_an_attestation_that_speaks_of_another_image_is_told(world: World) -> None:
    order, other = world.image(1), world.image(2)
    world.sign(order)
    lying = Lying(world.store, order.subject.digest)
    names = sign_images([other], world.signer, lying)[other.subject.digest]
    assert names
    found = world.read(
        order, {"signature": world.sign(order)[order.subject.digest]["signature"], **lying.forged}
    )
    assert len(found.problems) == len(SAID)
    assert all("it speaks of" in one for one in found.problems)


class Lying(MemoryStore):
    """A store that files what is attached to one image under another."""

    def __init__(self, store: MemoryStore, instead: Digest) -> None:
        super().__init__()
        self.manifests, self.blobs, self.tags = store.manifests, store.blobs, store.tags
        self._instead, self.forged = instead, dict[str, Digest]()

    def attach(self, repository: Repository, subject: Digest, artifacts: Sequence[Attachment]) -> None:
        for one, said in zip(artifacts, SAID, strict=True):
            self.offer_blob(repository, one.document)
            forged = one.manifest.replace(subject.value.encode(), self._instead.value.encode())
            self.forged[said.name] = self.put_manifest(repository, digest_of(forged), forged)


def test_other_facts_are_another_attestation(world: World) -> None:
    order = world.image()
    names = world.sign(order)[order.subject.digest]
    newer = Attest(name="sbom", predicate_type="https://cyclonedx.org/bom", predicate={"components": [1]})
    later = SignOrder(
        repository=HOME,
        subject=order.subject,
        attestations=(newer, SAID[1]),
        created=NOON + dt.timedelta(hours=1),
    )
    again = world.sign(later)[order.subject.digest]
    assert again["approval"] == names["approval"]
    assert again["sbom"] != names["sbom"]
    assert world.read(later, again).attestations["sbom"].predicate == {"components": [1]}


def test_nothing_is_signed_only_when_that_was_said(world: World) -> None:
    order = world.image()
    world.store.requests.clear()
    unsafe = UnsafeUnsigned()
    assert world.sign(order, signer=unsafe) == {order.subject.digest: {}}
    assert world.store.requests == []
    assert unsafe.warning.startswith("UNSAFE: ")
    found = world.read(order, {})
    assert not found.ok


def test_images_and_names_are_given_once(world: World) -> None:
    order = world.image()
    with pytest.raises(UsageError, match="twice"):
        world.sign(order, order)
    for said in ((SAID[0], SAID[0]), (Attest(name="signature", predicate_type="t", predicate={}),)):
        with pytest.raises(UsageError, match="are named"):
            world.sign(world.image(said=said))


def test_junk_under_the_signature_tag_is_never_added_to(world: World) -> None:
    order = world.image()
    world.store.put_manifest(HOME, signature_tag(order.subject.digest), index_of())
    with pytest.raises(SignatureError, match="no signature manifest"):
        world.sign(order)
    assert "no signature manifest" in world.read(order, {}).problems[0]


def test_a_seal_beside_that_wrote_the_tag_first_is_good_enough(world: World) -> None:
    order = world.image()
    beside = Beside(world)
    names = sign_images([order], world.signer, beside)[order.subject.digest]
    assert world.read(order, names).ok


class Beside(MemoryStore):
    """A store where another seal of the same release writes the signature tag before it is read again."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world, store = world, world.store
        self.manifests, self.blobs, self.tags = store.manifests, store.blobs, store.tags

    def put_manifest(self, repository: Repository, reference: str | Digest, data: bytes) -> Digest:
        made = super().put_manifest(repository, reference, data)
        if not str(reference).endswith(".sig"):
            return made
        payload = Digest(json.loads(data)["layers"][0]["digest"])
        other = signature_manifest(
            self.blobs[repository, payload], *self._world.signer.sign([self.blobs[repository, payload]])
        )
        super().put_manifest(repository, reference, other.manifest)
        raise RegistryError("another digest", hint="somebody wrote it")


def test_a_signing_key_must_be_one_that_images_trust() -> None:
    key, other = FastSigner("a.pub").key, FastSigner("b.pub").key
    require_known(key, [other, key])
    with pytest.raises(SignatureError, match=r"none of the release keys: b\.pub"):
        require_known(key, [other])


class Further:
    """Signs without a key, or says why not."""

    def __init__(self, error: PipelineError | None = None) -> None:
        self.error, self.refs = error, list[ImageRef]()

    def sign(self, refs: Sequence[ImageRef]) -> None:
        self.refs.extend(refs)
        if self.error is not None:
            raise self.error


def test_a_further_signature_that_fails_is_told_and_ends_the_run_only_when_required() -> None:
    refs = [HOME.at(Digest("sha256:" + "1" * 64))]
    good = Further()
    assert sign_further(refs, good, required=True) == ""
    assert good.refs == refs
    for error in (SignatureError("no authority", hint="h"), ToolMissingError("no cosign", hint="h")):
        assert sign_further(refs, Further(error), required=False) == error.message
        with pytest.raises(type(error)):
            sign_further(refs, Further(error), required=True)


def test_claims_have_the_media_type_that_hosts_look_for(world: World) -> None:
    order = world.image()
    names = world.sign(order)[order.subject.digest]
    layers = json.loads(world.store.manifests[HOME, names["signature"]])["layers"]
    assert [layer["mediaType"] for layer in layers] == [SIMPLE_SIGNING]
