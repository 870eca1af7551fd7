"""How big two images are: by layer, by package, by folder.

Rules: bytes, whole numbers; layers both images have are named by digest and count as shared; a package's size
is what its database claims; what a folder grew is summed from the files that differ, so
that no other file is looked at.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline.domain.diff.change import Change
from pipeline.domain.diff.packages import InstalledPackage, Inventory
from pipeline.domain.diff.snapshot import FileChange, LayerSize, Snapshot
from pipeline.domain.image import Digest

LARGEST = 40
"""Packages of the new image that are listed by size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer: digest, bytes to fetch, bytes of its files, what made it, whether both images have it."""

    digest: str
    size: int
    unpacked: int
    created_by: str
    shared: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageSize:
    """A package's bytes on either side; 0 where it is absent."""

    name: str
    old: int
    new: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderSize:
    """By how many bytes the files of a folder two deep, as far as they differ, grew or shrank."""

    name: str
    grown: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeChange:
    """Sizes of both images in bytes.

    Attributes:
        old_download, new_download: Sum of the layers as they are fetched; of their files where an image is a
            local one, whose layers nobody packed yet: the two have to be of one kind.
        old_files, new_files: Sum of the files of all layers, also of those that a later layer replaces.
        fetched: Bytes a host that has the old image must fetch.
        grown: Bytes by which the files grew, layers merged; negative where they shrank.
        old_layers, new_layers: The layers, the base's first.
        folders: Folders whose files grew or shrank, the most first.
        packages: Packages whose size differs, the largest difference first.
        largest: The new image's largest packages; empty where no package database differs.
    """

    old_download: int
    new_download: int
    old_files: int
    new_files: int
    fetched: int
    grown: int
    old_layers: tuple[Layer, ...]
    new_layers: tuple[Layer, ...]
    folders: tuple[FolderSize, ...]
    packages: tuple[PackageSize, ...]
    largest: tuple[PackageSize, ...]


def size_change(
    old: Snapshot | None,
    new: Snapshot,
    files: Iterable[FileChange],
    changes: Sequence[Change[InstalledPackage]],
    installed: Inventory | None,
) -> SizeChange:
    """Return both images' sizes.

    Args:
        old: The image before, or None.
        new: The image now.
        files: Every path that differs.
        changes: Packages that differ.
        installed: The new image's packages, where a database differs.
    """
    before = old.layers if old is not None else ()
    packed = not (_is_local(before) or _is_local(new.layers))
    known = {_name(layer, packed=packed) for layer in before}
    both = known & {_name(layer, packed=packed) for layer in new.layers}
    shared = {layer.digest for layer in (*before, *new.layers) if _name(layer, packed=packed) in both}
    folders = _folders(files)
    return SizeChange(
        old_download=sum(_fetched(layer, packed=packed) for layer in before),
        new_download=sum(_fetched(layer, packed=packed) for layer in new.layers),
        old_files=sum(layer.unpacked for layer in before),
        new_files=sum(layer.unpacked for layer in new.layers),
        fetched=sum(_fetched(layer, packed=packed) for layer in new.layers if layer.digest not in shared),
        grown=sum(folder.grown for folder in folders),
        old_layers=tuple(_layer(layer, shared=layer.digest in shared) for layer in before),
        new_layers=tuple(_layer(layer, shared=layer.digest in shared) for layer in new.layers),
        folders=folders,
        packages=_package_sizes(changes),
        largest=_largest(installed or ()),
    )


def _is_local(layers: Sequence[LayerSize]) -> bool:
    return bool(layers) and all(layer.digest == layer.diff_id for layer in layers)


def _name(layer: LayerSize, *, packed: bool) -> Digest:
    return layer.digest if packed else layer.diff_id


def _fetched(layer: LayerSize, *, packed: bool) -> int:
    return layer.size if packed else layer.unpacked


def _layer(layer: LayerSize, *, shared: bool) -> Layer:
    return Layer(
        digest=str(layer.digest),
        size=layer.size,
        unpacked=layer.unpacked,
        created_by=layer.created_by,
        shared=shared,
    )


def _folders(files: Iterable[FileChange]) -> tuple[FolderSize, ...]:
    grown: defaultdict[str, int] = defaultdict(int)
    for change in files:
        size = (change.new.size if change.new else 0) - (change.old.size if change.old else 0)
        if size:
            grown["/".join(change.path.split("/", 3)[:3])] += size
    found = (FolderSize(name=name, grown=size) for name, size in grown.items() if size)
    return tuple(sorted(found, key=lambda one: (-abs(one.grown), one.name)))


def _package_sizes(changes: Sequence[Change[InstalledPackage]]) -> tuple[PackageSize, ...]:
    sizes = [
        PackageSize(
            name=change.name,
            old=change.old.size if change.old else 0,
            new=change.new.size if change.new else 0,
        )
        for change in changes
    ]
    differing = (one for one in sizes if one.old != one.new)
    return tuple(sorted(differing, key=lambda one: (-abs(one.new - one.old), one.name)))


def _largest(installed: Inventory) -> tuple[PackageSize, ...]:
    order = sorted(installed, key=lambda one: (-one.size, one.name, one.arch, one.version))
    return tuple(PackageSize(name=one.name, old=0, new=one.size) for one in order[:LARGEST])
