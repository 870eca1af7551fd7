"""How a path and what a layer says of it are written in a table of contents.

Rules: a path is its bytes with control characters, spaces and `%` written as `%XX`; facts are one line
without the time, its fields apart by tabs: type, mode, owner, group, size, then the content's SHA-256, the
link's target or the device, then the attributes. The same facts are always the same bytes.
"""

from __future__ import annotations

import re

from pipeline.domain.diff.snapshot import FileFacts
from pipeline.domain.tree import FileType
from pipeline.errors import RegistryError

_CODES = {
    FileType.FILE: "f",
    FileType.DIRECTORY: "d",
    FileType.SYMLINK: "l",
    FileType.CHARACTER: "c",
    FileType.BLOCK: "b",
    FileType.FIFO: "p",
    FileType.SOCKET: "s",
}
_TYPES = {code.encode(): type_ for type_, code in _CODES.items()}
_DEVICES = frozenset({FileType.CHARACTER, FileType.BLOCK})
_SPECIAL = re.compile(rb"[\x00-\x20%\x7f]")
_HINT = "the image was pushed by a broken tool; build and push it again"


def line_of(facts: FileFacts) -> bytes:
    """Return the line of a path's facts: all but the path and the time."""
    if facts.type in _DEVICES:
        special = b"%d:%d" % facts.device
    elif facts.type is FileType.SYMLINK:
        special = escaped(facts.target)
    else:
        special = facts.sha256.encode()
    xattrs = b",".join(b"%s=%s" % (_attribute(name), value.encode()) for name, value in facts.xattrs)
    return b"%s\t%o\t%d\t%d\t%d\t%s\t%s" % (
        _CODES[facts.type].encode(), facts.mode, facts.uid, facts.gid, facts.size, special, xattrs,
    )  # fmt: skip


def facts_of(path: bytes, line: bytes, time: bytes) -> FileFacts:
    """Return the facts that a path, its line and its time stand for."""
    code, mode, uid, gid, size, special, xattrs = line.split(b"\t")
    type_ = _TYPES[code]
    major, _, minor = special.partition(b":") if type_ in _DEVICES else (b"0", b"", b"0")
    return FileFacts(
        path=unescaped(path),
        type=type_,
        mode=int(mode, 8),
        uid=int(uid),
        gid=int(gid),
        size=int(size),
        target=unescaped(special) if type_ is FileType.SYMLINK else "",
        mtime=int(time),
        sha256=special.decode() if type_ is FileType.FILE else "",
        xattrs=tuple(_xattr(pair) for pair in xattrs.split(b",")) if xattrs else (),
        device=(int(major), int(minor)),
    )


def normal(name: bytes) -> bytes:
    """Return the path, escaped, that a tar member's name means.

    Raises:
        RegistryError: It climbs out of the image.
    """
    parts = [part for part in name.split(b"/") if part not in (b"", b".")]
    if b".." in parts:
        raise RegistryError(f"the layer has the path {name[:200]!r}, which climbs", hint=_HINT)
    return b"/" + _escaped(b"/".join(parts))


def escaped(text: str) -> bytes:
    """Return a path or another text as it stands in tables."""
    return _escaped(text.encode("utf-8", "surrogateescape"))


def unescaped(raw: bytes) -> str:
    """Return the text that stands in a table so."""
    if b"%" not in raw:
        return raw.decode("utf-8", "surrogateescape")
    first, *rest = raw.split(b"%")
    parts = (bytes((int(part[:2], 16),)) + part[2:] for part in rest)
    return b"".join((first, *parts)).decode("utf-8", "surrogateescape")


def _escaped(raw: bytes) -> bytes:
    return _SPECIAL.sub(lambda match: b"%%%02X" % ord(match[0]), raw) if _SPECIAL.search(raw) else raw


def _attribute(name: str) -> bytes:
    return escaped(name).replace(b"=", b"%3D").replace(b",", b"%2C")


def _xattr(pair: bytes) -> tuple[str, str]:
    name, _, value = pair.partition(b"=")
    return unescaped(name), value.decode()
