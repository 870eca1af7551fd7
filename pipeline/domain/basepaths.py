"""The list of paths an image has, made from its layers once and looked up in place.

Rules: layers are applied by `toc.Stack`; a table is sorted bytes, so that a lookup needs neither parsing nor
memory that grows with the image, and a buffer mapped from a file serves as well as bytes.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Protocol

from pipeline.domain.diff.snapshot import FileFacts
from pipeline.domain.toc import WHITEOUT, LayerBuilder, LayerToc, Stack
from pipeline.domain.tocline import escaped, line_of, unescaped
from pipeline.domain.tree import Entry, FileType

__all__ = ["WHITEOUT", "LayerStack", "PathLookup", "PathTable", "table_of"]

_CODES = {type_: line_of(FileFacts(path="", type=type_, mode=0, uid=0, gid=0))[:1] for type_ in FileType}
_TYPES = {code: type_ for type_, code in _CODES.items()}
_REMEMBERED = 1 << 14  # answers kept: the hosts of a fleet ask for the same paths


class PathLookup(Protocol):
    """What a base has at a path."""

    def entry(self, path: str) -> Entry | None:
        """Return the entry at an absolute path, following no link; None where there is nothing."""


class LayerStack:
    """Applies layers one over the other; only the list of paths is kept."""

    def __init__(self) -> None:
        self._stack = Stack()

    def apply(self, members: Iterable[Entry], hardlinks: Iterable[tuple[str, str]] = ()) -> None:
        """Put the next layer on top.

        Args:
            members: The layer's entries in their order; names with the whiteout prefix delete.
            hardlinks: Pairs of path and path linked to, applied after the members.

        Raises:
            RegistryError: The layer is not one that an engine could apply.
        """
        layer = LayerBuilder()
        for member in members:
            layer.take(_raw(member.path), line_of(_facts(member)), 0)
        for path, target in hardlinks:
            layer.link(_raw(path), _raw(target))
        self.put(layer.finish())

    def put(self, layer: LayerToc) -> None:
        """Put a layer on top whose table of contents is known.

        Raises:
            RegistryError: It links to what no layer has.
        """
        self._stack.apply(layer)

    def table(self) -> bytes:
        """Return the sorted table of all paths."""
        return b"".join(_table_line(path, line) for path, line in sorted(self._stack.lines.items()))


class PathTable:
    """A sorted table of paths in a buffer.

    Args:
        buffer: What `table_of` made, as bytes or mapped from a file.
        start: Offset of the table in the buffer.
    """

    def __init__(self, buffer: bytes | mmap.mmap, start: int = 0) -> None:
        self._buffer = buffer
        self._start = start
        self._found = lru_cache(maxsize=_REMEMBERED)(self._entry)

    def entry(self, path: str) -> Entry | None:
        """Return the entry at an absolute path, following no link; None where there is nothing."""
        return self._found(path)

    def _entry(self, path: str) -> Entry | None:
        key = escaped(path)
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
            yield _entry(unescaped(line[: line.index(b"\t")]), line)
            at = end + 1


def table_of(entries: Iterable[Entry]) -> bytes:
    """Return the table of these entries: one line each, sorted by the bytes of the path."""
    lines = sorted(((escaped(entry.path), entry) for entry in entries), key=lambda line: line[0])
    return b"".join(
        b"%s\t%s\t%o\t%d\t%d\t%s\n"
        % (key, _CODES[entry.type], entry.mode, entry.uid, entry.gid, escaped(entry.target))
        for key, entry in lines
    )


def _entry(path: str, line: bytes) -> Entry:
    _, code, mode, uid, gid, target = line.split(b"\t")
    return Entry(
        path=path,
        type=_TYPES[code],
        mode=int(mode, 8),
        uid=int(uid),
        gid=int(gid),
        target=unescaped(target),
    )


def _table_line(path: bytes, line: bytes) -> bytes:
    code, mode, uid, gid, _, special, _ = line.split(b"\t")
    target = special if code == _CODES[FileType.SYMLINK] else b""
    return b"\t".join((path, code, mode, uid, gid, target)) + b"\n"


def _facts(entry: Entry) -> FileFacts:
    return FileFacts(
        path=entry.path, type=entry.type, mode=entry.mode, uid=entry.uid, gid=entry.gid, target=entry.target
    )


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
