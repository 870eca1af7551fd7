"""What a build proves before it pushes: an image that lacks its inventory or does not boot goes nowhere."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dossiers
import pytest
from buildkit import Yard, make_yard, offer, release
from sbomkit import SUPPLIER, SaidBefore, base_tree, scan
from trees import MemoryTree

from pipeline.domain.boot.result import BootResult, Step
from pipeline.domain.image import Tier
from pipeline.domain.provenance import BuilderFacts
from pipeline.errors import BootTestError, SbomError
from pipeline.verbs.build import build_bases
from pipeline.verbs.pin import pin
from pipeline.verbs.proof import EngineProver, Workshop


class Machine:
    """Boots nothing, and says what it was told to say."""

    def __init__(self, result: BootResult) -> None:
        self.result = result
        self.booted: list[str] = []

    def __call__(self, local: str, *, name: str, full: bool) -> BootResult:
        self.booted.append(name)
        return self.result


class Untouched:
    """Stands for what a refused build never comes to."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} was asked for, though nothing is to be stored")


@contextlib.contextmanager
def at_top(local: str) -> Iterator[Path]:
    yield Path("/")


def shop(machine: Machine) -> Workshop:
    return Workshop(
        scanner=SaidBefore(scan()),
        open_root=at_top,
        boot=machine,
        boots=frozenset({Tier.BASE}),
        store=Untouched(),
        snapshots=Untouched(),
        builder=BuilderFacts(versions={}),
        supplier=SUPPLIER,
        version="0",
    )


def build(folder: Path, machine: Machine, tree: MemoryTree) -> Yard:
    """Build a base out of these files; return what is left where that was refused."""
    yard = make_yard(folder)
    pin(yard.run, yard.base, offer(yard.upstream_candidate(), (94,)), yard.pins)
    yard.world.happened.clear()

    @contextlib.contextmanager
    def opened(name: str) -> Iterator[MemoryTree]:
        assembled = yard.world.happened[-1].startswith("build assemble")
        yield tree if assembled else yard.world.trees[name]

    def holds(*_: object) -> None:
        """The pin still holds."""

    run = dataclasses.replace(yard.run, open_tree=opened, prover=EngineProver(workshop=shop(machine)))
    try:
        build_bases(run, (yard.base,), yard.pins, images=yard.images, holds=holds)
    finally:
        assert yard.world.happened[-1] == f"build assemble {release(94)}"
        assert yard.world.pushed == {}
        assert len(yard.world.records) == 1
    return yard


def test_an_image_without_packages_is_not_pushed(tmp_path: Path) -> None:
    machine = Machine(dossiers.boot_result())
    with pytest.raises(SbomError, match="no package database"):
        build(tmp_path, machine, MemoryTree({"/etc/os-release": "ID=debian\n"}))
    assert machine.booted == []


def test_an_image_with_a_package_that_the_scanner_misses_is_not_pushed(tmp_path: Path) -> None:
    status = "Package: missed\nStatus: install ok installed\nArchitecture: amd64\nVersion: 7\n"
    with pytest.raises(SbomError, match="package missed 7"):
        build(
            tmp_path,
            Machine(dossiers.boot_result()),
            base_tree(**{"/usr/lib/sysimage/dpkg/status": status}),
        )


def test_an_image_that_does_not_boot_is_not_pushed(tmp_path: Path) -> None:
    failed = Step(name="modules", ok=False, found="zfs: Invalid module format")
    machine = Machine(dataclasses.replace(dossiers.boot_result(), steps=(failed,)))
    with pytest.raises(BootTestError, match="Invalid module format"):
        build(tmp_path, machine, base_tree())
    assert machine.booted == ["debian/base"]
