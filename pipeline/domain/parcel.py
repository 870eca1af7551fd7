"""Which releases are copied, in which order, and under which names; pure rules of `pipeline copy`.

Rules: what a release is built on is copied before it; release tags and their aliases are all the tags that an
image takes with it, never a channel; an alias names the highest release that is there and was not yanked; a
set of signatures is only ever replaced by one that has them all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from semver import Version

from pipeline.domain.holding import Held
from pipeline.domain.image import NAME, Digest, Repository, Tier
from pipeline.domain.lineage import Lineage, aliases_of, removed_of
from pipeline.domain.record import Record, candidates
from pipeline.domain.release import Seal
from pipeline.domain.text import plain
from pipeline.errors import NotFoundError, UsageError

FOLDER = "folder"
"""The registry's name of repositories that lie in a folder."""

_RELEASE = re.compile(r"v((?:0|[1-9][0-9]{0,8})(?:\.(?:0|[1-9][0-9]{0,8})){2})")
_PARENT = re.compile(r"(?P<name>[^:@]{1,130}):v(?P<version>[0-9.]{5,29})@(?P<digest>sha256:[0-9a-f]{64})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A release by name, version and digest, as a folder says what another one is built on."""

    name: str
    version: str
    digest: Digest

    @classmethod
    def parse(cls, text: str) -> Named:
        """Parse `line/image:vX.Y.Z@sha256:…`.

        Raises:
            UsageError: It is none.
        """
        match = _PARENT.fullmatch(text)
        if match is None or version_of(f"v{match['version']}") is None:
            raise UsageError(f"{plain(text, 120)!r} names no release", hint="see who wrote that folder")
        require_name(match["name"])
        return cls(name=match["name"], version=match["version"], digest=Digest(match["digest"]))

    def __str__(self) -> str:
        return f"{self.name}:v{self.version}@{self.digest}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """One release that is to be copied.

    Attributes:
        name: `line/image`.
        version: MAJOR.MINOR.PATCH.
        digest: The image.
        source: The repository it lies in.
        parent: What it is built on; None for an upstream.
        signatures: Manifests of the signatures and attestations that its seal names.
    """

    name: str
    version: str
    digest: Digest
    source: Repository
    parent: Named | None = None
    signatures: tuple[Digest, ...] = ()

    @property
    def tag(self) -> str:
        """Its release tag."""
        return f"v{self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """One release that was copied, or would be.

    Attributes:
        name, version, digest: The release.
        source, target: From where, to where.
        manifests: Manifests that make it up, all that belongs to it among them.
        sent, there: Blobs that were sent (or would be), and that the registry over there had already.
        tags: Tags over there that were written, or would be.
    """

    name: str
    version: str
    digest: Digest
    source: Repository
    target: Repository
    manifests: int
    sent: int
    there: int
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyResult:
    """What was copied; `bytes` counts the blobs that were sent, `notes` is for the people over there."""

    releases: tuple[Copied, ...]
    bytes: int
    dry_run: bool
    notes: tuple[str, ...] = ()


def parcels_of(
    records: Sequence[Record], name: str, versions: Sequence[str], *, every: bool, parents: bool
) -> tuple[Parcel, ...]:
    """Return the releases that are to be copied, what they are built on first.

    Args:
        records: The ledger.
        name: `line/image`.
        versions: The releases; none means the newest one.
        every: All that were not yanked.
        parents: Whether what they are built on is copied too.

    Raises:
        NotFoundError: There is no such release, or the release it is built on is not in the ledger.
        GateRefusedError: It was yanked.
        UsageError: Versions are named beside `every`, or one is none.
    """
    lineage = Lineage(records)
    if every and versions:
        raise UsageError("--all and versions contradict each other", hint="give one of the two")
    removed = removed_of(records)
    if every:
        seals = [one for one in lineage.good(name) if (one.repository, one.digest) not in removed]
    elif versions:
        seals = [lineage.find(name, version) for version in versions]
    else:
        seals = [one for one in (lineage.newest(name),) if one is not None]
    if not seals:
        raise NotFoundError(f"{name} has no release to copy", hint="`pipeline releases` lists the releases")
    for one in seals:
        if (one.repository, one.digest) in removed:
            raise NotFoundError(
                f"{name} v{one.version} was deleted by `pipeline prune`, as the ledger says",
                hint="copy a release that is still there; `pipeline releases` lists them",
            )
    below = _Below(lineage, records)
    found: dict[tuple[str, str], Parcel] = {}
    for seal in seals:
        for one in below.chain(seal) if parents else (seal,):
            found.setdefault((one.name, one.version), _parcel(one, below.parent(one)))
    return tuple(found.values())


class _Below:
    """What releases are built on."""

    def __init__(self, lineage: Lineage, records: Sequence[Record]) -> None:
        self._lineage = lineage
        self._names = {one.id: one.parent.image for one in candidates(records) if one.parent is not None}

    def parent(self, seal: Seal) -> Seal | None:
        if seal.parent is None:
            return None
        said = self._names.get(seal.candidate)
        names = self._lineage.names if said is None else (said,)
        for name in names:
            for one in self._lineage.releases(name):
                if (one.version, one.digest) == (seal.parent.version, seal.parent.digest):
                    return one
        raise NotFoundError(
            f"{seal.name} v{seal.version} is built on v{seal.parent.version} {seal.parent.digest},"
            " which the ledger does not have as a release",
            hint="see `pipeline audit`; --without-parents copies it alone, without its chain",
        )

    def chain(self, seal: Seal) -> tuple[Seal, ...]:
        """Return a release and all it is built on, the lowest first."""
        found = [seal]
        while (below := self.parent(found[-1])) is not None and below not in found:
            found.append(below)
        return tuple(reversed(found))


def _parcel(seal: Seal, parent: Seal | None) -> Parcel:
    below = None
    if parent is not None:
        below = Named(name=parent.name, version=parent.version, digest=parent.digest)
    return Parcel(
        name=seal.name,
        version=seal.version,
        digest=seal.digest,
        source=seal.repository,
        parent=below,
        signatures=tuple(sorted(set(seal.signatures.values()))),
    )


def version_of(tag: str) -> str | None:
    """Return the version of a release tag (`v1.2.3`); None for every other tag."""
    match = _RELEASE.fullmatch(tag)
    return None if match is None else match[1]


def aliases_for(
    versions: Iterable[str], there: Mapping[str, Digest], yanked: frozenset[str]
) -> dict[str, Digest]:
    """Return the aliases of these versions and what each must name, by the release tags that are there."""
    wanted = {alias for version in versions for alias in aliases_of(version, Tier.BASE)}
    found: dict[str, Digest] = {}
    good = {version: digest for tag, digest in there.items() if (version := version_of(tag)) is not None}
    for version in sorted(good.keys() - yanked, key=Version.parse):
        found |= {alias: good[version] for alias in aliases_of(version, Tier.BASE) if alias in wanted}
    return found


def newer_set(ours: Held, theirs: Held) -> Held | None:
    """Return which of two sets of signatures has all of the other's; None when neither has."""
    mine, others = ({blob.digest for blob in one.blobs[1:]} for one in (ours, theirs))
    if mine >= others:
        return ours
    return theirs if others >= mine else None


def signed_name(payload: bytes) -> str | None:
    """Return the repository that a signature's payload names; None for what is no payload."""
    try:
        name = json.loads(payload)["critical"]["identity"]["docker-reference"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return plain(name, 300) if isinstance(name, str) and name else None


def notes_on(signed: str, target: Repository) -> tuple[str, ...]:
    """Return what a site must know about signatures that name another repository than the one they are in.

    cosign signs a repository without a tag. Of the identities that a policy can ask for, `matchRepository`
    and `exactRepository` alone take that; `remapIdentity` compares tags, and refuses even what is pulled by
    digest (containers-policy.json(5)). With a mirror in registries.conf the old name is what is compared,
    and registries.d is asked for the mirror's place.
    """
    if target.registry == FOLDER or signed == str(target):
        return ()
    old, new = _prefixes(signed, str(target))
    note = (
        f"the signatures name {old}, not {new}: their key verifies them as before, but a policy.json with"
        ' "matchRepository" refuses them under the new name. Hosts either keep the old name, with the new'
        " place as its mirror in registries.conf and use-sigstore-attachments for the mirror in registries.d;"
        ' or their policy.json has "signedIdentity": {"type": "exactRepository", "dockerRepository": "the old'
        ' name"} for the scope of each image over there ("remapIdentity" takes no signatures of cosign)'
    )
    return (note,)


def _prefixes(old: str, new: str) -> tuple[str, str]:
    """Return two names of one image without the parts at their ends that are the same, line and image."""
    first, second = old.split("/"), new.split("/")
    if len(first) > 2 and len(second) > 2 and first[-2:] == second[-2:]:  # noqa: PLR2004 - line and image
        return "/".join((*first[:-2], "\u2026")), "/".join((*second[:-2], "\u2026"))
    return old, new


def require_name(name: str) -> None:
    """Let a name pass that is `line/image`.

    Raises:
        UsageError: It is none.
    """
    parts = name.split("/")
    if len(parts) != 2 or not all(NAME.fullmatch(part) for part in parts):  # noqa: PLR2004 - line and image
        raise UsageError(f"{plain(name, 80)!r} is no image", hint="write LINE/NAME")
