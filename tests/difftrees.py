"""Images for a diff's tests: a tree held in a dict that also tells facts, layers and a config."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from trees import Content, MemoryTree

from pipeline.domain.diff.difference import Difference, ImageName, difference
from pipeline.domain.diff.snapshot import FileFacts, LayerSize
from pipeline.domain.gate import Inside
from pipeline.domain.image import Digest
from pipeline.domain.tree import Entry, FileType
from pipeline.errors import NotFoundError

STATUS = "/var/lib/dpkg/status"


class MemorySnapshot(MemoryTree):
    """Implements `Snapshot`; `xattrs` maps paths to attributes, `unreadable` names files nobody kept."""

    def __init__(
        self,
        contents: Mapping[str, Content],
        *,
        xattrs: Mapping[str, Mapping[str, str]] | None = None,
        config: Mapping[str, Any] | None = None,
        layers: tuple[LayerSize, ...] = (),
        unreadable: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__(contents)
        self._xattrs = xattrs or {}
        self._unreadable = unreadable
        self.config: Mapping[str, Any] = config or {}
        self.layers = layers

    def read(self, path: str, *, limit: int = 1 << 30) -> bytes:
        if path in self._unreadable:
            raise NotFoundError(f"{path} was not kept", hint="-")
        return super().read(path, limit=limit)

    def facts(self, path: str) -> FileFacts | None:
        entry = self.entry(path)
        return None if entry is None else self._facts(entry)

    def all(self) -> Iterator[FileFacts]:
        yield from (self._facts(entry) for entry in self.walk())

    def _facts(self, entry: Entry) -> FileFacts:
        data = super().read(entry.path) if entry.type is FileType.FILE else None
        self.reads = [path for path in self.reads if path != entry.path] if data is not None else self.reads
        return FileFacts(
            path=entry.path,
            type=entry.type,
            mode=entry.mode,
            uid=entry.uid,
            gid=entry.gid,
            size=entry.size,
            target=entry.target,
            sha256="" if data is None else hashlib.sha256(data).hexdigest(),
            xattrs=tuple(sorted(self._xattrs.get(entry.path, {}).items())),
        )


def digest(number: int) -> Digest:
    return Digest(f"sha256:{number:064x}")


def named(number: int) -> ImageName:
    return ImageName(name="registry.example/os/base", digest=digest(number))


def compared(
    old: Mapping[str, Content] | MemorySnapshot | None,
    new: Mapping[str, Content] | MemorySnapshot,
    inside: tuple[Inside | None, Inside | None] = (None, None),
) -> Difference:
    """Return what differs between two trees."""
    return difference(
        None if old is None else snapshot(old),
        snapshot(new),
        names=(None if old is None else named(1), named(2)),
        because="for a test",
        inside=inside,
    )


def snapshot(contents: Mapping[str, Content] | MemorySnapshot) -> MemorySnapshot:
    return contents if isinstance(contents, MemorySnapshot) else MemorySnapshot(contents)


def layer(number: int, size: int) -> LayerSize:
    return LayerSize(
        digest=digest(number),
        diff_id=digest(number + 1000),
        size=size,
        unpacked=2 * size,
        created_by="by hand",
    )


def dpkg(*packages: tuple[str, str], size: int = 100, state: str = "install ok installed") -> str:
    """Return a dpkg status file."""
    return "\n".join(
        f"Package: {name}\nStatus: {state}\nInstalled-Size: {size}\nArchitecture: amd64\nVersion: {version}\n"
        f"Description: {name}\n continued: with a colon\n"
        for name, version in packages
    )
