"""An image's files read from where the engine mounted them.

Symlinks are resolved inside the image only: an image may hold a link to `/etc/shadow`, and it must mean the
image's own. Nothing is followed by the operating system; each component is looked at here.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from pipeline.domain.tree import Entry, FileType
from pipeline.errors import NotFoundError

_MAX_LINKS = 40
_TYPES = {
    stat.S_IFREG: FileType.FILE,
    stat.S_IFDIR: FileType.DIRECTORY,
    stat.S_IFLNK: FileType.SYMLINK,
    stat.S_IFCHR: FileType.CHARACTER,
    stat.S_IFBLK: FileType.BLOCK,
    stat.S_IFIFO: FileType.FIFO,
    stat.S_IFSOCK: FileType.SOCKET,
}


class MountedTree:
    """Implements `domain.tree.Tree` on a folder of this machine."""

    def __init__(self, root: Path) -> None:
        self._root = os.fspath(root)

    def entry(self, path: str) -> Entry | None:
        """Return the entry at a path; a final symlink is not followed, parents are, inside the image."""
        parts = [part for part in path.split("/") if part not in ("", ".")]
        shown = "/" + "/".join(parts)
        if not parts or parts[-1] == "..":  # no name of its own: what it stands for is inside all the same
            real = self._resolve(shown)
            return self._entry(shown, real) if real is not None else None
        folder = self._resolve("/".join(parts[:-1]))
        return self._entry(shown, f"{folder}/{parts[-1]}") if folder is not None else None

    def read(self, path: str, *, limit: int = 1 << 30) -> bytes:
        """Return a file's bytes, following symlinks inside the image only.

        Raises:
            NotFoundError: There is no such file, or it is larger than `limit` bytes.
        """
        real = self._resolve(path)
        if real is None or not stat.S_ISREG(os.lstat(real).st_mode):
            raise NotFoundError(f"the image has no file {path}", hint="list its folder to see what it has")
        with open(real, "rb") as file:  # noqa: PTH123 - names may hold bytes that are no UTF-8
            data = file.read(limit + 1)
        if len(data) > limit:
            raise NotFoundError(
                f"{path} is larger than {limit} bytes", hint="such a file is not expected at this place"
            )
        return data

    def list(self, path: str) -> tuple[str, ...]:
        """Return the sorted names in a directory; empty when it does not exist."""
        real = self._resolve(path)
        if real is None or not stat.S_ISDIR(os.lstat(real).st_mode):
            return ()
        return tuple(sorted(os.listdir(real)))  # noqa: PTH208 - same

    def walk(self, top: str = "/") -> Iterator[Entry]:
        """Yield all entries below `top`, parents before children, names sorted."""
        real = self._resolve(top)
        if real is None or not stat.S_ISDIR(os.lstat(real).st_mode):
            return
        yield from self._walk(real, top.rstrip("/"))

    def _walk(self, folder: str, path: str) -> Iterator[Entry]:
        with os.scandir(folder) as scan:
            names = sorted(item.name for item in scan)
        for name in names:
            entry = self._entry(f"{path}/{name}", f"{folder}/{name}")
            if entry is None:
                continue
            yield entry
            if entry.type is FileType.DIRECTORY:
                yield from self._walk(f"{folder}/{name}", entry.path)

    def _entry(self, path: str, real: str) -> Entry | None:
        try:
            found = os.lstat(real)
            kind = _TYPES[stat.S_IFMT(found.st_mode)]
            target = os.readlink(real) if kind is FileType.SYMLINK else ""  # noqa: PTH115 - same
        except (OSError, ValueError):
            return None
        return Entry(
            path=path,
            type=kind,
            mode=stat.S_IMODE(found.st_mode),
            uid=found.st_uid,
            gid=found.st_gid,
            size=found.st_size if kind is FileType.FILE else 0,
            target=target,
        )

    def _resolve(self, path: str) -> str | None:
        """Return where a path really is on this machine, or None; never outside the root."""
        todo = [part for part in reversed(path.split("/")) if part not in ("", ".")]
        real: list[str] = []
        links = 0
        while todo:
            part = todo.pop()
            if part == "..":
                del real[-1:]
                continue
            here = "/".join((self._root, *real, part))
            try:
                mode = os.lstat(here).st_mode
            except (OSError, ValueError):
                return None
            if not stat.S_ISLNK(mode):
                real.append(part)
                continue
            links += 1
            if links > _MAX_LINKS:
                return None
            target = os.readlink(here)  # noqa: PTH115 - same
            if target.startswith("/"):
                real.clear()
            todo.extend(piece for piece in reversed(target.split("/")) if piece not in ("", "."))
        return "/".join((self._root, *real))
