"""Boot tests of the real Debian line: base and host pass, and three faults are found, each by its name."""

from __future__ import annotations

import json
from concurrent.futures import Future
from pathlib import Path

import pytest
from e2e.boots import Boots, changed
from e2e.conftest import Demo
from e2e.demoimages import kernel_of, pulled
from e2e.machine import booted

from pipeline.domain.boot.cpio import Added, archive
from pipeline.domain.boot.result import BootResult, Outcome
from pipeline.errors import BootTestError
from pipeline.verbs.boot_test import require

pytestmark = [pytest.mark.e2e, pytest.mark.engine]


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


def test_a_module_of_another_kernel_and_a_unit_that_fails_are_told(demo: Demo, boots: Future[Boots]) -> None:
    kernel = kernel_of(pulled(demo, "base"))
    result = boots.result().broken
    assert set(failed(result)) == {"system", "modules"}
    assert f"nvidia_peermem: it was built for {kernel[:-1]}x" in failed(result)["modules"]
    (unit,) = [one for one in result.failed_units if one.name == "fails.service"]
    assert any("it broke on purpose" in line for line in unit.journal)
    assert "fails.service" in failed(result)["system"]
    assert len(result.boots) == 1
    with pytest.raises(BootTestError, match=r"fails\.service"):
        require(result, "base")


def test_a_host_boots_with_its_users_and_quadlets_and_keeps_its_state(boots: Future[Boots]) -> None:
    result = boots.result().host
    require(result, "db-1")
    found = {step.name: step.found for step in result.steps}
    assert found["system"] == "systemd is running"
    assert found["quadlets"] == "3 of 3 were made into units; none was started"
    assert found["read-only"] == "/usr refused a write"
    assert "/var/lib/db" in found["persistence"].partition("; gone: ")[0]
    assert "/run, /tmp" in found["persistence"].partition("; gone: ")[2]
    assert found["state"].startswith("3 of 3 ")
    assert {one.name for one in result.modules if one.outcome is Outcome.LOADED} == {"spl", "zfs"}
    assert b"Set hostname to <db-1>" in result.console or b"db-1 login" in result.console
