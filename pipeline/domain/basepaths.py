"""The list of paths an image has, made from its layers once and looked up in place.

Rules: layers are applied as an engine stacks them (whiteouts, opaque directories, a file over a directory);
a table is sorted bytes, so that a lookup needs neither parsing nor memory that grows with the image, and a
buffer mapped from a file serves as well as bytes. Grammar of layers: OCI image specification, "Image Layer
Filesystem Changeset".
"""

from __future__ import annotations

import mmap
import posixpath
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from pipeline.domain.tree import Entry, FileType
from pipeline.errors import RegistryError

WHITEOUT = ".wh."
"""Names that begin so delete in a layer; no file of an image can be called so."""
_OPAQUE = ".wh..wh..opq"
_PATHS_LIMIT = 5_000_000
_CODES = {
    FileType.FILE: "f",
    FileType.DIRECTORY: "d",
    FileType.SYMLINK: "l",
    FileType.CHARACTER: "c",
    FileType.BLOCK: "b",
    FileType.FIFO: "p",
    FileType.SOCKET: "s",
}
_TYPES = {code.encode(): type_ for type_, code in _CODES.items()}
_SPECIAL = re.compile(rb"[\x00-\x20%\x7f]")
_HINT = "the base was pushed by a broken tool; build and push it again"


class PathLookup(Protocol):
    """What a base has at a path."""

    def entry(self, path: str) -> Entry | None:
        """Return the entry at an absolute path, following no link; None where there is nothing."""


@dataclass(slots=True)
class LayerStack:
    """Applies layers one over the other; only the list of paths is kept."""

    _paths: dict[str, Entry] = field(default_factory=dict)

    def apply(self, members: Iterable[Entry], hardlinks: Iterable[tuple[str, str]] = ()) -> None:
        """Put the next layer on top.

        Args:
            members: The layer's entries in their order; names with the whiteout prefix delete.
            hardlinks: Pairs of path and path linked to, applied after the members.

        Raises:
            RegistryError: The layer is not one that an engine could apply.
        """
        layer = _Layer(lower=self._paths)
        for member in members:
            layer.take(member)
        for path, target in hardlinks:
            layer.link(path, target)
        kept = layer.unhidden() if layer.hides else self._paths
        self._paths = {**kept, **layer.added}
        if len(self._paths) > _PATHS_LIMIT:
            raise RegistryError(f"the base has more than {_PATHS_LIMIT} paths", hint=_HINT)

    def table(self) -> bytes:
        """Return the sorted table of all paths."""
        return table_of(self._paths.values())


@dataclass(slots=True)
class _Layer:
    """One layer while it is read: what it adds and what it takes from the layers below."""

    lower: dict[str, Entry]
    added: dict[str, Entry] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    opaque: set[str] = field(default_factory=set)

    @property
    def hides(self) -> bool:
        return bool(self.gone or self.opaque)

    def take(self, member: Entry) -> None:
        path = normal(member.path)
        parent, name = posixpath.split(path)
        if name == _OPAQUE:
            self.opaque.add(parent)
        elif name.startswith(WHITEOUT):
            self.gone.add(posixpath.join(parent, name.removeprefix(WHITEOUT)))
        else:
            self._add(path, member)

    def link(self, path: str, target: str) -> None:
        path, target = normal(path), normal(target)
        found = self.added.get(target) or self.lower.get(target)
        if found is None or found.type is FileType.DIRECTORY:
            raise RegistryError(f"the layer links {path!r} to {target!r}, which is no file", hint=_HINT)
        self._add(path, found)

    def _add(self, path: str, found: Entry) -> None:
        entry = Entry(
            path=path, type=found.type, mode=found.mode, uid=found.uid, gid=found.gid, target=found.target
        )
        before = self.lower.get(path)
        if before is not None and (before.type is FileType.DIRECTORY) != (entry.type is FileType.DIRECTORY):
            self.gone.add(path)
        if entry.type is not FileType.DIRECTORY:
            self._drop_below(path)
        self._parents(path)
        self.added[path] = entry

    def _drop_below(self, path: str) -> None:
        before = self.added.get(path)
        if before is not None and before.type is FileType.DIRECTORY:
            for name in [name for name in self.added if name.startswith(path + "/")]:
                del self.added[name]

    def _parents(self, path: str) -> None:
        """Make the directories that a path implies, where neither this layer nor one below has them."""
        parent = posixpath.dirname(path)
        while parent != "/":
            known = self.added.get(parent) or (None if parent in self.gone else self.lower.get(parent))
            if known is not None and known.type is FileType.DIRECTORY:
                return
            self.gone.add(parent)
            self.added[parent] = Entry(path=parent, type=FileType.DIRECTORY, mode=0o755, uid=0, gid=0)
            parent = posixpath.dirname(parent)

    def unhidden(self) -> dict[str, Entry]:
        return {path: entry for path, entry in self.lower.items() if not self._hidden(path)}

    def _hidden(self, path: str) -> bool:
        if path in self.gone:
            return True
        while path != "/":
            path = posixpath.dirname(path)
            if path in self.gone or path in self.opaque:
                return True
        return False


