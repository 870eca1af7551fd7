"""QEMU: disks made of an image's tree, and a machine that boots from them.

Rules: the machine has no network and nothing of this machine but its disk images; it ends with the run. Its
console is read line by line as it comes: a panic or a phase that takes too long ends it at once. The
processor itself runs it where it can (`/dev/kvm` may be there without), else it is emulated.
Disks are sparse, without a journal and with tables that are filled when they are needed: nothing outlives
the test, and a root of 800 MB is written in two seconds.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

from pipeline.adapters.process import Processes
from pipeline.domain.boot.cpio import padding
from pipeline.domain.boot.inside import DiskName
from pipeline.domain.boot.report import Ending, Ran, last_lines, panic_in, phase_in
from pipeline.domain.boot.result import Accelerator
from pipeline.domain.boot.start import Start, limit

_PROGRAMS = ("qemu-system-x86_64", "/usr/libexec/qemu-kvm")
"""The program's usual name, and where RHEL and CentOS put it."""
_MEMORY_MIB = 2048
_PANIC_SECONDS = 5.0
"""For the call trace after the panic; then the machine goes off by itself."""
_BLOCK = 4096
_ROOM = 256 << 20
_SIZES = {DiskName.ETC: 1 << 28, DiskName.VAR: 4 << 30, DiskName.SCRATCH: 1 << 29}
_FOLDERS = {DiskName.ROOT: ".", DiskName.ETC: "etc", DiskName.VAR: "var"}
_INODES = 16384
_LARGEST_REPORT = 16 << 20
_FEATURES = "^has_journal,^metadata_csum,^resize_inode"


class Qemu:
    """Implements `verbs.boot_test.Machine`.

    Args:
        processes: Runs the programs.
        monotonic: Tells seconds that only ever grow.
        cpuinfo, kvm: Where the processor is described, and the kernel's door to it.
    """

    def __init__(
        self,
        processes: Processes,
        *,
        monotonic: Callable[[], float],
        cpuinfo: Path = Path("/proc/cpuinfo"),
        kvm: Path = Path("/dev/kvm"),
    ) -> None:
        self._processes = processes
        self._monotonic = monotonic
        self._cpuinfo = cpuinfo
        self._kvm = kvm

    @property
    def accelerator(self) -> Accelerator:
        """What will run the machine."""
        try:
            text = self._cpuinfo.read_text(encoding="ascii", errors="replace")
        except OSError:
            text = ""
        usable = re.search(r"\b(?:vmx|svm)\b", text) is not None and os.access(self._kvm, os.R_OK | os.W_OK)
        return Accelerator.KVM if usable else Accelerator.TCG

    def require(self) -> None:
        """Refuse where a boot test could not be made, before anything is built for it.

        Raises:
            ToolMissingError: There is no QEMU or no mke2fs.
        """
        for program in (self._program, "mke2fs"):
            self._processes.require(program)

    def make_disks(self, root: Path, folder: Path, names: Sequence[DiskName]) -> Mapping[DiskName, Path]:
        """Make disk images of an image's tree: the whole of it, its /etc, its /var, an empty one.

        Raises:
            ToolMissingError: There is no mke2fs.
            ToolFailedError: A disk cannot be made.
        """
        disks = {name: folder / f"{name}.img" for name in names}
        for name, file in disks.items():
            if name in _FOLDERS:
                self._file_system(name, root / _FOLDERS[name], file)
            else:
                file.touch()
                os.truncate(file, _SIZES[name])
        return disks

    def boot(self, start: Start, *, on_line: Callable[[str], None]) -> Ran:
        """Start the machine and return when it has ended, however it did.

        Raises:
            ToolMissingError: There is no QEMU.
        """
        initramfs, report = start.folder / "initramfs", start.folder / f"report-{start.part}"
        own = start.initramfs.read_bytes()
        initramfs.write_bytes(own + padding(len(own)) + start.added)
        before = start.log.stat().st_size if start.log.exists() else 0
        began = self._monotonic()
        watch = Watch(self.accelerator)

        def line(text: str) -> None:
            watch.line(text)
            on_line(text)

        with watch:
            argv = self._argv(start, initramfs, report)
            code = self._processes.stream(argv, log=start.log, on_line=line, cancel=watch.cancel)
        console = start.log.read_bytes()[before:]
        if code != 0 and watch.ending is Ending.OFF:
            watch.note(Ending.FAILED, f"QEMU ended with code {code}: {' '.join(last_lines(console, 1))}")
        return Ran(
            part=start.part,
            ending=watch.ending,
            phase=watch.phase,
            why=watch.why,
            report=report.read_bytes()[:_LARGEST_REPORT] if report.exists() else b"",
            console=console,
            milliseconds=round((self._monotonic() - began) * 1000),
        )

    @property
    def _program(self) -> str:
        return next((one for one in _PROGRAMS if self._processes.which(one)), _PROGRAMS[0])

    def _argv(self, start: Start, initramfs: Path, report: Path) -> list[str]:
        kvm = self.accelerator is Accelerator.KVM
        argv = [
            self._program, "-machine", "q35",
            *(("-accel", "kvm", "-cpu", "host") if kvm else ("-accel", "tcg", "-cpu", "max")),
            "-m", str(_MEMORY_MIB), "-smp", "2",
            "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-nic", "none",
            "-serial", "stdio", "-serial", f"file:{_escaped(report)}", "-device", "virtio-rng-pci",
            "-kernel", str(start.kernel), "-initrd", str(initramfs), "-append", start.arguments,
        ]  # fmt: skip
        for name, file in start.disks.items():
            drive = f"file={_escaped(file)},if=none,id={name},format=raw,cache=unsafe,discard=unmap"
            argv += ["-drive", drive, "-device", f"virtio-blk-pci,drive={name},serial={name}"]
        return argv

    def _file_system(self, name: DiskName, folder: Path, file: Path) -> None:
        size, files = _SIZES.get(name), 0
        if size is None:
            size, files = _measured(folder)
        file.unlink(missing_ok=True)
        self._processes.run(
            [
                "mke2fs", "-q", "-F", "-t", "ext4", "-O", _FEATURES, "-b", str(_BLOCK), "-m", "0",
                "-E", "lazy_itable_init=1,nodiscard", "-N", str(files + _INODES), "-L", name,
                "-d", str(folder), str(file), f"{size >> 10}k",
            ],
            hint="a disk is made of the image's files: that needs root, and room in the state folder",
        )  # fmt: skip


