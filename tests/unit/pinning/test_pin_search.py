"""`pin` over an engine that compiles by a table: which kernel is found, and what is said of the others."""

from __future__ import annotations

import pytest
from buildkit import USERSPACE, VERSIONS, Yard, kernel, offer, release, sha
from pinkit import ALL, fail, kernels, parent, searched

from pipeline.domain.image import Digest
from pipeline.errors import BuildFailedError, PinError
from pipeline.verbs.pin import pin


def test_the_newest_that_compiles_everything_is_pinned(yard: Yard) -> None:
    made = searched(yard, *ALL)
    assert made.kernel == release(117)
    assert yard.world.compiled == [("nvidia", release(117)), ("zfs", release(117))]
    assert made.passed_over == ()
    assert made.modules == VERSIONS
    assert made.userspace == USERSPACE
    assert made.kernel_devel == (kernel(117).devel_package,)
    assert made.kernel_packages == kernel(117).image_packages
    assert made.upstream_digest == parent(yard).digest
    assert yard.pins.read().pins == {"base": made}


def test_evidence_is_the_digest_of_each_successful_log(yard: Yard) -> None:
    made = searched(yard, *ALL)
    assert made.evidence == {name: sha(f"making {name} for {release(117)}\n") for name in ("nvidia", "zfs")}


def test_the_pin_remembers_which_image_was_asked(yard: Yard) -> None:
    made = searched(yard, 94)
    assert made.upstream == "debian-13"
    assert isinstance(made.upstream_digest, Digest)
    assert made.upstream_digest == parent(yard).digest


def with_toolchain(yard: Yard) -> Yard:
    return yard.with_base(toolchain=yard.images.parent / "toolchain.Containerfile")


def test_all_kernels_are_tried_on_one_toolchain(yard: Yard) -> None:
    fail(yard, 117, 116)
    equipped = with_toolchain(yard)
    pin(equipped.run, equipped.base, offer(parent(yard), (117, 116, 94)), yard.pins)
    assert yard.world.happened.count("build toolchain") == 1
    assert len({one["UPSTREAM"] for one in yard.world.arguments if "MODULE_SET" in one}) == 1


def test_a_pin_that_stands_builds_no_toolchain(yard: Yard) -> None:
    equipped = with_toolchain(yard)
    offered = offer(parent(yard), (94,))
    pin(equipped.run, equipped.base, offered, equipped.pins)
    yard.world.happened.clear()
    pin(equipped.run, equipped.base, offered, equipped.pins)
    assert "build toolchain" not in yard.world.happened


def test_a_toolchain_that_cannot_be_built_says_nothing_of_a_kernel(yard: Yard) -> None:
    equipped = with_toolchain(yard)
    yard.world.fails.add(("toolchain", ""))
    with pytest.raises(BuildFailedError, match="toolchain"):
        pin(equipped.run, equipped.base, offer(parent(yard), ALL), equipped.pins)
    assert equipped.pins.read().failures == ()


def test_older_ones_are_searched_without_a_linear_walk(yard: Yard) -> None:
    numbers = tuple(range(164, 100, -1))
    fail(yard, *range(104, 165))
    made = pin(yard.run, yard.base, offer(parent(yard), numbers), yard.pins)
    assert made.kernel == release(103)
    assert len(kernels(yard)) <= 8  # the newest, then halving 63


def test_every_newer_kernel_is_said_why_it_was_passed_over(yard: Yard) -> None:
    fail(yard, 117, 116, 113, 111)
    offered = offer(
        parent(yard), (120, *ALL), dropped={120: "zfs META: the newest kernel it declares is 6.11"}
    )
    made = pin(yard.run, yard.base, offered, yard.pins)
    assert made.kernel == release(94)
    reasons = {one.kernel: one.reason for one in made.passed_over}
    assert list(reasons) == [release(number) for number in (120, 117, 116, 113, 111)]
    assert reasons[release(120)].endswith("declares is 6.11")
    assert "nvidia 550.163.01-2 does not compile: foo.c:12:3: error: too few" in reasons[release(117)]
    assert "nvidia" in reasons[release(111)]
    assert release(120) not in kernels(yard)


def test_all_modules_must_compile_and_the_first_that_fails_spares_the_rest(yard: Yard) -> None:
    fail(yard, 117, module="zfs")
    fail(yard, 116, module="nvidia")
    made = searched(yard, 117, 116, 94)
    assert made.kernel == release(94)
    assert ("zfs", release(116)) not in yard.world.compiled
    assert {(one.module, one.kernel) for one in yard.pins.read().failures} == {
        ("zfs", release(117)),
        ("nvidia", release(116)),
    }


def test_a_stage_that_leaves_the_wrong_files_is_a_failure_of_that_kernel(yard: Yard) -> None:
    yard.world.extra["zfs"] = {"/out/etc/evil.conf": "x"}
    with pytest.raises(PinError):
        searched(yard, 94)
    [kept] = yard.pins.read().failures
    assert (kept.module, kept.kernel) == ("zfs", release(94))
    assert "/etc/evil.conf" in kept.error


def test_nothing_compiles_names_every_kernel_and_its_reason(yard: Yard) -> None:
    fail(yard, *ALL)
    offered = offer(parent(yard), (120, *ALL), dropped={120: "its kernel-devel is not in the repositories"})
    with pytest.raises(PinError) as caught:
        pin(yard.run, yard.base, offered, yard.pins)
    lines = caught.value.message.splitlines()
    assert len(lines) == 1 + 1 + len(ALL)
    assert f"  {release(120)}: its kernel-devel is not in the repositories" in lines
    for number in ALL:
        assert any(line.startswith(f"  {release(number)}: nvidia 550.163.01-2: foo.c") for line in lines)
    assert "--reprove" in caught.value.hint
    assert yard.pins.read().pins == {}


def test_no_offered_kernel_at_all_is_a_pin_error(yard: Yard) -> None:
    with pytest.raises(PinError, match="no offered kernel serves debian/base"):
        pin(yard.run, yard.base, offer(parent(yard), ()), yard.pins)
