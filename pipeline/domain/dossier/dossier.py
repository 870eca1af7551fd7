"""The dossier: everything a release manager decides from, as one frozen value.

Rules: every part is there or says why it is missing (`Missing`), never silently absent; texts are kept as the
documents have them, so whoever shows them makes them harmless; numbers are whole.
`assembly.assemble_dossier` makes it, `verdict` judges it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias, TypeVar

from pipeline.domain.boot.result import Outcome, Step
from pipeline.domain.dossier.difference import Difference
from pipeline.domain.gate import Verdict
from pipeline.domain.image import Digest
from pipeline.domain.record import Candidate
from pipeline.domain.vulnerabilities import VulnerabilityChange


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """A part that is not there, and why."""

    why: str


Part = TypeVar("Part")
Maybe: TypeAlias = Part | Missing


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """One commit of the definitions: full id, subject line, author, time."""

    id: str
    subject: str
    author: str
    time: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What was changed on purpose since the predecessor.

    Attributes:
        since: Commit of the predecessor; None where there is none.
        until: Commit of the candidate.
        commits: Newest first.
    """

    since: str | None
    until: str
    commits: tuple[Commit, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GateLine:
    """One gate's answer."""

    gate: str
    verdict: Verdict
    summary: str
    details: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether it lets the candidate go on."""
        return self.verdict.ok


@dataclass(frozen=True, slots=True, kw_only=True)
class BootModule:
    """One module the boot test loaded: what became of it, why, its version, milliseconds."""

    name: str
    outcome: Outcome
    version: str
    why: str
    milliseconds: int

    @property
    def ok(self) -> bool:
        """Whether it loaded, or only wants its device."""
        return self.outcome is not Outcome.FAILED


@dataclass(frozen=True, slots=True, kw_only=True)
class Boot:
    """What became of the boot test.

    Attributes:
        ok: Whether the image boots as it must.
        kernel, accelerator: What ran, and what ran it (`kvm`, or `tcg` for an emulation).
        full: Whether the whole system was brought up, or the modules were loaded alone.
        steps: What was asked, in order.
        modules: Every module of the manifests.
        left_out: Units that were not started, each with the reason.
        failed_units: Units that failed.
        milliseconds: How long it took.
        console: Last lines of the console.
    """

    ok: bool
    kernel: str
    accelerator: str
    full: bool
    steps: tuple[Step, ...]
    modules: tuple[BootModule, ...]
    left_out: tuple[tuple[str, str], ...]
    failed_units: tuple[str, ...]
    milliseconds: int
    console: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """The outcome in one line."""
        failed = [one for one in self.steps if not one.ok]
        if failed:
            return "; ".join(f"{one.name}: {one.found}" for one in failed)
        if not self.ok:
            return "nothing was asked"
        how = (
            "the whole system came up"
            if self.full
            else "its modules were loaded (the system was not started)"
        )
        return f"Kernel {self.kernel} booted, {how}; {len(self.steps)} checks, none failed."


@dataclass(frozen=True, slots=True, kw_only=True)
class PassedOverKernel:
    """A newer kernel that was not taken, and why."""

    kernel: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelPin:
    """The pinned kernel and how it was chosen."""

    kernel: str
    kernel_devel: str
    modules: Mapping[str, str]
    reason: str
    chosen: dt.datetime
    expires: dt.date | None = None
    passed_over: tuple[PassedOverKernel, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreLine:
    """One yardstick's figure for the SBOM: points of at most `best`, in hundredths, and what falls short."""

    name: str
    version: str
    points: int
    best: int
    shortfalls: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sbom:
    """What the SBOM holds and how good it is.

    Attributes:
        spec: Version of CycloneDX.
        serial: Its serial number.
        components: Number of components by type, the most frequent first.
        drivers: Out-of-tree modules it names, with their version.
        scores: Its figures.
    """

    spec: str
    serial: str
    components: tuple[tuple[str, int], ...]
    drivers: tuple[tuple[str, str], ...]
    scores: Maybe[tuple[ScoreLine, ...]]

    @property
    def total(self) -> int:
        """Number of all components."""
        return sum(count for _, count in self.components)


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where the image came from, as its provenance claims.

    Attributes:
        level: SLSA build level that is claimed.
        why: Why this one and no higher one.
        conditions: What has to be true beside it.
        builder, build_type: URIs of both.
        dependencies: Resolved dependencies: name, and digest or package URL.
    """

    level: int
    why: str
    conditions: tuple[str, ...]
    builder: str
    build_type: str
    dependencies: tuple[tuple[str, str], ...]


class Held(StrEnum):
    """What became of one piece of evidence."""

    VERIFIED = "verified"
    DIFFERS = "differs"
    LOST = "lost"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceLine:
    """One document of evidence: its recorded digest, and whether what was fetched has it."""

    name: str
    digest: Digest | None
    held: Held


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One reason of the judgement, with the section it is told in."""

    text: str
    section: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """Whether the candidate may be approved: what blocks, and what to look at first."""

    blocks: tuple[Point, ...]
    cautions: tuple[Point, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing blocks."""
        return not self.blocks


@dataclass(frozen=True, slots=True, kw_only=True)
class Dossier:
    """One candidate with everything there is to say of it.

    Attributes:
        candidate: Its record in the ledger.
        judgement: Whether it may be approved.
        evidence: The documents and whether their hashes hold.
        history, gates, boot, difference, pin, sbom, provenance, vulnerabilities: The parts, or why not.
        approve, reject: Commands, word by word.
    """

    candidate: Candidate
    judgement: Judgement
    evidence: tuple[EvidenceLine, ...]
    history: Maybe[History]
    gates: Maybe[tuple[GateLine, ...]]
    boot: Maybe[Boot]
    difference: Maybe[Difference]
    pin: Maybe[KernelPin]
    sbom: Maybe[Sbom]
    provenance: Maybe[Provenance]
    vulnerabilities: Maybe[VulnerabilityChange]
    approve: tuple[str, ...]
    reject: tuple[str, ...]
