"""SBOMs of the real Debian base and a real host: held against dpkg, the .ko files and a full scan."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from e2e.conftest import Demo
from e2e.demoimages import newest, podman

from pipeline.adapters.process import Processes
from pipeline.adapters.syft import Syft
from pipeline.adapters.tree import MountedTree
from pipeline.domain.gate import CommandResult
from pipeline.domain.image import ImageRef, Tier
from pipeline.domain.kmod import parse_module
from pipeline.domain.packages import read_packages
from pipeline.domain.placement import TreeEntry
from pipeline.domain.sbom.document import Identity, ParentImage
from pipeline.domain.sbom.inheritance import inherit, load_base
from pipeline.domain.sbom.inventory import Expected
from pipeline.domain.sbom.part import Organisation
from pipeline.domain.sbom.score import as_json, scorecard
from pipeline.domain.sbom.validation import validate
from pipeline.domain.tree import FileType
from pipeline.errors import SbomError
from pipeline.verbs.sbom import OpenedImage, evidence_of, origins_of, take

pytestmark = [pytest.mark.e2e, pytest.mark.engine]

SOURCES = {"zfs": "zfs-dkms", "nvidia": "nvidia-open-kernel-dkms"}
SUPPLIER = Organisation(name="Example", url="https://example.org/os")


def nothing_inside(argv: object, *, stdin: str = "", timeout: float = 0.0) -> CommandResult:
    return CommandResult(code=127, stdout="", stderr="")


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A candidate, mounted, with its record."""

    record: Any
    root: Path

    @property
    def ref(self) -> ImageRef:
        return ImageRef.parse(f"{self.record['repository']}@{self.record['digest']}")

    @property
    def tree(self) -> MountedTree:
        return MountedTree(self.root)

    def identity(self, parent: ParentImage | None = None) -> Identity:
        return Identity(
            name=f"debian/{self.record['image']}",
            ref=self.ref,
            tier=Tier(self.record["tier"]),
            supplier=SUPPLIER,
            timestamp=1_790_000_000,
            tool_version="0",
            commit=self.record["source"]["commit"] or "",
            parent=parent,
        )

    def sbom(self, parent: ParentImage | None = None) -> bytes:
        tree = self.tree
        image = OpenedImage(root=self.root, tree=tree, inside=nothing_inside, packages=read_packages(tree))
        origins = origins_of(tree, SOURCES, self.record["pins"]["modules"])
        scanner = Syft(Processes(environment=dict(os.environ)))
        taken = take(image, scanner, origins=origins, supplier=SUPPLIER)
        return evidence_of(taken, self.identity(parent)).data


def opened(demo: Demo, image: str) -> Iterator[Opened]:
    record = newest(demo, image)
    name = f"{record['repository']}@{record['digest']}"
    podman("pull", "--quiet", "--tls-verify=false", name)
    yield Opened(record=record, root=Path(podman("image", "mount", name)))
    podman("image", "unmount", name)


@pytest.fixture(scope="module")
def base(demo: Demo) -> Iterator[Opened]:
    yield from opened(demo, "base")


@pytest.fixture(scope="module")
def host(demo: Demo) -> Iterator[Opened]:
    yield from opened(demo, "web-1")


@pytest.fixture(scope="module")
def sbom(base: Opened) -> bytes:
    return base.sbom()


def components(data: bytes, kind: str = "") -> list[Any]:
    return [one for one in json.loads(data)["components"] if kind in ("", one["type"])]


def facts(part: Any) -> dict[str, str]:
    return {one["name"]: one["value"] for one in part["properties"]}


def test_every_module_is_there_with_the_facts_of_its_file(base: Opened, sbom: bytes) -> None:
    files = [path for path in (base.root / "usr/lib/modules").rglob("*.ko*") if "updates" in path.parts]
    parts = {facts(one)["pipeline:path"]: one for one in components(sbom, "device-driver")}
    assert set(parts) == {f"/{path.relative_to(base.root)}" for path in files}
    assert len(parts) == 7
    for path, part in parts.items():
        data = base.tree.read(path)
        known, told = parse_module(path, data), facts(part)
        assert part["version"] == known.version
        assert told["pipeline:module:vermagic"] == known.vermagic
        assert told.get("pipeline:module:srcversion", "") == known.srcversion
        assert told["pipeline:module:signer"] == (known.signer or "not signed")
        assert {one["alg"]: one["content"] for one in part["hashes"]} == {
            "SHA-256": hashlib.sha256(data).hexdigest(),
            "SHA-512": hashlib.sha512(data).hexdigest(),
        }
        assert part["pedigree"]["ancestors"][0]["name"] in SOURCES.values()


