"""Which packages an image has, by the databases of dpkg and rpm.

Rules: dpkg's status file is read here, from outside; rpm's database (sqlite, ndb) only rpm itself reads, so
it is asked inside the image. A database that is there and cannot be read gives None, never an empty list:
nobody may conclude from it that a package is absent. Names and versions are hostile text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from pipeline.domain.gate import Inside, Package
from pipeline.domain.tree import Tree
from pipeline.errors import NotFoundError

DPKG_STATUS = ("/usr/lib/sysimage/dpkg/status", "/var/lib/dpkg/status")
"""Where dpkg's status may be, the image-owned place first."""

RPM_FOLDERS = ("/usr/lib/sysimage/rpm", "/usr/share/rpm", "/var/lib/rpm")
RPM_FILES = ("rpmdb.sqlite", "Packages.db", "Packages")

_MOST_BYTES = 64 << 20
_GONE = frozenset({"not-installed", "config-files"})
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9+._-]{0,254}")
_VERSION = re.compile(r"[A-Za-z0-9.+:~^_-]{1,255}")
_ARCH = re.compile(r"[A-Za-z0-9_-]{0,64}")
_QUERY = r"%{NAME}\t%|EPOCH?{%{EPOCH}:}:{}|%{VERSION}-%{RELEASE}\t%{ARCH}\n"


def installed_packages(tree: Tree, inside: Inside) -> tuple[Package, ...] | None:
    """Return the packages of every database the image has, sorted; None when one or all cannot be read."""
    found: list[Package] = []
    dpkg = read_packages(tree)
    if dpkg is None and any(tree.entry(path) is not None for path in DPKG_STATUS):
        return None
    found.extend(dpkg or ())
    if rpm_database(tree) is not None:
        rpm = rpm_packages(inside)
        if rpm is None:
            return None
        found.extend(rpm)
    return tuple(sorted(found, key=lambda it: (it.name, it.arch, it.version))) or None


def read_packages(tree: Tree) -> tuple[Package, ...] | None:
    """Return the packages in dpkg's status file; None when there is no such file, or it makes no sense."""
    for path in DPKG_STATUS:
        try:
            text = tree.read(path, limit=_MOST_BYTES).decode("utf-8", "replace")
        except NotFoundError:
            continue
        return parse_dpkg_status(text)
    return None


def parse_dpkg_status(text: str) -> tuple[Package, ...] | None:
    """Return the packages of a dpkg status file whose files are there; None when the text makes no sense.

    Half-configured and half-installed packages count: their files are there as well.
    """
    found: list[Package] = []
    for stanza in _stanzas(text):
        name, status = stanza.get("package", ""), stanza.get("status", "").split()
        if not _NAME.fullmatch(name) or len(status) != 3:  # noqa: PLR2004 - want, flag, state
            return None
        if status[2] in _GONE:
            continue
        package = _package(name, stanza.get("version", ""), stanza.get("architecture", ""))
        if package is None:
            return None
        found.append(package)
    return tuple(found) or None


def rpm_database(tree: Tree) -> str | None:
    """Return the path of the image's rpm database, or None when it has none."""
    for folder in RPM_FOLDERS:
        for name in RPM_FILES:
            if tree.entry(f"{folder}/{name}") is not None:
                return f"{folder}/{name}"
    return None


def rpm_packages(inside: Inside) -> tuple[Package, ...] | None:
    """Return what `rpm -qa` inside the image says; None when it failed or made no sense.

    Empty is an answer: Debian's rpm makes an empty database beside dpkg's full one.
    """
    said = inside(["rpm", "-qa", "--qf", _QUERY])
    if said.code != 0:
        return None
    found: list[Package] = []
    for line in said.stdout.splitlines():
        name, _, rest = line.partition("\t")
        version, _, arch = rest.partition("\t")
        if name == "gpg-pubkey":  # a key in the keyring, no package
            continue
        package = _package(name, version, arch)
        if package is None:
            return None
        found.append(package)
    return tuple(found)


def _package(name: str, version: str, arch: str) -> Package | None:
    if _NAME.fullmatch(name) and _VERSION.fullmatch(version) and _ARCH.fullmatch(arch.strip("()")):
        return Package(name=name, version=version, arch=arch.strip("()"))
    return None


def _stanzas(text: str) -> Iterator[dict[str, str]]:
    fields: dict[str, str] = {}
    for line in text.split("\n"):
        if not line.strip():
            if fields:
                yield fields
            fields = {}
        elif line[0] not in " \t":  # continuation lines hold descriptions and file lists
            key, _, value = line.partition(":")
            fields.setdefault(key.lower(), value.strip())
    if fields:
        yield fields
