"""How many files differ in which part of an image, so that ten thousand paths can be read in ten lines.

Rules: every path belongs to exactly one area, the first whose folder it lies in; areas without a change are
left out; the order is the one of the table.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.domain.diff.snapshot import ChangeKind, FileChange

_AREAS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("configuration", ("/etc", "/usr/etc")),
    ("units", ("/usr/lib/systemd",)),
    ("kernel and modules", ("/usr/lib/modules", "/boot")),
    ("firmware", ("/usr/lib/firmware",)),
    ("programs", ("/usr/bin", "/usr/sbin", "/usr/libexec", "/usr/local", "/opt", "/bin", "/sbin")),
    ("documentation", tuple(f"/usr/share/{name}" for name in ("doc", "man", "info", "locale", "help"))),
    ("shared data", ("/usr/share",)),
    ("package databases", ("/usr/lib/sysimage", "/var/lib/dpkg", "/var/lib/rpm")),
    ("libraries", ("/usr/lib", "/usr/lib64", "/usr/lib32", "/lib", "/lib64")),
    ("state", ("/var",)),
)
_REST = "elsewhere"
_BEGINNINGS = tuple((name, tuple(f"{folder}/" for folder in folders)) for name, folders in _AREAS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Area:
    """One part of an image: how many of its paths came, went and changed."""

    name: str
    added: int
    removed: int
    changed: int

    @property
    def total(self) -> int:
        """All three together."""
        return self.added + self.removed + self.changed


def area_of(path: str) -> str:
    """Return the area a path belongs to."""
    inside = f"{path}/"  # the folder itself belongs to its area too
    return next((name for name, beginnings in _BEGINNINGS if inside.startswith(beginnings)), _REST)


def areas(changes: Iterable[FileChange]) -> tuple[Area, ...]:
    """Return the areas in which something differs."""
    found: dict[str, dict[ChangeKind, int]] = {}
    for change in changes:
        counts = found.setdefault(area_of(change.path), dict.fromkeys(ChangeKind, 0))
        counts[change.kind] += 1
    return tuple(
        Area(
            name=name,
            added=found[name][ChangeKind.ADDED],
            removed=found[name][ChangeKind.REMOVED],
            changed=found[name][ChangeKind.CHANGED],
        )
        for name in (*(name for name, _ in _AREAS), _REST)
        if name in found
    )
