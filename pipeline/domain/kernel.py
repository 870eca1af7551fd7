"""Which kernels may be pinned: candidates, declared ranges, and the search for the newest that compiles.

Rules: a kernel without kernel-devel and one outside a module's declared range are dropped with the
reason, before any compile; a declared range only ever drops, what is left must be proved; text from
packages is read, never run. Order of versions: `pipeline.domain.vercmp`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol

from pipeline.domain.gate import CommandResult

_NUMBERS = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9}){0,3}")
_ASSIGNMENT = re.compile(r"\s*(?:export\s+)?(BUILD_EXCLUSIVE_[A-Z]+(?:_M[A-Z]+)?|OBSOLETE_BY)(?:\[0\])?=(.*)")
_EXPANSION = re.compile(r"\$[A-Za-z_{(]|`")
_POSIX_CLASS = {"[:digit:]": "0-9", "[:alpha:]": "A-Za-z", "[:alnum:]": "A-Za-z0-9", "[:space:]": r"\s"}
_LONGEST_PATTERN = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelCandidate:
    """A kernel that the upstream image has or that its repositories offer.

    Attributes:
        release: What `uname -r` would say, such as `6.12.0-55.el10.x86_64`.
        package_version: Version of the kernel package (`[epoch:]version-release`).
        devel_package: What to ask the package manager for to get exactly this kernel's kernel-devel; ""
            when the repositories have none.
        image_packages: What to ask for to get exactly this kernel; empty when only the image has it.
        in_image: Whether it is the upstream image's own kernel.
        devel: Whether its kernel-devel can be had.
    """

    release: str
    package_version: str
    devel_package: str
    image_packages: tuple[str, ...]
    in_image: bool
    devel: bool


class RangeRule(StrEnum):
    """How the two ends of a declared range are meant."""

    SERIES = "series"
    """OpenZFS META: ends are inclusive and name a series, 6.15 includes every 6.15.x."""
    DKMS = "dkms"
    """DKMS `BUILD_EXCLUSIVE_*`: padded texts are compared, so a maximum of 6.15 excludes 6.15.1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredRange:
    """What a module says about the kernels it is for.

    Attributes:
        source: Where it says so, for people: `zfs META`, `nvidia dkms.conf`.
        rule: How minimum and maximum are compared.
        minimum: Oldest kernel, inclusive; "" for none.
        maximum: Newest kernel; "" for none.
        pattern: Regular expression that must be found in the kernel release; "" for none.
        arch: Regular expression that must be found in the machine name (`x86_64`); "" for none.
        unread: Directives that cannot be known without running the text; they decide nothing.
    """

    source: str
    rule: RangeRule
    minimum: str = ""
    maximum: str = ""
    pattern: str = ""
    arch: str = ""
    unread: tuple[str, ...] = ()

    def refusal(self, release: str, arch: str) -> str | None:
        """Return why the module does not want this kernel on this machine, or None."""
        key = _series_key if self.rule is RangeRule.SERIES else _dkms_key
        if self.minimum and key(release, self.minimum) < key(self.minimum, self.minimum):
            return f"{self.source}: the oldest kernel it declares is {self.minimum}"
        if self.maximum and key(release, self.maximum) > key(self.maximum, self.maximum):
            return f"{self.source}: the newest kernel it declares is {self.maximum}"
        if self.pattern and not _found(self.pattern, release):
            return f"{self.source}: only for kernels that match {self.pattern!r}"
        if self.arch and not _found(self.arch, arch):
            return f"{self.source}: only for machines that match {self.arch!r}, not {arch}"
        return None


def _series_key(release: str, end: str) -> str:
    """Return a text that sorts like the release's leading numbers, cut to as many as the end has."""
    found = _NUMBERS.match(release)
    numbers = found.group().split(".") if found else []
    return ".".join(number.zfill(9) for number in numbers[: end.count(".") + 1])


def _dkms_key(release: str, end: str) -> str:  # noqa: ARG001 - same shape as _series_key
    """Pad every number to three digits: the function VER of DKMS, whose word counts in the build."""
    return re.sub(r"[0-9]+", lambda number: number.group().zfill(3), release)


def _found(pattern: str, text: str) -> bool:
    """Search a POSIX extended expression; one that cannot be read lets everything through to the compile."""
    for posix, ours in _POSIX_CLASS.items():
        pattern = pattern.replace(posix, ours)
    try:
        return re.search(pattern, text) is not None
    except (re.error, RecursionError, OverflowError):
        return True