class Watch:
    """Looks at the console while the machine runs, and tells when and why to end it."""

    def __init__(
        self, accelerator: Accelerator, *, seconds: Callable[[str, Accelerator], float] = limit
    ) -> None:
        self.cancel = threading.Event()
        self.ending = Ending.OFF
        self.phase = ""
        self.why = ""
        self._accelerator = accelerator
        self._seconds = seconds
        self._timer: threading.Timer | None = None

    def __enter__(self) -> Self:
        self._enter("")
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def line(self, text: str) -> None:
        """Look at one line of the console."""
        if (why := panic_in(text)) is not None and self.ending is Ending.OFF:
            self.note(Ending.PANIC, f"the kernel panicked: {why}")
            self._after(_PANIC_SECONDS, self.cancel.set)
        elif (phase := phase_in(text)) is not None and self.ending is Ending.OFF:
            self._enter(phase)

    def note(self, ending: Ending, why: str) -> None:
        """Keep how it ended and why."""
        self.ending, self.why = ending, why

    def _enter(self, phase: str) -> None:
        self.phase = phase
        self._after(self._seconds(phase, self._accelerator), self._late)

    def _late(self) -> None:
        seconds = self._seconds(self.phase, self._accelerator)
        self.note(Ending.LATE, f"it took longer than {seconds:.0f} s")
        self.cancel.set()

    def _after(self, seconds: float, call: Callable[[], None]) -> None:
        self._stop()
        self._timer = threading.Timer(seconds, call)
        self._timer.daemon = True
        self._timer.start()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


def _measured(folder: Path) -> tuple[int, int]:
    """Return the bytes an image's tree takes on a disk, with room to spare, and how many files it has."""
    size = count = 0
    todo = [os.fspath(folder)]
    while todo:
        with os.scandir(todo.pop()) as scan:
            for item in scan:
                count += 1
                size += item.stat(follow_symlinks=False).st_size + _BLOCK
                if item.is_dir(follow_symlinks=False):
                    todo.append(item.path)
    return size + size // 8 + _ROOM, count


def _escaped(path: Path) -> str:
    """Return a path for an option of QEMU's, where a comma is doubled."""
    return str(path).replace(",", ",,")
