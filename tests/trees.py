"""An image's file tree held in a dict: the real `Tree` interface, for tests without an engine.

Rules: parents appear by themselves; symlinks are resolved inside the image and can never leave it; `reads`
keeps every path handed to `read`, so that a test can hold how often something was read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pipeline.domain.tree import Entry, FileType
from pipeline.errors import NotFoundError

_MOST_LINKS = 40


@dataclass(frozen=True, slots=True)
class File:
    """A regular file."""

    data: bytes = b""
    mode: int = 0o644
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link."""

    target: str


@dataclass(frozen=True, slots=True)
class Dir:
    """A directory that is named to give it a mode or an owner, or because it is empty."""

    mode: int = 0o755
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True, slots=True)
class Node:
    """A device, a FIFO or a socket."""

    type: FileType


Content = bytes | str | File | Link | Dir | Node


class MemoryTree:
    """A tree from absolute paths to contents; bytes and text stand for a plain file."""

    def __init__(self, contents: Mapping[str, Content]) -> None:
        self.reads: list[str] = []
        self._nodes: dict[tuple[str, ...], File | Link | Dir | Node] = {(): Dir()}
        for path, content in contents.items():
            self.add(path, content)

    def add(self, path: str, content: Content) -> None:
        """Put something at a path, replacing what is there."""
        parts = _parts(path)
        for depth in range(1, len(parts)):
            self._nodes.setdefault(parts[:depth], Dir())
        if isinstance(content, str):
            content = content.encode("utf-8", "surrogateescape")
        self._nodes[parts] = File(content) if isinstance(content, bytes) else content

    def remove(self, path: str) -> None:
        """Take away a path and everything below it."""
        parts = _parts(path)
        for key in [key for key in self._nodes if key[: len(parts)] == parts]:
            del self._nodes[key]

    def entry(self, path: str) -> Entry | None:
        """See `Tree.entry`."""
        parts = self._resolve(path, follow=False)
        return None if parts is None else self._entry(parts, shown=_text(_parts(path)))

    def read(self, path: str, *, limit: int = 1 << 30) -> bytes:
        """See `Tree.read`."""
        self.reads.append(path)
        parts = self._resolve(path, follow=True)
        node = None if parts is None else self._nodes[parts]
        if not isinstance(node, File) or len(node.data) > limit:
            raise NotFoundError(f"no readable file {path!r}", hint="name a file of at most the limit's size")
        return node.data

    def list(self, path: str) -> tuple[str, ...]:
        """See `Tree.list`."""
        parts = self._resolve(path, follow=True)
        if parts is None:
            return ()
        return tuple(
            sorted(key[-1] for key in self._nodes if len(key) == len(parts) + 1 and key[:-1] == parts)
        )

    def walk(self, top: str = "/") -> Iterator[Entry]:
        """See `Tree.walk`."""
        parts = self._resolve(top, follow=True)
        if parts is None:
            return
        shown = _parts(top)
        for key in sorted(self._nodes):
            if len(key) > len(parts) and key[: len(parts)] == parts:
                yield self._entry(key, shown=_text(shown + key[len(parts) :]))

    def _entry(self, parts: tuple[str, ...], *, shown: str) -> Entry:
        node = self._nodes[parts]
        match node:
            case File():
                return Entry(
                    path=shown,
                    type=FileType.FILE,
                    mode=node.mode,
                    uid=node.uid,
                    gid=node.gid,
                    size=len(node.data),
                )
            case Dir():
                return Entry(path=shown, type=FileType.DIRECTORY, mode=node.mode, uid=node.uid, gid=node.gid)
            case Link():
                return Entry(path=shown, type=FileType.SYMLINK, mode=0o777, uid=0, gid=0, target=node.target)
            case Node():
                return Entry(path=shown, type=node.type, mode=0o600, uid=0, gid=0)

    def _resolve(self, path: str, *, follow: bool) -> tuple[str, ...] | None:
        todo = list(reversed(_parts(path)))
        done: tuple[str, ...] = ()
        links = 0
        while todo:
            part = todo.pop()
            if part == "..":
                done = done[:-1]
                continue
            here = (*done, part)
            node = self._nodes.get(here)
            if isinstance(node, Link) and (todo or follow):
                links += 1
                if links > _MOST_LINKS:
                    return None
                done = () if node.target.startswith("/") else done
                todo.extend(reversed(_parts(node.target)))
            elif node is None or (todo and not isinstance(node, Dir)):
                return None
            else:
                done = here
        return done


def _parts(path: str) -> tuple[str, ...]:
    return tuple(part for part in path.split("/") if part not in ("", "."))


def _text(parts: tuple[str, ...]) -> str:
    return "/" + "/".join(parts)
