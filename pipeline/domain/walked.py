"""A tree that is walked once, however many gates walk it.

Rules: every answer is the wrapped tree's own; only the walk from the root is remembered, and a walk below a
real directory is a slice of it. A top that is reached over a symlink is asked of the wrapped tree.
"""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.domain.tree import Entry, FileType, Tree


class WalkedTree:
    """Implements `Tree` over another tree whose contents do not change meanwhile."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._entries: tuple[Entry, ...] | None = None
        self._places: dict[str, int] = {}

    def entry(self, path: str) -> Entry | None:
        """See `Tree.entry`."""
        return self._tree.entry(path)

    def read(self, path: str, *, limit: int = 1 << 30) -> bytes:
        """See `Tree.read`."""
        return self._tree.read(path, limit=limit)

    def list(self, path: str) -> tuple[str, ...]:
        """See `Tree.list`."""
        return self._tree.list(path)

    def walk(self, top: str = "/") -> Iterator[Entry]:
        """See `Tree.walk`."""
        entries = self._all()
        if top == "/":
            yield from entries
            return
        place = self._places.get(top)
        if place is None or entries[place].type is not FileType.DIRECTORY:
            yield from self._tree.walk(top)
            return
        for at in range(place + 1, len(entries)):
            if not entries[at].path.startswith(f"{top}/"):
                return
            yield entries[at]

    def _all(self) -> tuple[Entry, ...]:
        if self._entries is None:
            self._entries = tuple(self._tree.walk("/"))
            self._places = {entry.path: at for at, entry in enumerate(self._entries)}
        return self._entries
