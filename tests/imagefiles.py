"""A reference for what layers mean: lays them down one over the other, file contents and all.

Written apart from the program's own path list, from the image specification alone, on nested dicts.
"""

from __future__ import annotations

import gzip
import io
import tarfile
from dataclasses import dataclass, field
from typing import TypeAlias

from pipeline.adapters.registry import Registry
from pipeline.domain.image import ImageRef
from pipeline.domain.oci import Manifest, digest_of, load, parse

Fact: TypeAlias = tuple[str, int, int, int, bytes | str]
"""Type, mode, uid, gid, and a file's content or a link's target."""


@dataclass
class Folder:
    """A directory while layers are laid down."""

    fact: Fact = ("directory", 0o755, 0, 0, b"")
    children: dict[str, Folder | Fact] = field(default_factory=dict)


def laid_down(layers: list[bytes]) -> dict[str, Fact]:
    """Return what uncompressed layers give: path to fact, the root left out."""
    root = Folder()
    for data in layers:
        with tarfile.open(fileobj=io.BytesIO(data), errors="surrogateescape") as tar:
            members = tar.getmembers()
            for member in members:
                _delete(root, member)
            for member in members:
                _add(root, member, tar)
    found: dict[str, Fact] = {}
    _list(root, "", found)
    return found


def image_files(registry: Registry, ref: ImageRef) -> dict[str, Fact]:
    """Return the files of a gzip image in a registry; every digest on the way is checked."""
    manifest = parse(registry.manifest(ref))
    assert isinstance(manifest, Manifest)
    config = load(registry.blob(ref.repository, manifest.config.digest), "config")
    layers = []
    for layer, diff_id in zip(manifest.layers, config["rootfs"]["diff_ids"], strict=True):
        packed = registry.blob(ref.repository, layer.digest)
        assert len(packed) == layer.size
        layers.append(gzip.decompress(packed))
        assert digest_of(layers[-1]).value == diff_id
    return laid_down(layers)


def _parts(name: str) -> list[str]:
    return [part for part in name.split("/") if part not in ("", ".")]


def _folder(root: Folder, parts: list[str]) -> Folder:
    here = root
    for part in parts:
        child = here.children.get(part)
        if not isinstance(child, Folder):
            child = here.children[part] = Folder()
        here = child
    return here


def _delete(root: Folder, member: tarfile.TarInfo) -> None:
    parts = _parts(member.name)
    if not parts or not parts[-1].startswith(".wh."):
        return
    here = root
    for part in parts[:-1]:
        child = here.children.get(part)
        if not isinstance(child, Folder):
            return
        here = child
    if parts[-1] == ".wh..wh..opq":
        here.children.clear()
    else:
        here.children.pop(parts[-1].removeprefix(".wh."), None)


def _add(root: Folder, member: tarfile.TarInfo, tar: tarfile.TarFile) -> None:
    parts = _parts(member.name)
    if parts and parts[-1].startswith(".wh."):
        return
    owner = (member.mode, member.uid, member.gid)
    if not parts:
        root.fact = ("directory", *owner, b"")
        return
    folder = _folder(root, parts[:-1])
    if member.isdir():
        child = folder.children.get(parts[-1])
        kept = child.children if isinstance(child, Folder) else {}
        folder.children[parts[-1]] = Folder(fact=("directory", *owner, b""), children=kept)
    elif member.islnk():
        *above, last = _parts(member.linkname)
        target = _folder(root, above).children[last]
        assert not isinstance(target, Folder)
        folder.children[parts[-1]] = target
    elif member.issym():
        folder.children[parts[-1]] = ("symlink", *owner, member.linkname)
    else:
        source = tar.extractfile(member)
        folder.children[parts[-1]] = ("file", *owner, source.read() if source else b"")


def _list(folder: Folder, path: str, found: dict[str, Fact]) -> None:
    for name, child in folder.children.items():
        if isinstance(child, Folder):
            found[f"{path}/{name}"] = child.fact
            _list(child, f"{path}/{name}", found)
        else:
            found[f"{path}/{name}"] = child
