"""Which releases of a folder are copied out of it: there is no ledger there, so the folder's own word counts.

Rules: a release is what has a release tag; what it is built on is what the folder says, by name, version and
digest, and it must be there with exactly that digest. What the images are worth is for `pipeline verify` to
say, from keys and ledger, wherever they come to lie.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

from semver import Version

from pipeline.domain.image import ImageRef, Repository
from pipeline.domain.nearest import nearest
from pipeline.domain.oci import Descriptor
from pipeline.domain.parcel import FOLDER, Named, Parcel, require_name, version_of
from pipeline.domain.text import plain
from pipeline.errors import GateRefusedError, NotFoundError, UsageError

_WANTED = re.compile(r"v?([0-9]{1,9}(?:\.[0-9]{1,9}){0,2})", re.ASCII)
_DEEPEST = 8


class ReleaseFolder(Protocol):
    """A folder of images; `adapters.ocilayout.OciLayout` is one."""

    def tags(self, repository: Repository) -> tuple[str, ...]:
        """Return every tag of one image."""

    def parent_of(self, repository: Repository, tag: str) -> Named | None:
        """Return what a release is built on."""

    def resolve(self, ref: ImageRef) -> Descriptor:
        """Return what a tag names."""


def parcels_in(
    folder: ReleaseFolder, name: str, versions: Sequence[str], *, every: bool, parents: bool
) -> tuple[Parcel, ...]:
    """Return the releases that are to be copied out of a folder, what they are built on first.

    Args:
        folder: Where they are.
        name: `line/image`.
        versions: The releases (`v2`, `v2.0` or `v2.0.3`); none means the newest one.
        every: All there are.
        parents: Whether what they are built on is copied too.

    Raises:
        NotFoundError: There is no such release, or what it is built on is not in the folder.
        GateRefusedError: What it is built on is there with another digest.
        UsageError: Versions are named beside `every`, or one is none.
        RegistryError: A manifest in the folder is not what its digest says.
    """
    if every and versions:
        raise UsageError("--all and versions contradict each other", hint="give one of the two")
    require_name(name)
    there = _versions(folder, name)
    if not there:
        raise NotFoundError(
            f"the folder has no release of {plain(name)}", hint="its index.json names what it has"
        )
    chosen = there if every else [_chosen(one, there, name) for one in versions] or there[-1:]
    found: dict[tuple[str, str], Parcel] = {}
    for version in chosen:
        for one in _chain(folder, name, version, parents=parents):
            found.setdefault((one.name, one.version), one)
    return tuple(found.values())


def _versions(folder: ReleaseFolder, name: str) -> list[str]:
    tags = folder.tags(Repository(registry=FOLDER, path=name))
    return sorted(filter(None, map(version_of, tags)), key=Version.parse)


def _chosen(wanted: str, there: Sequence[str], name: str) -> str:
    match = _WANTED.fullmatch(wanted)
    if match is None:
        raise UsageError(f"{plain(wanted, 60)!r} is no version", hint="write v2, v2.0 or v2.0.3")
    begin = match[1].split(".")
    fits = [version for version in there if version.split(".")[: len(begin)] == begin]
    if not fits:
        raise NotFoundError(
            f"the folder has no {name} {plain(wanted, 60)}",
            hint=nearest(wanted, [f"v{one}" for one in there]),
        )
    return fits[-1]


def _chain(folder: ReleaseFolder, name: str, version: str, *, parents: bool) -> tuple[Parcel, ...]:
    """Return a release and what it is built on, the lowest first."""
    found = [_parcel(folder, name, version)]
    while parents and (below := found[-1].parent) is not None:
        one = _parcel(folder, below.name, below.version)
        if one.digest != below.digest:
            raise GateRefusedError(
                f"{found[-1].name} v{found[-1].version} is built on {below}, but the folder has {one.digest}",
                hint="somebody changed the folder, or several were mixed; write it once more",
            )
        if len(found) == _DEEPEST:
            raise UsageError(
                f"{name} v{version} is said to be built on more than {_DEEPEST} others",
                hint="somebody forged the folder; take it from who wrote it once more",
            )
        found.append(one)
    return tuple(reversed(found))


def _parcel(folder: ReleaseFolder, name: str, version: str) -> Parcel:
    repository = Repository(registry=FOLDER, path=name)
    tag = f"v{version}"
    return Parcel(
        name=name,
        version=version,
        digest=folder.resolve(repository.tagged(tag)).digest,
        source=repository,
        parent=folder.parent_of(repository, tag),
    )
