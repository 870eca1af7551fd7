"""Copies in a folder: other programs read them, writing them again changes nothing."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from copyworld import BASE, NAME, WEB, Site, edit, in_folder, to_folder

from pipeline.adapters.ocilayout import OciLayout
from pipeline.domain.oci import digest_of
from pipeline.errors import NotFoundError, StateError, UsageError
from pipeline.verbs.copy_folder import parcels_in

pytestmark = pytest.mark.engine


def skopeo(*argv: str) -> str:
    assert shutil.which("skopeo"), "skopeo is missing: apt-get install skopeo"
    done = subprocess.run(["skopeo", *argv], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


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
