"""Kernel, modules and the system's release in a difference."""

from __future__ import annotations

import elfkit
import pytest
from diffkit import KERNEL, SITE, group, kernel, one
from difftrees import compared

from pipeline.domain.diff.item import Risk


def test_a_new_kernel_does_not_make_every_driver_new() -> None:
    found = compared(kernel(KERNEL), kernel("6.12.117-test"))
    assert (found.kernel.old, found.kernel.new) == ((KERNEL,), ("6.12.117-test",))
    assert (found.kernel.drivers_added, found.kernel.drivers_removed) == ((), ())
    assert [(change.kind.value, change.name) for change in found.modules] == [("changed", "zfs")]


def test_a_driver_the_kernel_dropped_is_told() -> None:
    new = kernel("6.12.117-test")
    new["/usr/lib/modules/6.12.117-test/kernel/fs/xfs/xfs.ko"] = new.pop(
        "/usr/lib/modules/6.12.117-test/kernel/fs/ext4/ext4.ko"
    )
    found = compared(kernel(KERNEL), new).kernel
    assert (found.drivers_added, found.drivers_removed) == (("xfs",), ("ext4",))


@pytest.mark.parametrize("listed", [True, False])
def test_a_module_is_told_by_its_own_words(listed: bool) -> None:  # noqa: FBT001
    old, new = kernel(KERNEL, listed=listed), kernel(KERNEL, version="2.4.0-1", signer="Ada", listed=listed)
    (change,) = compared(old, new).modules
    assert change.old is not None
    assert change.new is not None
    assert (change.old.version, change.new.version) == ("2.3.9-1", "2.4.0-1")
    assert (change.old.signer, change.new.signer) == ("", "Ada")
    assert change.new.srcversion == "ABCDEF0123456789"
    assert change.new.module_set == ("zfs" if listed else "")


def test_a_manifest_that_lies_is_not_believed() -> None:
    old, new = kernel(KERNEL), kernel(KERNEL, version="2.4.0-1")
    new["/usr/lib/pipeline/modules/zfs.json"] = old["/usr/lib/pipeline/modules/zfs.json"]
    (change,) = compared(old, new).modules
    assert change.new is not None
    assert (change.new.version, change.new.module_set) == ("2.4.0-1", "")


KO = f"/usr/lib/modules/{KERNEL}/updates/dkms/zfs.ko"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (elfkit.module("zfs", kernel="6.99-other"), "built for a kernel this image does not have"),
        (b"no ELF", "zfs.ko"),
    ],
)
def test_a_module_that_cannot_load_stands_out(content: bytes, why: str) -> None:
    item = one(
        compared(kernel(KERNEL, listed=False), kernel(KERNEL, listed=False) | {KO: content}), "modules"
    )
    assert item.risk is Risk.CRITICAL
    assert why in item.why


def test_another_build_of_one_release_is_told() -> None:
    new = kernel(KERNEL) | {f"/usr/lib/modules/{KERNEL}/vmlinuz": "another"}
    found = compared(kernel(KERNEL), new)
    assert found.kernel.rebuilt == (KERNEL,)
    assert (one(found, "kernel").risk, one(found, "kernel").name) == (Risk.HIGH, KERNEL)


def test_another_initramfs_is_told_though_every_build_has_one() -> None:
    path = f"/usr/lib/modules/{KERNEL}/initramfs.img"
    found = compared(kernel(KERNEL) | {path: "1"}, kernel(KERNEL) | {path: "2"})
    assert one(found, "kernel").risk is Risk.LOW
    assert [noise.why for noise in found.noise] == ["rebuilt initramfs"]


@pytest.mark.parametrize("kernels", [(), (KERNEL, "6.13-other")])
def test_an_image_without_exactly_one_kernel_stands_out(kernels: tuple[str, ...]) -> None:
    new = {path: content for release in kernels for path, content in kernel(release, listed=False).items()}
    found = group(compared(kernel(KERNEL, listed=False), {SITE: "", **new}), "kernel")
    assert found.risk is Risk.CRITICAL
    assert "release: an image has exactly one kernel" in found.reasons


def test_a_release_of_the_system_is_read_as_shells_would() -> None:
    old = {"/usr/lib/os-release": "# no\nID=debian\nVERSION_ID=13\nPRETTY_NAME='Debian 13'\nbroken\n"}
    new = {"/usr/lib/os-release": 'ID=debian\nVERSION_ID=14\nPRETTY_NAME="half\n'}
    item = one(compared(old, new), "system")
    assert (item.before, item.after, item.risk) == ("Debian 13", '"half', Risk.HIGH)
