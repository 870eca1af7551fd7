"""Boot tests of the real Debian base: it passes, and three faults are found, each by its name."""

from __future__ import annotations

import json
import lzma
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from e2e.conftest import Demo
from e2e.machine import booted
from e2e.test_debian_hosts import mounted, podman, pulled

from pipeline.domain.boot.cpio import Added, archive
from pipeline.domain.boot.result import BootResult
from pipeline.errors import BootTestError
from pipeline.verbs.boot_test import require

pytestmark = [pytest.mark.e2e, pytest.mark.engine]

MODULE = "nvidia-peermem"
UNIT = """\
[Unit]
Description=Fails
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'echo it broke on purpose; exit 3'
"""


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


def kernel_of(base: str) -> str:
    with mounted(base) as root:
        (folder,) = (root / "usr/lib/modules").iterdir()
        return folder.name


def failed(result: BootResult) -> dict[str, str]:
    return {step.name: " ".join([step.found, *step.details]) for step in result.steps if not step.ok}


def test_the_base_loaded_its_modules_before_it_was_pushed(demo: Demo) -> None:
    found = json.loads(demo.run("evidence", "debian/base", "--get", "boot-test").stdout)
    assert found["ok"]
    modules = {one["module"]: one for one in found["modules"]}
    assert {name for name, one in modules.items() if one["outcome"] == "loaded"} == {"spl", "zfs"}
    assert len(modules) == 7
    assert any("No NVIDIA GPU found" in line for line in modules["nvidia"]["lines"])
    assert [step["step"] for step in found["steps"]] == ["initramfs", "modules", "zfs pool"]
    assert "sysroot" in demo.run("evidence", "debian/base", "--get", "boot-console").stdout


def test_a_kernel_that_panics_is_told(demo: Demo, tmp_path: Path) -> None:
    base = pulled(demo, "base")
    folder = tmp_path / "panics"
    folder.mkdir()
    (folder / "initramfs.img").write_bytes(archive([Added(path="/nothing", data=b"")]))
    target = f"/usr/lib/modules/{kernel_of(base)}/initramfs.img"
    with changed(base, folder, f"COPY initramfs.img {target}\n") as image:
        result = booted(image, tmp_path, full=False)
    with pytest.raises(BootTestError, match=r"Kernel panic - not syncing"):
        require(result, "base")
    assert set(failed(result)) == {"machine"}
    assert "the kernel panicked: VFS: Unable to mount root fs" in failed(result)["machine"]
    assert "before the root was mounted" in failed(result)["machine"]


def test_a_module_of_another_kernel_and_a_unit_that_fails_are_told(demo: Demo, tmp_path: Path) -> None:
    base = pulled(demo, "base")
    kernel = kernel_of(base)
    folder = tmp_path / "broken"
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
    lines = "COPY tree/ /\n"
    with changed(base, folder, lines) as image:
        result = booted(image, tmp_path, full=True)
    assert set(failed(result)) == {"system", "modules"}
    assert f"nvidia_peermem: it was built for {kernel[:-1]}x" in failed(result)["modules"]
    (unit,) = [one for one in result.failed_units if one.name == "fails.service"]
    assert any("it broke on purpose" in line for line in unit.journal)
    assert "fails.service" in failed(result)["system"]
    assert len(result.boots) == 1
    with pytest.raises(BootTestError, match=r"fails\.service"):
        require(result, "base")
