"""Boots an image's file tree in QEMU and runs a script in it, once systemd has set the system up.

The script runs in systemd's kernel-command-line.target: after users, tmpfiles and mounts, in place of the
services of multi-user.target, whose containers could not be pulled without a network.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

BEGIN, END = "===begin===", "===end==="
_SECONDS = 400


def boot(root: Path, script: str, work: Path) -> list[str]:
    """Return the lines the script printed in the booted system.

    The machine has the image's own kernel and initramfs, a disk with the image's tree, and no network. It is
    emulated where there is no hardware virtualisation.
    """
    for program, package in (("qemu-system-x86_64", "qemu-system-x86"), ("mke2fs", "e2fsprogs")):
        if shutil.which(program) is None:
            pytest.fail(f"{program} is not installed; install it: apt-get install {package}")
    disk, inside = work / "root.img", work / "script"
    inside.write_text(f"exec >/dev/ttyS0 2>/dev/null\necho {BEGIN}\n{script}\necho {END}\n")
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", str(root), str(disk), "3G"], check=True)
    write = f"write {inside} /usr/lib/e2e-script"
    subprocess.run(["debugfs", "-w", "-R", write, str(disk)], check=True, capture_output=True)
    (kernel,) = (root / "usr/lib/modules").iterdir()
    command = 'systemd.run="/bin/sh /usr/lib/e2e-script"'
    actions = "systemd.run_success_action=poweroff systemd.run_failure_action=poweroff"
    processor = ("-accel", "kvm", "-cpu", "host") if _virtualises() else ("-accel", "tcg", "-cpu", "max")
    log = work / "console.log"
    with log.open("wb") as sink:
        subprocess.run(
            [
                "qemu-system-x86_64", "-machine", "q35", *processor,
                "-m", "2048", "-smp", "2", "-nographic", "-no-reboot", "-net", "none",
                "-kernel", str(kernel / "vmlinuz"), "-initrd", str(kernel / "initramfs.img"),
                "-drive", f"file={disk},if=virtio,format=raw",
                "-append", f"root=/dev/vda rw console=ttyS0 quiet {command} {actions}",
            ],
            stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT, timeout=_SECONDS, check=True,
        )  # fmt: skip
    disk.unlink()
    text = log.read_text(errors="replace")
    assert BEGIN in text, f"the script did not run:\n{text[-4000:]}"
    assert END in text, f"the script did not end:\n{text[-4000:]}"
    between = text.partition(BEGIN)[2].partition(END)[0]
    return [line.strip() for line in between.splitlines() if line.strip()]


def _virtualises() -> bool:
    """Whether the processor can; a /dev/kvm alone can be there without."""
    words = set(Path("/proc/cpuinfo").read_text().split())
    return Path("/dev/kvm").exists() and bool(words & {"vmx", "svm"})
