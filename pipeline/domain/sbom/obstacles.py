"""What in a host's layer keeps its SBOM from being inherited from the base's.

Rules: a layer that deletes, that could hold a package of any kind a scanner knows, or that takes the place of
something the base's SBOM speaks of, needs the full scan; the reason is told. When in doubt, the full scan: it
costs seconds, a wrong SBOM costs trust.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from pipeline.domain.basepaths import WHITEOUT, PathLookup
from pipeline.domain.kmod import is_module
from pipeline.domain.packages import RPM_FOLDERS
from pipeline.domain.placement import TreeEntry
from pipeline.domain.quadlet import is_kube, is_quadlet, kubernetes_files
from pipeline.domain.sbom.inventory import CHANGING
from pipeline.domain.sbom.part import shown
from pipeline.domain.sbom.shipped import ELF, FIRMWARE
from pipeline.domain.tree import FileType

_DATABASES = tuple(
    f"{folder}/"
    for folder in (
        *RPM_FOLDERS, "/usr/lib/sysimage", "/var/lib/dpkg", "/lib/apk", "/usr/lib/apk", "/var/lib/pacman",
        "/var/db/pkg", "/nix/store",
    )
)  # fmt: skip
_OS_RELEASE = frozenset({"/etc/os-release", "/usr/lib/os-release"})
_BINARY = (ELF, b"MZ", b"\xca\xfe\xba\xbe", b"\xcf\xfa\xed\xfe", b"\xfe\xed\xfa\xcf", b"PK\x03\x04")
_EXECUTE = 0o111

# Names by which syft 1.18 finds packages of languages, installed or locked, and versions of programs.
_LOCKS = re.compile(
    r"""
      package(-lock)?\.json | (npm-)?shrinkwrap\.json | yarn\.lock | pnpm-lock\.ya?ml | bun\.lockb?
    | .*requirements.*\.txt | (poetry|uv|pdm)\.lock | Pipfile\.lock | setup\.py | pyproject\.toml
    | METADATA | PKG-INFO | RECORD | top_level\.txt | direct_url\.json | .*\.egg-info
    | Gemfile(\.next)?\.lock | .*\.gemspec | (composer|symfony)\.lock | installed\.json | .*\.reg
    | go\.(mod|sum) | Cargo\.lock | Package\.resolved | .*\.package\.resolved | Podfile\.lock | mix\.lock
    | rebar\.lock | .*\.app | pubspec\.(lock|yaml) | stack\.ya?ml(\.lock)? | cabal\.project\.freeze
    | conan(file\.txt|info\.txt|\.lock) | .*\.(deps\.json|dll|exe) | packages\.lock\.json
    | pom\.(xml|properties) | MANIFEST\.MF | (gradle|buildscript-gradle)\.lockfile.* | release
    | .*\.(jar|war|ear|par|sar|nar|kar|jpi|hpi|lpkg|far|rar|zip|tar|tgz|tbz2?|txz|tar\.[a-z0-9]+|whl|egg|gem)
    | .*\.(rpm|deb|apk|ipk|snap|flatpak) | DESCRIPTION | .*\.rockspec | opam | .*\.opam | pack\.pl
    | VERSION.* | vmlinu[xz].* | .*\.php
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class _Seen:
    """An entry with what the base has at its path, and the files of its layer."""

    entry: TreeEntry
    replaces: bool
    named: bool
    own: frozenset[str]


def obstacle(entries: Iterable[TreeEntry], *, paths: PathLookup, named: frozenset[str]) -> str | None:
    """Return why an SBOM cannot be inherited, or None when it can.

    Args:
        entries: The layer's entries, placed on the base.
        paths: The base's path list.
        named: Paths that the base's SBOM names as evidence.
    """
    entries = list(entries)
    own = frozenset(entry.path for entry in entries if entry.type is FileType.FILE)
    for entry in entries:
        if entry.type is FileType.DIRECTORY and not entry.path.startswith(_DATABASES):
            continue
        before = paths.entry(entry.path)
        replaces = before is not None and before.type is not FileType.DIRECTORY
        seen = _Seen(entry, replaces, entry.path in named, own)
        for applies, reason in _REASONS:
            if applies(seen):
                return reason.format(shown(entry.path))
    return None


def _is_whiteout(seen: _Seen) -> bool:
    odd = seen.entry.type not in (FileType.FILE, FileType.DIRECTORY, FileType.SYMLINK)
    return odd or any(part.startswith(WHITEOUT) for part in seen.entry.path.split("/"))


def _is_packed(seen: _Seen) -> bool:
    name = seen.entry.path.rpartition("/")[2]
    return seen.entry.type is FileType.FILE and _LOCKS.fullmatch(name) is not None


def _replaces(seen: _Seen) -> bool:
    """In /etc and /var only what can run matters: packages are not hashed by what they have there."""
    if not seen.replaces:
        return False
    runs = seen.entry.type is FileType.FILE and bool(seen.entry.mode & _EXECUTE)
    return runs or not seen.entry.path.startswith(CHANGING)


def _leads_away(seen: _Seen) -> bool:
    """Whether a quadlet's text, or the Kubernetes file it names, is not in the layer itself."""
    path = seen.entry.path
    if not is_quadlet(path):
        return False
    if seen.entry.type is FileType.SYMLINK:
        return True
    return is_kube(path) and not seen.own.issuperset(kubernetes_files(path, seen.entry.content))


_REASONS: tuple[tuple[Callable[[_Seen], bool], str], ...] = (
    (_is_whiteout, "the layer has a whiteout or a special file: {}"),
    (lambda seen: seen.entry.path.startswith(_DATABASES), "the layer writes a package database: {}"),
    (lambda seen: seen.entry.path in _OS_RELEASE, "the layer says which system this is: {}"),
    (lambda seen: seen.named, "the layer replaces what the base's SBOM names: {}"),
    (lambda seen: is_module(seen.entry.path), "the layer has a kernel module: {}"),
    (lambda seen: seen.entry.path.startswith(FIRMWARE), "the layer has firmware: {}"),
    (lambda seen: seen.entry.content.startswith(_BINARY), "the layer has a program or a library: {}"),
    (_is_packed, "the layer has a file that may list packages: {}"),
    (_leads_away, "the layer has a quadlet that leads to a file elsewhere: {}"),
    (_replaces, "the layer replaces a file of the base that a package may own: {}"),
)
