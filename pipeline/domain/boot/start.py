"""One start of the machine as a value, and how long each phase of it may take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.domain.boot.inside import DiskName, Part
from pipeline.domain.boot.result import Accelerator

_SECONDS = {
    "": 240,  # firmware, kernel, initramfs
    "root": 240,  # until the part's own script runs
    "modules": 240,
    "zfs": 120,
    "system": 420,  # the script inside gives up before
    "files": 60,
    "shutdown": 150,
    "again": 60,
}
_TIMES_FASTER = 4
"""By how much an emulated machine may be slower, at the least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """One start of the machine.

    Attributes:
        part: What is to run in it.
        kernel, initramfs: The image's own.
        added: Archive that is laid behind the initramfs.
        arguments: The kernel's command line.
        disks: Disk images.
        folder: Where files of this start may be made.
        log: File the console is appended to.
    """

    part: Part
    kernel: Path
    initramfs: Path
    added: bytes
    arguments: str
    disks: Mapping[DiskName, Path]
    folder: Path
    log: Path


def limit(phase: str, accelerator: Accelerator) -> int:
    """Return how many seconds a phase may take; an unknown one as long as the longest known."""
    seconds = _SECONDS.get(phase, max(_SECONDS.values()))
    return seconds if accelerator is Accelerator.TCG else seconds // _TIMES_FASTER
