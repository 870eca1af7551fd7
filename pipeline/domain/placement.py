"""Where the entries of a tree land on a base, and which of them do not fit.

Rules:
1. A directory the base has stays as it is, mode and owner too; the tree's entry for it is left out. Where
   something is written into it, the layer restates it exactly as the base has it: an engine makes a
   directory that a layer only implies anew, 0755 and root's, and would so reset a mode such as /tmp's.
2. A link of the base is never replaced by a directory, and a link at the top of the file system by nothing.
3. `/bin`, `/sbin`, `/lib*` and `/usr/sbin` that the base links into `/usr` are the same place by definition
   of the merged /usr: what the tree has below them is written to the real directory. Below any other link
   nothing is written: where it leads may differ on a running host (`/home` -> `var/home`).
4. A file may take the place of a file or a link, a link that of a file or a link; nothing takes the place of
   a directory or a device.
5. Missing parents are made, 0755 and root's; two entries for one place are refused.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from pipeline.domain.basepaths import WHITEOUT, PathLookup
from pipeline.domain.tree import Entry, FileType
from pipeline.errors import AssemblyError

_MERGED = frozenset({"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/usr/sbin"})
_LINKS_LIMIT = 40
_NAME_LIMIT = 255
_PATH_LIMIT = 4096
_OWNER_LIMIT = 1 << 32
_MODE_LIMIT = 0o10000
_KINDS = frozenset({FileType.FILE, FileType.DIRECTORY, FileType.SYMLINK})
_REPLACEABLE = frozenset({FileType.FILE, FileType.SYMLINK})


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeEntry:
    """One entry of a tree that goes on a base.

    Attributes:
        path: Absolute path in the image.
        type: File, directory or symlink.
        mode: Permission bits with setuid, setgid and sticky; of no meaning for a symlink.
        uid, gid: Owner.
        content: A file's bytes.
        target: A symlink's target.
    """

    path: str
    type: FileType
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    content: bytes = b""
    target: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """What will be written.

    Attributes:
        entries: Entries by their real paths, parents before children, sorted; the base's own directories
            above them are restated among them.
        kept: Directories of the base for which the tree has another mode or owner, which it did not get.
    """

    entries: tuple[TreeEntry, ...]
    kept: tuple[str, ...]


def place(tree: Iterable[TreeEntry], base: PathLookup) -> Placement:
    """Lay a tree on a base.

    Raises:
        AssemblyError: An entry does not fit; names the path, what the base has there, and what to write.
    """
    placer = _Placer(base)
    for entry in sorted(tree, key=lambda entry: entry.path.split("/")):
        placer.take(entry)
    written = {**placer.restated(), **placer.placed}
    ordered = sorted(written.values(), key=lambda entry: entry.path.split("/"))
    return Placement(entries=tuple(ordered), kept=tuple(sorted(placer.kept)))


@dataclass(slots=True)
class _Placer:
    base: PathLookup
    placed: dict[str, TreeEntry] = field(default_factory=dict)
    kept: set[str] = field(default_factory=set)
    _parents: dict[str, str] = field(default_factory=dict)

    def take(self, entry: TreeEntry) -> None:
        _require_sound(entry)
        parent, name = posixpath.split(entry.path)
        path = posixpath.join(self._directory(parent, entry.path), name)
        before = self.base.entry(path)
        if entry.type is FileType.DIRECTORY:
            self._take_directory(entry, path, before)
            return
        _require_replaceable(entry, path, before)
        self._add(replace(entry, path=path))

    def _take_directory(self, entry: TreeEntry, path: str, before: Entry | None) -> None:
        if before is None:
            already = self.placed.get(path)
            if already is None or already.type is not FileType.DIRECTORY or not _same_owner(entry, already):
                self._add(replace(entry, path=path))
            return
        if before.type is FileType.SYMLINK:
            real = _followed(self.base, path)
            before = self.base.entry(real) if real else None
        if before is None or before.type is not FileType.DIRECTORY:
            raise _misfit(entry.path, f"is a directory, but the base has {_named(self.base, path)} there")
        if (before.mode, before.uid, before.gid) != (entry.mode, entry.uid, entry.gid):
            self.kept.add(before.path)

    def restated(self) -> dict[str, TreeEntry]:
        """Return the base's directories above everything that was placed, as the base has them."""
        found: dict[str, TreeEntry] = {}
        for path in self.placed:
            parent = posixpath.dirname(path)
            while parent != "/" and parent not in found and parent not in self.placed:
                known = self.base.entry(parent)
                if known is None:
                    raise AssertionError(f"{parent} was found before")  # pragma: no cover
                found[parent] = TreeEntry(
                    path=parent, type=FileType.DIRECTORY, mode=known.mode, uid=known.uid, gid=known.gid
                )
                parent = posixpath.dirname(parent)
        return found

    def _add(self, entry: TreeEntry) -> None:
        if entry.path in self.placed:
            raise _misfit(entry.path, "stands twice in the tree")
        self.placed[entry.path] = entry

    def _directory(self, path: str, wanted_by: str) -> str:
        """Return the real path of a parent directory; make it where nobody has it."""
        if path == "/":
            return path
        known = self._parents.get(path)
        if known is None:
            known = self._parents[path] = self._real_directory(path, wanted_by)
        return known

    def _real_directory(self, path: str, wanted_by: str) -> str:
        parent, name = posixpath.split(path)
        real = posixpath.join(self._directory(parent, wanted_by), name)
        ours = self.placed.get(real)
        if ours is not None and ours.type is not FileType.DIRECTORY:
            raise _misfit(wanted_by, f"lies below {path}, which is a {ours.type} in the tree")
        found = self.base.entry(real)
        if found is None:
            if ours is None:
                self._add(TreeEntry(path=real, type=FileType.DIRECTORY, mode=0o755))
            return real
        if found.type is FileType.DIRECTORY:
            return real
        if found.type is FileType.SYMLINK:
            return self._through_link(real, wanted_by)
        raise _misfit(wanted_by, f"lies below {path}, which is a {found.type} in the base")

    def _through_link(self, link: str, wanted_by: str) -> str:
        real = _followed(self.base, link)
        below = self.base.entry(real) if real else None
        if (
            link in _MERGED
            and real.startswith("/usr/")
            and below is not None
            and below.type is FileType.DIRECTORY
        ):
            return real
        rest = wanted_by.removeprefix(link)
        instead = f"; write it to {real}{rest} if that is meant" if real else ""
        raise _misfit(wanted_by, f"lies below {_named(self.base, link)}{instead}")


