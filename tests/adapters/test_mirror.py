from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cosigntool import attest, cosign_program, key_pair, sign
from faultyregistry import Fault, faulty_registry
from registries import PASSWORD, USER, RunningRegistry, free_port, running_registry

from images import TinyImage, index_of, push, tiny_image
from pipeline.adapters.cosign import Cosign
from pipeline.adapters.process import Processes
from pipeline.adapters.registry import Registry
from pipeline.adapters.skopeo import Skopeo
from pipeline.adapters.tokens import Credentials
from pipeline.adapters.transport import Patience
from pipeline.domain.image import RELEASE_TAG, Digest, ImageRef, Repository
from pipeline.domain.oci import Descriptor, digest_of
from pipeline.errors import NotFoundError, RegistryError, SignatureError, ToolFailedError
from pipeline.verbs.mirror import MirrorOrder, mirror

pytestmark = pytest.mark.engine
PROCESSES = Processes(environment=os.environ)


@dataclass
class Site:
    vendor: RunningRegistry
    own: RunningRegistry
    source: Registry
    destination: Registry
    folder: Path
    names: int = 0

    @property
    def hosts(self) -> frozenset[str]:
        return frozenset({self.vendor.host, self.own.host})

    def order(self, key: Path | None = None, tag: str = "stream10") -> MirrorOrder:
        """Return an order in repositories of its own."""
        self.names += 1
        repository = Repository(registry=self.vendor.host, path=f"vendor/bootc-{self.names}")
        copy = Repository(registry=self.own.host, path=f"mirror/upstream-{self.names}")
        return MirrorOrder(source=repository.tagged(tag), destination=copy, vendor_key=key)

    def push(self, order: MirrorOrder, *images: TinyImage) -> Digest:
        """Push an index of the images under the order's tag."""
        for image in images:
            push(self.source, order.source.repository, image)
        return self.source.put_manifest(order.source.repository, order.source.tag or "", index_of(*images))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("mirror")
    with running_registry(folder / "a") as vendor, running_registry(folder / "b") as own:
        source, destination = Registry(vendor.host, insecure=True), Registry(own.host, insecure=True)
        yield Site(vendor=vendor, own=own, source=source, destination=destination, folder=folder)
        source.close()
        destination.close()


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    folder = tmp_path_factory.mktemp("keys")
    return {name: key_pair(folder, name) for name in ("vendor", "stranger")}


def verifier(site: Site) -> Cosign:
    return Cosign(PROCESSES, insecure=site.hosts, program=cosign_program())


class NoVerifier:
    def verify_vendor(self, ref: ImageRef, key: Path) -> None:
        raise AssertionError("no key, nothing to verify")


def test_an_index_is_mirrored_bit_for_bit(site: Site) -> None:
    order = site.order()
    images = (tiny_image("amd64"), tiny_image("arm64", "hej"), tiny_image("s390x"))
    digest = site.push(order, *images)
    result = mirror(
        order,
        source=site.source,
        destination=site.destination,
        copier=Skopeo(PROCESSES, insecure=site.hosts),
        verifier=NoVerifier(),
    )
    assert result.digest == digest == result.destination.digest
    assert result.platforms == ("linux/amd64", "linux/arm64", "linux/s390x")
    assert not result.verified
    assert site.destination.manifest(order.destination.at(digest)) == index_of(*images)
    for image in images:
        assert site.destination.manifest(order.destination.at(image.digest)) == image.manifest
        for blob in image.blobs:
            assert site.destination.blob(order.destination, digest_of(blob)) == blob
    names = [digest, *(image.digest for image in images), *(digest_of(b) for i in images for b in i.blobs)]
    for name in names:
        assert site.own.blob_file(name.value).read_bytes() == site.vendor.blob_file(name.value).read_bytes()
    tags = site.destination.tags(order.destination)
    assert tags == (result.destination.tag,)
    assert not any(RELEASE_TAG.fullmatch(tag) for tag in tags)


def test_a_single_manifest_is_mirrored_too(site: Site) -> None:
    order = site.order()
    image = tiny_image()
    push(site.source, order.source.repository, image, order.source.tag)
    skopeo = Skopeo(PROCESSES, insecure=site.hosts)
    result = mirror(
        order, source=site.source, destination=site.destination, copier=skopeo, verifier=NoVerifier()
    )
    assert (result.digest, result.platforms) == (image.digest, ())
    assert site.destination.manifest(result.destination) == image.manifest


