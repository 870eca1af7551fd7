"""A small base with everything that makes a base hard: merged /usr, links out, special modes, hard links."""

from __future__ import annotations

import gzip
import io
import tarfile


def rich_base() -> tuple[bytes, bytes]:
    """Return two gzip layers; the second deletes, replaces and empties parts of the first."""
    first = [
        _directory("usr", 0o755),
        _directory("usr/lib", 0o755),
        _directory("usr/lib/systemd", 0o755),
        _directory("usr/bin", 0o755),
        _file("usr/bin/sh", b"shell", 0o755),
        _hard("usr/bin/bash", "usr/bin/sh"),
        _file("usr/bin/tool", b"old", 0o755),
        _link("usr/sbin", "bin"),
        _link("lib", "usr/lib"),
        _link("bin", "usr/bin"),
        _link("sbin", "usr/sbin"),
        _link("home", "var/home"),
        _directory("tmp", 0o1777),
        _directory("var", 0o755),
        _directory("var/mail", 0o2775),
        _directory("etc", 0o755),
        _file("etc/hostname", b"base", 0o644),
        _file("etc/gone", b"x", 0o644),
        _directory("etc/emptied", 0o700),
        _file("etc/emptied/x", b"x", 0o600),
        _directory("etc/turned", 0o755),
        _file("etc/turned/x", b"x", 0o644),
        _link("etc/localtime", "../usr/share/zoneinfo/UTC"),
        _file("etc/" + "long-" * 40 + "näme", b"long", 0o640),
    ]
    second = [
        _directory("usr", 0o755),
        _directory("usr/lib", 0o755),
        _directory("etc", 0o755),
        _directory("etc/emptied", 0o700),
        _file("etc/.wh.gone", b"", 0o644),
        _file("etc/emptied/.wh..wh..opq", b"", 0o644),
        _file("etc/emptied/new", b"new", 0o644),
        _file("etc/turned", b"a file now", 0o644),
        _file("usr/lib/os-release", b"NAME=base\n", 0o644),
    ]
    return _packed(first), _packed(second)


def _packed(members: list[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info, content in members:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return gzip.compress(sink.getvalue(), mtime=0)


def _member(name: str, kind: bytes, mode: int, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.linkname, info.mtime = kind, mode, target, 1_600_000_000
    return info


def _directory(name: str, mode: int) -> tuple[tarfile.TarInfo, bytes]:
    return _member(name, tarfile.DIRTYPE, mode), b""


def _file(name: str, content: bytes, mode: int) -> tuple[tarfile.TarInfo, bytes]:
    return _member(name, tarfile.REGTYPE, mode), content


def _link(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return _member(name, tarfile.SYMTYPE, 0o777, target), b""


def _hard(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return _member(name, tarfile.LNKTYPE, 0o755, target), b""
