"""Writes a small cpio archive in the form that kernels read after an initramfs.

Rules: the kernel takes several archives one behind the other, each at an offset that four divides; parents
come before children; nothing depends on the machine or the time.
Source: Documentation/driver-api/early-userspace/buffer-format.rst of Linux (the `newc` form).
"""

from __future__ import annotations

import itertools
import posixpath
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

ALIGNMENT = 4
_MAGIC = "070701"
_TRAILER = "TRAILER!!!"


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """One file or symlink for an initramfs: absolute path, and its content or its target."""

    path: str
    data: bytes = b""
    target: str = ""


def archive(files: Iterable[Added]) -> bytes:
    """Return the archive of some files and the directories above them.

    Raises:
        ValueError: A path is given twice, or is not absolute and plain.
    """
    by_path: dict[str, Added] = {}
    for one in files:
        if not one.path.startswith("/") or posixpath.normpath(one.path) != one.path or one.path in by_path:
            raise ValueError(f"{one.path!r} cannot be added to an initramfs")
        by_path[one.path] = one
    folders = sorted({folder for path in by_path for folder in _parents(path)})
    members = [(folder, stat.S_IFDIR | 0o755, b"") for folder in folders]
    members += [_described(one) for _, one in sorted(by_path.items())]
    parts = [_member(number, path[1:], mode, data) for number, (path, mode, data) in enumerate(members, 1)]
    return b"".join([*parts, _member(0, _TRAILER, 0, b"")])


def padding(size: int) -> bytes:
    """Return the zero bytes that bring a size to the alignment."""
    return b"\0" * (-size % ALIGNMENT)


def _described(one: Added) -> tuple[str, int, bytes]:
    if one.target:
        return one.path, stat.S_IFLNK | 0o777, one.target.encode()
    return one.path, stat.S_IFREG | 0o644, one.data


def _member(number: int, name: str, mode: int, data: bytes) -> bytes:
    encoded = name.encode() + b"\0"
    links = 2 if stat.S_ISDIR(mode) else 1
    # ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor, namesize, check
    fields = (number, mode, 0, 0, links, 0, len(data), 0, 0, 0, 0, len(encoded), 0)
    head = (_MAGIC + "".join(f"{value:08X}" for value in fields)).encode() + encoded
    return head + padding(len(head)) + data + padding(len(data))


def _parents(path: str) -> Iterator[str]:
    above = itertools.accumulate(path.split("/")[1:-1], lambda done, part: f"{done}/{part}", initial="")
    return (folder for folder in above if folder)
