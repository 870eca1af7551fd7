"""Asks dnf inside an EL image which kernels, module packages and versions its repositories offer.

Rules: all versions are read in one go (one container, one load of the metadata) and kept for the image
that was asked; repositories of the line's own (OpenZFS, NVIDIA, EPEL) are given as texts and live in the
throw-away container only. Run with dnf 4 (CentOS Stream 10); dnf 5 documents the same `repoquery`,
`--setopt=reposdir` and the tags used here. `repoquery --location` with curl stands in for `dnf download`,
which is a plugin that an image need not have.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.adapters.asking import PLAIN, PRINT_SOURCES, Questions, sections
from pipeline.domain.kernel import KernelCandidate, Workshop
from pipeline.domain.vercmp import evr_key
from pipeline.errors import ToolFailedError

_FAMILY = ("kernel", "kernel-core", "kernel-modules-core", "kernel-modules", "kernel-modules-extra")
"""Packages that make one kernel; those of them that the image has installed are what a swap installs."""
_ALWAYS = frozenset({"kernel-core", "kernel-modules-core", "kernel-modules"})

_PREPARE = r"""
set -eu
# The line's own repositories, beside the image's; arguments are name and content in turns, then --.
repositories=/run/pipeline-repositories
mkdir -p "$repositories"
while [ "$1" != -- ]; do
    printf '%s\n' "$2" > "$repositories/$1"
    shift 2
done
shift
dnf() { command dnf -q -y --setopt="reposdir=/etc/yum.repos.d,$repositories" "$@"; }
"""

_INVENTORY = (
    _PREPARE
    + r"""
echo '== arch'
rpm --eval '|%{_arch}'
echo '== booted'
for image in /usr/lib/modules/*/vmlinuz; do
    [ -e "$image" ] || continue
    image=${image%/vmlinuz}
    echo "|${image##*/}"
done
echo '== installed'
rpm -qa --qf '|%{NAME}\t%{VERSION}-%{RELEASE}\t%{ARCH}\n' 'kernel*'
echo '== offered'
# dnf 4 ends each answer itself, dnf 5 needs the \n; empty lines do no harm.
dnf repoquery --available --qf '|%{name}\t%{evr}\t%{arch}\n'
"""
)

_DECLARED = (
    _PREPARE
    + r"""
package=$1 version=$2 name=$3
work=$(mktemp -d)
location=$(dnf repoquery --available --location "$package-$version" | grep -m 1 :)
curl -fsSL --retry 3 -o "$work/package.rpm" "$location"
tree=$work/tree
mkdir "$tree"
cd "$tree"
rpm2cpio "$work/package.rpm" | cpio -idm --quiet --no-absolute-filenames \
    "./usr/src/$name-*/META" "./usr/src/$name-*/dkms.conf"
"""
    + PRINT_SOURCES
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """One image's answer.

    Attributes:
        arch: rpm's name of the machine.
        booted: Kernel releases with a vmlinuz in the image.
        installed: (name, version-release, arch) of installed kernel packages.
        offered: Package name to the `[epoch:]version-release`s offered for this machine, newest first.
    """

    arch: str
    booted: tuple[str, ...]
    installed: tuple[tuple[str, str, str], ...]
    offered: Mapping[str, tuple[str, ...]]


class DnfSource(Questions[Inventory]):
    """`KernelSource` for EL images.

    Args:
        repositories: File name (`zfs.repo`) to content of the repositories to ask beside the image's own.
    """

    def __init__(self, repositories: Mapping[str, str]) -> None:
        words = [word for pair in sorted(repositories.items()) for word in pair]
        super().__init__(
            inventory=_INVENTORY, declared=_DECLARED, parse=parse_inventory, words=[*words, "--"]
        )

    def candidates(self, inside: Workshop) -> tuple[KernelCandidate, ...]:
        """Return the image's own kernel and every kernel whose kernel-devel is offered, newest first."""
        return candidates_of(self.inventory(inside))


def read_repositories(folder: Path) -> dict[str, str]:
    """Return the `*.repo` files of a folder by name; nothing when there is no such folder."""
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.repo"))}


def parse_inventory(answer: str) -> Inventory:
    """Read the answer of the inventory script.

    Raises:
        ToolFailedError: It names no machine, so it is no answer of that script.
    """
    parts = sections(answer)
    arch = "".join(parts.get("arch", ())).strip()
    if not PLAIN.fullmatch(arch):
        raise ToolFailedError(
            "dnf's answer about the kernels on offer cannot be read",
            hint="run `dnf repoquery kernel-devel` in the upstream image and look at what it says",
            argv=("dnf", "repoquery"),
            code=0,
            tail=answer[-500:],
        )
    offered: dict[str, set[str]] = {}
    for name, evr, its_arch in _rows(parts.get("offered", ())):
        if its_arch in (arch, "noarch"):
            offered.setdefault(name, set()).add(evr.removeprefix("0:"))
    return Inventory(
        arch=arch,
        booted=tuple(name for name in parts.get("booted", ()) if PLAIN.fullmatch(name)),
        installed=_rows(parts.get("installed", ())),
        offered={name: tuple(sorted(evrs, key=evr_key, reverse=True)) for name, evrs in offered.items()},
    )


def candidates_of(inventory: Inventory) -> tuple[KernelCandidate, ...]:
    """Return the candidates an inventory holds, newest first.

    A kernel's release is version-release.arch of its packages; variants with a suffix of their own
    (`+rt`, `+64k`) have packages of other names and are none.
    """
    releases = {f"{_plain(evr)}.{inventory.arch}": evr for evr in inventory.offered.get("kernel-devel", ())}
    for release in inventory.booted:
        releases.setdefault(release, release.removesuffix(f".{inventory.arch}"))
    found = [_candidate(inventory, release, evr) for release, evr in releases.items()]
    return tuple(sorted(found, key=lambda one: evr_key(one.package_version), reverse=True))


def _candidate(inventory: Inventory, release: str, evr: str) -> KernelCandidate:
    has = {name for name, _, _ in inventory.installed} | _ALWAYS
    image = tuple(
        f"{name}={evr}" for name in _FAMILY if name in has and evr in inventory.offered.get(name, ())
    )
    devel = evr in inventory.offered.get("kernel-devel", ())
    return KernelCandidate(
        release=release,
        package_version=evr,
        devel_package=f"kernel-devel={evr}" if devel else "",
        image_packages=image if f"kernel-core={evr}" in image else (),
        in_image=release in inventory.booted,
        devel=devel,
    )


def _plain(evr: str) -> str:
    return evr.rpartition(":")[2]


def _rows(lines: tuple[str, ...]) -> tuple[tuple[str, str, str], ...]:
    found: list[tuple[str, str, str]] = []
    for line in lines:
        words = line.split("\t")
        if len(words) == 3 and all(PLAIN.fullmatch(word) for word in words):  # noqa: PLR2004 - name, evr, arch
            found.append((words[0], words[1], words[2]))
    return tuple(found)