@dataclass
class MovesTag:
    """Copies for real, after the vendor has moved the tag to another image."""

    site: Site
    order: MirrorOrder
    copier: Skopeo

    def copy_all(self, source: ImageRef, destination: ImageRef) -> Digest:
        self.site.push(self.order, tiny_image("amd64", "a newer release"))
        return self.copier.copy_all(source, destination)


def test_a_tag_that_moves_meanwhile_changes_nothing(site: Site) -> None:
    order = site.order()
    digest = site.push(order, tiny_image("amd64"), tiny_image("arm64"))
    copier = MovesTag(site, order, Skopeo(PROCESSES, insecure=site.hosts))
    result = mirror(
        order, source=site.source, destination=site.destination, copier=copier, verifier=NoVerifier()
    )
    assert result.digest == digest
    assert site.source.resolve(order.source).digest != digest
    assert site.destination.resolve(result.destination).digest == digest


@dataclass
class CopiesOther:
    """A copier that leaves another image under the tag."""

    registry: Registry

    def copy_all(self, source: ImageRef, destination: ImageRef) -> Digest:
        push(self.registry, destination.repository, tiny_image("amd64", "another"), destination.tag)
        return source.pinned


def test_a_copy_that_is_not_the_source_is_refused(site: Site) -> None:
    order = site.order()
    site.push(order, tiny_image())
    with pytest.raises(RegistryError, match=r"not the image it was copied from|in truth"):
        mirror(
            order,
            source=site.source,
            destination=site.destination,
            copier=CopiesOther(site.destination),
            verifier=NoVerifier(),
        )


def test_the_vendors_signature_opens_the_way(site: Site, keys: dict[str, tuple[Path, Path]]) -> None:
    private, public = keys["vendor"]
    order = site.order(public)
    digest = site.push(order, tiny_image("amd64"), tiny_image("arm64"))
    sign(private, str(order.source.repository.at(digest)))
    skopeo = Skopeo(PROCESSES, insecure=site.hosts)
    result = mirror(
        order, source=site.source, destination=site.destination, copier=skopeo, verifier=verifier(site)
    )
    assert result.verified
    assert site.destination.resolve(result.destination).digest == digest


@pytest.mark.parametrize("fault", ["unsigned", "other key", "other image", "attested only", "no key file"])
def test_without_the_vendors_signature_nothing_is_copied(
    site: Site, keys: dict[str, tuple[Path, Path]], fault: str
) -> None:
    key = site.folder / "none.pub" if fault == "no key file" else keys["vendor"][1]
    order = site.order(key)
    digest = site.push(order, tiny_image("amd64", fault))
    if fault == "other key":
        sign(keys["stranger"][0], str(order.source.repository.at(digest)))
    if fault == "other image":
        sign(keys["vendor"][0], str(order.source.repository.at(digest)))
        signature = order.source.repository.tagged(f"sha256-{digest.hex}.sig")
        data = site.source.manifest(signature)
        digest = site.push(order, tiny_image("amd64", "swapped"))
        site.source.put_manifest(order.source.repository, f"sha256-{digest.hex}.sig", data)
    if fault == "attested only":
        predicate = site.folder / "predicate.json"
        predicate.write_text(json.dumps({"says": "something"}))
        attest(keys["vendor"][0], str(order.source.repository.at(digest)), predicate)
    with pytest.raises(SignatureError, match=r"is not signed by|is no file"):
        mirror(
            order,
            source=site.source,
            destination=site.destination,
            copier=Skopeo(PROCESSES, insecure=site.hosts),
            verifier=verifier(site),
        )
    with pytest.raises(NotFoundError):
        site.destination.tags(order.destination)


def test_a_vendor_that_does_not_answer_is_no_missing_signature(
    site: Site, keys: dict[str, tuple[Path, Path]]
) -> None:
    host = f"127.0.0.1:{free_port()}"
    ref = Repository(registry=host, path="vendor/image").at(digest_of(b""))
    cosign = Cosign(PROCESSES, insecure=frozenset({host}), program=cosign_program())
    with pytest.raises(ToolFailedError, match="connection refused"):
        cosign.verify_vendor(ref, keys["vendor"][1])


def test_a_tag_that_does_not_exist(site: Site) -> None:
    order = site.order()
    with pytest.raises(NotFoundError, match=r"no manifest .*stream10"):
        mirror(
            order,
            source=site.source,
            destination=site.destination,
            copier=Skopeo(PROCESSES, insecure=site.hosts),
            verifier=NoVerifier(),
        )