def parse_meta(text: str, *, source: str) -> DeclaredRange | None:
    """Read `Linux-Minimum` and `Linux-Maximum` out of OpenZFS's META; None when it declares neither."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key in ("Linux-Minimum", "Linux-Maximum") and _NUMBERS.fullmatch(value.strip()):
            found[key] = value.strip()
    if not found:
        return None
    return DeclaredRange(
        source=source,
        rule=RangeRule.SERIES,
        minimum=found.get("Linux-Minimum", ""),
        maximum=found.get("Linux-Maximum", ""),
    )


def parse_dkms_conf(text: str, *, source: str) -> DeclaredRange | None:
    """Read the `BUILD_EXCLUSIVE_*` directives out of a dkms.conf without running it; None when it has none.

    The file is a shell script: the last assignment of each directive counts, comments and quotes are
    taken off, and a value with an expansion is listed as unread.
    """
    found: dict[str, str] = {}
    unread: list[str] = []
    for line in text.splitlines():
        match = _ASSIGNMENT.match(line)
        if match is None:
            continue
        name, value = match.group(1), _unquoted(match.group(2))
        if value is None or len(value) > _LONGEST_PATTERN:
            unread.append(name)
        else:
            found[name] = value
    prefix = "BUILD_EXCLUSIVE_KERNEL"
    declared = DeclaredRange(
        source=source,
        rule=RangeRule.DKMS,
        minimum=found.get(f"{prefix}_MIN", ""),
        # DKMS takes OBSOLETE_BY for the maximum where no maximum is set.
        maximum=found.get(f"{prefix}_MAX") or found.get("OBSOLETE_BY", ""),
        pattern=found.get(prefix, ""),
        arch=found.get("BUILD_EXCLUSIVE_ARCH", ""),
        unread=tuple(unread),
    )
    says = (declared.minimum, declared.maximum, declared.pattern, declared.arch, declared.unread)
    return declared if any(says) else None


def _unquoted(text: str) -> str | None:
    """Return a shell word's value, or None when only a shell could know it."""
    text = text.strip()
    quote = text[:1] if text[:1] in ("'", '"') else ""
    body, closed, rest = text[1:].partition(quote) if quote else (text, "", "")
    if quote and (not closed or (rest.strip() and not rest.lstrip().startswith(("#", ";")))):
        return None
    if not quote:
        body = re.split(r"[\s;]", body, maxsplit=1)[0]
    return None if quote != "'" and _EXPANSION.search(body) else body


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """A candidate that needs no compile, and why."""

    release: str
    reason: str


def exclude(
    candidates: Iterable[KernelCandidate], ranges: Sequence[DeclaredRange], *, arch: str
) -> tuple[tuple[KernelCandidate, ...], tuple[Dropped, ...]]:
    """Split candidates into those worth a compile and those dropped; the order is kept.

    Args:
        candidates: In any order.
        ranges: What every module of the base declares.
        arch: The machine name as `uname -m` says it.
    """
    kept: list[KernelCandidate] = []
    dropped: list[Dropped] = []
    for candidate in candidates:
        reasons = (declared.refusal(candidate.release, arch) for declared in ranges)
        reason = next((text for text in reasons if text), None)
        if not candidate.devel:
            reason = "its kernel-devel is not in the repositories"
        elif not candidate.in_image and not candidate.image_packages:
            reason = "the kernel itself is neither in the image nor in the repositories"
        if reason is None:
            kept.append(candidate)
        else:
            dropped.append(Dropped(release=candidate.release, reason=reason))
    return tuple(kept), tuple(dropped)


@dataclass(frozen=True, slots=True, kw_only=True)
class PinSearch:
    """The search for the newest kernel that compiles, as a value: ask `next()`, prove it, `told()`.

    The newest is tried first. After a failure the search halves what is left, taking a kernel newer than
    a failing one to fail too. Where that is wrong it still ends in a proved kernel whose next newer
    neighbour is known to fail, and where halving meets no good kernel it tries all the rest before it
    gives up. No kernel is tried twice.

    Attributes:
        kernels: Kernel releases, newest first.
        good: Those proved to compile.
        bad: Those known to fail, from earlier runs or this one.
    """

    kernels: tuple[str, ...]
    good: frozenset[str] = frozenset()
    bad: frozenset[str] = frozenset()

    def next(self) -> str | None:
        """Return the kernel to prove now, or None when the search has ended."""
        if not self.kernels:
            return None
        if self.kernels[0] not in self.good | self.bad:
            return self.kernels[0]
        end = self._newest_good()
        start = max((i for i in range(end) if self.kernels[i] in self.bad), default=-1)
        if end - start > 1:
            return self.kernels[(start + end) // 2] if start >= 0 else None
        if end < len(self.kernels):
            return None
        return next((kernel for kernel in self.kernels if kernel not in self.bad), None)

    def told(self, kernel: str, *, works: bool) -> PinSearch:
        """Return the search with one more result."""
        if works:
            return replace(self, good=self.good | {kernel})
        return replace(self, bad=self.bad | {kernel})

    @property
    def result(self) -> str | None:
        """The newest kernel proved so far; final once `next()` says None."""
        end = self._newest_good()
        return self.kernels[end] if end < len(self.kernels) else None

    def _newest_good(self) -> int:
        return next((i for i, kernel in enumerate(self.kernels) if kernel in self.good), len(self.kernels))


class Workshop(Protocol):
    """Runs programs in a throw-away container of the upstream image, with network and a writable root."""

    def __call__(self, argv: Sequence[str], *, stdin: str = "", timeout: float = 120.0) -> CommandResult:
        """Run `argv`, `timeout` in seconds; code 127 when the image has no such program."""


class KernelSource(Protocol):
    """Asks the package manager of the upstream image, inside it, what the build will meet.

    Every method raises ToolFailedError when the package manager fails or answers nonsense.
    """

    def candidates(self, inside: Workshop) -> tuple[KernelCandidate, ...]:
        """Return the image's own kernel and every kernel whose kernel-devel is offered, newest first."""

    def module_version(self, inside: Workshop, package: str) -> str | None:
        """Return the newest version of a package the repositories offer, or None."""

    def declared(self, inside: Workshop, package: str, dkms: str) -> tuple[DeclaredRange, ...]:
        """Return what the newest version of a DKMS package declares about kernels.

        Args:
            inside: Where to ask.
            package: The package that brings the source, such as `zfs-dkms`.
            dkms: The DKMS name of the module, such as `zfs`.
        """
