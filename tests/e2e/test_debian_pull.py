"""A host's own skopeo says what it would pull: signed images on the real base, in a registry of their own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cosigntool import key_pair, sign
from e2e.conftest import Demo
from e2e.demoimages import candidates
from faultyregistry import Fault, FaultyRegistry, faulty_registry
from registries import running_registry

from pipeline.adapters.engine import Engine, EngineProfile, registries_conf
from pipeline.adapters.host_pull import SkopeoHostPull
from pipeline.adapters.process import Processes
from pipeline.adapters.registry import Registry
from pipeline.adapters.snapshots import Snapshots
from pipeline.adapters.toc import TocStore
from pipeline.adapters.transport import Patience
from pipeline.domain.append import BaseImage, append
from pipeline.domain.diff.layered import LayeredSnapshot
from pipeline.domain.gate import CommandResult
from pipeline.domain.host_pull import PullAnswer
from pipeline.domain.image import Digest, ImageRef, Repository
from pipeline.domain.layer import layer_of
from pipeline.domain.oci import Manifest, digest_of, parse
from pipeline.domain.placement import TreeEntry
from pipeline.domain.signature import VerifyKey
from pipeline.domain.tree import FileType
from pipeline.domain.trust import POLICY, REGISTRIES_D, Trust, trust_files
from pipeline.errors import RegistryError, ToolMissingError
from pipeline.verbs.assemble import load_base
from pipeline.verbs.host_pull import pull_problems
from pipeline.wiring import container_limits

pytestmark = [pytest.mark.e2e, pytest.mark.engine]

OLD_SKOPEO = """#!/bin/sh
[ "$1" = --version ] && echo "skopeo version 1.9.3" && exit 0
echo 'level=fatal msg="Source image rejected: Debian-local change: sigstore disabled"' >&2
exit 1
"""
"""What Debian 12's skopeo answers to every signed image."""


class Noting(Engine):
    """An engine that notes what it pulled, so that it can be removed."""

    def __init__(self, processes: Processes, profile: EngineProfile) -> None:
        super().__init__(processes, profile)
        self.pulled: list[ImageRef] = []
        self.runs = 0

    def pull(self, ref: ImageRef) -> str:
        self.pulled.append(ref)
        return super().pull(ref)

    def run(self, name: str, argv: Sequence[str], **how: Any) -> CommandResult:
        self.runs += 1
        return super().run(name, argv, **how)


@dataclass(kw_only=True)
class World:
    """A registry with the demo's base and hosts made by hand, keys, and who asks."""

    registry: Registry
    proxy: FaultyRegistry
    base: BaseImage
    keys: Mapping[str, tuple[Path, Path]]
    engine: Noting
    snapshots: Snapshots

    @property
    def prefix(self) -> str:
        return f"{self.proxy.host}/os"

    def trusting(self, *names: str, allow: Sequence[str] = ()) -> dict[str, str]:
        """Return the files of a host that trusts these keys."""
        keys = {f"{name}.pub": self.keys[name][1].read_text() for name in names}
        trust = Trust(registry=self.prefix, keys=keys, allow=allow)
        return {path: data.decode() for path, data in trust_files(trust).items()}

    def host(self, name: str, files: Mapping[str, str]) -> ImageRef:
        """Push the base with one layer more."""
        entries = [
            TreeEntry(path=path, type=FileType.FILE, mode=0o755, content=text.encode())
            for path, text in files.items()
        ]
        made = layer_of(entries, timestamp=1)
        image = append(self.base, made, timestamp=1, created_by="by hand", labels={"host": name})
        repository = Repository(registry=self.proxy.host, path=f"os/debian/{name}")
        for one in self.base.parsed.layers:
            assert self.registry.mount_blob(repository, one.digest, self.base.ref.repository)
        self.registry.put_blob(repository, made.data)
        self.registry.put_blob(repository, image.config)
        self.registry.put_manifest(repository, image.digest, image.manifest)
        return repository.at(image.digest)

    def signed(self, name: str, ref: ImageRef) -> ImageRef:
        sign(self.keys[name][0], str(ref))
        return ref

    def host_pull(self, *, stand_in: ImageRef | None = None) -> SkopeoHostPull:
        def opened(refs: Sequence[ImageRef]) -> Sequence[LayeredSnapshot]:
            return self.snapshots.open(*(load_base(ref, self.registry) for ref in refs))

        return SkopeoHostPull(
            self.engine,
            self.registry,
            opened,
            insecure=frozenset({self.proxy.host}),
            stand_in=stand_in,
        )

    def pulls(self, consumer: ImageRef, wanted: ImageRef) -> PullAnswer:
        return self.host_pull().pulls(consumer, wanted)


