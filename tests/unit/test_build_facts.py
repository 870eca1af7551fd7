"""What a provenance is made from: every file that went in, by what it holds."""

from __future__ import annotations

import dataclasses
import datetime as dt
from pathlib import Path

import pytest
from buildkit import Yard, make_yard, sha
from hosttrees import make_tree
from records import candidate

from pipeline.adapters.definitions import load
from pipeline.domain.canonical import Json
from pipeline.domain.catalogue import Instance
from pipeline.domain.manifest import Manifest
from pipeline.domain.pin import Pin
from pipeline.domain.provenance import BuilderFacts, statement
from pipeline.verbs.build_facts import base_facts, instance_facts, upstream_facts
from pipeline.verbs.module_stages import BuiltModule
from pipeline.verbs.source_files import SourceFiles

PIN = Pin(
    kernel="6.12.1-test",
    kernel_devel=("linux-headers-6.12.1-test=6.12.1-1",),
    kernel_packages=("linux-image-6.12.1-test=6.12.1-1",),
    modules={"nvidia": "550.1-2", "zfs": "2.3.9-1"},
    userspace={"zfsutils-linux": "2.3.9-1"},
    upstream="debian-13",
    upstream_digest=sha("upstream"),
    reason="newest",
    time=dt.datetime(2026, 11, 21, tzinfo=dt.UTC),
)


@pytest.fixture
def yard(tmp_path: Path) -> Yard:
    made = make_yard(tmp_path)
    (made.images / "pipeline.toml").write_text("x = 1\n")
    (made.images / "debian/base").mkdir(parents=True)
    (made.images / "debian/base/base.toml").write_text("description = 'x'\n")
    (made.images / "debian/pins.toml").write_text("[pins]\n")
    return made


def test_a_base_is_made_from_its_definition_pins_keys_and_its_whole_build_context(yard: Yard) -> None:
    stages = [
        BuiltModule(
            module=module,
            image=sha(module.name).hex,
            manifest=Manifest(set_name=module.name, kernel=PIN.kernel, module_version="1", files=()),
            log=sha("log"),
            source=sha("source") if module.name == "zfs" else None,
        )
        for module in yard.base.modules
    ]
    files = SourceFiles(yard.images, ["keys/release.pub"])
    options: dict[str, Json] = {"verifyReproducible": False}
    found = base_facts(
        files,
        yard.base,
        PIN,
        stages,
        toolchain=sha("tools").hex,
        packages=("tmux",),
        timestamp=7,
        options=options,
    )
    assert {
        "images/pipeline.toml",
        "images/keys/release.pub",
        "images/debian/pins.toml",
        "images/debian/base/base.toml",
        "Containerfiles/debian/base.Containerfile",
        "Containerfiles/debian/helper.sh",
        "Containerfiles/debian/modules-zfs.Containerfile",
    } <= found.files.keys()
    assert found.files["Containerfiles/debian/helper.sh"] == sha("true\n")
    assert found.stages == {"nvidia": sha("nvidia"), "zfs": sha("zfs"), "toolchain": sha("tools")}
    assert found.sources == {"zfs-dkms=2.3.9-1": sha("source")}
    assert set(found.packages) == {
        "linux-image-6.12.1-test=6.12.1-1",
        "linux-headers-6.12.1-test=6.12.1-1",
        "nvidia-dkms=550.1-2",
        "zfs-dkms=2.3.9-1",
        "tmux",
    }
    assert b"pkg:deb/debian/zfs-dkms@2.3.9-1" in statement(candidate(), found, BuilderFacts(versions={}), {})


def test_an_upstream_is_made_from_packages_and_has_no_keys_of_hosts(yard: Yard) -> None:
    files = SourceFiles(yard.images, ["keys/release.pub"])
    found = upstream_facts(files, yard.upstream, timestamp=7, options={})
    assert found.packages == ("systemd",)
    assert "Containerfiles/debian/upstream.Containerfile" in found.files
    assert "images/keys/release.pub" not in found.files


def test_a_file_that_is_not_there_is_left_out(yard: Yard) -> None:
    files = SourceFiles(yard.images, ["keys/none.pub"])
    found = upstream_facts(
        files, dataclasses.replace(yard.upstream, key=yard.images / "keys/none.pub"), timestamp=7, options={}
    )
    assert not any("none.pub" in name for name in found.files)


def test_a_folder_outside_the_repository_is_not_read(yard: Yard, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere" / "repo" / "images"
    other.mkdir(parents=True)
    assert SourceFiles(other).folder(yard.images) == {}


def test_a_host_is_made_from_its_roles_and_the_files_they_name(tmp_path: Path) -> None:
    images = make_tree(tmp_path)
    catalogue = load(images)
    host = next(
        one for line in catalogue.lines.values() for one in line.images.values() if isinstance(one, Instance)
    )
    found = instance_facts(SourceFiles(images), host, timestamp=7, options={})
    assert host.file in found.files
    assert {origin.file for origins in host.origins.values() for origin in origins} <= found.files.keys()
    for path in host.materials:
        assert f"images/{host.line}/{path}" in found.files


def test_each_file_is_read_once_a_run(yard: Yard) -> None:
    files = SourceFiles(yard.images)
    before = files.digests(["images/debian/pins.toml"])
    (yard.images / "debian/pins.toml").write_text("changed\n")
    assert files.digests(["images/debian/pins.toml"]) == before
    assert SourceFiles(yard.images).digests(["images/debian/pins.toml"]) != before
