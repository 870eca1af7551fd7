"""The two long boots, of whole systems: begun when the demo is there, awaited by the tests that judge them.

An emulated machine keeps one processor busy for minutes; beside the other tests it costs them little.
"""

from __future__ import annotations

import lzma
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from e2e.conftest import Demo
from e2e.demoimages import kernel_of, mounted, podman, pulled
from e2e.machine import booted

from pipeline.domain.boot.result import BootResult

MODULE = "nvidia-peermem"
UNIT = """\
[Unit]
Description=Fails
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'echo it broke on purpose; exit 3'
"""


@dataclass(frozen=True, kw_only=True)
class Boots:
    """What came of them."""

    host: BootResult
    broken: BootResult


@contextmanager
def changed(base: str, folder: Path, lines: str) -> Iterator[str]:
    """Build an image on the base, from files of a folder, and remove it afterwards."""
    (folder / "Containerfile").write_text(f"FROM {base}\n{lines}")
    name = f"localhost/pipeline-e2e/{folder.name}"
    podman("build", "--quiet", "--no-cache", "--tag", name, "--ignorefile", "/dev/null", str(folder))
    try:
        yield name
    finally:
        podman("image", "rm", name)


def boot_both(demo: Demo, folder: Path) -> Boots:
    """Boot a host's image, and a base with a module of another kernel and a unit that fails."""
    for name in ("host", "base"):
        (folder / name).mkdir()
    host = booted(pulled(demo, "db-1"), folder / "host", full=True)
    return Boots(host=host, broken=_boot_broken(pulled(demo, "base"), folder / "base"))


def _boot_broken(base: str, top: Path) -> BootResult:
    kernel = kernel_of(base)
    folder = top / "broken"
    units = folder / "tree/usr/lib/systemd/system"
    module = Path(f"usr/lib/modules/{kernel}/updates/dkms/{MODULE}.ko.xz")
    (units / "multi-user.target.wants").mkdir(parents=True)
    (units / "fails.service").write_text(UNIT)
    (units / "multi-user.target.wants/fails.service").symlink_to("../fails.service")
    with mounted(base) as root:
        plain = lzma.decompress((root / module).read_bytes())
    assert plain.count(f"vermagic={kernel} ".encode()) == 1
    plain = plain.replace(f"vermagic={kernel} ".encode(), f"vermagic={kernel[:-1]}x ".encode())
    (folder / "tree" / module).parent.mkdir(parents=True)
    (folder / "tree" / module).write_bytes(lzma.compress(plain, check=lzma.CHECK_CRC32))
    with changed(base, folder, "COPY tree/ /\n") as image:
        return booted(image, top, full=True)
