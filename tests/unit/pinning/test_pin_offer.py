"""What the repositories are asked before a search: kernels and modules they offer, and what is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from buildkit import Yard, kernel, release
from pinkit import parent

from pipeline.domain.kernel import DeclaredRange, KernelCandidate, RangeRule, Workshop
from pipeline.errors import PinError
from pipeline.verbs.pin import ask


class Repositories:
    """A package manager's answers."""

    def __init__(self, versions: Mapping[str, str], ranges: Sequence[DeclaredRange] = ()) -> None:
        self.versions = versions
        self.ranges = tuple(ranges)

    def candidates(self, inside: Workshop) -> tuple[KernelCandidate, ...]:
        return (kernel(117), kernel(116, devel=False), kernel(94, in_image=True))

    def module_version(self, inside: Workshop, package: str) -> str | None:
        return self.versions.get(package)

    def declared(self, inside: Workshop, package: str, dkms: str) -> tuple[DeclaredRange, ...]:
        return self.ranges if dkms == "zfs" else ()


OFFERED = {"nvidia-dkms": "550.163.01-2", "zfs-dkms": "2.3.9-1", "zfsutils-linux": "2.3.9-1+b1"}


def test_the_offer_drops_what_no_module_wants(yard: Yard) -> None:
    meta = DeclaredRange(source="zfs META", rule=RangeRule.SERIES, maximum="6.11")
    found = ask(yard.run, yard.base, parent(yard), Repositories(OFFERED, [meta]), arch="x86_64")
    assert found.kept == ()
    assert [one.release for one in found.dropped] == [release(117), release(116), release(94)]
    assert found.modules == {"nvidia": "550.163.01-2", "zfs": "2.3.9-1"}
    found = ask(yard.run, yard.base, parent(yard), Repositories(OFFERED), arch="x86_64")
    assert [one.release for one in found.kept] == [release(117), release(94)]
    assert found.dropped[0].reason == "its kernel-devel is not in the repositories"


@pytest.mark.parametrize("package", sorted(OFFERED))
def test_a_package_that_is_not_offered_is_named(yard: Yard, package: str) -> None:
    less = {name: version for name, version in OFFERED.items() if name != package}
    with pytest.raises(PinError, match=f"offer no package {package}"):
        ask(yard.run, yard.base, parent(yard), Repositories(less), arch="x86_64")


def test_userspace_of_another_version_than_its_module_is_refused(yard: Yard) -> None:
    other = {**OFFERED, "zfsutils-linux": "2.3.8-1"}
    with pytest.raises(
        PinError, match=r"zfsutils-linux is offered as 2\.3\.8-1, but the module zfs as 2\.3\.9-1"
    ):
        ask(yard.run, yard.base, parent(yard), Repositories(other), arch="x86_64")
    assert yard.world.compiled == []
