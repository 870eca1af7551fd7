"""Small makers of entries, and the quoting that systemd's files want."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pipeline.domain.placement import TreeEntry
from pipeline.domain.tree import FileType

NUMBERS: Mapping[str, int] = {"root": 0}

_BARE = re.compile(r"[A-Za-z0-9_@+=:,./-]+")


def file(path: str, content: bytes | str, *, mode: int = 0o644, uid: int = 0, gid: int = 0) -> TreeEntry:
    """Return a regular file; text is written as UTF-8."""
    raw = content.encode() if isinstance(content, str) else content
    return TreeEntry(path=path, type=FileType.FILE, mode=mode, uid=uid, gid=gid, content=raw)


def link(path: str, target: str) -> TreeEntry:
    """Return a symlink."""
    return TreeEntry(path=path, type=FileType.SYMLINK, mode=0o777, target=target)


def number(name: str, numbers: Mapping[str, int]) -> int:
    """Return a user's or group's number; the rules have seen to it that it has one."""
    return int(name) if name.isdigit() else numbers[name]


def quoted(argument: str) -> str:
    """Return one argument of a unit file's command line: specifiers and quotes made harmless."""
    doubled = argument.replace("%", "%%")
    if _BARE.fullmatch(doubled):
        return doubled
    return '"' + doubled.replace('"', '\\"') + '"'


def plain(text: str) -> str:
    """Return text for a unit file's line, where `%` would begin a specifier."""
    return text.replace("%", "%%")


def lines(head: str, body: list[str]) -> str:
    """Return a file of `#` comment, body, and a last newline."""
    return "\n".join([f"# {head}", *body]) + "\n"


def made_from(file_name: str) -> str:
    """Return the sentence at the head of every rendered text."""
    return f"Rendered from {file_name} by pipeline; change the definition, not this file."