class PathTable:
    """A sorted table of paths in a buffer.

    Args:
        buffer: What `table_of` made, as bytes or mapped from a file.
        start: Offset of the table in the buffer.
    """

    def __init__(self, buffer: bytes | mmap.mmap, start: int = 0) -> None:
        self._buffer = buffer
        self._start = start

    def entry(self, path: str) -> Entry | None:
        """Return the entry at an absolute path, following no link; None where there is nothing."""
        key = _escaped(path)
        low, high = self._start, len(self._buffer)
        while low < high:
            middle = (low + high) // 2
            begin = max(self._buffer.rfind(b"\n", self._start, middle) + 1, self._start)
            end = self._buffer.find(b"\n", middle)
            line = self._buffer[begin : end if end >= 0 else len(self._buffer)]
            found = line[: line.index(b"\t")]
            if found == key:
                return _entry(path, line)
            if found < key:
                low = begin + len(line) + 1
            else:
                high = begin
        return None

    def __iter__(self) -> Iterator[Entry]:
        at = self._start
        while (end := self._buffer.find(b"\n", at)) >= 0:
            line = self._buffer[at:end]
            yield _entry(_unescaped(line[: line.index(b"\t")]), line)
            at = end + 1


def table_of(entries: Iterable[Entry]) -> bytes:
    """Return the table of these entries: one line each, sorted by the bytes of the path."""
    lines = sorted(((_escaped(entry.path), entry) for entry in entries), key=lambda line: line[0])
    return b"".join(
        b"%s\t%s\t%o\t%d\t%d\t%s\n"
        % (key, _CODES[entry.type].encode(), entry.mode, entry.uid, entry.gid, _escaped(entry.target))
        for key, entry in lines
    )


def normal(name: str) -> str:
    """Return the absolute path a tar member's name means.

    Raises:
        RegistryError: It climbs out of the image.
    """
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise RegistryError(f"the layer has the path {name[:200]!r}, which climbs", hint=_HINT)
    return "/" + "/".join(parts)


def _entry(path: str, line: bytes) -> Entry:
    _, code, mode, uid, gid, target = line.split(b"\t")
    return Entry(
        path=path,
        type=_TYPES[code],
        mode=int(mode, 8),
        uid=int(uid),
        gid=int(gid),
        target=_unescaped(target),
    )


def _escaped(text: str) -> bytes:
    raw = text.encode("utf-8", "surrogateescape")
    return _SPECIAL.sub(lambda match: b"%%%02X" % ord(match[0]), raw) if _SPECIAL.search(raw) else raw


def _unescaped(raw: bytes) -> str:
    first, *rest = raw.split(b"%")
    parts = (bytes((int(part[:2], 16),)) + part[2:] for part in rest)
    return b"".join((first, *parts)).decode("utf-8", "surrogateescape")
