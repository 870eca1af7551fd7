"""An image seen through its layers' tables of contents: a snapshot that nobody unpacked.

Rules: layers are stacked by `toc.Stack`, only when somebody asks and the layers two images share only once;
a content is asked of the layer that has it, by hash.
"""

from __future__ import annotations

import functools
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pipeline.domain.diff.snapshot import FileFacts, LayerSize
from pipeline.domain.overlaid import OverlaidTree
from pipeline.domain.toc import LayerToc, Stack, stacked, within
from pipeline.domain.tocline import escaped, facts_of, unescaped
from pipeline.domain.tree import Entry, FileType
from pipeline.errors import NotFoundError

Contents = Callable[[int, str, str], bytes]
"""Gives a content: number of the layer from the base, the file's path, its SHA-256.

It raises NotFoundError where the content can no longer be had.
"""


class LayeredSnapshot:
    """Implements `Snapshot` on tables of contents.

    Args:
        tocs: The layers' tables, the base's first.
        layers: What is known of the same layers.
        config: The image's config.
        contents: Gives contents of files.
    """

    def __init__(
        self,
        *,
        tocs: Sequence[LayerToc],
        layers: tuple[LayerSize, ...],
        config: Mapping[str, Any],
        contents: Contents,
    ) -> None:
        self.tocs = tuple(tocs)
        self.layers = layers
        self.config = config
        self._contents = contents
        self._resolved = OverlaidTree(_Real(self), ())

    @functools.cached_property
    def stack(self) -> Stack:
        """The merged paths."""
        return stacked(self.tocs)

    def facts(self, path: str) -> FileFacts | None:
        """See `Snapshot.facts`."""
        return self._at(escaped(path))

    def all(self) -> Iterator[FileFacts]:
        """See `Snapshot.all`."""
        found = (self._at(path) for path in self.stack.lines if path != b"/")
        yield from sorted((facts for facts in found if facts is not None), key=bytes_of)

    def entry(self, path: str) -> Entry | None:
        """See `Tree.entry`."""
        return self._resolved.entry(path)

    def read(self, path: str, *, limit: int = 1 << 30) -> bytes:
        """See `Tree.read`; a content that was not kept is fetched with its layer, which takes seconds."""
        return self._resolved.read(path, limit=limit)

    def list(self, path: str) -> tuple[str, ...]:
        """See `Tree.list`."""
        return self._resolved.list(path)

    def walk(self, top: str = "/") -> Iterator[Entry]:
        """See `Tree.walk`."""
        return self._resolved.walk(top)

    def below(self, path: str) -> Iterator[FileFacts]:
        """Yield the facts of everything below a real path, in no order that is promised."""
        for key in within(self._paths, escaped(path.rstrip("/") or "/")):
            yield facts_of(key, self.stack.lines[key], self.stack.times[key])

    def names(self, folder: bytes) -> Iterator[bytes]:
        """Yield the names in a folder, written as tables write them; what lies below them is skipped over."""
        prefix = b"/" if folder == b"/" else folder + b"/"
        paths: Sequence[bytes] = self._paths
        at = bisect_left(paths, prefix)
        while at < len(paths) and paths[at].startswith(prefix):
            name, below, _ = paths[at][len(prefix) :].partition(b"/")
            if below:  # its folder has a path of its own, which may not be the one right before
                at = bisect_left(paths, prefix + name + b"0", at)  # "0" comes right after "/"
                continue
            if name:
                yield name
            at += 1

    def content(self, path: str, *, limit: int) -> bytes:
        """Return the content of the file at a real path.

        Raises:
            NotFoundError: There is no such file, it is too large, or its content cannot be had.
        """
        facts = self.facts(path)
        if facts is None or facts.type is not FileType.FILE:
            raise NotFoundError(f"the image has no file {path}", hint="list its folder to see what it has")
        if facts.size > limit:
            raise NotFoundError(
                f"{path} is larger than {limit} bytes", hint="such a file is not expected at this place"
            )
        return self._contents(self._layer_with(facts.sha256), path, facts.sha256) if facts.size else b""

    @functools.cached_property
    def _paths(self) -> list[bytes]:  # type: ignore[valid-type]  # `list` is a method here
        return sorted(self.stack.lines)

    def _at(self, path: bytes) -> FileFacts | None:
        line = self.stack.lines.get(path)
        return facts_of(path, line, self.stack.times[path]) if line is not None else None

    def _layer_with(self, sha256: str) -> int:
        """Return the topmost layer that has a content, those that kept it first."""
        mark = sha256.encode()
        order = range(len(self.tocs) - 1, -1, -1)
        kept = next((at for at in order if mark in self.tocs[at].kept), None)
        if kept is not None:
            return kept
        needle = b"\t" + mark + b"\t"
        return next(at for at in order if any(needle in line for line in self.tocs[at].entries.values()))


