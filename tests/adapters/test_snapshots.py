"""Snapshots of images in a real registry and in the engine's store."""

from __future__ import annotations

import gzip
import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from imagefiles import laid_down
from layertars import as_facts, of_reference
from registries import RunningRegistry, running_registry
from tarballs import rich_base

from images import layer, push, tiny_image
from pipeline.adapters.basepaths import BasePathCache
from pipeline.adapters.engine import registries_conf
from pipeline.adapters.process import Processes
from pipeline.adapters.registry import Registry
from pipeline.adapters.snapshots import Snapshots
from pipeline.adapters.toc import TocStore
from pipeline.adapters.transport import Patience
from pipeline.domain.append import BaseImage
from pipeline.domain.diff.files import file_changes
from pipeline.domain.image import Digest, Repository
from pipeline.domain.oci import digest_of
from pipeline.errors import NotFoundError, RegistryError
from pipeline.verbs.assemble import load_base

pytestmark = pytest.mark.engine

PLAIN = layer({"usr/bin/large": "not kept", "etc/line": "one"})
OTHER = layer({"usr/bin/large": "not kept", "etc/line": "two"})


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegistry]:
    with running_registry(tmp_path_factory.mktemp("registry")) as registry:
        yield registry


@dataclass
class Counting:
    """A registry that notes which blobs were streamed."""

    registry: Registry
    streamed: list[Digest] = field(default_factory=list)

    def stream_blob(self, repository: Repository, digest: Digest) -> Iterator[bytes]:
        self.streamed.append(digest)
        yield from self.registry.stream_blob(repository, digest)


class Place:
    """A registry with images, and snapshots of them."""

    def __init__(self, host: str, folder: Path) -> None:
        self.folder = folder
        self.registry = Registry(host, insecure=True, patience=Patience(attempts=1))
        self.repository = Repository(registry=host, path=f"toc-{secrets.token_hex(4)}")
        self.source = Counting(self.registry)
        self.snapshots = Snapshots(TocStore(folder), self.source)

    def image(self, *layers: bytes, tag: str | None = None) -> BaseImage:
        digest = push(self.registry, self.repository, tiny_image("amd64", "text", *layers), tag)
        return load_base(self.repository.at(digest), self.registry)


@pytest.fixture
def place(real: RunningRegistry, tmp_path: Path) -> Iterator[Place]:
    made = Place(real.host, tmp_path / "cache")
    yield made
    made.registry.close()


def test_a_snapshot_is_what_the_layers_lay_down(place: Place) -> None:
    (snapshot,) = place.snapshots.open(place.image(*rich_base()))
    assert as_facts(snapshot.all()) == of_reference(laid_down([gzip.decompress(it) for it in rich_base()]))
    assert [one.digest for one in snapshot.layers] == [digest_of(it) for it in rich_base()]
    assert [one.diff_id for one in snapshot.layers] == [digest_of(gzip.decompress(it)) for it in rich_base()]
    assert {one.created_by for one in snapshot.layers} == {"by hand"}
    assert snapshot.config["config"]["Labels"] == {"text": "text"}


def test_each_layer_is_fetched_once_whoever_shares_it(place: Place) -> None:
    first = rich_base()[0]
    old, new = place.image(first, PLAIN), place.image(first, OTHER)
    for _ in range(2):
        found = file_changes(*place.snapshots.open(old, new))
        assert [change.path for change in found.changes] == ["/etc/line"]
        assert sorted(map(str, place.source.streamed)) == sorted(
            str(digest_of(it)) for it in (first, PLAIN, OTHER)
        )


def test_a_host_is_placed_on_tables_that_a_diff_has_made(place: Place, tmp_path: Path) -> None:
    image = place.image(*rich_base())
    read = BasePathCache(tmp_path / "read", place.registry).table(image)
    place.snapshots.open(image)
    place.source.streamed.clear()
    kept = BasePathCache(tmp_path / "kept", place.source, TocStore(place.folder)).table(image)
    assert list(kept) == list(read)
    assert place.source.streamed == []