def beside(demo: Demo, storage: Path) -> None:
    """Give a registry what the demo's has: the same blobs, which no registry writes to, and its own links."""
    there, here = demo.state / "registry/data/docker/registry/v2", storage / "docker/registry/v2"
    here.mkdir(parents=True)
    shutil.copytree(there / "repositories/os/debian/base", here / "repositories/os/debian/base")
    shutil.copytree(there / "blobs", here / "blobs", copy_function=linked)


def linked(source: str, target: str) -> None:
    """Let a file have a second name; copy it where that is another file system."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


@pytest.fixture(scope="module")
def world(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("pulls")
    beside(demo, folder / "registry/storage")
    shutil.copytree(demo.folder / ".pipeline/cache/layers", folder / "layers", copy_function=linked)
    record = candidates(demo, "base")[-1]
    with running_registry(folder / "registry") as running, faulty_registry(running.host) as proxy:
        registry = Registry(proxy.host, insecure=True, patience=Patience(attempts=1))
        path = record["repository"].partition("/")[2]
        base = load_base(Repository(registry=proxy.host, path=path).at(Digest(record["digest"])), registry)
        conf = folder / "registries.conf"
        conf.write_text(registries_conf(proxy.host))
        profile = EngineProfile(runtime="runc", limits=container_limits(), registries_conf=conf)
        engine = Noting(Processes(environment=os.environ), profile)
        keys = {name: key_pair(folder, name) for name in ("one", "two", "stranger")}
        try:
            yield World(
                registry=registry,
                proxy=proxy,
                base=base,
                keys=keys,
                engine=engine,
                snapshots=Snapshots(TocStore(folder / "layers"), registry),
            )
        finally:
            registry.close()
            for ref in engine.pulled:
                engine.remove(str(ref))


def parse_manifest(world: World, ref: ImageRef) -> Manifest:
    found = parse(world.registry.manifest(ref))
    assert isinstance(found, Manifest)
    return found


@pytest.fixture(scope="module")
def host(world: World) -> ImageRef:
    """A host that trusts the key one."""
    return world.signed("one", world.host("host", world.trusting("one")))


@pytest.fixture(scope="module")
def release(world: World) -> ImageRef:
    """What comes after it: signed by key one, trusts one and two."""
    return world.signed("one", world.host("host", world.trusting("one", "two")))


@pytest.fixture
def faults(world: World) -> Iterator[list[Fault]]:
    yield world.proxy.faults
    world.proxy.faults.clear()


def test_a_release_is_pulled_by_its_predecessor_and_by_itself(
    world: World, host: ImageRef, release: ImageRef
) -> None:
    world.proxy.requests.clear()
    assert pull_problems(world.host_pull(), [(host, release)]) == ((),)
    answer = world.pulls(host, release)
    assert answer.ok
    assert answer.said == f"skopeo 1.18.0 of {host} accepts it"
    layers = [layer.digest for layer in world.base.parsed.layers]
    assert not world.proxy.count(rf"GET .*/blobs/({'|'.join(one.value for one in layers)})$"), (
        "the base moved"
    )
    own = parse_manifest(world, release)
    assert world.proxy.count(rf"GET /v2/os/debian/host/blobs/{own.layers[-1].digest}$")
    assert world.proxy.count(rf"GET /v2/os/debian/host/blobs/{own.config.digest}$")
    assert not world.proxy.count(r"^(PUT|POST|PATCH|DELETE)")


def test_what_nobody_signed_is_refused(world: World, host: ImageRef) -> None:
    answer = world.pulls(host, world.host("unsigned", world.trusting("one")))
    assert not answer.ok
    assert "A signature was required, but no signature exists" in answer.said


def test_another_key_is_refused(world: World, host: ImageRef) -> None:
    answer = world.pulls(host, world.signed("stranger", world.host("foreign", world.trusting("one"))))
    assert not answer.ok
    assert "cryptographic signature verification failed" in answer.said


def test_a_key_must_be_trusted_one_release_before_it_signs(
    world: World, host: ImageRef, release: ImageRef
) -> None:
    third = world.signed("two", world.host("host", world.trusting("two")))
    by_host, by_release, by_itself = world.host_pull().pulls_many(
        [(host, third), (release, third), (third, third)]
    )
    assert not by_host.ok
    assert by_release.ok, by_release.said
    assert by_itself.ok
    [problems] = pull_problems(world.host_pull(), [(host, third)])
    assert len(problems) == 1
    assert problems[0].startswith(f"a host of {host} cannot pull {third}: skopeo 1.18.0 of {host} refuses it")
    # The early answer, from the images' files alone, is the same.
    two = VerifyKey.parse("two.pub", world.keys["two"][1].read_text())
    early, knows, itself = world.host_pull().distrusts([(host, third), (release, third), (third, third)], two)
    assert "one.pub" in early
    assert (knows, itself) == ("", "")


def test_a_signature_of_another_repository_is_refused(
    world: World, host: ImageRef, release: ImageRef
) -> None:
    """The same image, its signature copied along with it: it says another name."""
    moved = Repository(registry=world.proxy.host, path="os/debian/moved")
    tag = f"sha256-{release.pinned.hex}.sig"
    signature = world.registry.manifest(release.repository.tagged(tag))
    for data in (world.registry.manifest(release), signature):
        manifest = parse(data)
        assert isinstance(manifest, Manifest)
        for blob in (manifest.config, *manifest.layers):
            assert world.registry.mount_blob(moved, blob.digest, release.repository)
        world.registry.put_manifest(moved, tag if data is signature else digest_of(data), data)
    answer = world.pulls(host, moved.at(release.pinned))
    assert not answer.ok
    assert "is not accepted" in answer.said
    assert "os/debian/host" in answer.said


def test_what_is_not_there_cannot_be_pulled(world: World, host: ImageRef) -> None:
    answer = world.pulls(host, host.repository.at(Digest(f"sha256:{'0' * 64}")))
    assert not answer.ok
    assert "has no manifest" in answer.said


@pytest.mark.parametrize(
    ("what", "status"),
    [
        ("manifest of the signature", 500),
        ("manifest of the signature", 401),
        ("signature", 503),
        ("layer", 0),
    ],
)
def test_a_registry_that_fails_gives_no_answer(
    world: World, host: ImageRef, release: ImageRef, faults: list[Fault], what: str, status: int
) -> None:
    asker = world.host_pull()
    assert asker.pulls(host, release).ok  # the consumer's files are known from now on
    faults.append(
        Fault(path=f"GET {parts_of(world, release)[what]}", status=status, drop="" if status else "before")
    )
    with pytest.raises(RegistryError, match=r"gave no verdict"):
        asker.pulls(host, release)
    assert faults[0].seen


def parts_of(world: World, ref: ImageRef) -> dict[str, str]:
    """Return the paths of what is fetched of a signed image."""
    tag = f"sha256-{ref.pinned.hex}.sig"
    signature = parse_manifest(world, ref.repository.tagged(tag))
    top = f"/v2/{ref.repository.path}"
    return {
        "manifest of the signature": f"{top}/manifests/{tag}",
        "signature": f"{top}/blobs/{signature.layers[0].digest}",
        "layer": f"{top}/blobs/{parse_manifest(world, ref).layers[-1].digest}",
        "layer of the base": f"{top}/blobs/{world.base.parsed.layers[0].digest}",
    }


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("manifest of the signature", "no signature exists"),
        ("layer", "404"),
        ("layer of the base", "the registry lost layer"),
    ],
)
def test_what_the_registry_lost_is_a_no(
    world: World, host: ImageRef, release: ImageRef, faults: list[Fault], what: str, said: str
) -> None:
    faults.append(Fault(path=f"(GET|HEAD) {parts_of(world, release)[what]}", status=404))
    answer = world.pulls(host, release)
    assert not answer.ok
    assert said in answer.said
    assert faults[0].seen


def test_a_policy_that_is_none_is_a_no(world: World, release: ImageRef) -> None:
    files = world.trusting("one")
    broken = world.host("broken", {**files, POLICY: "{"})
    missing = world.host("keyless", {**files, POLICY: files[POLICY].replace("one.pub", "gone.pub")})
    huge = world.host("huge", {**files, POLICY: " " * (2 << 20) + files[POLICY]})
    sections = world.host("sections", {**files, f"{REGISTRIES_D}/x.yaml": "a: ["})
    said = world.host_pull().pulls_many([(one, release) for one in (broken, missing, huge, sections)])
    assert [one.ok for one in said] == [False, False, True, False]
    assert "invalid policy" in said[0].said
    assert "gone.pub: no such file" in said[1].said
    assert "x.yaml" in said[3].said


def test_keys_may_lie_anywhere_and_are_those_of_the_image(world: World, release: ImageRef) -> None:
    files = world.trusting("one")
    policy = files[POLICY].replace("/etc/pki/containers/one.pub", "/usr/share/keys/release.pub")
    text, other = world.keys["one"][1].read_text(), world.keys["stranger"][1].read_text()
    good = world.host("elsewhere", {**files, POLICY: policy, "/usr/share/keys/release.pub": text})
    bad = world.host("elsewhere", {**files, POLICY: policy, "/usr/share/keys/release.pub": other})
    hostile = world.host(
        "hostile",
        {**files, POLICY: files[POLICY].replace("/etc/pki/containers/one.pub", "/proc/self/environ")},
    )
    said = world.host_pull().pulls_many([(one, release) for one in (good, bad, hostile)])
    assert [one.ok for one in said] == [True, False, False]


def test_a_fleet_costs_one_container(world: World, release: ImageRef) -> None:
    """Hosts differ in what they allow and in files that sway nothing; one of them trusts nobody we know."""

    def files(number: int) -> dict[str, str]:
        more = {
            "/etc/hostname": f"web-{number}\n",
            "/etc/containers/registries.conf.d/50-pipeline.conf": f"# web-{number}\n",
            "/etc/containers/systemd/app.container": f"[Container]\n#{number}",
        }
        return {**world.trusting("one", allow=[f"example.org/team-{number}"]), **more}

    fleet = [world.host(f"web-{number}", files(number)) for number in range(4)]
    for ref in fleet:
        world.signed("one", ref)
    blocking = f'[[registry]]\nlocation = "{world.proxy.host}"\nblocked = true\n'
    conf = "/etc/containers/registries.conf.d/50-pipeline.conf"
    blocked = world.host("blocked", {**files(4), conf: blocking})
    odd = world.host("odd", world.trusting("stranger"))
    before = world.engine.runs
    pairs = [*((ref, release) for ref in fleet), *((ref, ref) for ref in fleet)]
    said = world.host_pull().pulls_many([*pairs, (blocked, release), (odd, release)])
    assert [one.ok for one in said] == [True] * 8 + [False] * 2
    assert "is blocked" in said[8].said
    assert world.engine.runs - before == 2
    [first, *_] = world.host_pull().pulls_many([(blocked, release), *pairs])
    assert not first.ok


def without_skopeo(world: World, name: str, files: Mapping[str, str]) -> ImageRef:
    return world.host(name, {**files, "/usr/bin/.wh.skopeo": ""})


def test_an_image_without_skopeo_needs_a_stand_in(world: World, host: ImageRef, release: ImageRef) -> None:
    bare = without_skopeo(world, "bare", world.trusting("one"))
    strict = without_skopeo(world, "bare", world.trusting("stranger"))
    with pytest.raises(ToolMissingError, match="has no skopeo"):
        world.pulls(bare, release)
    asker = world.host_pull(stand_in=world.base.ref)
    yes, no = asker.pulls_many([(bare, release), (strict, release)])
    assert yes.ok, yes.said
    assert yes.said == f"skopeo 1.18.0 of {world.base.ref}, which stands in for {bare}, accepts it"
    assert not no.ok


def test_a_stand_in_that_verifies_nothing_is_none(world: World, release: ImageRef) -> None:
    bare = without_skopeo(world, "bare", world.trusting("one"))
    old = world.host("old", {"/usr/bin/skopeo": OLD_SKOPEO})
    with pytest.raises(ToolMissingError, match="sigstore disabled"):
        world.host_pull(stand_in=old).pulls(bare, release)