class _Real:
    """The merged paths as a `Tree` that follows no link: the caller has resolved the path."""

    def __init__(self, snapshot: LayeredSnapshot) -> None:
        self._snapshot = snapshot

    def entry(self, path: str) -> Entry | None:
        if path == "/":
            return Entry(path="/", type=FileType.DIRECTORY, mode=0o755, uid=0, gid=0)
        facts = self._snapshot.facts(path)
        return _entry(facts) if facts is not None else None

    def read(self, path: str, *, limit: int = 1 << 30) -> bytes:
        return self._snapshot.content(path, limit=limit)

    def list(self, path: str) -> tuple[str, ...]:
        return tuple(
            sorted(unescaped(name) for name in self._snapshot.names(escaped(path.rstrip("/") or "/")))
        )

    def walk(self, top: str = "/") -> Iterator[Entry]:
        found = (_entry(facts) for facts in self._snapshot.below(top))
        yield from sorted(found, key=lambda entry: entry.path.split("/"))


def bytes_of(facts: FileFacts) -> bytes:
    """Return the bytes of a path, by which paths are sorted."""
    return facts.path.encode("utf-8", "surrogateescape")


def _entry(facts: FileFacts) -> Entry:
    return Entry(
        path=facts.path,
        type=facts.type,
        mode=facts.mode,
        uid=facts.uid,
        gid=facts.gid,
        size=facts.size,
        target=facts.target,
    )


def differing(old: LayeredSnapshot, new: LayeredSnapshot) -> tuple[set[bytes], set[bytes]]:
    """Return the paths whose facts differ between two images, and those that differ in their time alone.

    The layers that both have at the bottom are stacked once.
    """
    _share_bottom(old, new)
    below = old.stack.below
    touched = None
    if below is not None and below is new.stack.below:
        touched = old.stack.touched | new.stack.touched
    lines = _unequal(old.stack.lines, new.stack.lines, touched)
    times = _unequal(old.stack.times, new.stack.times, touched)
    return lines - {b"/"}, times - lines - {b"/"}


def _unequal(
    old: Mapping[bytes, object], new: Mapping[bytes, object], touched: set[bytes] | None
) -> set[bytes]:
    """Return the keys that only one has, or that have another value, of these or of all there are."""
    if touched is not None:
        return {path for path in touched if old.get(path) != new.get(path)}
    # Most are equal, so no set of all.
    found = {path for path, value in new.items() if old.get(path) != value}
    found.update(path for path in old if path not in new)
    return found


def changed_facts(snapshot: LayeredSnapshot, paths: set[bytes]) -> dict[str, FileFacts]:
    """Return the facts of those of these paths that an image has."""
    stack = snapshot.stack
    there = (path for path in paths if path in stack.lines)
    return {unescaped(path): facts_of(path, stack.lines[path], stack.times[path]) for path in there}


_BOTTOMS: dict[tuple[int, ...], tuple[tuple[LayerToc, ...], Stack]] = {}
_MOST_BOTTOMS = 2


def _bottom(tocs: tuple[LayerToc, ...]) -> Stack:
    """Return layers stacked, as they were stacked for the image before: a fleet's hosts share their base."""
    key = tuple(id(toc) for toc in tocs)
    known = _BOTTOMS.get(key)
    if known is not None:
        return known[1]
    made = stacked(tocs)
    if len(_BOTTOMS) >= _MOST_BOTTOMS:
        _BOTTOMS.clear()
    _BOTTOMS[key] = (tocs, made)  # the tables are kept with it, so that no other table gets their ids
    return made


def _share_bottom(old: LayeredSnapshot, new: LayeredSnapshot) -> None:
    same = 0
    for mine, theirs in zip(old.layers, new.layers, strict=False):
        if mine.diff_id != theirs.diff_id:
            break
        same += 1
    bottom = _bottom(old.tocs[:same])
    for snapshot in (old, new):
        if "stack" not in vars(snapshot):
            snapshot.stack = stacked(snapshot.tocs[same:], bottom)
