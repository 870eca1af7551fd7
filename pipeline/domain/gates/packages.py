"""Gates on what a build leaves behind: compilers and their kin, and the caches of package managers.

Rules: nothing is believed from the package database alone, because files can be copied, and nothing from the
files alone, because a package may hide a tool in an unusual place. A link that leads nowhere counts as well:
it says what was there, and what a later layer would fill in again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from pipeline.domain.gate import Finding, Gate, Subject, Verdict
from pipeline.domain.gates.common import answer, matcher
from pipeline.domain.image import Tier
from pipeline.domain.tree import Entry, FileType

BUILD_PACKAGES: tuple[tuple[str, str], ...] = (
    ("gcc", "compiler"),
    ("gcc-*", "compiler"),
    ("g++*", "compiler"),
    ("cpp", "preprocessor"),
    ("cpp-[0-9]*", "preprocessor"),
    ("clang*", "compiler"),
    ("llvm", "compiler tools"),
    ("llvm-[0-9]*", "compiler tools"),
    ("tcc", "compiler"),
    ("rustc*", "compiler"),
    ("cargo*", "build tool"),
    ("golang", "compiler"),
    ("golang-go", "compiler"),
    ("golang-bin", "compiler"),
    ("golang-[0-9]*", "compiler"),
    ("binutils", "assembler and linker"),
    ("binutils-*", "assembler and linker"),
    ("make", "build tool"),
    ("cmake*", "build tool"),
    ("ninja-build", "build tool"),
    ("meson", "build tool"),
    ("autoconf*", "build tool"),
    ("automake*", "build tool"),
    ("libtool", "build tool"),
    ("flex", "parser generator"),
    ("bison", "parser generator"),
    ("dkms", "builds modules on the host"),
    ("*-dkms", "module source that DKMS builds"),
    ("dkms-*", "module source that DKMS builds"),
    ("akmods", "builds modules on the host"),
    ("akmod-*", "module source that akmods builds"),
    ("kmodtool", "helper of akmods"),
    ("linux-headers-*", "kernel headers"),
    ("linux-kbuild-*", "kernel build scripts"),
    ("linux-compiler-*", "the kernel's compiler"),
    ("linux-source*", "kernel source"),
    ("linux-libc-dev*", "kernel headers"),
    ("kernel-devel*", "kernel-devel"),
    ("kernel-headers", "kernel headers"),
    ("*-devel", "development files"),
    ("*-dev", "development files"),
    ("glibc-headers*", "development files"),
    ("build-essential", "build tools"),
    ("libc-dev-bin", "development files"),
    ("dpkg-dev", "package builder"),
    ("debhelper", "package builder"),
    ("dh-*", "package builder"),
    ("fakeroot", "package builder"),
    ("rpm-build", "package builder"),
    ("redhat-rpm-config", "package builder"),
    ("annobin*", "compiler plug-in"),
    ("mock", "package builder"),
    ("mmdebstrap", "bootstraps images"),
    ("debootstrap", "bootstraps images"),
)
"""Name patterns (fnmatch) of packages that must not be left, each with what it is."""

RUNTIME_PACKAGES: tuple[tuple[str, str], ...] = (
    ("gcc-*-base", "Debian's empty package under libgcc and libstdc++"),
    ("clang*-libs", "run-time library of BPF and GPU tools"),
    ("clang*-resource-filesystem", "an empty folder those libraries ask for"),
)
"""Names that look like build tools and are not, each with the reason."""

_TRIPLET = r"(?:[a-z0-9_]+-(?:[a-z0-9_]+-){1,3})?"
_TOOLS = (
    r"gcc(?:-(?:ar|nm|ranlib))?|cc|g\+\+|c\+\+|cpp|c89|c99|clang(?:\+\+|-cpp)?|tcc|nvcc|rustc|cargo|go|gofmt"
    r"|ld(?:\.(?:bfd|gold|lld|mold))?|as|make|gmake|cmake|ninja|meson|dkms|akmods|akmodsbuild|rpmbuild"
    r"|dpkg-buildpackage|debhelper|mmdebstrap|debootstrap"
)
_TOOL = re.compile(rf"{_TRIPLET}(?:{_TOOLS})(?:-?[0-9][0-9.]*)?")
_ON_PATH = re.compile(r"(?:/usr(?:/local)?|/opt/[^/]+|/var/usrlocal)?/s?bin/([^/]+)")

_LEFT = re.compile(
    r"/usr/lib(?:64|exec)?/gcc(?:-cross)?/.*/(?P<compiler>cc1(?:plus|obj)?|collect2|lto1|lto-wrapper|f951)"
    r"|(?P<headers>/usr/src/(?:linux-(?:headers|kbuild|source)-[^/]+|kernels/[^/]+)|/usr/lib/linux-kbuild-[^/]+)"
    r"|/usr/src/(?:[^/]+/)?(?P<dkms>dkms\.conf)"
    r"|(?:/usr)?/lib/modules/[^/]+/(?P<build>build|source)"
    r"|(?P<state>/var/lib/dkms|/var/cache/akmods|/usr/src/akmods)",
    re.DOTALL,
)
_LEFT_IS = {
    "compiler": "part of a compiler",
    "headers": "kernel headers or kernel-devel",
    "dkms": "module source that DKMS builds",
    "build": "leads to a kernel-devel",
    "state": "state of a module builder",
}

_CACHES = re.compile(
    r"/var/cache/(?:apt/archives/(?!lock$|partial$).+|apt/[^/]+\.bin|(?:dnf|libdnf5|yum|PackageKit|akmods)/.+)"
    r"|/var/lib/apt/lists/(?!lock$|partial$|auxfiles$).+"
    r"|/(?:root|var/roothome)/(?:\.cache/(?:pip|go-build|dnf|libdnf5)|\.npm|\.cargo)/.+"
    r"|/(?:var/(?:cache|tmp|roothome|home|lib)|root|home|tmp|opt|srv|usr/src)/.*\.(?:deb|ddeb|udeb|rpm|drpm)",
    re.DOTALL,
)


def _no_build_tools(subject: Subject) -> Finding:
    found = [*_build_packages(subject), *_build_files(subject)]
    if subject.packages is None and not found:
        return Finding(
            verdict=Verdict.UNCHECKED,
            summary="no package database could be read; by file alone nothing was found",
        )
    return answer(
        found,
        clean=f"none among {len(subject.packages or ())} packages, and none by file",
        bad="a build left tools behind; remove them in the stage that installs them",
    )


def _build_packages(subject: Subject) -> Iterator[str]:
    extra = tuple((pattern, "named in the definition") for pattern in subject.expected.build_packages)
    rules = tuple((matcher([pattern]), why) for pattern, why in (*extra, *BUILD_PACKAGES))
    exempt = matcher([pattern for pattern, _ in RUNTIME_PACKAGES])
    for package in subject.packages or ():
        why = next((why for matches, why in rules if matches(package.name)), None)
        if why is not None and not exempt(package.name):
            yield f"package {package.name} {package.version}: {why}"


def _build_files(subject: Subject) -> Iterator[str]:
    allowed = matcher(subject.expected.allowed_files)
    for entry in subject.tree.walk():
        why = _build_file(entry)
        if why is not None and not allowed(entry.path):
            yield f"{entry.path}: {why}"


def _build_file(entry: Entry) -> str | None:
    path = entry.path
    on_path = _ON_PATH.fullmatch(path)
    if on_path is not None:
        is_tool = entry.type is not FileType.DIRECTORY and _TOOL.fullmatch(on_path[1])
        return f"build tool ({_kind(entry)})" if is_tool else None
    left = _LEFT.fullmatch(path)
    if left is None:
        return None
    return f"{_LEFT_IS[left.lastgroup or 'state']} ({_kind(entry)})"


def _kind(entry: Entry) -> str:
    return f"symlink to {entry.target}" if entry.type is FileType.SYMLINK else entry.type.value


def _no_package_cache(subject: Subject) -> Finding:
    allowed = matcher(subject.expected.allowed_files)
    found = [
        f"{entry.path} ({entry.size} bytes)"
        for entry in subject.tree.walk()
        if entry.type is not FileType.DIRECTORY and _CACHES.fullmatch(entry.path) and not allowed(entry.path)
    ]
    return answer(
        found,
        clean="no package cache, index or stray package file",
        bad="package caches were left; clean them in the layer that fills them",
    )


GATES: tuple[Gate, ...] = (
    Gate(
        name="no-build-tools",
        asks="Is every compiler, DKMS, kernel-devel and build tool gone, by package database and by file?",
        tiers=frozenset({Tier.BASE, Tier.INSTANCE}),
        rule=_no_build_tools,
    ),
    Gate(
        name="no-package-cache",
        asks="Is every downloaded package, index and cache of a package manager gone?",
        tiers=frozenset({Tier.BASE, Tier.INSTANCE}),
        rule=_no_package_cache,
    ),
)
