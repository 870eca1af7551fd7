"""An image's file tree as the gates, the module manifest and the assembly see it.

Paths are absolute inside the image (`/usr/lib/os-release`), always as text; names that are not valid
UTF-8 are kept with surrogateescape. Symbolic links are never followed on the builder's own tree.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class FileType(StrEnum):
    """What a directory entry is."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    CHARACTER = "character"
    BLOCK = "block"
    FIFO = "fifo"
    SOCKET = "socket"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One directory entry: absolute path, type, permission bits, owner, size in bytes, link target."""

    path: str
    type: FileType
    mode: int
    uid: int
    gid: int
    size: int = 0
    target: str = ""


class Tree(Protocol):
    """Read access to an image's files."""

    def entry(self, path: str) -> Entry | None:
        """Return the entry at a path; a final symlink is not followed, parents are, inside the image."""

    def read(self, path: str, *, limit: int = 1 << 30) -> bytes:
        """Return a file's bytes, following symlinks inside the image only.

        Raises:
            NotFoundError: There is no such file, or it is larger than `limit` bytes.
        """

    def list(self, path: str) -> tuple[str, ...]:
        """Return the sorted names in a directory; empty when it does not exist."""

    def walk(self, top: str = "/") -> Iterator[Entry]:
        """Yield all entries below `top` (not `top` itself), parents before children, names sorted."""
