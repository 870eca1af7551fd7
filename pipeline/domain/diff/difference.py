"""Everything that differs between two images, found in one go.

Rules: what a part says is derived from the files that differ; a part that could not be read is named in
`unread` and never looks unchanged; a first image is compared with nothing, and its files are summed up by
area instead of listed one by one.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.domain.diff.areas import Area, areas
from pipeline.domain.diff.change import Change
from pipeline.domain.diff.containers import ContainerImage, bound_changes, container_changes
from pipeline.domain.diff.files import file_changes
from pipeline.domain.diff.kargs import Karg, karg_changes
from pipeline.domain.diff.kernel import KernelChange, Module, kernel_change, module_changes
from pipeline.domain.diff.noise import noise_of
from pipeline.domain.diff.owners import unexplained
from pipeline.domain.diff.packages import (
    DATABASES,
    InstalledPackage,
    Inventory,
    inventory,
    package_changes,
    with_licences,
)
from pipeline.domain.diff.pair import Pair, everything
from pipeline.domain.diff.policy import PolicyChange, policy_change
from pipeline.domain.diff.privileges import Privilege, privilege_changes
from pipeline.domain.diff.settings import SystemChange, config_changes, system_change
from pipeline.domain.diff.size import SizeChange, size_change
from pipeline.domain.diff.snapshot import FileChange, FileChanges, Snapshot
from pipeline.domain.diff.texts import TextChange, text_changes
from pipeline.domain.diff.units import Start, start_changes
from pipeline.domain.diff.users import Account, account_changes
from pipeline.domain.gate import Inside
from pipeline.domain.image import Digest

ONLY_TIME = "time alone"
"""What is told of files that differ in nothing but their time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageName:
    """One of the two images: the repository or name it goes by, and its digest."""

    name: str
    digest: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """Files whose change says nothing of the image: why, and which."""

    why: str
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What differs between an image and its predecessor.

    Attributes:
        old, new: The images; `old` is None for a first release.
        because: Why `old` is what the new image is compared with.
        system, kernel, modules, privileges, accounts, units, policy, kargs, containers, bound, packages,
            config: What changed, by kind.
        texts: Configuration and unit files, line by line.
        files: Every path that differs and is no noise; empty for a first release.
        unexplained: Programs, libraries and firmware that differ without a package that does.
        areas: How many files differ, by area.
        noise: What differs in any two builds, apart but never hidden.
        built: Labels that differ in any two builds.
        size: By layer, package and folder.
        unread: What should have been read and could not be, for people.
    """

    old: ImageName | None
    new: ImageName
    because: str
    system: SystemChange
    kernel: KernelChange
    modules: tuple[Change[Module], ...]
    privileges: tuple[Change[Privilege], ...]
    accounts: tuple[Change[Account], ...]
    units: tuple[Change[Start], ...]
    policy: PolicyChange
    kargs: tuple[Change[Karg], ...]
    containers: tuple[Change[ContainerImage], ...]
    bound: tuple[Change[str], ...]
    packages: tuple[Change[InstalledPackage], ...]
    config: tuple[Change[str], ...]
    texts: tuple[TextChange, ...]
    files: tuple[FileChange, ...]
    unexplained: tuple[str, ...]
    areas: tuple[Area, ...]
    noise: tuple[Noise, ...]
    built: tuple[Change[str], ...]
    size: SizeChange
    unread: tuple[str, ...]

    @property
    def first(self) -> bool:
        """Whether there is no predecessor."""
        return self.old is None


def difference(
    old: Snapshot | None,
    new: Snapshot,
    *,
    names: tuple[ImageName | None, ImageName],
    because: str,
    inside: tuple[Inside | None, Inside | None] = (None, None),
) -> Difference:
    """Return what differs.

    Args:
        old: Files of the image before; None when there is none.
        new: Files of the image now.
        names: What the two are.
        because: Why `old` is what `new` is compared with, or why there is none.
        inside: Run a program in either image; asked only where an image has an rpm database.
    """
    found = _files(old, new)
    pair = Pair(old, new, found.changes)
    before, after = _inventories(pair, inside)
    packages = _packages(pair, before, after)
    plain_files, noise = _without_noise(found)
    noisy = frozenset(path for one in noise for path in one.paths)
    config, built = config_changes(old, new)
    modules = module_changes(pair)
    texts = text_changes(pair, noisy) if old is not None else ()
    shown = {text.path for text in texts} | {one.new.path for one in modules if one.new is not None}
    return Difference(
        old=names[0],
        new=names[1],
        because=because,
        system=system_change(pair),
        kernel=kernel_change(pair),
        modules=modules,
        privileges=privilege_changes(pair),
        accounts=account_changes(pair),
        units=start_changes(pair),
        policy=policy_change(pair),
        kargs=karg_changes(pair),
        containers=container_changes(pair),
        bound=bound_changes(pair),
        packages=packages,
        config=config,
        texts=texts,
        files=plain_files if old is not None else (),
        unexplained=unexplained(pair, plain_files, packages, shown) if old is not None else (),
        areas=areas(plain_files),
        noise=noise if old is not None else (),
        built=built,
        size=size_change(old, new, found.changes, packages, after),
        # Last: every part above may add to it.
        unread=(*pair.unread, *_unread_packages(before, after)),
    )


def _files(old: Snapshot | None, new: Snapshot) -> FileChanges:
    return file_changes(old, new) if old is not None else FileChanges(changes=everything(new), touched=())


def _inventories(
    pair: Pair, inside: tuple[Inside | None, Inside | None]
) -> tuple[Inventory | None, Inventory | None]:
    """Return both sides' packages; none on either where no package database differs."""
    if not pair.any_below(*DATABASES):
        return (), ()
    old = inventory(pair.old.tree, inside[0]) if pair.old.tree is not None else ()
    return old, inventory(pair.new.tree, inside[1]) if pair.new.tree is not None else ()


def _packages(
    pair: Pair, old: Inventory | None, new: Inventory | None
) -> tuple[Change[InstalledPackage], ...]:
    if old is None or new is None or pair.new.tree is None:
        return ()
    return with_licences(package_changes(old, new), pair.old.tree, pair.new.tree)


def _unread_packages(old: Inventory | None, new: Inventory | None) -> tuple[str, ...]:
    sides = (("old", old), ("new", new))
    return tuple(f"{side}: the package database" for side, found in sides if found is None)


def _without_noise(found: FileChanges) -> tuple[tuple[FileChange, ...], tuple[Noise, ...]]:
    """Return the changes that say something, and the others by what makes them noise."""
    kept: list[FileChange] = []
    noise: dict[str, list[str]] = {}
    for change in found.changes:
        why = noise_of(change)
        if why:
            noise.setdefault(why, []).append(change.path)
        else:
            kept.append(change)
    if found.touched:
        noise[ONLY_TIME] = list(found.touched)
    return tuple(kept), tuple(Noise(why=why, paths=tuple(noise[why])) for why in sorted(noise))
