"""Which packages differ: added, removed, up, down, and whether their licences changed.

Rules: dpkg's status is read from the image, rpm's answer comes from rpm inside it; a database that is there
and cannot be read gives None, never an empty list. Versions are ordered as their own package manager orders
them. Licences are read for packages that differ and nowhere else: dpkg's from machine-readable copyright
files (Debian copyright-format 1.0), rpm's from the package header.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from pipeline.domain.diff.change import Change
from pipeline.domain.diff.snapshot import ChangeKind
from pipeline.domain.gate import Inside
from pipeline.domain.packages import DPKG_STATUS, rpm_database
from pipeline.domain.tree import Tree
from pipeline.domain.vercmp import dpkg_compare, evr_compare
from pipeline.errors import NotFoundError

RPM_QUERY = r"%{NAME}\t%|EPOCH?{%{EPOCH}:}:{}|%{VERSION}-%{RELEASE}\t%{ARCH}\t%{SIZE}\t%{LICENSE}\n"

DATABASES = ("/usr/lib/sysimage", "/var/lib/dpkg", "/var/lib/rpm", "/usr/share/rpm")
"""Folders in which package databases lie."""

_MOST_BYTES = 64 << 20
_MOST_COPYRIGHT = 1 << 20
_GONE = frozenset({"not-installed", "config-files"})
_NUMBER = re.compile(r"[0-9]{1,12}")
_FORMAT = re.compile(r"Format:\s*\S*copyright-format/1\.0", re.IGNORECASE)
_LICENCE = re.compile(r"^License:[ \t]*(\S[^\n]*)", re.IGNORECASE | re.MULTILINE)


class Manager(StrEnum):
    """Whose database names the package."""

    DPKG = "dpkg"
    RPM = "rpm"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledPackage:
    """One package as its database names it; size in bytes as the package claims, licence "" if unknown."""

    name: str
    version: str
    arch: str
    manager: Manager
    size: int = 0
    licence: str = ""


class Direction(StrEnum):
    """What happened to a package; `same` is another build, size or licence under one version."""

    ADDED = "added"
    REMOVED = "removed"
    UP = "up"
    DOWN = "down"
    SAME = "same"


Inventory = tuple[InstalledPackage, ...]


def inventory(tree: Tree, inside: Inside | None) -> Inventory | None:
    """Return the packages of every database the image has; empty where there is none.

    Args:
        tree: The image's files.
        inside: Runs a program in the image; without it an rpm database cannot be read.

    Returns:
        The packages, or None when a database is there and cannot be read.
    """
    found: list[InstalledPackage] = []
    for path in DPKG_STATUS:
        if tree.entry(path) is not None:
            dpkg = _dpkg(tree, path)
            if dpkg is None:
                return None
            found.extend(dpkg)
            break
    if rpm_database(tree) is not None:
        rpm = None if inside is None else rpm_inventory(inside)
        if rpm is None:
            return None
        found.extend(rpm)
    return tuple(found)


def rpm_inventory(inside: Inside) -> Inventory | None:
    """Return what `rpm -qa` inside the image says; None when it failed or made no sense."""
    said = inside(["rpm", "-qa", "--qf", RPM_QUERY])
    rows = [line.split("\t") for line in said.stdout.splitlines()]
    if said.code != 0 or any(len(row) != 5 for row in rows):  # noqa: PLR2004 - the fields of RPM_QUERY
        return None
    return tuple(
        InstalledPackage(
            name=name,
            version=version,
            arch=arch.strip("()"),
            manager=Manager.RPM,
            size=_bytes(size),
            licence=licence,
        )
        for name, version, arch, size, licence in rows
        if name != "gpg-pubkey"  # a key in the keyring, no package
    )


def package_changes(old: Inventory, new: Inventory) -> tuple[Change[InstalledPackage], ...]:
    """Return the packages that differ, by name; several versions of one package are told apart."""
    before, after = _by_name(old), _by_name(new)
    names = sorted(before.keys() | after.keys())
    return tuple(change for name in names for change in _pair(name, before[name], after[name]))


def with_licences(
    changes: Iterable[Change[InstalledPackage]], old: Tree | None, new: Tree
) -> tuple[Change[InstalledPackage], ...]:
    """Return the changes with the licences of Debian packages read from their copyright files."""
    return tuple(
        Change(name=change.name, old=_licensed(change.old, old), new=_licensed(change.new, new))
        for change in changes
    )


def direction(change: Change[InstalledPackage]) -> Direction:
    """Return whether a package came, went, or went up or down, in its package manager's own order."""
    if change.old is None or change.new is None:
        return Direction.ADDED if change.kind is ChangeKind.ADDED else Direction.REMOVED
    order = _order(change.new)(change.old.version, change.new.version)
    if order == 0:
        return Direction.SAME
    return Direction.UP if order < 0 else Direction.DOWN


