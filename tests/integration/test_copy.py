"""`pipeline copy` between real registries and through folders: digests, signatures and hostile folders."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cosigntool import attest, cosign_program, key_pair, sign
from faultyregistry import Fault, FaultyRegistry, faulty_registry
from memoryregistry import memory_registry
from records import NOON, yank
from registries import RunningRegistry, running_registry
from retentionworld import QUICK, SILENT, World

from images import push, spelled, tiny_image
from pipeline.adapters.ocilayout import PARENT, OciLayout
from pipeline.adapters.referrers import Referrers
from pipeline.adapters.registry import Registry
from pipeline.domain.artifact import artifact_of, fallback_tag
from pipeline.domain.evidence import Evidence, EvidenceKind
from pipeline.domain.image import Digest, Repository, Tier
from pipeline.domain.lineage import Lineage
from pipeline.domain.oci import digest_of
from pipeline.domain.parcel import FOLDER, CopyResult, Parcel, parcels_of
from pipeline.domain.release import Removed, Retention
from pipeline.errors import (
    GateRefusedError,
    NotFoundError,
    PipelineError,
    RegistryError,
    StateError,
    UsageError,
)
from pipeline.verbs.copy import copy
from pipeline.verbs.copy_folder import parcels_in
from pipeline.verbs.copy_parts import CopyParts, CopySource, CopyTarget

SBOM, GATES = EvidenceKind.SBOM, EvidenceKind.GATES
WEB, BASE = "debian/web-1", "debian/base"


class Site(World):
    """A project whose releases a real cosign signed and attested."""

    key: Path
    public: Path

    def fill(self) -> None:
        self.key, self.public = key_pair(self.folder, "release")
        predicate = self.folder / "predicate.json"
        predicate.write_text('{"tested": true}')
        base = self.release(self.candidate("base", Tier.BASE, index=True), "2.0.0")
        hosts = [
            self.release(self.candidate("web-1", Tier.INSTANCE, base), v, base) for v in ("1.0.0", "1.1.0")
        ]
        for seal in (base, *hosts):
            attest(self.key, f"{seal.repository}@{seal.digest}", predicate)

    def sign(self, of: Any) -> None:
        sign(self.key, f"{of.repository}@{of.digest}")

    def bundle(self, repository: Repository, digest: Digest) -> Digest:
        return digest  # cosign makes real ones

    def parcels(self, *versions: str, every: bool = False, parents: bool = True) -> tuple[Parcel, ...]:
        return parcels_of(self.ledger().read(), WEB, versions, every=every, parents=parents)

    def yanked(self, name: str) -> frozenset[str]:
        lineage = Lineage(self.ledger().read())
        return frozenset(one.version for one in lineage.releases(name) if lineage.yank_of(one))


@pytest.fixture(scope="module")
def near(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, FaultyRegistry]]:
    folder = tmp_path_factory.mktemp("near")
    with running_registry(folder / "registry") as real, faulty_registry(real.host) as proxy:
        site = Site(folder, proxy.host)
        site.begin()
        site.fill()
        yield site, proxy


@pytest.fixture
def site(near: tuple[Site, FaultyRegistry]) -> Iterator[Site]:
    yield near[0]
    near[1].faults.clear()


@pytest.fixture
def far(tmp_path: Path) -> Iterator[RunningRegistry]:
    with running_registry(tmp_path / "far") as real:
        yield real


def client(host: str) -> Registry:
    return Registry(host, insecure=True, patience=QUICK)


def at(host: str, prefix: str = "mirror") -> Callable[[str], Repository]:
    return lambda name: Repository(registry=host, path=f"{prefix}/{name}")


def in_folder(name: str) -> Repository:
    return Repository(registry=FOLDER, path=name)


def run(
    parcels: tuple[Parcel, ...], source: CopySource, target: CopyTarget, place: Callable[[str], Repository],
    **more: Any,
) -> CopyResult:  # fmt: skip
    more.setdefault("yanked", lambda _name: frozenset())
    parts = CopyParts(source=source, target=target, place=place, reporter=SILENT, jobs=4, **more)
    return copy(parcels, parts)


def to_folder(site: Site, folder: Path, *versions: str, **more: Any) -> OciLayout:
    parcels = site.parcels(*versions, **more)
    parents = {(one.name, one.tag): one.parent for one in parcels if one.parent is not None}
    layout = OciLayout(folder, parents=parents, create=True)
    run(parcels, site.registry, layout, in_folder)
    return layout


def everything(registry: Registry, repository: Repository) -> dict[str, Digest]:
    """Every tag that goes with a release, and what it names."""
    tags = [tag for tag in registry.tags(repository) if not tag.startswith("candidate-") and tag != "current"]
    return {tag: registry.resolve(repository.tagged(tag)).digest for tag in tags}


def listed(registry: Registry, repository: Repository, subject: Digest) -> set[str]:
    data = registry.unparsed(repository.tagged(fallback_tag(subject)))
    return {entry["digest"] for entry in json.loads(data)["manifests"]}


def same(site: Site, far: Registry, place: Callable[[str], Repository], versions: tuple[str, ...]) -> None:
    """The far side has what the near side has, digest for digest, with every blob."""
    for parcel in site.parcels(*versions, every=not versions):
        target = place(parcel.name)
        ours, theirs = everything(site.registry, parcel.source), everything(far, target)
        assert theirs[parcel.tag] == parcel.digest
        own = [tag for tag in ours if parcel.digest.hex[:16] in tag]
        assert len(own) == 1 + 2 + 1, "a signature, two documents, a list"
        assert {tag: theirs[tag] for tag in own} == {tag: ours[tag] for tag in own}
        everyone = listed(site.registry, parcel.source, parcel.digest)
        assert listed(far, target, parcel.digest) == everyone
        assert len(everyone) == 3, "two documents and cosign's attestation"
        for digest in (*everyone, parcel.digest.value):
            complete(far, target, Digest(digest))


def complete(far: Registry, target: Repository, digest: Digest) -> None:
    manifest = json.loads(far.manifest(target.at(digest)))
    for child in manifest.get("manifests", ()):
        complete(far, target, Digest(child["digest"]))
    for blob in (*manifest.get("layers", ()), *([manifest["config"]] if "config" in manifest else [])):
        assert digest_of(far.blob(target, Digest(blob["digest"]))).value == blob["digest"]


def verified(site: Site, ref: str) -> None:
    """A real cosign finds the signature that hosts verify, and the attestation."""
    for argv in (
        ["verify", "--new-bundle-format=false", "--insecure-ignore-tlog=true"],
        ["verify-attestation", "--insecure-ignore-tlog=true", "--type=https://example.org/test"],
    ):
        done = subprocess.run(
            [cosign_program(), *argv, "--allow-http-registry=true", f"--key={site.public}", ref],
            capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr


def skopeo(*argv: str) -> str:
    assert shutil.which("skopeo"), "skopeo is missing: apt-get install skopeo"
    done = subprocess.run(["skopeo", *argv], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_through_a_folder_into_another_registry_everything_keeps_its_digest(
    site: Site, far: RunningRegistry, tmp_path: Path
) -> None:
    to_folder(site, tmp_path / "stick", every=True)
    moved = tmp_path / "carried"
    (tmp_path / "stick").rename(moved)
    layout = OciLayout(moved)
    parcels = parcels_in(layout, WEB, (), every=True, parents=True)
    assert [(one.name, one.version) for one in parcels] == [(BASE, "2.0.0"), (WEB, "1.0.0"), (WEB, "1.1.0")]
    there, place = client(far.host), at(far.host)
    result = run(parcels, layout, there, place)
    same(site, there, place, ())
    for parcel in site.parcels(every=True):
        verified(site, f"{place(parcel.name)}@{parcel.digest}")
    assert {alias: everything(there, place(WEB))[alias] for alias in ("v1", "v1.1", "v1.0")} == {
        "v1": parcels[2].digest, "v1.1": parcels[2].digest, "v1.0": parcels[1].digest,
    }  # fmt: skip
    assert "current" not in there.tags(place(WEB))
    [note] = result.notes
    assert f"the signatures name {site.host}/os/\u2026, not {far.host}/mirror/\u2026" in note
    assert '"exactRepository"' in note


def test_straight_to_another_registry_and_once_more_sends_nothing(site: Site, far: RunningRegistry) -> None:
    with faulty_registry(far.host) as proxy:
        there, place = client(proxy.host), at(proxy.host)
        first = run(site.parcels("v1.1"), site.registry, there, place)
        same(site, there, place, ("1.1.0",))
        assert first.bytes > 0
        proxy.requests.clear()
        again = run(site.parcels("v1.1"), site.registry, there, place)
        assert not proxy.count("^(PUT|POST|PATCH|DELETE)")
        assert (again.bytes, {one.sent for one in again.releases}) == (0, {0})
        assert all(one.tags == () for one in again.releases)


def test_the_newest_release_is_copied_when_none_is_named(site: Site, far: RunningRegistry) -> None:
    result = run(site.parcels(), site.registry, client(far.host), at(far.host))
    assert [(one.name, one.version) for one in result.releases] == [(BASE, "2.0.0"), (WEB, "1.1.0")]


def test_without_parents_the_release_goes_alone(site: Site, far: RunningRegistry) -> None:
    there = client(far.host)
    run(site.parcels(parents=False), site.registry, there, at(far.host))
    with pytest.raises(NotFoundError):
        there.tags(at(far.host)(BASE))


def test_blobs_that_another_repository_over_there_has_are_mounted(site: Site, far: RunningRegistry) -> None:
    with faulty_registry(far.host) as proxy:
        run(site.parcels(every=True), site.registry, client(proxy.host), at(proxy.host))
        assert proxy.count("^POST .*mount=.*from=mirror/debian/base") > 0


def test_skopeo_reads_the_folder(site: Site, tmp_path: Path) -> None:
    to_folder(site, tmp_path / "stick", "v1.1")
    seen = json.loads(skopeo("inspect", "--raw", f"oci:{tmp_path}/stick:{WEB}:v1.1.0"))
    assert seen["schemaVersion"] == 2
    skopeo("copy", "--all", "-q", f"oci:{tmp_path}/stick:{BASE}:v2.0.0", f"dir:{tmp_path}/out")
    copied = (tmp_path / "out" / "manifest.json").read_bytes()
    assert digest_of(copied) == site.parcels()[0].digest


def test_a_folder_that_is_written_twice_is_the_same(site: Site, tmp_path: Path) -> None:
    def state() -> dict[str, bytes]:
        files = sorted(path for path in (tmp_path / "stick").rglob("*") if path.is_file())
        return {str(path): path.read_bytes() for path in files}

    to_folder(site, tmp_path / "stick", "v1.0")
    to_folder(site, tmp_path / "stick", "v1.1")
    first = state()
    to_folder(site, tmp_path / "stick", every=True)
    assert state() == first


def test_a_damaged_blob_in_a_folder_is_written_again(site: Site, tmp_path: Path) -> None:
    to_folder(site, tmp_path / "stick")
    blobs = list((tmp_path / "stick/blobs/sha256").iterdir())
    layer = next(path for path in blobs if path.read_bytes().startswith(b"\x1f\x8b"))
    layer.write_bytes(b"rotten")
    to_folder(site, tmp_path / "stick")
    assert all(digest_of(path.read_bytes()).hex == path.name for path in blobs)


def test_a_dry_run_sends_nothing_and_tells_what_it_would(
    site: Site, far: RunningRegistry, tmp_path: Path
) -> None:
    with faulty_registry(far.host) as proxy:
        told = run(site.parcels(), site.registry, client(proxy.host), at(proxy.host), dry_run=True)
        assert not proxy.count("^(PUT|POST|PATCH|DELETE)")
    done = run(site.parcels(), site.registry, client(far.host), at(far.host))
    assert (told.dry_run, told.bytes) == (True, done.bytes)
    assert [one.sent for one in told.releases] == [one.sent for one in done.releases]
    absent = OciLayout(tmp_path / "no", absent=True)
    run(site.parcels(), site.registry, absent, in_folder, dry_run=True)
    assert not (tmp_path / "no").exists()


def test_a_release_tag_that_names_something_else_over_there_is_refused_before_anything_is_sent(
    site: Site, far: RunningRegistry
) -> None:
    there, place = client(far.host), at(far.host)
    other = push(there, place(WEB), tiny_image(text="another"), "v1.1.0")
    with faulty_registry(far.host) as proxy:
        with pytest.raises(GateRefusedError, match="a release tag never changes"):
            run(site.parcels(), site.registry, client(proxy.host), at(proxy.host))
        assert not proxy.count("^(PUT|POST|PATCH|DELETE)")
    assert there.resolve(place(WEB).tagged("v1.1.0")).digest == other


def test_a_release_tag_that_appears_meanwhile_is_refused_at_the_end(site: Site, far: RunningRegistry) -> None:
    there, place = client(far.host), at(far.host)

    def step(name: str) -> None:
        if name == "release v1.1.0":
            push(there, place(WEB), tiny_image(text="another"), "v1.1.0")

    with pytest.raises(GateRefusedError, match="a release tag never changes"):
        run(site.parcels(), site.registry, there, place, on_step=step)


def test_signatures_over_there_are_never_lost(site: Site, far: RunningRegistry, tmp_path: Path) -> None:
    there, place = client(far.host), at(far.host)
    run(site.parcels(), site.registry, there, place)
    parcel = site.parcels()[-1]
    tag = f"sha256-{parcel.digest.hex}.sig"
    key, _ = key_pair(tmp_path, "theirs")
    sign(key, f"{place(WEB)}@{parcel.digest}")
    both = there.resolve(place(WEB).tagged(tag)).digest
    assert both != site.registry.resolve(parcel.source.tagged(tag)).digest
    run(site.parcels(), site.registry, there, place)
    assert there.resolve(place(WEB).tagged(tag)).digest == both
    verified(site, f"{place(WEB)}@{parcel.digest}")
    theirs = json.loads(there.manifest(place(WEB).tagged(tag)))
    theirs["layers"] = theirs["layers"][-1:]
    there.put_manifest(place(WEB), tag, spelled(theirs))
    with pytest.raises(GateRefusedError, match="neither has all"):
        run(site.parcels(), site.registry, there, place)


def test_what_others_listed_over_there_stays_listed(site: Site, far: RunningRegistry) -> None:
    there, place = client(far.host), at(far.host)
    parcel = site.parcels(parents=False)[0]
    run((parcel,), site.registry, there, place)
    tag = fallback_tag(parcel.digest)
    index = json.loads(there.unparsed(place(WEB).tagged(tag)))
    kept = index["manifests"].pop()
    mine = push(there, place(WEB), tiny_image(text="scan result"))
    index["manifests"].append({**kept, "digest": mine.value})
    there.put_manifest(place(WEB), tag, spelled(index))
    run((parcel,), site.registry, there, place)
    assert listed(there, place(WEB), parcel.digest) == {
        mine.value, *listed(site.registry, parcel.source, parcel.digest)
    }  # fmt: skip


def test_aliases_name_the_highest_release_over_there_that_was_not_yanked(
    near: tuple[Site, FaultyRegistry], far: RunningRegistry, tmp_path: Path
) -> None:
    site = near[0]
    there, place = client(far.host), at(far.host)
    run(site.parcels(every=True), site.registry, there, place)
    old, new = (one.digest for one in site.parcels("1.0", "1.1", parents=False))
    run(site.parcels("1.0"), site.registry, there, place)
    assert there.resolve(place(WEB).tagged("v1")).digest == new
    run(site.parcels("1.0"), site.registry, there, place, yanked=lambda _name: frozenset({"1.1.0"}))
    assert there.resolve(place(WEB).tagged("v1")).digest == old


def mortal(site: Site, host: str, at_step: int) -> None:
    steps = iter(range(1, 1 << 30))

    def step(_name: str) -> None:
        if next(steps) == at_step:
            os.kill(os.getpid(), signal.SIGKILL)

    run(site.parcels("1.1"), client(site.host), client(host), at(host), on_step=step)


def test_killed_before_any_step_what_has_a_release_tag_is_whole_and_run_again_all_is_there(
    site: Site, far: RunningRegistry
) -> None:
    """One far side for all: what each killed run left is where the next one begins."""
    there, place = client(far.host), at(far.host)
    killed, step = True, 0
    while killed:
        step += 1
        process = multiprocessing.get_context("fork").Process(target=mortal, args=(site, far.host, step))
        process.start()
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL)
        killed = process.exitcode != 0
        for parcel in site.parcels("1.1"):
            with contextlib.suppress(NotFoundError):
                there.resolve(place(parcel.name).tagged(parcel.tag))
                complete(there, place(parcel.name), parcel.digest)
                assert listed(there, place(parcel.name), parcel.digest)
                assert there.resolve(place(parcel.name).tagged(f"sha256-{parcel.digest.hex}.sig"))
    assert step > 20
    same(site, there, place, ("1.1.0",))


@pytest.mark.parametrize("side", ["near", "far"])
@pytest.mark.parametrize(
    "fault",
    [
        Fault(path="/blobs/", status=401),
        Fault(path="/blobs/", status=503),
        Fault(path="/blobs/", status=429, headers={"Retry-After": "0"}),
        Fault(path="/blobs/", drop="before"),
        Fault(path="^(GET|PUT) .*/manifests/", status=500),
    ],
    ids=["401", "503", "429", "dropped", "500"],
)
def test_a_registry_that_fails_ends_the_run_without_a_release_tag(
    near: tuple[Site, FaultyRegistry], far: RunningRegistry, side: str, fault: Fault
) -> None:
    site, proxy = near
    with faulty_registry(far.host) as gate:
        broken = proxy if side == "near" else gate
        parcels = site.parcels()
        broken.faults.append(
            Fault(**{name: getattr(fault, name) for name in ("path", "status", "headers", "drop")})
        )
        with pytest.raises(RegistryError):
            run(parcels, site.registry, client(gate.host), at(gate.host))
        broken.faults.clear()
        there, place = client(gate.host), at(gate.host)
        for parcel in parcels:
            with pytest.raises(NotFoundError):
                there.resolve(place(parcel.name).tagged(parcel.tag))
        run(parcels, site.registry, there, place)
        same(site, there, place, ("1.1.0",))


@pytest.mark.parametrize("path", ["^GET .*/blobs/", "^GET .*/manifests/sha256:"])
def test_a_source_that_hands_out_other_bytes_is_noticed(
    near: tuple[Site, FaultyRegistry], far: RunningRegistry, path: str
) -> None:
    site, proxy = near
    proxy.faults.append(Fault(path=path, flip=True))
    try:
        with pytest.raises(RegistryError):
            run(site.parcels(), client(proxy.host), client(far.host), at(far.host))
    finally:
        proxy.faults.clear()


def test_a_platform_that_the_source_has_lost_stops_the_copy(
    near: tuple[Site, FaultyRegistry], far: RunningRegistry
) -> None:
    site, proxy = near
    base = site.parcels()[0]
    child = json.loads(site.registry.manifest(base.source.at(base.digest)))["manifests"][0]["digest"]
    proxy.faults.append(Fault(path=f"/manifests/{child}", status=404))
    try:
        with pytest.raises(NotFoundError, match="which is not there"):
            run(site.parcels(), site.registry, client(far.host), at(far.host))
    finally:
        proxy.faults.clear()


def test_yanked_releases_are_not_copied(site: Site) -> None:
    records = site.ledger().read()
    seal = Lineage(records).find(WEB, "1.1.0")
    left = parcels_of([*records, yank(seal)], WEB, (), every=True, parents=False)
    assert [one.version for one in left] == ["1.0.0"]
    with pytest.raises(GateRefusedError, match="was yanked"):
        parcels_of([*records, yank(seal)], WEB, ["1.1.0"], every=False, parents=False)
    with pytest.raises(UsageError):
        parcels_of(records, WEB, ["1.1.0"], every=True, parents=False)
    with pytest.raises(NotFoundError):
        parcels_of(records, "debian/web-9", (), every=False, parents=False)


@pytest.mark.parametrize("api_over_there", [True, False])
def test_what_only_the_referrers_api_tells_of_is_copied_too(
    far: RunningRegistry, *, api_over_there: bool
) -> None:
    """A registry without that API gets the list that tells of it there."""
    with memory_registry(api=True, page=1) as near, memory_registry(api=True) as other:
        source, repository = client(near.host), Repository(registry=near.host, path="os/debian/web-1")
        digest = push(source, repository, tiny_image(), "v1.0.0")
        store = Referrers(source, jitter=lambda: 0.5, pause=lambda _: None)
        subject = source.resolve(repository.at(digest))
        documents = [Evidence(kind=kind, data=kind.value.encode()) for kind in (SBOM, GATES)]
        artifacts = [artifact_of(subject, one, NOON) for one in documents]
        store.store(repository, digest, artifacts)
        assert source.tags(repository) == ("v1.0.0",)
        parcel = Parcel(name=WEB, version="1.0.0", digest=digest, source=repository)
        host = other.host if api_over_there else far.host
        there, target = client(host), at(host)(WEB)
        run((parcel,), source, there, at(host))
        found = Referrers(there, jitter=lambda: 0.5, pause=lambda _: None).entries(target, digest)
        assert {one.digest for one in found.entries} == {one.digest for one in artifacts}
        for one in artifacts:
            complete(there, target, one.digest)
        assert (fallback_tag(digest) in there.tags(target)) is not api_over_there


def test_releases_that_were_pruned_are_left_out_or_told_of(site: Site) -> None:
    records = site.ledger().read()
    seal = Lineage(records).find(WEB, "1.0.0")
    gone = Removed(repository=seal.repository, digest=seal.digest, reason="old")
    records = (*records, Retention(time=NOON, author="Ben", removed=(gone,)))
    left = parcels_of(records, WEB, (), every=True, parents=False)
    assert [one.version for one in left] == ["1.1.0"]
    with pytest.raises(NotFoundError, match="was deleted by `pipeline prune`"):
        parcels_of(records, WEB, ["v1.0.0"], every=False, parents=False)


@pytest.mark.parametrize("lost", ["signature", "tag"])
def test_a_release_that_has_lost_a_signature_is_not_copied(
    near: tuple[Site, FaultyRegistry], far: RunningRegistry, lost: str
) -> None:
    site, proxy = near
    parcel = site.parcels(parents=False)[0]
    signature = f"sha256-{parcel.digest.hex}.sig"
    sealed = site.registry.resolve(parcel.source.tagged(signature)).digest
    parcel = replace(parcel, signatures=(sealed,))
    proxy.faults.append(Fault(path=f"manifests/{sealed if lost == 'signature' else signature}", status=404))
    if lost == "signature":  # what is under the tag is another one then
        proxy.faults.append(Fault(path=f"manifests/{signature}", status=404))
    try:
        with pytest.raises(NotFoundError, match=r"belongs to debian/web-1 v1\.1\.0 and is not there"):
            run((parcel,), site.registry, client(far.host), at(far.host))
    finally:
        proxy.faults.clear()


# Folders from somebody else.


def biggest(folder: Path) -> Path:
    return max((folder / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)


def edit(folder: Path, change: Callable[[list[dict[str, Any]]], None]) -> None:
    index = json.loads((folder / "index.json").read_text())
    change(index["manifests"])
    (folder / "index.json").write_text(json.dumps(index))


def linked_blob(folder: Path) -> None:
    blob = biggest(folder)
    blob.rename(folder / "elsewhere")
    blob.symlink_to(folder / "elsewhere")


def linked_folder(folder: Path) -> None:
    (folder / "blobs").rename(folder / "elsewhere")
    (folder / "blobs").symlink_to(folder / "elsewhere")


def pipe(folder: Path) -> None:
    blob = biggest(folder)
    blob.unlink()
    os.mkfifo(blob)


def other_bytes(folder: Path) -> None:
    blob = biggest(folder)
    blob.write_bytes(blob.read_bytes()[:-1] + b"x")


def missing_blob(folder: Path) -> None:
    biggest(folder).unlink()


def huge_index(folder: Path) -> None:
    (folder / "index.json").write_bytes(b" " * (5 << 20))


def many_entries(folder: Path) -> None:
    edit(folder, lambda entries: entries.extend([{**entries[0], "annotations": {}}] * 10_001))


def linked_index(folder: Path) -> None:
    (folder / "index.json").rename(folder / "elsewhere")
    (folder / "index.json").symlink_to(folder / "elsewhere")


def no_digest(folder: Path) -> None:
    edit(folder, lambda entries: entries[0].update(digest="sha256:../../../../etc/passwd"))


def negative_size(folder: Path) -> None:
    edit(folder, lambda entries: entries[0].update(size=-1))


def twice(folder: Path) -> None:
    edit(folder, lambda entries: entries.append({**entries[-1], "digest": f"sha256:{'0' * 64}"}))


def key_twice(folder: Path) -> None:
    text = (folder / "index.json").read_text()
    (folder / "index.json").write_text(text.replace('"schemaVersion"', '"manifests":[],"schemaVersion"', 1))


def parent_that_is_another(folder: Path) -> None:
    def change(entries: list[dict[str, Any]]) -> None:
        for entry in entries:
            if PARENT in entry["annotations"]:
                entry["annotations"][PARENT] = f"debian/base:v2.0.0@sha256:{'1' * 64}"

    edit(folder, change)


def parent_that_is_itself(folder: Path) -> None:
    def change(entries: list[dict[str, Any]]) -> None:
        own = next(one for one in entries if one["annotations"][NAME] == f"{WEB}:v1.1.0")
        own["annotations"][PARENT] = f"{WEB}:v1.1.0@{own['digest']}"

    edit(folder, change)


def parent_with_a_path(folder: Path) -> None:
    def change(entries: list[dict[str, Any]]) -> None:
        for entry in entries:
            entry["annotations"][PARENT] = f"../../etc:v2.0.0@sha256:{'1' * 64}"

    edit(folder, change)


NAME = "org.opencontainers.image.ref.name"
HOSTILE = [
    linked_blob, linked_folder, pipe, other_bytes, missing_blob, huge_index, many_entries, linked_index,
    no_digest, negative_size, twice, key_twice,
    parent_that_is_another, parent_that_is_itself, parent_with_a_path,
]  # fmt: skip


@pytest.mark.parametrize("spoil", HOSTILE, ids=lambda spoil: spoil.__name__)
def test_a_folder_that_somebody_forged_is_refused_and_releases_nothing(
    site: Site, far: RunningRegistry, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    to_folder(site, tmp_path / "stick", "v1.1")
    spoil(tmp_path / "stick")
    there, place = client(far.host), at(far.host)

    def take_out() -> None:
        layout = OciLayout(tmp_path / "stick")
        run(parcels_in(layout, WEB, (), every=False, parents=True), layout, there, place)

    with pytest.raises(PipelineError) as caught:
        take_out()
    assert isinstance(
        caught.value, RegistryError | StateError | NotFoundError | GateRefusedError | UsageError
    )
    with pytest.raises(NotFoundError):
        there.resolve(place(WEB).tagged("v1.1.0"))


def test_entries_of_others_in_a_folder_stay(site: Site, tmp_path: Path) -> None:
    stick = tmp_path / "stick"
    to_folder(site, stick, "v1.0")
    foreign = {"mediaType": "x/y", "digest": f"sha256:{'5' * 64}", "size": 3, "annotations": {NAME: "latest"}}
    edit(stick, lambda entries: entries.append(foreign))
    layout = to_folder(site, stick, "v1.1")
    assert foreign in json.loads((stick / "index.json").read_text())["manifests"]
    assert "v1.1.0" in layout.tags(in_folder(WEB))


def test_a_folder_that_holds_something_else_is_not_written_to(site: Site, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("dear")
    with pytest.raises(StateError, match="something else than images"):
        to_folder(site, tmp_path / "home")
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["letter.txt"]
    with pytest.raises(StateError):
        OciLayout(tmp_path / "nowhere")


def test_versions_of_a_folder_are_named_as_those_of_the_ledger(site: Site, tmp_path: Path) -> None:
    layout = to_folder(site, tmp_path / "stick", every=True)

    def found(*versions: str, every: bool = False) -> list[str]:
        return [one.version for one in parcels_in(layout, WEB, versions, every=every, parents=False)]

    assert (found(), found("v1"), found("1.0"), found("v1.0.0")) == (
        ["1.1.0"],
        ["1.1.0"],
        ["1.0.0"],
        ["1.0.0"],
    )
    assert found(every=True) == ["1.0.0", "1.1.0"]
    for wanted, error in (("v9", NotFoundError), ("x", UsageError), ("v1.0.0.0", UsageError)):
        with pytest.raises(error):
            found(wanted)
    with pytest.raises(NotFoundError):
        parcels_in(layout, "debian/web-9", (), every=False, parents=False)
