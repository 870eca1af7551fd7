"""A base's tree with a host's entries laid over it: what the gates see of an image that nobody unpacked.

Rules: the entries are placed ones (see `placement`): each under its real path, its parents before it; they
add and replace, they delete nothing. Links are resolved here, over both together, for a link of the one may
lead through the other.
"""

from __future__ import annotations

import functools
import heapq
import posixpath
from collections.abc import Iterable, Iterator, Sequence

from pipeline.domain.placement import TreeEntry
from pipeline.domain.tree import Entry, FileType, Tree
from pipeline.errors import NotFoundError

_MOST_LINKS = 40


class OverlaidTree:
    """Implements `Tree` on a base's tree and placed entries.

    Args:
        base: The base's tree; one that remembers its walk (`WalkedTree`) makes many hosts cheap.
        entries: What is laid over it.
    """

    def __init__(self, base: Tree, entries: Iterable[TreeEntry]) -> None:
        self._base = base
        self._over = {entry.path: entry for entry in entries}
        self._names: dict[str, list[str]] = {}
        for path in self._over:
            parent, name = posixpath.split(path)
            self._names.setdefault(parent, []).append(name)

    def entry(self, path: str) -> Entry | None:
        """See `Tree.entry`."""
        parts = _parts(path)
        if not parts:
            return self._base.entry("/")
        parent = self._resolve(parts[:-1])
        return None if parent is None else self._at(posixpath.join(parent, parts[-1]), shown=path)

    def read(self, path: str, *, limit: int = 1 << 30) -> bytes:
        """See `Tree.read`."""
        real = self._resolve(_parts(path))
        ours = self._over.get(real or "")
        if real is None or (ours is not None and ours.type is not FileType.FILE):
            raise NotFoundError(f"the image has no file {path}", hint="list its folder to see what it has")
        if ours is None:
            return self._base.read(real, limit=limit)
        if len(ours.content) > limit:
            raise NotFoundError(
                f"{path} is larger than {limit} bytes", hint="such a file is not expected at this place"
            )
        return ours.content

    def list(self, path: str) -> tuple[str, ...]:
        """See `Tree.list`."""
        real = self._resolve(_parts(path))
        if real is None:
            return ()
        return tuple(sorted({*self._base.list(real), *self._names.get(real, ())}))

    def walk(self, top: str = "/") -> Iterator[Entry]:
        """See `Tree.walk`."""
        real = self._resolve(_parts(top))
        if real is None:
            return
        prefix = "/" if real == "/" else f"{real}/"
        shown = top.rstrip("/")
        ours = [_entry(one, path) for path, one in self._over.items() if path.startswith(prefix)]
        below = (entry for entry in self._base.walk(real) if entry.path not in self._over)
        for entry in heapq.merge(below, sorted(ours, key=_key), key=_key):
            yield entry if shown == real.rstrip("/") else _moved(entry, shown + entry.path[len(prefix) - 1 :])

    def is_base(self, path: str, *, below: bool) -> bool:
        """Tell whether a path means here what it means in the base alone.

        Args:
            path: What is asked for.
            below: Whether everything below it must be the base's, too.
        """
        passed: set[str] = set()
        real = self._resolve(_parts(path), passed)
        if not self._changed.isdisjoint(passed):
            return False
        if not below or real is None:
            return True
        prefix = "/" if real == "/" else f"{real}/"
        return not any(changed.startswith(prefix) for changed in self._changed)

    @functools.cached_property
    def _changed(self) -> frozenset[str]:
        """The entries that differ from what the base has there: a directory may be restated as it is."""
        return frozenset(
            path for path, one in self._over.items() if _entry(one, path) != self._base.entry(path)
        )

    def _at(self, real: str, *, shown: str) -> Entry | None:
        ours = self._over.get(real)
        if ours is not None:
            return _entry(ours, shown)
        found = self._base.entry(real)
        return found if found is None or found.path == shown else _moved(found, shown)

    def _resolve(self, parts: Sequence[str], passed: set[str] | None = None) -> str | None:
        """Return the real path of what these names lead to, all links followed; None where nothing is.

        What was looked at on the way is added to `passed`.
        """
        todo = list(reversed(parts))
        real, links = "/", 0
        while todo:
            part = todo.pop()
            if part == "..":
                real = posixpath.dirname(real)
                continue
            here = posixpath.join(real, part)
            if passed is not None:
                passed.add(here)
            found = self._at(here, shown=here)
            if found is None or (todo and found.type not in (FileType.DIRECTORY, FileType.SYMLINK)):
                return None
            if found.type is not FileType.SYMLINK:
                real = here
                continue
            links += 1
            if links > _MOST_LINKS:
                return None
            real = "/" if found.target.startswith("/") else real
            todo.extend(reversed(_parts(found.target)))
        return real


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


def _key(one: Entry) -> list[str]:
    return one.path.split("/")


def _entry(one: TreeEntry, shown: str) -> Entry:
    return Entry(
        path=shown,
        type=one.type,
        mode=0o777 if one.type is FileType.SYMLINK else one.mode,
        uid=one.uid,
        gid=one.gid,
        size=len(one.content),
        target=one.target,
    )


def _moved(entry: Entry, path: str) -> Entry:
    return Entry(
        path=path,
        type=entry.type,
        mode=entry.mode,
        uid=entry.uid,
        gid=entry.gid,
        size=entry.size,
        target=entry.target,
    )
