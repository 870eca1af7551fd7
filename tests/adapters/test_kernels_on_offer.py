from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.adapters import packages_apt, packages_dnf
from pipeline.adapters.packages_apt import AptSource
from pipeline.adapters.packages_dnf import DnfSource, read_repositories
from pipeline.domain.gate import CommandResult
from pipeline.errors import ToolFailedError

ANSWERS = Path(__file__).parents[1] / "golden/packages"
APT = (ANSWERS / "apt-trixie.txt").read_text()
DNF = (ANSWERS / "dnf4-standin.txt").read_text()
SHIPPED = Path(__file__).parents[2] / "Containerfiles/centos-stream10/repos"

DECLARED = """== META
|Linux-Maximum: 6.15
|== dkms.conf
|BUILD_EXCLUSIVE_ARCH=sparc64
== dkms.conf
|BUILD_EXCLUSIVE_KERNEL_MIN=4.18
"""


@dataclass
class Image:
    """An image that answers every script with the same text, and remembers what it was asked."""

    answer: str
    code: int = 0
    stderr: str = ""
    asked: list[tuple[str, ...]] = field(default_factory=list)

    def __call__(self, argv: Sequence[str], *, stdin: str = "", timeout: float = 120.0) -> CommandResult:
        self.asked.append(tuple(argv))
        text = DECLARED if "show META" in argv[2] else self.answer
        return CommandResult(code=self.code, stdout=text, stderr=self.stderr)


def test_apt_offers_the_flavours_kernels_newest_first() -> None:
    found = AptSource("amd64").candidates(Image(APT))
    assert [one.release for one in found] == [
        "6.12.117+deb13-amd64",
        "6.12.116+deb13-amd64",
        "6.12.115+deb13.1-amd64",
        "6.12.115+deb13-amd64",
        "6.12.113+deb13-amd64",
        "6.12.111+deb13-amd64",
        "6.12.107+deb13-amd64",
        "6.12.94+deb13-amd64",
    ]
    assert found[-1].devel_package == "linux-headers-6.12.94+deb13-amd64=6.12.94-1"
    assert found[-1].image_packages == ("linux-image-6.12.94+deb13-amd64=6.12.94-1",)
    assert all(one.devel and not one.in_image for one in found)


def test_apts_own_kernel_without_headers_is_a_candidate_without_kernel_devel() -> None:
    answer = APT.replace("== booted", "== booted\n|6.12.100+deb13-amd64").replace(
        "== installed", "== installed\n|linux-image-6.12.100+deb13-amd64\t6.12.100-1"
    )
    found = {one.release: one for one in AptSource("amd64").candidates(Image(answer))}
    own = found["6.12.100+deb13-amd64"]
    assert (own.in_image, own.devel, own.devel_package, own.package_version) == (
        True,
        False,
        "",
        "6.12.100-1",
    )
    assert list(found)[6:8] == ["6.12.107+deb13-amd64", "6.12.100+deb13-amd64"]


def test_dnf_offers_kernels_with_the_packages_the_image_has() -> None:
    answer = DNF.replace("== installed", "== installed\n|kernel\t6.12.0-142.el10\tx86_64")
    found = DnfSource({}).candidates(Image(answer))
    assert [one.release for one in found] == [
        "6.16.0-3.el10.x86_64",
        "6.12.0-120.el10.x86_64",
        "6.12.0-55.el10.x86_64",
    ]
    assert found[2].image_packages == tuple(
        f"{name}=6.12.0-55.el10"
        for name in ("kernel", "kernel-core", "kernel-modules-core", "kernel-modules")
    )


def test_dnf_passes_over_other_machines_and_keeps_an_epoch() -> None:
    answer = DNF + "|kernel-devel\t6.99.0-1.el10\taarch64\n|nvidia-driver-cuda\t3:580.95.05-1.el10\tx86_64\n"
    source, image = DnfSource({}), Image(answer)
    assert "6.99.0-1.el10" not in {one.package_version for one in source.candidates(image)}
    assert source.module_version(image, "nvidia-driver-cuda") == "3:580.95.05-1.el10"


