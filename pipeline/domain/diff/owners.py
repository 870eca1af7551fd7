"""Programs, libraries and firmware that differ although no package that differs brings them.

Rules: whose file it is comes from dpkg's own lists, read for packages that differ and no others; without a
dpkg database nothing is claimed; what another part of the diff shows by itself is left out. Such a file may
be the definition's own, or may be something nobody meant: either way somebody has to look.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection, Iterable, Iterator

from pipeline.domain.diff.areas import area_of
from pipeline.domain.diff.change import Change
from pipeline.domain.diff.packages import InstalledPackage, Manager
from pipeline.domain.diff.pair import Pair, Side
from pipeline.domain.diff.snapshot import Aspect, ChangeKind, FileChange
from pipeline.domain.packages import DPKG_STATUS
from pipeline.domain.tree import FileType

_AREAS = frozenset({"programs", "libraries", "firmware"})
_MERGED = ("/bin/", "/sbin/", "/lib/", "/lib32/", "/lib64/", "/libx32/")
_LARGEST = 16 << 20
_COMPILED = re.compile(r"(?P<folder>.*)/__pycache__/(?P<name>[^/.]+)\.cpython-[^/]+\.pyc", re.DOTALL)


def unexplained(
    pair: Pair,
    files: Iterable[FileChange],
    packages: Iterable[Change[InstalledPackage]],
    shown: Collection[str],
) -> tuple[str, ...]:
    """Return the paths of files that came or changed without a package that did.

    Args:
        pair: Both images.
        files: What differs and is no noise.
        packages: Packages that differ.
        shown: Paths that other parts tell of.
    """
    if not any(pair.new.facts(path) is not None for path in DPKG_STATUS):
        return ()
    found = [change.path for change in files if _is_asked_for(change) and change.path not in shown]
    if not found:
        return ()
    owned = {path for change in packages for path in _owned(pair, change)}
    return tuple(path for path in found if path not in owned and _source(path) not in owned)


def _source(path: str) -> str:
    """Return the Python file a compiled one in `__pycache__` was made of; maintainer scripts compile them."""
    compiled = _COMPILED.fullmatch(path)
    return f"{compiled['folder']}/{compiled['name']}.py" if compiled else ""


def _is_asked_for(change: FileChange) -> bool:
    if change.new is None or change.new.type is not FileType.FILE or area_of(change.path) not in _AREAS:
        return False
    return change.kind is ChangeKind.ADDED or bool(change.what & {Aspect.CONTENT, Aspect.TYPE})


def _owned(pair: Pair, change: Change[InstalledPackage]) -> Iterator[str]:
    for side, package in ((pair.old, change.old), (pair.new, change.new)):
        if package is not None and package.manager is Manager.DPKG and "/" not in package.name:
            yield from _listed(side, package)


def _listed(side: Side, package: InstalledPackage) -> Iterator[str]:
    """Yield the paths of a package, where they are since /bin and /lib are links into /usr."""
    for status in DPKG_STATUS:
        for name in (package.name, f"{package.name}:{package.arch}"):
            path = f"{posixpath.dirname(status)}/info/{name}.list"
            if side.facts(path) is not None:
                text = (side.read(path, limit=_LARGEST) or b"").decode("utf-8", "surrogateescape")
                lines = filter(None, text.split("\n"))
                yield from (f"/usr{line}" if line.startswith(_MERGED) else line for line in lines)
