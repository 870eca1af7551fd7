"""External programs as values: what they are for, how old they may be, and whether the one here will do.

Rules: a version that cannot be read is told as such and never taken for good enough.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

Version = tuple[int, ...]
"""The numeric parts of a version, most significant first; () for none."""


class Family(StrEnum):
    """How a distribution installs packages."""

    APT = "apt"
    DNF = "dnf"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """One external program.

    Attributes:
        program: Its name on the PATH.
        purpose: What needs it, a few words.
        minimum: The oldest version that does; () for any.
        required: Whether nothing works without it.
        bundled: Whether it is installed together with this program, which takes its own before the PATH's.
        ask: Arguments that make it tell its version.
        pattern: Regular expression whose first group is the version in what it tells.
        feature: Arguments, and a text among what they print that only versions from `minimum` on have: asked
            when no version is told (distributions build some programs without one).
        packages: Its package in each family.
        install: A whole command that replaces the package's on a distribution (`ID` or `ID-VERSION_ID`),
            for those whose package is too old or not there.
    """

    program: str
    purpose: str
    minimum: Version = ()
    required: bool = False
    bundled: bool = False
    ask: tuple[str, ...] = ("--version",)
    pattern: str = r"(\d+(?:\.\d+)+)"
    feature: tuple[tuple[str, ...], str] | None = None
    packages: Mapping[Family, str] = field(default_factory=dict)
    install: Mapping[str, str] = field(default_factory=dict)

    def version_in(self, text: str) -> Version | None:
        """Return the version a program told, or None when there is none in the text."""
        found = re.search(self.pattern, text)
        return tuple(int(part) for part in found[1].split(".")) if found else None


class ToolState(StrEnum):
    """Whether a program will do."""

    OK = "ok"
    MISSING = "missing"
    TOO_OLD = "too old"
    UNKNOWN = "version unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolReport:
    """One program as found.

    Attributes:
        tool: Which one.
        path: Where it is, or None.
        version: What it told, or None when it told none.
        featured: It told no version, but has the feature that only versions from the minimum on have.
        install: The command that installs a good one.
    """

    tool: Tool
    path: str | None
    version: Version | None
    install: str
    featured: bool = False

    @property
    def state(self) -> ToolState:
        """Whether it will do."""
        if self.path is None:
            return ToolState.MISSING
        if not self.tool.minimum or self.featured:
            return ToolState.OK
        if self.version is None:
            return ToolState.UNKNOWN
        return ToolState.OK if self.version >= self.tool.minimum else ToolState.TOO_OLD

    @property
    def refused(self) -> bool:
        """Whether nothing can be built before this is mended."""
        return self.tool.required and self.state is not ToolState.OK


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """Something about this machine that decides how builds run.

    Attributes:
        name: Short name, stable in JSON.
        value: What was found.
        ok: False when builds cannot work like this.
        hint: What to do when not ok, or what it means for builds; "" for nothing to say.
    """

    name: str
    value: str
    ok: bool = True
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorReport:
    """Everything that was found on this machine."""

    tools: tuple[ToolReport, ...]
    facts: tuple[Fact, ...]

    @property
    def problems(self) -> tuple[str, ...]:
        """One line for each thing that stops every build."""
        tools = (f"{r.tool.program} is {r.state}" for r in self.tools if r.refused)
        facts = (f"{fact.name}: {fact.value}" for fact in self.facts if not fact.ok)
        return (*tools, *facts)

    @property
    def remedies(self) -> tuple[str, ...]:
        """The commands that mend the problems, in the same order."""
        return (*(r.install for r in self.tools if r.refused), *(f.hint for f in self.facts if not f.ok))


class Probe(Protocol):
    """Looks at this machine."""

    def tools(self) -> tuple[ToolReport, ...]:
        """Return every known program as it is here."""

    def facts(self) -> tuple[Fact, ...]:
        """Return what else decides how builds run."""


def dotted(version: Version | None) -> str:
    """Return a version as people write it; "" for none."""
    return ".".join(str(part) for part in version or ())
