"""Which paths differ between two images, and in what.

Rules: every path that differs is told; paths that differ in their time alone are told apart, by name.
"""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.domain.diff.layered import LayeredSnapshot, changed_facts, differing
from pipeline.domain.diff.snapshot import (
    Aspect,
    ChangeKind,
    FileChange,
    FileChanges,
    FileFacts,
    Snapshot,
)
from pipeline.domain.tocline import unescaped


def file_changes(old: Snapshot, new: Snapshot) -> FileChanges:
    """Return all that differs between the files of two images."""
    if isinstance(old, LayeredSnapshot) and isinstance(new, LayeredSnapshot):
        lines, times = differing(old, new)
        changes = _changes(changed_facts(old, lines), changed_facts(new, lines))
        return FileChanges(changes=changes, touched=tuple(map(unescaped, sorted(times))))
    found = _changes({facts.path: facts for facts in old.all()}, {facts.path: facts for facts in new.all()})
    timed = frozenset({Aspect.MTIME})
    return FileChanges(
        changes=tuple(change for change in found if change.what != timed),
        touched=tuple(change.path for change in found if change.what == timed),
    )


def _changes(before: Mapping[str, FileFacts], after: Mapping[str, FileFacts]) -> tuple[FileChange, ...]:
    paths = sorted({*before, *after}, key=_key)
    found = (change_of(before.get(path), after.get(path)) for path in paths)
    return tuple(change for change in found if change is not None)


def change_of(old: FileFacts | None, new: FileFacts | None) -> FileChange | None:
    """Return the change between the facts of one path in two images; None when there is none."""
    if old is None or new is None:
        there = old or new
        if there is None:
            return None
        kind = ChangeKind.ADDED if old is None else ChangeKind.REMOVED
        return FileChange(path=there.path, kind=kind, what=_notable(there), old=old, new=new)
    what = frozenset(_aspects(old, new))
    return FileChange(path=new.path, kind=ChangeKind.CHANGED, what=what, old=old, new=new) if what else None


def _notable(facts: FileFacts) -> frozenset[Aspect]:
    bits = {Aspect.SETUID: facts.setuid, Aspect.SETGID: facts.setgid, Aspect.CAPABILITY: facts.capability}
    return frozenset(aspect for aspect, there in bits.items() if there)


def _aspects(old: FileFacts, new: FileFacts) -> list[Aspect]:
    differs = {
        Aspect.TYPE: old.type is not new.type or old.device != new.device,
        Aspect.CONTENT: old.type is new.type and (old.sha256, old.size) != (new.sha256, new.size),
        Aspect.MODE: old.mode != new.mode,
        Aspect.OWNER: (old.uid, old.gid) != (new.uid, new.gid),
        Aspect.TARGET: old.type is new.type and old.target != new.target,
        Aspect.XATTRS: old.xattrs != new.xattrs,
        Aspect.CAPABILITY: old.capability != new.capability,
        Aspect.SETUID: old.setuid != new.setuid,
        Aspect.SETGID: old.setgid != new.setgid,
        Aspect.MTIME: old.mtime != new.mtime,
    }
    return [aspect for aspect, yes in differs.items() if yes]


def _key(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")