def test_packages_are_dpkg_s_own(base: Opened, sbom: bytes) -> None:
    database = base.root / "usr/lib/sysimage/dpkg"
    said = subprocess.run(
        ["dpkg-query", f"--admindir={database}", "-W", "-f", "${Package} ${Version}\n"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = [
        f"{one['name']} {one['version']}"
        for one in components(sbom)
        if one["type"] == "library" and facts(one).get("pipeline:package:type") == "deb"
    ]
    assert sorted(found) == sorted(said.stdout.splitlines())


def test_the_image_s_kernel_is_what_modules_depend_on(base: Opened, sbom: bytes) -> None:
    content = json.loads(sbom)
    release = base.record["pins"]["kernel"]
    kernel = next(one for one in content["components"] if one["name"] == "linux-kernel")
    assert kernel["version"] == release
    for entry in content["dependencies"]:
        if entry["ref"].startswith("module:"):
            assert kernel["bom-ref"] in entry["dependsOn"]


def test_the_same_image_gives_the_same_bytes(base: Opened, sbom: bytes) -> None:
    assert base.sbom() == sbom


def test_it_scores_what_the_goal_asks(sbom: bytes) -> None:
    card: Any = as_json(scorecard(json.loads(sbom), schema_valid=True))
    points = {one["name"]: (one["points"], one["best"]) for one in card["ratings"]}
    assert points["ntia"] == (700, 700)
    assert points["sbomqs"][0] >= 900


def test_a_module_the_sbom_leaves_out_is_refused(base: Opened, sbom: bytes) -> None:
    content = json.loads(sbom)
    parts = components(sbom, "device-driver")
    known = {facts(one)["pipeline:path"]: one["hashes"][0]["content"] for one in parts}
    packages = frozenset((one.name, one.version) for one in read_packages(base.tree) or ())
    expected = Expected(modules=known, packages=packages)
    validate(sbom, expected)
    left = next(
        one for one in content["components"] if one["name"] == "zfs" and one["type"] == "device-driver"
    )
    left["type"] = "library"
    with pytest.raises(SbomError, match=r"zfs\.ko"):
        validate(json.dumps(content).encode(), expected)


def own_entries(base: Path, host: Path) -> Iterator[TreeEntry]:
    """Yield what a host's image has and its base has not, or has otherwise, parents first."""
    for folder, folders, files in os.walk(host):
        folders.sort()
        for name in sorted([*folders, *files]):
            path = Path(folder, name)
            inside = path.relative_to(host)
            before, info = base / inside, path.lstat()
            shown = f"/{inside}"
            if path.is_symlink():
                if not (before.is_symlink() and before.readlink() == path.readlink()):
                    yield TreeEntry(path=shown, type=FileType.SYMLINK, target=str(path.readlink()))
            elif path.is_dir():
                if not before.is_dir():
                    yield TreeEntry(path=shown, type=FileType.DIRECTORY, mode=info.st_mode & 0o7777)
            elif path.is_file():
                data = path.read_bytes()
                if not before.is_file() or before.is_symlink() or before.read_bytes() != data:
                    mode = info.st_mode & 0o7777
                    yield TreeEntry(path=shown, type=FileType.FILE, mode=mode, content=data)


def test_a_host_s_sbom_by_inheritance_is_that_of_a_full_scan(base: Opened, host: Opened, sbom: bytes) -> None:
    if host.record["parent"]["digest"] != base.record["digest"]:
        pytest.fail("the newest host is not built on the newest base: build the hosts again")
    parent = ParentImage(name="debian/base", ref=base.ref)
    entries = tuple(own_entries(base.root, host.root))
    found = inherit(load_base(sbom, base.ref), entries, host.identity(parent), paths=base.tree)
    assert found.reason == ""
    validate(found.data)
    full = host.sbom(parent)
    assert components(found.data) == components(full)
    assert json.loads(found.data)["dependencies"] == json.loads(full)["dependencies"]
    assert {one["name"] for one in components(full, "container")} == {
        "docker.io/envoyproxy/envoy",
        "docker.io/nginxinc/nginx-unprivileged",
    }
