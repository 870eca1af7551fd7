"""Random layers as tar archives, and the snapshots that tables of contents make of them.

Few names, so that paths meet, and some that are hard to write.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hypothesis import strategies as st
from imagefiles import Fact

from pipeline.adapters.toc import TocStore
from pipeline.domain.diff.layered import LayeredSnapshot
from pipeline.domain.diff.snapshot import FileFacts, LayerSize
from pipeline.domain.oci import digest_of
from pipeline.domain.toc import LayerToc
from pipeline.domain.tree import FileType

_names = st.sampled_from(["a", "a", "b", "b", "c", "etc", "ä", "n" * 120, "sp ace\n\t%41", "\udcff\udcfe"])
_paths = st.lists(_names, min_size=1, max_size=4).map("/".join)


@dataclass(frozen=True)
class Part:
    """One member of a random layer."""

    path: str
    kind: str
    mode: int
    owner: int
    mtime: int
    other: str
    xattr: str


parts = st.builds(
    Part,
    path=_paths,
    kind=st.sampled_from(["file", "file", "file", "dir", "dir", "link", "whiteout", "opaque"]),
    mode=st.sampled_from([0o755, 0o644, 0o4755, 0o1777]),
    owner=st.sampled_from([0, 1000, 3_000_000]),
    mtime=st.sampled_from([0, 1_600_000_000, 1_700_000_000]),
    other=_paths,
    xattr=st.sampled_from(["", "", "value"]),
)
layer_parts = st.lists(parts, max_size=7)
image_parts = st.lists(layer_parts, min_size=1, max_size=3)


def layer_tar(members: Sequence[Part], form: int = tarfile.PAX_FORMAT) -> bytes:
    """Return a layer of these members, in any order and however they meet."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=form, errors="surrogateescape") as tar:
        for part in members:
            content = part.other.encode("utf-8", "surrogateescape") if part.kind == "file" else b""
            info = _header(part)
            info.size = len(content)
            if part.xattr and form == tarfile.PAX_FORMAT:
                info.pax_headers = {"SCHILY.xattr.user.x": part.xattr}
            tar.addfile(info, io.BytesIO(content))
    return sink.getvalue()


def _header(part: Part) -> tarfile.TarInfo:
    info = tarfile.TarInfo(part.path)
    info.mode, info.uid, info.mtime = part.mode, part.owner, part.mtime
    parent, _, name = part.path.rpartition("/")
    if part.kind == "dir":
        info.type = tarfile.DIRTYPE
    elif part.kind == "link":
        info.type, info.linkname = tarfile.SYMTYPE, part.other
    elif part.kind == "whiteout":
        info.name = f"{parent}/.wh.{name}".lstrip("/")
    elif part.kind == "opaque":
        info.name = f"{part.path}/.wh..wh..opq"
    return info


def toc_of(data: bytes, folder: Path) -> LayerToc:
    """Return the table of a layer, made and kept in a folder."""
    return TocStore(folder).make(digest_of(data), lambda: iter([data]), blob=None)


def snapshot_of(layers: Sequence[bytes], folder: Path) -> LayeredSnapshot:
    """Return the snapshot of an image of these layers."""
    store = TocStore(folder)
    tocs = [toc_of(data, folder) for data in layers]

    def content(at: int, path: str, sha256: str) -> bytes:
        found = store.content(digest_of(layers[at]), tocs[at], sha256)
        assert found is not None, path
        return found

    return LayeredSnapshot(
        tocs=tocs,
        layers=tuple(
            LayerSize(digest=digest_of(data), diff_id=digest_of(data), size=1, unpacked=1, created_by="")
            for data in layers
        ),
        config={},
        contents=content,
    )


def as_facts(found: Iterator[FileFacts]) -> dict[str, tuple[str, int, int, int, str]]:
    """Return facts in the form of `of_reference`."""
    return {one.path: (one.type.value, one.mode, one.uid, one.gid, one.target or one.sha256) for one in found}


def of_reference(found: dict[str, Fact]) -> dict[str, tuple[str, int, int, int, str]]:
    """Return what the reference laid down: type, mode, owner, group, link target or SHA-256."""
    return {path: _flat(fact) for path, fact in found.items()}


def _flat(fact: Fact) -> tuple[str, int, int, int, str]:
    kind, mode, uid, gid, rest = fact
    if kind == FileType.FILE:
        assert isinstance(rest, bytes)
        return kind, mode, uid, gid, hashlib.sha256(rest).hexdigest()
    return kind, 0o777 if kind == FileType.SYMLINK else mode, uid, gid, rest if isinstance(rest, str) else ""
