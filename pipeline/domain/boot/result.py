"""What a boot test found, and the document it leaves as evidence.

Rules: the document's bytes are canonical; times are whole milliseconds; the keys only ever grow.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pipeline.domain.boot.report import Ran, last_lines
from pipeline.domain.canonical import Json, canonical_json
from pipeline.domain.evidence import Evidence, EvidenceKind
from pipeline.domain.image import Digest

SCHEMA = 1
_LARGEST_CONSOLE = 1 << 20


class Accelerator(StrEnum):
    """What runs the machine's instructions: the processor itself, or an emulation."""

    KVM = "kvm"
    TCG = "tcg"


class Outcome(StrEnum):
    """What became of one module."""

    LOADED = "loaded"
    NO_DEVICE = "no device"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleResult:
    """One module: what became of it, why, the kernel's own lines about it, and how long loading took."""

    name: str
    set_name: str
    outcome: Outcome
    version: str
    why: str
    lines: tuple[str, ...]
    milliseconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that was asked: whether it is so, what was found, and how long it took."""

    name: str
    ok: bool
    found: str
    details: tuple[str, ...] = ()
    milliseconds: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedUnit:
    """A unit that failed, with the end of its journal."""

    name: str
    journal: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BootResult:
    """All of a boot test.

    Attributes:
        accelerator, kernel: What ran it, and what ran.
        full: Whether the whole system was brought up, or the modules were loaded alone.
        steps: What was asked, in order; what comes after a failure may be missing.
        modules: Every module of the manifests.
        failed_units: Units that failed.
        left_out: Units that were not started, each with the reason.
        boots: Every start of the machine.
        milliseconds: How long it took, disks included.
    """

    accelerator: Accelerator
    kernel: str
    full: bool
    steps: tuple[Step, ...]
    modules: tuple[ModuleResult, ...]
    failed_units: tuple[FailedUnit, ...]
    left_out: tuple[tuple[str, str], ...]
    boots: tuple[Ran, ...]
    milliseconds: int

    @property
    def ok(self) -> bool:
        """Whether everything that was asked is so, and something was."""
        return bool(self.steps) and all(step.ok for step in self.steps)

    @property
    def console(self) -> bytes:
        """All consoles, one after the other; of a very long one its end."""
        parts = [b"==== boot: %s ====\n%s\n" % (one.part.encode(), one.console) for one in self.boots]
        return b"".join(parts)[-_LARGEST_CONSOLE:]

    @property
    def last_lines(self) -> tuple[str, ...]:
        """The end of the last console."""
        return last_lines(self.boots[-1].console) if self.boots else ()

    def evidence(self, image: Digest) -> tuple[Evidence, Evidence]:
        """Return the result's document and the console log, for the image of this digest."""
        document = Evidence(kind=EvidenceKind.BOOT_TEST, data=canonical_json(self.to_json(image)))
        return document, Evidence(kind=EvidenceKind.CONSOLE, data=self.console)

    def to_json(self, image: Digest) -> dict[str, Json]:
        """Return the document's value."""
        return {
            "schema": SCHEMA,
            "image": str(image),
            "ok": self.ok,
            "accelerator": self.accelerator.value,
            "kernel": self.kernel,
            "full": self.full,
            "milliseconds": self.milliseconds,
            "boots": [
                {"part": one.part.value, "ending": one.ending.value, "milliseconds": one.milliseconds}
                for one in self.boots
            ],
            "steps": [_step(one) for one in self.steps],
            "modules": [_module(one) for one in self.modules],
            "failed_units": [{"unit": one.name, "journal": list(one.journal)} for one in self.failed_units],
            "left_out": [{"unit": unit, "why": why} for unit, why in self.left_out],
            "added": "a unit and scripts behind the image's initramfs; the image's own files are unchanged",
        }


def _step(one: Step) -> dict[str, Json]:
    return {
        "step": one.name,
        "ok": one.ok,
        "found": one.found,
        "details": list(one.details),
        "milliseconds": one.milliseconds,
    }


def _module(one: ModuleResult) -> dict[str, Json]:
    return {
        "module": one.name,
        "set": one.set_name,
        "outcome": one.outcome.value,
        "version": one.version,
        "why": one.why,
        "lines": list(one.lines),
        "milliseconds": one.milliseconds,
    }
