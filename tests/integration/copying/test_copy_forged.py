"""Folders from somebody else, forged in one way each: nothing of them is released."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from copyworld import NAME, WEB, Site, at, client, edit, run, to_folder
from registries import RunningRegistry

from pipeline.adapters.ocilayout import PARENT, OciLayout
from pipeline.errors import (
    GateRefusedError,
    NotFoundError,
    PipelineError,
    RegistryError,
    StateError,
    UsageError,
)
from pipeline.verbs.copy_folder import parcels_in

pytestmark = pytest.mark.engine


def biggest(folder: Path) -> Path:
    return max((folder / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)


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