def licence_changed(change: Change[InstalledPackage]) -> bool:
    """Return whether both sides' licences are known and differ."""
    both = change.old is not None and change.new is not None and change.old.licence and change.new.licence
    return bool(both) and change.old.licence != change.new.licence  # type: ignore[union-attr]


def machine_readable_licences(text: str) -> str:
    """Return the short names in a copyright file of format 1.0, sorted and joined; "" for any other."""
    if not _FORMAT.search(text[:1000]):
        return ""
    return ", ".join(sorted({found.strip() for found in _LICENCE.findall(text)}))


def _order(package: InstalledPackage) -> Callable[[str, str], int]:
    return evr_compare if package.manager is Manager.RPM else dpkg_compare


def _dpkg(tree: Tree, path: str) -> Inventory | None:
    try:
        text = tree.read(path, limit=_MOST_BYTES).decode("utf-8", "replace")
    except NotFoundError:
        return None
    found = []
    for stanza in _stanzas(text):
        state = stanza.get("status", "").split()
        if not state or not stanza.get("package"):
            return None
        if state[-1] not in _GONE:
            found.append(
                InstalledPackage(
                    name=stanza["package"],
                    version=stanza.get("version", ""),
                    arch=stanza.get("architecture", ""),
                    manager=Manager.DPKG,
                    size=_bytes(stanza.get("installed-size", "")) * 1024,
                )
            )
    return tuple(found)


def _stanzas(text: str) -> Iterator[dict[str, str]]:
    for block in re.split(r"\n[ \t]*\n", text):
        fields: dict[str, str] = {}
        for line in block.split("\n"):
            if line.strip() and line[0] not in " \t":
                key, _, value = line.partition(":")
                fields.setdefault(key.lower(), value.strip())
        if fields:
            yield fields


def _bytes(text: str) -> int:
    return int(text) if _NUMBER.fullmatch(text) else 0


def _by_name(packages: Inventory) -> defaultdict[str, list[InstalledPackage]]:
    found: defaultdict[str, list[InstalledPackage]] = defaultdict(list)
    for package in packages:
        found[f"{package.name}:{package.arch}" if package.arch else package.name].append(package)
    return found


def _pair(
    name: str, old: list[InstalledPackage], new: list[InstalledPackage]
) -> Iterator[Change[InstalledPackage]]:
    gone = sorted((one for one in old if one not in new), key=lambda one: one.version)
    come = sorted((one for one in new if one not in old), key=lambda one: one.version)
    if len(gone) == len(come) == 1:
        yield Change(name=name, old=gone[0], new=come[0])
        return
    yield from (Change(name=name, old=one, new=None) for one in gone)
    yield from (Change(name=name, old=None, new=one) for one in come)


def _licensed(package: InstalledPackage | None, tree: Tree | None) -> InstalledPackage | None:
    if package is None or tree is None or package.manager is not Manager.DPKG or "/" in package.name:
        return package
    try:
        data = tree.read(f"/usr/share/doc/{package.name}/copyright", limit=_MOST_COPYRIGHT)
    except NotFoundError:
        return package
    return replace(package, licence=machine_readable_licences(data.decode("utf-8", "replace")))
