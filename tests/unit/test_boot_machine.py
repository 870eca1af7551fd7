"""The machine's driver and the verb, with a script in QEMU's place: what it gets, and how it can end."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import re
import shlex
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from booted import AGAIN, SYSTEM, good, image, loaded, ran
from buildkit import World
from rich.console import Console
from trees import MemoryTree

from pipeline.adapters.machine import Qemu, Watch
from pipeline.adapters.process import Processes
from pipeline.domain.boot.inside import DiskName, Part, added_files
from pipeline.domain.boot.plan import read_plan
from pipeline.domain.boot.report import Ending, Ran
from pipeline.domain.boot.result import Accelerator
from pipeline.domain.boot.start import Start, limit
from pipeline.domain.tree import Tree
from pipeline.errors import BootTestError, ToolMissingError
from pipeline.render.boot import to_tables
from pipeline.verbs.boot_test import BootParts, boot_test, require


def machine(folder: Path, script: str, **places: Path) -> Qemu:
    """Return a driver whose QEMU is a shell script."""
    programs = folder / "bin"
    programs.mkdir()
    program = programs / "qemu-system-x86_64"
    program.write_text(f"#!/bin/sh\nprintf '%s\\n' \"$@\" > {shlex.quote(str(folder))}/arguments\n{script}\n")
    program.chmod(0o755)
    environment = {"PATH": f"{programs}:{os.environ['PATH']}"}
    return Qemu(Processes(environment=environment), monotonic=time.monotonic, **places)


def start(folder: Path) -> Start:
    (folder / "own").write_bytes(b"12345")
    disk = folder / "disk,1.img"
    disk.touch()
    return Start(
        part=Part.MODULES,
        kernel=folder / "vmlinuz",
        initramfs=folder / "own",
        added=b"added",
        arguments="root=LABEL=x quiet",
        disks={DiskName.ROOT: disk},
        folder=folder,
        log=folder / "log",
    )


def boot(folder: Path, script: str) -> Ran:
    return machine(folder, script).boot(start(folder), on_line=lambda _: None)


def test_a_machine_that_goes_off_is_done(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("an earlier boot\n")
    found = boot(tmp_path, f"echo 'pipeline-boot-test: phase zfs'\necho done > {tmp_path}/report-modules")
    assert (found.ending, found.phase, found.report) == (Ending.OFF, "zfs", b"done\n")
    assert found.console == b"pipeline-boot-test: phase zfs\n"


def test_the_machine_gets_its_disks_and_no_network(tmp_path: Path) -> None:
    boot(tmp_path, "")
    words = (tmp_path / "arguments").read_text().splitlines()
    pairs = dict(itertools.pairwise(words))
    assert (pairs["-nic"], pairs["-append"]) == ("none", "root=LABEL=x quiet")
    assert "-no-reboot" in words
    assert pairs["-drive"].startswith(f"file={tmp_path}/disk,,1.img,if=none")
    assert f"virtio-blk-pci,drive={DiskName.ROOT},serial={DiskName.ROOT}" in words
    assert (tmp_path / "initramfs").read_bytes() == b"12345\0\0\0added"


def test_a_machine_that_cannot_start_is_told(tmp_path: Path) -> None:
    found = boot(tmp_path, "echo 'no such machine' >&2; exit 3")
    assert (found.ending, found.why) == (Ending.FAILED, "QEMU ended with code 3: no such machine")


def test_a_panic_is_told_though_the_machine_ends_well(tmp_path: Path) -> None:
    found = boot(tmp_path, "echo 'Kernel panic - not syncing: no init'")
    assert (found.ending, found.why) == (Ending.PANIC, "the kernel panicked: no init")


def test_without_qemu_its_installation_is_told(tmp_path: Path) -> None:
    lonely = Qemu(Processes(environment={"PATH": str(tmp_path)}), monotonic=time.monotonic)
    with pytest.raises(ToolMissingError, match="qemu-system-x86_64"):
        lonely.boot(start(tmp_path), on_line=lambda _: None)


@pytest.mark.parametrize(
    ("there", "missing"),
    [
        ((), "qemu-system-x86_64"),
        (("qemu-system-x86_64",), "mke2fs"),
        (("mke2fs",), "qemu-system-x86_64"),
        (("qemu-system-x86_64", "mke2fs"), None),
    ],
)
def test_what_a_boot_needs_is_asked_for_before_a_build(
    tmp_path: Path, there: tuple[str, ...], missing: str | None
) -> None:
    for name in there:
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    driver = Qemu(Processes(environment={"PATH": str(tmp_path)}), monotonic=time.monotonic)
    if missing is None:
        driver.require()
        return
    with pytest.raises(ToolMissingError, match=f"{missing} is not installed") as caught:
        driver.require()
    assert caught.value.hint.startswith("install it: ")


@pytest.mark.parametrize(
    ("cpuinfo", "door", "expected"),
    [
        ("flags : fpu vmx sse", "kvm", Accelerator.KVM),
        ("flags : fpu svm", "kvm", Accelerator.KVM),
        ("flags : fpu vmx", "none", Accelerator.TCG),
        ("flags : fpu vmxoff", "kvm", Accelerator.TCG),
    ],
)
def test_the_processor_itself_runs_it_where_it_can(
    tmp_path: Path, cpuinfo: str, door: str, expected: Accelerator
) -> None:
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    (tmp_path / "kvm").touch()
    driver = machine(tmp_path, "", cpuinfo=tmp_path / "cpuinfo", kvm=tmp_path / door)
    assert driver.accelerator is expected
    missing = Qemu(Processes(environment={}), monotonic=time.monotonic, cpuinfo=tmp_path / "none")
    assert missing.accelerator is Accelerator.TCG


def seconds(phase: str, _: Accelerator) -> float:
    return 0.05 if phase == "short" else 60.0


def test_a_phase_that_takes_too_long_ends_the_machine() -> None:
    with Watch(Accelerator.TCG, seconds=seconds) as watch:
        watch.line("pipeline-boot-test: phase short")
        assert watch.cancel.wait(30)
    assert (watch.ending, watch.phase, watch.why) == (Ending.LATE, "short", "it took longer than 0 s")


def test_a_new_phase_has_its_own_time() -> None:
    with Watch(Accelerator.TCG, seconds=seconds) as watch:
        watch.line("pipeline-boot-test: phase short")
        watch.line("pipeline-boot-test: phase long")
        assert not watch.cancel.wait(0.2)
    assert watch.ending is Ending.OFF


def test_the_first_panic_is_the_one_that_is_told() -> None:
    with Watch(Accelerator.TCG, seconds=seconds) as watch:
        watch.line("Kernel panic - not syncing: one")
        watch.line("Kernel panic - not syncing: two")
        watch.line("pipeline-boot-test: phase short")
    assert (watch.ending, watch.phase, watch.why) == (Ending.PANIC, "", "the kernel panicked: one")


@pytest.mark.parametrize(("patient", "accelerator"), [(False, Accelerator.KVM), (True, Accelerator.TCG)])
def test_the_script_gives_up_before_the_machine_is_ended(patient: bool, accelerator: Accelerator) -> None:  # noqa: FBT001
    files = added_files(read_plan(image()), Part.SYSTEM, patient=patient)
    (script,) = [one.data.decode() for one in files if one.path.endswith("/system.sh")]
    (wait,) = re.findall(r"^wait=(\d+)$", script, re.MULTILINE)
    assert int(wait) < limit("system", accelerator)
    longer = [one.path for one in files if one.path.endswith(".service.d/pipeline-boot-test.conf")]
    assert len(longer) == int(patient)


def test_a_virtualised_machine_gets_less_time() -> None:
    assert limit("modules", Accelerator.KVM) < limit("modules", Accelerator.TCG)
    assert limit("made up", Accelerator.TCG) == max(limit(one, Accelerator.TCG) for one in ("", "system"))


def test_disks_hold_the_tree(tmp_path: Path) -> None:
    assert shutil.which("mke2fs"), "install it: apt-get install e2fsprogs"
    root, out = tmp_path / "root", tmp_path / "out"
    (root / "etc").mkdir(parents=True)
    (root / "etc/hostname").write_text("db-1\n")
    out.mkdir()
    driver = Qemu(Processes(environment=os.environ), monotonic=time.monotonic)
    disks = driver.make_disks(root, out, [DiskName.ROOT, DiskName.ETC, DiskName.SCRATCH])
    for name, path in ((DiskName.ROOT, "/etc/hostname"), (DiskName.ETC, "/hostname")):
        shown = Processes(environment=os.environ).run(["debugfs", "-R", f"cat {path}", str(disks[name])])
        assert shown.stdout == "db-1\n"
    assert disks[DiskName.SCRATCH].stat().st_blocks == 0


class Scripted:
    """A machine that answers what it is told to."""

    accelerator = Accelerator.TCG

    def __init__(self, *boots: Ran) -> None:
        self.boots = list(boots)
        self.starts: list[Start] = []

    def make_disks(self, root: Path, folder: Path, names: Sequence[DiskName]) -> Mapping[DiskName, Path]:
        assert root.is_dir()
        return {name: folder / name for name in names}

    def boot(self, start: Start, *, on_line: Callable[[str], None]) -> Ran:
        self.starts.append(start)
        on_line("a line")
        return self.boots.pop(0)


def parts(folder: Path, driver: Scripted) -> BootParts:
    world = World(folder)

    @contextlib.contextmanager
    def tree(_: str) -> Iterator[Tree]:
        found: MemoryTree = image()
        yield found

    @contextlib.contextmanager
    def root(_: str) -> Iterator[Path]:
        yield folder

    return BootParts(
        machine=driver, open_root=root, open_tree=tree, folders=world, reporter=world, monotonic=lambda: 1.0
    )


def test_modules_alone_take_one_boot(tmp_path: Path) -> None:
    driver = Scripted(ran(Part.MODULES, good()))
    found = boot_test(parts(tmp_path, driver), "local", name="debian/base", full=False)
    require(found, "debian/base")
    assert [set(one.disks) for one in driver.starts] == [{DiskName.ROOT, DiskName.SCRATCH}]
    assert not driver.starts[0].folder.exists()


def test_the_whole_system_is_booted_twice_from_the_same_disks(tmp_path: Path) -> None:
    driver = Scripted(ran(Part.SYSTEM, [*SYSTEM, *good()]), ran(Part.AGAIN, AGAIN))
    found = boot_test(parts(tmp_path, driver), "local", name="debian/base", full=True)
    require(found, "debian/base")
    assert [one.part for one in driver.starts] == [Part.SYSTEM, Part.AGAIN]
    first, second = driver.starts
    assert first.disks == second.disks == {name: first.folder / name for name in DiskName}


def test_the_first_boot_that_fails_is_the_last(tmp_path: Path) -> None:
    stuck = ran(Part.SYSTEM, SYSTEM[:3], ending=Ending.LATE, why="nothing happened", console=b"stuck\n")
    driver = Scripted(stuck)
    found = boot_test(parts(tmp_path, driver), "local", name="debian/base", full=True)
    with pytest.raises(BootTestError, match=r"(?s)machine: nothing happened.*stuck"):
        require(found, "debian/base")


def test_a_result_is_shown_as_plain_text(tmp_path: Path) -> None:
    evil = "[red]\x1b[31m"
    lines = good(zfs=[*loaded("zfs")[:1], "module zfs 1 5.00 5.10", f"said zfs {evil}"])
    driver = Scripted(ran(Part.MODULES, lines, console=evil.encode()))
    found = boot_test(parts(tmp_path, driver), "local", name="x", full=False)
    console = Console(width=160, file=io.StringIO())
    with console.capture() as shown:
        for one in to_tables(found):
            console.print(one)
    text = shown.get()
    assert "\x1b" not in text
    assert "[red]\\x1b[31m" in text
    assert "1 of 3 steps failed" in text