@pytest.mark.parametrize(
    ("source", "answer", "package"),
    [(AptSource("amd64"), APT, "zfs-dkms"), (DnfSource({}), DNF, "hello-dkms")],
)
def test_all_versions_are_asked_for_once(source: AptSource | DnfSource, answer: str, package: str) -> None:
    image = Image(answer)
    source.candidates(image)
    assert source.module_version(image, package)
    assert source.module_version(image, "no-such-package") is None
    assert len(image.asked) == 1
    source.candidates(Image(answer))
    assert len(image.asked) == 1, "another image must be asked itself"


@pytest.mark.parametrize(
    ("source", "answer", "package"),
    [(AptSource("amd64"), APT, "zfs-dkms"), (DnfSource({}), DNF, "hello-dkms")],
)
def test_declared_ranges_are_read_and_content_cannot_pose_as_a_heading(
    source: AptSource | DnfSource, answer: str, package: str
) -> None:
    found = source.declared(Image(answer), package, "it")
    assert [(one.source, one.minimum, one.maximum, one.arch) for one in found] == [
        ("it META", "", "6.15", ""),
        ("it dkms.conf", "4.18", "", ""),
    ]
    assert source.declared(Image(answer), "no-such-package", "it") == ()


@pytest.mark.parametrize("source", [AptSource("amd64"), DnfSource({})])
def test_a_package_manager_that_fails_is_told_with_its_last_line(source: AptSource | DnfSource) -> None:
    image = Image("", code=1, stderr="progress\nError: Failed to download metadata for repo 'zfs'\n")
    with pytest.raises(ToolFailedError, match="Failed to download metadata for repo 'zfs'"):
        source.candidates(image)


@pytest.mark.parametrize("source", [AptSource("amd64"), DnfSource({})])
def test_an_answer_that_is_none_is_refused(source: AptSource | DnfSource) -> None:
    with pytest.raises(ToolFailedError, match="cannot be read"):
        source.candidates(Image("bash: welcome\n"))


def test_names_a_shell_or_containerfile_would_expand_are_passed_over() -> None:
    hostile = "|kernel-devel\t6.12.0-$(id)\tx86_64\n|a b\t1\tx86_64\n|-o\t1\tx86_64\n|kernel-core\t1\n"
    inventory = packages_dnf.parse_inventory(f"{DNF}{hostile}")
    assert inventory.offered == packages_dnf.parse_inventory(DNF).offered
    bad = "|linux-headers-6.99.0;reboot-amd64\t1\n|linux-headers-7.0-amd64\t1 2\n"
    assert packages_apt.parse_inventory(f"{APT}{bad}").offered == packages_apt.parse_inventory(APT).offered


@settings(derandomize=True, deadline=None)
@given(st.text(alphabet="|= \tkernel-dv1.0x86_64\nbootedfr/$", max_size=300))
def test_any_answer_ends_in_candidates(text: str) -> None:
    head = "== arch\n|x86_64\n== offered\n"
    packages_dnf.candidates_of(packages_dnf.parse_inventory(head + text))
    packages_apt.candidates_of(packages_apt.parse_inventory(head + text), "amd64")


def test_repositories_reach_the_script_as_arguments() -> None:
    image = Image(DNF)
    DnfSource({"zfs.repo": "[zfs]\nname=$(id)\n"}).candidates(image)
    assert image.asked[0][3:] == ("pipeline", "zfs.repo", "[zfs]\nname=$(id)\n", "--")
    assert "$(id)" not in image.asked[0][2]


def test_the_shipped_repositories_check_signatures() -> None:
    shipped = read_repositories(SHIPPED)
    assert sorted(shipped) == ["epel.repo", "nvidia.repo", "zfs.repo"]
    for text in shipped.values():
        assert "gpgcheck=1" in text
        assert "gpgkey=https://" in text
        assert "=http://" not in text


def test_a_line_without_repositories_has_none(tmp_path: Path) -> None:
    assert read_repositories(tmp_path / "none") == {}
