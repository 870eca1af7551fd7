"""Gates: what is asked of an image, and the three answers there are.

A gate that could not be checked counts as a failure unless the definition waives it, with a reason and
an expiry date (design rule: a gate never says yes by default).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from pipeline.domain.image import Tier
from pipeline.domain.tree import Tree


class Verdict(StrEnum):
    """The answers of a gate; `waived` replaces fail or unchecked where a valid waiver names the gate."""

    PASS = "pass"  # noqa: S105 - the answer of a gate, no password
    FAIL = "fail"
    UNCHECKED = "unchecked"
    WAIVED = "waived"

    @property
    def ok(self) -> bool:
        """Whether this answer lets a candidate go on."""
        return self in (Verdict.PASS, Verdict.WAIVED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One answer of one gate: the verdict and, for everything but a pass, what was found where."""

    verdict: Verdict
    summary: str
    details: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GateResult:
    """A gate's name with its finding."""

    gate: str
    finding: Finding

    @property
    def ok(self) -> bool:
        """Whether this result lets a candidate go on."""
        return self.finding.verdict.ok


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandResult:
    """What a command that ran inside the image said."""

    code: int
    stdout: str
    stderr: str


class Inside(Protocol):
    """Runs a program inside the image: no network, read-only root, nothing kept."""

    def __call__(self, argv: Sequence[str], *, stdin: str = "", timeout: float = 120.0) -> CommandResult:
        """Run `argv`; code 127 when the image has no such program."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """An installed package as its database names it."""

    name: str
    version: str
    arch: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Everything a gate may look at.

    Attributes:
        tier: The image's tier.
        tree: Its files.
        inside: Runs a program in it.
        packages: Its installed packages, or None when no package database could be read.
        expected: What the definition says (see `domain.definition.Expectations`).
        now: Time of the check, UTC.
        own: Paths that the image's own layer brought, an instance's; None where nobody knows.
    """

    tier: Tier
    tree: Tree
    inside: Inside
    packages: tuple[Package, ...] | None
    expected: Expectations
    now: dt.datetime
    own: frozenset[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleExpectation:
    """One out-of-tree module set: its name (`zfs`), the .ko names it must bring, its userspace packages.

    `userspace` maps a package name to how its version must relate: always the module's upstream version.
    """

    name: str
    kernel_modules: tuple[str, ...]
    userspace: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectations:
    """What an image must be, taken from its definition and pin.

    Attributes:
        kernel: The kernel release (`uname -r` form) that must be the only one; None where none is pinned.
        modules: Module sets that must be present; empty for an upstream image.
        links: Symlinks of the persistence layout, path to exact target (`/home` -> `var/home`).
        directories: Directories that must exist, path to octal mode.
        registry: `host[:port]/path` of the project's own images, which policy.json must trust; "" for none.
        policy_required: Whether the image must bring a policy.json at all (base and instance).
        build_packages: Extra package name patterns (fnmatch) that must not be left, beside the built-in list.
        allowed_files: Path patterns (fnmatch) a gate on files leaves alone, with the reason.
        waivers: Gate name to waiver.
    """

    kernel: str | None = None
    modules: tuple[ModuleExpectation, ...] = ()
    links: Mapping[str, str] = field(default_factory=dict)
    directories: Mapping[str, int] = field(default_factory=dict)
    registry: str = ""
    policy_required: bool = True
    build_packages: tuple[str, ...] = ()
    allowed_files: Mapping[str, str] = field(default_factory=dict)
    waivers: Mapping[str, Waiver] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiver:
    """A person's decision to let one gate's no pass, with a reason, until a day (inclusive, UTC)."""

    reason: str
    expires: dt.date


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """A listed gate: its name, what it asks in one sentence, the tiers it applies to, and its rule."""

    name: str
    asks: str
    tiers: frozenset[Tier]
    rule: Callable[[Subject], Finding]


def run_gates(gates: Sequence[Gate], subject: Subject) -> tuple[GateResult, ...]:
    """Run every gate that applies to the subject's tier; a gate that raises is `unchecked`, never a pass."""
    results: list[GateResult] = []
    for gate in gates:
        if subject.tier not in gate.tiers:
            continue
        try:
            finding = gate.rule(subject)
        except Exception as error:  # noqa: BLE001 - a broken gate must not pass and must not hide the others
            finding = Finding(
                verdict=Verdict.UNCHECKED, summary=f"could not be checked: {type(error).__name__}: {error}"
            )
        results.append(GateResult(gate=gate.name, finding=_waive(gate.name, finding, subject)))
    return tuple(results)


def _waive(name: str, finding: Finding, subject: Subject) -> Finding:
    waiver = subject.expected.waivers.get(name)
    if waiver is None or finding.verdict is Verdict.PASS:
        return finding
    if subject.now.date() > waiver.expires:
        details = (*finding.details, f"the waiver ({waiver.reason}) expired on {waiver.expires}")
        return Finding(verdict=finding.verdict, summary=finding.summary, details=details)
    return Finding(
        verdict=Verdict.WAIVED,
        summary=f"{finding.summary}; waived until {waiver.expires}: {waiver.reason}",
        details=finding.details,
    )
