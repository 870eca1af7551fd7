"""Gates on the shape of the tree: what persists, what is the image's, and what bootc itself says of it.

Rules: a link's target is compared as text, because `var/home` and `/var/home` differ while the image is
mounted elsewhere; a package database lies in /usr, because /var is filled once, at installation, and would
tell of the first image for ever.
"""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.domain.gate import Finding, Gate, Subject, Verdict
from pipeline.domain.gates.common import answer, bounded, matcher
from pipeline.domain.image import Tier
from pipeline.domain.packages import DPKG_STATUS, RPM_FILES, RPM_FOLDERS
from pipeline.domain.tree import Entry, FileType, Tree

_ALL_TIERS = frozenset(Tier)
_BOOTC = "/usr/bin/bootc"
_MISSING = (126, 127)
_SHOWN_VAR = 5


def _layout(subject: Subject) -> Finding:
    tree, expected = subject.tree, subject.expected
    found = [
        *(line for path, target in sorted(expected.links.items()) for line in _link(tree, path, target)),
        *(
            line
            for path, mode in sorted(expected.directories.items())
            for line in _directory(tree, path, mode)
        ),
        *_two_etcs(tree),
        *_databases(tree),
    ]
    return answer(
        found,
        clean=f"{len(expected.links)} links and {len(expected.directories)} directories are as declared",
        bad="the tree is not as the definition declares",
        notes=_var_content(subject),
    )


def _link(tree: Tree, path: str, target: str) -> Iterator[str]:
    entry = tree.entry(path)
    if entry is None or entry.type is not FileType.SYMLINK:
        yield f"{path}: must be a symlink to {target}, is {_what(entry)}"
    elif entry.target != target:
        yield f"{path}: must be a symlink to {target}, leads to {entry.target}"


def _directory(tree: Tree, path: str, mode: int) -> Iterator[str]:
    entry = tree.entry(path)
    if entry is None or entry.type is not FileType.DIRECTORY:
        yield f"{path}: must be a directory, is {_what(entry)}"
    elif entry.mode != mode:
        yield f"{path}: must have mode {mode:04o}, has {entry.mode:04o}"


def _what(entry: Entry | None) -> str:
    return "missing" if entry is None else f"a {entry.type.value}"


def _two_etcs(tree: Tree) -> Iterator[str]:
    if tree.list("/etc") and tree.list("/usr/etc"):
        yield "/etc and /usr/etc both have content; one of them is the image's, the other would be lost"


def _databases(tree: Tree) -> Iterator[str]:
    dpkg = [path for path in DPKG_STATUS if _really_there(tree, path)]
    rpm = [folder for folder in RPM_FOLDERS if any(_really_there(tree, f"{folder}/{it}") for it in RPM_FILES)]
    if not dpkg and not rpm:
        yield "no package database was found; nobody could say what the image contains"
    for places in (dpkg, rpm):
        if len(places) > 1:
            yield f"the package database is in more than one place: {', '.join(places)}"
        yield from (
            f"{place}: a package database in /var stays at the first image's state; move it to "
            "/usr/lib/sysimage and leave a link"
            for place in places
            if place.startswith("/var/")
        )


def _really_there(tree: Tree, path: str) -> bool:
    """Return whether a file is at this very path, and not only reached over a symlink."""
    parts = path.split("/")[1:]
    kinds = [tree.entry("/" + "/".join(parts[: depth + 1])) for depth in range(len(parts))]
    return all(entry is not None and entry.type is not FileType.SYMLINK for entry in kinds)


def _var_content(subject: Subject) -> tuple[str, ...]:
    """Note files in /var: bootc copies them once, at installation, and never again."""
    allowed = matcher(subject.expected.allowed_files)
    files = [
        entry.path
        for entry in subject.tree.walk("/var")
        if entry.type not in (FileType.DIRECTORY, FileType.SYMLINK) and not allowed(entry.path)
    ]
    if not files:
        return ()
    shown = ", ".join(files[:_SHOWN_VAR]) + (", …" if len(files) > _SHOWN_VAR else "")
    return (f"note: {len(files)} files in /var, which only a first installation copies: {shown}",)


def _bootc_lint(subject: Subject) -> Finding:
    if subject.tree.entry(_BOOTC) is None:
        return Finding(verdict=Verdict.PASS, summary="the image has no bootc")
    said = subject.inside([_BOOTC, "container", "lint"])
    lines = [line.strip() for line in f"{said.stdout}\n{said.stderr}".splitlines() if line.strip()]
    if said.code == 0:
        notes = [line for line in lines if "warn" in line.lower()]
        return Finding(
            verdict=Verdict.PASS, summary="bootc container lint is content", details=bounded(notes)
        )
    verdict = Verdict.UNCHECKED if said.code in _MISSING else Verdict.FAIL
    return Finding(
        verdict=verdict, summary=f"bootc container lint ended with code {said.code}", details=bounded(lines)
    )


GATES: tuple[Gate, ...] = (
    Gate(
        name="persistence-layout",
        asks="Are links, directories and the package database where the definition and ostree want them?",
        tiers=_ALL_TIERS,
        rule=_layout,
    ),
    Gate(
        name="bootc-lint",
        asks="Does `bootc container lint` accept the image, where it has bootc?",
        tiers=_ALL_TIERS,
        rule=_bootc_lint,
    ),
)
