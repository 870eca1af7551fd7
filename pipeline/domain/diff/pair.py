"""Two images side by side: what differs between their files, and the contents of those files.

Rules: only files that differ are ever opened, because a file that is the same on both sides says the same;
a first image is compared with nothing, and all of it is new; a file that cannot be read is remembered on its
side, so that the answer never looks more complete than it is.
"""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.domain.diff.files import change_of
from pipeline.domain.diff.snapshot import FileChange, FileFacts, Snapshot
from pipeline.domain.tree import FileType
from pipeline.errors import NotFoundError


class Side:
    """One of the two images.

    Args:
        tree: Its files; None for the image before the first one.
        changed: Facts of its paths that differ from the other side's, sorted by path.
    """

    def __init__(self, tree: Snapshot | None, changed: Iterable[FileFacts]) -> None:
        self.tree = tree
        self.changed = tuple(changed)
        self.unread: set[str] = set()

    def read(self, path: str, *, limit: int) -> bytes | None:
        """Return a file's bytes, or None (and remember the path) where they cannot be had."""
        try:
            return None if self.tree is None else self.tree.read(path, limit=limit)
        except NotFoundError:
            self.unread.add(path)
            return None

    def list(self, folder: str) -> tuple[str, ...]:
        """Return the names in a folder; empty where there is none."""
        return () if self.tree is None else self.tree.list(folder)

    def folders(self, folder: str) -> tuple[str, ...]:
        """Return the names of the folders in a folder."""
        return tuple(name for name in self.list(folder) if self._is_folder(f"{folder}/{name}"))

    def facts(self, path: str) -> FileFacts | None:
        """Return what lies at a path, or None."""
        return None if self.tree is None else self.tree.facts(path)

    def _is_folder(self, path: str) -> bool:
        facts = self.facts(path)
        return facts is not None and facts.type is FileType.DIRECTORY


class Pair:
    """Both sides, and every path that differs in more than its time.

    Args:
        old: The image before; None when there is none.
        new: The image now.
        files: What differs; for a first image, `everything(new)`.
    """

    def __init__(self, old: Snapshot | None, new: Snapshot, files: tuple[FileChange, ...]) -> None:
        self.files = files
        self.old = Side(old, (change.old for change in files if change.old is not None))
        self.new = Side(new, (change.new for change in files if change.new is not None))
        self._paths = frozenset(change.path for change in files)

    def has(self, path: str) -> bool:
        """Whether a path differs."""
        return path in self._paths

    def any_below(self, *folders: str) -> bool:
        """Whether anything in one of the folders differs."""
        return any(below(change.path, folder) for change in self.files for folder in folders)

    @property
    def unread(self) -> tuple[str, ...]:
        """Paths that should have been read and could not be, with the side: `old: /etc/passwd`."""
        both = (("old", self.old), ("new", self.new))
        return tuple(f"{name}: {path}" for name, side in both for path in sorted(side.unread))


def everything(snapshot: Snapshot) -> tuple[FileChange, ...]:
    """Return every path of an image as added: the comparison with nothing."""
    found = (change_of(None, facts) for facts in snapshot.all())
    return tuple(change for change in found if change is not None)


def below(path: str, folder: str) -> bool:
    """Whether a path lies in a folder, however deep."""
    return path.startswith(f"{folder}/")