def _same_owner(one: TreeEntry, other: TreeEntry) -> bool:
    return (one.mode, one.uid, one.gid) == (other.mode, other.uid, other.gid)


def _require_replaceable(entry: TreeEntry, path: str, before: Entry | None) -> None:
    if before is None:
        return
    is_link = before.type is FileType.SYMLINK
    same = is_link and entry.type is FileType.SYMLINK and before.target == entry.target
    at_top = is_link and posixpath.dirname(path) == "/"
    if same or (before.type in _REPLACEABLE and not at_top):
        return
    there = f"the link to {before.target}" if is_link else f"a {before.type}"
    raise _misfit(entry.path, f"is a {entry.type}, but the base has {there} there")


def _require_sound(entry: TreeEntry) -> None:
    """Refuse what no file system or layer can hold, or what would mean something else in a layer."""
    parts = entry.path.split("/")
    names = parts[1:]
    if parts[0] or not names or any(name in ("", ".", "..") for name in names):
        raise _misfit(entry.path, "is no absolute path in its shortest form")
    if any(name.startswith(WHITEOUT) for name in names):
        raise _misfit(entry.path, f"has a name that begins with {WHITEOUT}, which deletes files in a layer")
    try:
        lengths = [len(name.encode("utf-8", "surrogateescape")) for name in names]
        whole = len(entry.target.encode("utf-8", "surrogateescape")) + sum(lengths) + len(lengths)
    except UnicodeEncodeError:
        raise _misfit(entry.path, "is no text that can be a path") from None
    if "\0" in entry.path + entry.target or max(lengths) > _NAME_LIMIT or whole > _PATH_LIMIT:
        raise _misfit(entry.path, "is too long or has a NUL byte")
    if entry.type not in _KINDS:
        raise _misfit(entry.path, f"is a {entry.type}; a tree has files, directories and symlinks only")
    owners_fit = all(0 <= owner < _OWNER_LIMIT for owner in (entry.uid, entry.gid))
    if not 0 <= entry.mode < _MODE_LIMIT or not owners_fit:
        raise _misfit(entry.path, f"has no valid mode or owner ({entry.mode:o} {entry.uid}:{entry.gid})")
    if (entry.type is FileType.SYMLINK) != bool(entry.target) or (
        entry.content and entry.type is not FileType.FILE
    ):
        raise _misfit(entry.path, f"is a {entry.type} with the wrong kind of content")


def _followed(base: PathLookup, path: str) -> str:
    """Return where a path ends after all links, inside the base; empty where that is nowhere."""
    done, todo = "/", [part for part in path.split("/") if part]
    links = 0
    while todo:
        part = todo.pop(0)
        if part == "..":
            done = posixpath.dirname(done)
            continue
        here = posixpath.join(done, part)
        found = base.entry(here)
        if found is not None and found.type is FileType.SYMLINK:
            links += 1
            if links > _LINKS_LIMIT:
                return ""
            todo[:0] = [piece for piece in found.target.split("/") if piece not in ("", ".")]
            done = "/" if found.target.startswith("/") else done
            continue
        done = here
    return done


def _named(base: PathLookup, path: str) -> str:
    found = base.entry(path)
    if found is None:
        return "nothing"
    if found.type is FileType.SYMLINK:
        return f"{path}, which the base links to {found.target}"
    return f"a {found.type}"


def _misfit(path: str, why: str) -> AssemblyError:
    return AssemblyError(
        f"{path!r} {why}" if not path.isprintable() else f"{path} {why}",
        hint="change the path in the definition or template that brings it; nothing of this host was pushed",
    )