def test_a_damaged_table_is_made_anew(place: Place) -> None:
    image = place.image(PLAIN)
    place.snapshots.open(image)
    (table,) = place.folder.glob("*.toc")
    table.write_bytes(table.read_bytes()[:-1] + b"!")
    # Another run's: this one would still know the table.
    (snapshot,) = Snapshots(TocStore(place.folder), place.source).open(image)
    assert snapshot.read("/etc/line") == b"one"
    assert len(place.source.streamed) == 2


def test_a_content_that_was_not_kept_is_fetched_with_its_layer(place: Place) -> None:
    (snapshot,) = place.snapshots.open(place.image(rich_base()[0], PLAIN))
    assert snapshot.read("/etc/line") == b"one"
    assert len(place.source.streamed) == 2
    assert snapshot.read("/usr/bin/large") == b"not kept"
    assert place.source.streamed[2:] == [digest_of(PLAIN)]
    assert snapshot.read("/bin/bash") == b"shell"  # a hard link, reached over a symbolic one


def test_a_config_that_tells_another_layer_is_found_out(place: Place) -> None:
    """An image must not pass for another whose layer was seen before."""
    known = place.image(PLAIN)
    place.snapshots.open(known)
    lying = tiny_image("amd64", "text", PLAIN)
    evil = tiny_image("amd64", "text", OTHER)
    manifest = json.loads(evil.manifest)
    manifest["config"] |= {"digest": digest_of(lying.blobs[0]).value, "size": len(lying.blobs[0])}
    place.registry.put_blob(place.repository, lying.blobs[0])
    place.registry.put_blob(place.repository, OTHER)
    digest = place.registry.put_manifest(place.repository, "evil", json.dumps(manifest).encode())
    image = load_base(place.repository.at(digest), place.registry)
    for _ in range(2):
        with pytest.raises(RegistryError, match="told to unpack to"):
            place.snapshots.open(image)


def test_a_blob_that_is_not_its_digest_leaves_nothing(place: Place, real: RunningRegistry) -> None:
    image = place.image(layer({"etc/only": "here"}))
    file = real.blob_file(image.parsed.layers[0].digest.value)
    file.write_bytes(gzip.compress(gzip.decompress(file.read_bytes()), 1, mtime=7))
    with pytest.raises(RegistryError):
        place.snapshots.open(image)
    assert list(place.folder.iterdir()) == []


def test_a_local_image_is_the_same_image(place: Place, tmp_path: Path) -> None:
    for tool in ("podman", "skopeo"):
        if shutil.which(tool) is None:
            pytest.fail(f"{tool} is not installed; install it: apt-get install {tool}")
    conf = tmp_path / "registries.conf"
    conf.write_text(registries_conf(place.registry.host))
    environment = {"CONTAINERS_REGISTRIES_CONF": str(conf)}
    image = place.image(rich_base()[0], OTHER, tag="local")
    name = f"{image.ref.repository}@{image.ref.pinned}"
    podman = ["podman", "--runtime", "runc"]
    subprocess.run([*podman, "pull", "--quiet", name], check=True, env={**os.environ, **environment})
    try:
        local = Snapshots(
            TocStore(tmp_path / "other cache"),
            place.source,
            processes=Processes(environment=os.environ),
            engine=podman,
        )
        for _ in range(2):
            (found,), (expected,) = local.open(name), place.snapshots.open(image)
            assert list(found.all()) == list(expected.all())
            assert file_changes(found, expected) == file_changes(expected, found)
            assert file_changes(found, expected).changes == ()
            assert found.config == expected.config
            assert found.read("/etc/line") == b"two"
            assert found.read("/usr/bin/large") == b"not kept"
        with pytest.raises(NotFoundError, match="no local image"):
            local.open("localhost/never-built:1")
    finally:
        subprocess.run([*podman, "image", "rm", name], check=False, capture_output=True)


def test_without_an_engine_local_images_are_refused(place: Place) -> None:
    with pytest.raises(NotFoundError, match="cannot be read here"):
        place.snapshots.open("localhost/any:1")
