"""Asks apt inside a Debian image which kernels, module packages and versions its repositories offer.

Rules: all versions are read in one go (one container, one `apt-get update`) and kept for the image that
was asked; the newest version offered is taken, so a suite that must not be used must not be in the image's
sources. Only the flavour asked for counts: `amd64`, not `cloud-amd64` and not `rt-amd64`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.adapters.asking import PLAIN, PRINT_SOURCES, Questions, sections
from pipeline.domain.kernel import KernelCandidate, Workshop
from pipeline.domain.vercmp import dpkg_key
from pipeline.errors import ToolFailedError

_PREPARE = r"""
set -eu
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq 1>&2
"""

_INVENTORY = (
    _PREPARE
    + r"""
echo '== arch'
echo "|$(dpkg --print-architecture)"
echo '== booted'
for image in /usr/lib/modules/*/vmlinuz; do
    [ -e "$image" ] || continue
    image=${image%/vmlinuz}
    echo "|${image##*/}"
done
echo '== installed'
dpkg-query -W -f '|${Package}\t${Version}\n' 'linux-image-*' 2>/dev/null || true
echo '== offered'
# The lists of the repositories alone: what is merely installed is not on offer.
apt-get indextargets --format '$(FILENAME)' 'Created-By: Packages' | while read -r list; do
    [ ! -e "$list" ] || /usr/lib/apt/apt-helper cat-file "$list" |
        awk '/^Package: /{name = $2} /^Version: /{print "|" name "\t" $2}'
done
"""
)

_DECLARED = (
    _PREPARE
    + r"""
package=$1 version=$2 name=$3
work=$(mktemp -d)
chmod 0755 "$work"
cd "$work"
apt-get download -qq "$package=$version" 1>&2
tree=$work/tree
mkdir "$tree"
dpkg-deb --fsys-tarfile ./*.deb | tar -x -C "$tree" --wildcards \
    "./usr/src/$name-*/META" "./usr/src/$name-*/dkms.conf" 2>/dev/null || true
"""
    + PRINT_SOURCES
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """One image's answer.

    Attributes:
        arch: dpkg's name of the machine.
        booted: Kernel releases with a vmlinuz in the image.
        installed: Installed kernel package to its version.
        offered: Package name to the versions offered, newest first.
    """

    arch: str
    booted: tuple[str, ...]
    installed: Mapping[str, str]
    offered: Mapping[str, tuple[str, ...]]


class AptSource(Questions[Inventory]):
    """`KernelSource` for Debian images.

    Args:
        flavour: The kernels' last part, such as `amd64`.
    """

    def __init__(self, flavour: str) -> None:
        super().__init__(inventory=_INVENTORY, declared=_DECLARED, parse=parse_inventory)
        self._flavour = flavour

    def candidates(self, inside: Workshop) -> tuple[KernelCandidate, ...]:
        """Return the image's own kernel and every kernel whose headers are offered, newest first."""
        return candidates_of(self.inventory(inside), self._flavour)


def parse_inventory(answer: str) -> Inventory:
    """Read the answer of the inventory script.

    Raises:
        ToolFailedError: It names no machine, so it is no answer of that script.
    """
    parts = sections(answer)
    arch = "".join(parts.get("arch", ())).strip()
    if not PLAIN.fullmatch(arch):
        raise ToolFailedError(
            "apt's answer about the kernels on offer cannot be read",
            hint="run `apt-cache search linux-headers` in the upstream image and look at what it says",
            argv=("apt-cache", "search"),
            code=0,
            tail=answer[-500:],
        )
    offered: dict[str, set[str]] = {}
    for name, version in _rows(parts.get("offered", ())):
        offered.setdefault(name, set()).add(version)
    return Inventory(
        arch=arch,
        booted=tuple(name for name in parts.get("booted", ()) if PLAIN.fullmatch(name)),
        installed=dict(_rows(parts.get("installed", ()))),
        offered={name: tuple(sorted(many, key=dpkg_key, reverse=True)) for name, many in offered.items()},
    )


def candidates_of(inventory: Inventory, flavour: str) -> tuple[KernelCandidate, ...]:
    """Return the candidates an inventory holds, newest first."""
    wanted = re.compile(rf"linux-headers-([0-9][^-]*-{re.escape(flavour)})")
    matches = (wanted.fullmatch(name) for name in inventory.offered)
    releases = {match.group(1) for match in matches if match} | set(inventory.booted)
    found = [_candidate(inventory, release) for release in releases]
    return tuple(
        sorted(found, key=lambda one: (dpkg_key(one.package_version), dpkg_key(one.release)), reverse=True)
    )


def _candidate(inventory: Inventory, release: str) -> KernelCandidate:
    headers, image = f"linux-headers-{release}", f"linux-image-{release}"
    devel = next(iter(inventory.offered.get(headers, ())), "")
    kernel = next(iter(inventory.offered.get(image, ())), "")
    own = inventory.installed.get(image, "")
    return KernelCandidate(
        release=release,
        package_version=devel or kernel or own or release.partition("+")[0],
        devel_package=f"{headers}={devel}" if devel else "",
        image_packages=(f"{image}={kernel}",) if kernel else (),
        in_image=release in inventory.booted,
        devel=bool(devel),
    )


def _rows(lines: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    found: list[tuple[str, str]] = []
    for line in lines:
        name, tab, version = line.partition("\t")
        if tab and PLAIN.fullmatch(name) and PLAIN.fullmatch(version):
            found.append((name, version))
    return tuple(found)