def test_the_login_is_asked_for_and_used(site: Site, tmp_path: Path) -> None:
    with running_registry(tmp_path / "locked", auth=True) as locked:
        login = Credentials(username=USER, password=PASSWORD)
        destination = Registry(locked.host, insecure=True, credentials=login)
        order = site.order()
        order = MirrorOrder(
            source=order.source, destination=Repository(registry=locked.host, path="mirror/upstream")
        )
        digest = site.push(order, tiny_image("amd64"), tiny_image("arm64"))
        auth_file = tmp_path / "auth.json"
        insecure = frozenset({site.vendor.host, locked.host})
        anonymous = tmp_path / "nobody.json"
        anonymous.write_text("{}")
        with pytest.raises(ToolFailedError, match=r"authentication required|unauthorized") as caught:
            mirror(
                order,
                source=site.source,
                destination=destination,
                copier=Skopeo(PROCESSES, insecure=insecure, auth_file=anonymous),
                verifier=NoVerifier(),
            )
        assert "logins" in caught.value.hint
        auth = login.basic.removeprefix("Basic ")
        auth_file.write_text(json.dumps({"auths": {locked.host: {"auth": auth}}}))
        copier = Skopeo(PROCESSES, insecure=insecure, auth_file=auth_file)
        result = mirror(
            order, source=site.source, destination=destination, copier=copier, verifier=NoVerifier()
        )
        assert result.digest == digest
        destination.close()


def test_a_full_registry_leaves_no_tag(site: Site) -> None:
    with faulty_registry(site.own.host, Fault(path="^(PUT|PATCH)", status=507)) as full:
        order = site.order()
        copy = Repository(registry=full.host, path=order.destination.path)
        order = MirrorOrder(source=order.source, destination=copy)
        site.push(order, tiny_image("amd64", "too large for the disk"))
        destination = Registry(full.host, insecure=True, patience=Patience(attempts=1))
        copier = Skopeo(PROCESSES, insecure=frozenset({site.vendor.host, full.host}))
        with pytest.raises(ToolFailedError, match="507"):
            mirror(order, source=site.source, destination=destination, copier=copier, verifier=NoVerifier())
        with pytest.raises(NotFoundError):
            destination.tags(copy)
        destination.close()


def test_what_skopeo_is_told() -> None:
    ref = ImageRef.parse("vendor.example/a/b:tag@sha256:" + "1" * 64)
    copy = ImageRef.parse("127.0.0.1:5000/mirror:candidate-1")
    skopeo = Skopeo(PROCESSES, insecure=frozenset({"127.0.0.1:5000"}), auth_file=Path("/run/auth.json"))
    assert skopeo.argv(ref, copy, Path("/tmp/d")) == (
        "skopeo",
        "copy",
        "--all",
        "--preserve-digests",
        "--quiet",
        "--retry-times=3",
        "--authfile=/run/auth.json",
        "--src-tls-verify=true",
        "--dest-tls-verify=false",
        "--digestfile=/tmp/d",
        "docker://vendor.example/a/b@sha256:" + "1" * 64,
        "docker://127.0.0.1:5000/mirror:candidate-1",
    )


def test_what_cosign_is_told() -> None:
    ref = ImageRef.parse("vendor.example/a:tag@sha256:" + "1" * 64)
    assert Cosign(PROCESSES).argv(ref, Path("/keys/vendor.pub")) == (
        "cosign",
        "verify",
        "--key=/keys/vendor.pub",
        "--insecure-ignore-tlog=true",
        "--new-bundle-format=false",
        "--output=json",
        "vendor.example/a@sha256:" + "1" * 64,
    )


class Counting:
    """A source that counts how often a tag is looked at."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.tags = 0

    def resolve(self, ref: ImageRef) -> Descriptor:
        self.tags += ref.digest is None
        return self.registry.resolve(ref)

    def manifest(self, ref: ImageRef) -> bytes:
        self.tags += ref.digest is None
        return self.registry.manifest(ref)


def test_the_tag_is_looked_at_once(site: Site) -> None:
    order = site.order()
    site.push(order, tiny_image())
    source = Counting(site.source)
    skopeo = Skopeo(PROCESSES, insecure=site.hosts)
    mirror(order, source=source, destination=site.destination, copier=skopeo, verifier=NoVerifier())
    assert source.tags == 1
