"""`boot-test`: brings an image up in a machine of its own and asks it what its manifests promise.

Rules: the image is not changed; what did not answer has not passed; the first boot that fails is the last.
Without `full` the modules alone are loaded, in the image's root as its own initramfs mounted it; with it the
whole system comes up, the modules are loaded in it, and it is rebooted to see what persists.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pipeline.domain.boot.cpio import archive
from pipeline.domain.boot.inside import DiskName, Part, added_files, arguments
from pipeline.domain.boot.judge import judge
from pipeline.domain.boot.plan import BootPlan, read_plan
from pipeline.domain.boot.report import Ran
from pipeline.domain.boot.result import Accelerator, BootResult
from pipeline.domain.boot.start import Start
from pipeline.domain.events import Reporter, Stage
from pipeline.domain.manifest import MODULES
from pipeline.errors import BootTestError
from pipeline.verbs.ports import Opener, RunFolders

_MOST_DETAILS = 12


class Machine(Protocol):
    """A machine that can be started from disks."""

    @property
    def accelerator(self) -> Accelerator:
        """What runs its instructions."""

    def make_disks(self, root: Path, folder: Path, names: Sequence[DiskName]) -> Mapping[DiskName, Path]:
        """Make disk images of an image's tree."""

    def boot(self, start: Start, *, on_line: Callable[[str], None]) -> Ran:
        """Start it, and return when it has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BootParts:
    """What a boot test works with.

    Attributes:
        machine: Boots.
        open_root: Mounts a local image and gives its root on this machine.
        open_tree: Opens a local image's files.
        folders: Where disks and logs go.
        reporter: Shows progress.
        monotonic: Tells seconds that only ever grow.
    """

    machine: Machine
    open_root: Callable[[str], AbstractContextManager[Path]]
    open_tree: Opener
    folders: RunFolders
    reporter: Reporter
    monotonic: Callable[[], float]


def boot_test(parts: BootParts, local: str, *, name: str, full: bool) -> BootResult:
    """Boot a local image and return what it did; `require` refuses what did not pass.

    Args:
        parts: The outside world.
        local: The engine's name of the image.
        name: What people call it, for progress and file names.
        full: Whether to bring up the whole system, reboot it and look what persists.

    Raises:
        BootTestError: It cannot be booted at all: no kernel, or a file that cannot be understood.
        ModuleError: A manifest is not what it must be.
        ToolMissingError: QEMU or mke2fs is not installed.
        ToolFailedError: A disk cannot be made.
    """
    began = parts.monotonic()
    log = parts.folders.log(f"boot {name}")
    with (
        parts.reporter.stage(f"boot {name}", log=str(log)) as stage,
        parts.open_tree(local) as tree,
        parts.open_root(local) as root,
    ):
        plan = read_plan(tree)
        folder = parts.folders.folder(f"boot {name}")
        try:
            starter = _Starter(parts=parts, stage=stage, plan=plan, root=root, folder=folder, log=log)
            boots = tuple(starter.boots(Part.SYSTEM if full else Part.MODULES))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    found = judge(plan, boots)
    return BootResult(
        accelerator=parts.machine.accelerator,
        kernel=plan.kernel,
        full=full,
        steps=found.steps,
        modules=found.modules,
        failed_units=found.failed_units,
        left_out=tuple((one.unit, one.why) for one in plan.left_out) if full else (),
        boots=boots,
        milliseconds=round((parts.monotonic() - began) * 1000),
    )


def require(result: BootResult, name: str) -> None:
    """Let a result pass, or refuse.

    Raises:
        BootTestError: Names every step that failed, with what was found and the end of the console.
    """
    if result.ok:
        return
    failed = [step for step in result.steps if not step.ok]
    lines = [
        line
        for step in failed
        for line in (
            f"  {step.name}: {step.found}",
            *(f"      {one}" for one in step.details[:_MOST_DETAILS]),
        )
    ]
    console = [f"      {line}" for line in result.last_lines]
    raise BootTestError(
        "\n".join(
            [f"{name} did not pass its boot test", *lines, "  the last lines of its console:", *console]
        ),
        hint=f"mend the image and build again; `pipeline boot-test {name} --json` tells every step",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Starter:
    parts: BootParts
    stage: Stage
    plan: BootPlan
    root: Path
    folder: Path
    log: Path

    def boots(self, first: Part) -> Iterator[Ran]:
        disks = self.parts.machine.make_disks(self.root, self.folder, self._names(first))
        ran = self._boot(first, disks)
        yield ran
        passed = all(step.ok for step in judge(self.plan, (ran,)).steps)
        if first is Part.SYSTEM and passed:
            yield self._boot(Part.AGAIN, disks)

    def _names(self, first: Part) -> list[DiskName]:
        state = [DiskName.ETC, DiskName.VAR] if first is Part.SYSTEM else []
        return [DiskName.ROOT, *state, *([DiskName.SCRATCH] if self.plan.zfs else [])]

    def _boot(self, part: Part, disks: Mapping[DiskName, Path]) -> Ran:
        kernel = self.root / MODULES.lstrip("/") / self.plan.kernel
        slow = self.parts.machine.accelerator is Accelerator.TCG
        start = Start(
            part=part,
            kernel=kernel / "vmlinuz",
            initramfs=kernel / "initramfs.img",
            added=archive(added_files(self.plan, part, patient=slow)),
            arguments=arguments(self.plan),
            disks=disks,
            folder=self.folder,
            log=self.log,
        )
        return self.parts.machine.boot(start, on_line=self.stage.line)
