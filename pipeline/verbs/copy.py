"""`pipeline copy`: brings releases, with all that belongs to them, to another registry or into a folder.

Rules:
1. Bytes are never changed: every manifest and blob keeps its digest. Lists of referrers alone are added to,
   where others have written into the same list.
2. A release tag that names another digest over there is refused, before anything is sent and once more just
   before the tag is written; a signature that is over there is never lost.
3. Blobs go before manifests, a platform before its index, signatures and evidence before the release tag, and
   what a release is built on before it: killed anywhere, whatever has a release tag is whole. Run again, what
   is there is not sent again.
4. No channel is moved.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

from pipeline.domain.artifact import (
    evidence_tags,
    fallback_tag,
    index_entry,
    merged_index,
    without_entries,
)
from pipeline.domain.events import Reporter
from pipeline.domain.holding import Held, Shelf, held_of, subject_of_tag
from pipeline.domain.image import Digest, ImageRef, Repository
from pipeline.domain.oci import OCI_INDEX, OCI_MANIFEST, Descriptor
from pipeline.domain.parcel import (
    Parcel,
    aliases_for,
    newer_set,
    notes_on,
    signed_name,
    version_of,
)
from pipeline.errors import GateRefusedError, NotFoundError, RegistryError
from pipeline.verbs.shelves import ShelfStore, read_shelf

_PAYLOAD_LIMIT = 1 << 16


class CopySource(ShelfStore, Protocol):
    """Where releases are taken from."""

    def stream_blob(self, repository: Repository, digest: Digest) -> Iterator[bytes]:
        """Yield a blob in pieces; its digest is checked at the end."""


class CopyTarget(ShelfStore, Protocol):
    """Where releases are brought to."""

    def resolve(self, ref: ImageRef) -> Descriptor:
        """Return what a reference names now."""

    def has_blob(self, repository: Repository, digest: Digest) -> bool:
        """Tell whether a repository has a blob."""

    def mount_blob(self, repository: Repository, digest: Digest, source: Repository) -> bool:
        """Let a repository have a blob of another one; False when that is refused."""

    def put_stream(
        self, repository: Repository, digest: Digest, size: int, chunks: Callable[[], Iterable[bytes]]
    ) -> None:
        """Upload a blob from pieces."""

    def put_unread(
        self, repository: Repository, reference: str | Digest, data: bytes, media_type: str
    ) -> bool:
        """Write a manifest or index under a tag or its digest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyParts:
    """What copying is done with.

    Attributes:
        source, target: From where, to where.
        place: Tells the repository of an image (`line/image`) over there.
        yanked: Versions of an image that were yanked; no alias names them.
        reporter: Shows progress.
        jobs: Blobs at once.
        dry_run: Send nothing, and tell what would be sent.
        on_step: Told before each step, in words; a test ends the process there.
    """

    source: CopySource
    target: CopyTarget
    place: Callable[[str], Repository]
    yanked: Callable[[str], frozenset[str]]
    reporter: Reporter
    jobs: int = 8
    dry_run: bool = False
    on_step: Callable[[str], None] = lambda _step: None


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """One release that was copied, or would be.

    Attributes:
        name, version, digest: The release.
        source, target: From where, to where.
        manifests: Manifests that make it up, all that belongs to it among them.
        sent, there: Blobs that were sent (or would be), and that were there already.
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


@dataclass(slots=True, kw_only=True)
class _Load:
    """One release with everything that belongs to it."""

    parcel: Parcel
    target: Repository
    images: tuple[Held, ...]
    attached: tuple[Held, ...]
    lists: tuple[Held, ...]
    missing: tuple[Descriptor, ...] = ()
    tags: list[str] = field(default_factory=list)

    @property
    def manifests(self) -> tuple[Held, ...]:
        return (*self.images, *self.attached, *self.lists)

    def blobs(self) -> tuple[Descriptor, ...]:
        found = {blob.digest: blob for one in self.manifests for blob in one.blobs}
        return tuple(found.values())


def copy(parcels: Sequence[Parcel], parts: CopyParts) -> CopyResult:
    """Copy releases, in their order.

    Raises:
        GateRefusedError: A release tag over there names something else, or signatures there would be lost.
        NotFoundError: A release, a platform or a blob of it is not in the source.
        RegistryError: A registry refuses or fails, or content is not what its digest says.
        StateError: A folder is not what it must be.
    """
    _refuse_conflicts(parcels, parts)
    done: list[Copied] = []
    notes: dict[str, None] = {}
    bytes_sent = 0
    known: dict[Digest, Repository] = {}
    with ThreadPoolExecutor(parts.jobs, thread_name_prefix="copy") as pool:
        for parcel in parcels:
            with parts.reporter.stage(f"copy {parcel.name} {parcel.tag}") as stage:
                load = _load(parcel, parts, pool)
                stage.note(f"{len(load.missing)} of {len(load.blobs())} blobs to send")
                if not parts.dry_run:
                    _send_blobs(load, parts, pool, known)
                    _write(load, parts)
            bytes_sent += sum(blob.size for blob in load.missing)
            done.append(_told(load))
            notes |= dict.fromkeys(_notes(load, parts))
        if not parts.dry_run:
            _move_aliases(parcels, parts)
    return CopyResult(releases=tuple(done), bytes=bytes_sent, dry_run=parts.dry_run, notes=tuple(notes))


def _refuse_conflicts(parcels: Sequence[Parcel], parts: CopyParts) -> None:
    for parcel in parcels:
        _refuse_conflict(parcel, parts)


def _refuse_conflict(parcel: Parcel, parts: CopyParts) -> bool:
    """Return whether the release tag is there already."""
    ref = parts.place(parcel.name).tagged(parcel.tag)
    there = _resolved(parts.target, ref)
    if there is not None and there != parcel.digest:
        raise GateRefusedError(
            f"{ref} names {there}, not {parcel.digest}: a release tag never changes",
            hint="find out who wrote it there; copy to another prefix if both have to be kept",
        )
    return there is not None


def _resolved(target: CopyTarget, ref: ImageRef) -> Digest | None:
    try:
        return target.resolve(ref).digest
    except NotFoundError:
        return None


def _load(parcel: Parcel, parts: CopyParts, pool: Executor) -> _Load:
    """Find everything that belongs to a release, and which of its blobs are missing over there."""
    root = held_of(parts.source.unparsed(parcel.source.at(parcel.digest)))
    own = {root.digest, *root.children}
    evidence = tuple(evidence_tags(digest) for digest in own)

    def ours(tag: str) -> bool:
        return tag == parcel.tag or subject_of_tag(tag) in own or tag.startswith(evidence)

    missing: list[ImageRef] = []
    wanted = [parcel.digest, *parcel.signatures]
    shelf = read_shelf(parts.source, parcel.source, wanted, pool, only=ours, missing=missing.append)
    _require_whole(shelf, parcel, missing)
    images = shelf.parts_of(parcel.digest)
    named = {digest: shelf.held[digest] for digest in parcel.signatures}
    belonging = tuple({one.digest: one for one in (*named.values(), *shelf.belonging(images))}.values())
    load = _Load(
        parcel=parcel,
        target=parts.place(parcel.name),
        images=tuple(shelf.held[digest] for digest in reversed(images)),
        attached=tuple(one for one in belonging if not one.lists_referrers),
        lists=tuple(one for one in belonging if one.lists_referrers),
    )
    blobs = load.blobs()
    there = pool.map(lambda blob: parts.target.has_blob(load.target, blob.digest), blobs)
    load.missing = tuple(blob for blob, has in zip(blobs, there, strict=True) if not has)
    return load


def _require_whole(shelf: Shelf, parcel: Parcel, missing: Sequence[ImageRef]) -> None:
    """Refuse a release of which something is lost; what others listed and lost is no part of it."""
    for ref in missing:
        if ref.tag is not None or ref.digest in parcel.signatures:
            raise NotFoundError(
                f"{ref} belongs to {parcel.name} {parcel.tag} and is not there",
                hint="`pipeline audit` tells what was lost; a release is copied whole or not at all",
            )
    named = shelf.tagged().get(parcel.tag)
    if named is not None and named != parcel.digest:
        raise GateRefusedError(
            f"{parcel.source.tagged(parcel.tag)} names {named}, but {parcel.digest} was released as that",
            hint="`pipeline audit` tells what was moved; nothing was copied",
        )
    for digest in shelf.parts_of(parcel.digest):
        lost = [child for child in shelf.held[digest].children if child not in shelf.held]
        if lost:
            raise NotFoundError(
                f"{parcel.source}@{digest} lists {lost[0]}, which is not there",
                hint="the release is not whole where it lies; see `pipeline audit`",
            )


def _send_blobs(load: _Load, parts: CopyParts, pool: Executor, known: dict[Digest, Repository]) -> None:
    """Send what is missing, on threads; `known` is where blobs already lie over there."""
    target, source = load.target, load.parcel.source

    def send(blob: Descriptor) -> None:
        parts.on_step(f"blob {blob.digest}")
        near = known.get(blob.digest)
        if near is not None and near != target and parts.target.mount_blob(target, blob.digest, near):
            return
        parts.target.put_stream(
            target, blob.digest, blob.size, lambda: parts.source.stream_blob(source, blob.digest)
        )

    for _ in pool.map(send, load.missing):
        pass
    known |= dict.fromkeys((blob.digest for blob in load.blobs()), target)


def _write(load: _Load, parts: CopyParts) -> None:
    """Write manifests and tags, the release tag last."""
    target = load.target
    for one in (*load.images, *load.attached):
        parts.on_step(f"manifest {one.digest}")
        _put(one.digest, one, target, parts)
    for one in load.attached:
        for tag in one.tags:
            if one.bound(tag):
                parts.on_step(f"tag {tag}")
                _put_bound(tag, one, load, parts)
    for digest in dict.fromkeys(one.digest for one in load.images):
        parts.on_step(f"list {digest}")
        _put_list(digest, load, parts)
    parts.on_step(f"release {load.parcel.tag}")
    if not _refuse_conflict(load.parcel, parts):
        image = load.images[-1]
        _put(load.parcel.tag, image, target, parts)
        _read_back(load.parcel.tag, image.digest, target, parts)
        load.tags.append(load.parcel.tag)


def _put(reference: str | Digest, one: Held, target: Repository, parts: CopyParts) -> None:
    if isinstance(reference, Digest) and _resolved(parts.target, target.at(reference)) is not None:
        return
    parts.target.put_unread(target, reference, one.data, _type_of(one))


def _type_of(one: Held) -> str:
    return one.media_type or (OCI_INDEX if one.children else OCI_MANIFEST)


def _read_back(tag: str, digest: Digest, target: Repository, parts: CopyParts) -> None:
    found = _resolved(parts.target, target.tagged(tag))
    if found != digest:
        raise RegistryError(
            f"{target.tagged(tag)} was written as {digest} and is {found or 'not there'}",
            hint="somebody else writes there; find out who, and run the same command again",
        )


def _put_bound(tag: str, one: Held, load: _Load, parts: CopyParts) -> None:
    """Write the tag of a signature or of evidence; what is there is only replaced by what has all of it."""
    ref = load.target.tagged(tag)
    there = _resolved(parts.target, ref)
    if there == one.digest:
        return
    if there is not None:
        theirs = held_of(parts.target.unparsed(ref), [tag])
        better = newer_set(one, theirs)
        if better is None:
            raise GateRefusedError(
                f"{ref} has other signatures than {load.parcel.source.tagged(tag)}, and neither has all",
                hint="sign over there again with `cosign sign`, or copy to another prefix",
            )
        if better is theirs:
            return
    _put(tag, one, load.target, parts)
    _read_back(tag, one.digest, load.target, parts)
    load.tags.append(tag)


def _put_list(subject: Digest, load: _Load, parts: CopyParts) -> None:
    """Let the list of referrers of an image name what was copied, where a registry needs that list."""
    tag = fallback_tag(subject)
    ours = next((one for one in load.lists if tag in one.tags), None)
    if ours is None and parts.target.referrers(load.target, subject) is not None:
        return
    try:
        theirs: bytes | None = parts.target.unparsed(load.target.tagged(tag))
    except NotFoundError:
        theirs = None
    entries = tuple(_entries(subject, load))
    start = theirs or (None if ours is None else _only_copied(ours, load))
    index = merged_index(start, entries) or (start if theirs is None else None)
    if index is not None:
        parts.target.put_unread(load.target, tag, index, OCI_INDEX)
        load.tags.append(tag)


def _only_copied(ours: Held, load: _Load) -> bytes:
    copied = {one.digest for one in load.manifests}
    gone = [child for child in ours.children if child not in copied]
    return without_entries(ours.data, gone) if gone else ours.data


def _entries(subject: Digest, load: _Load) -> Iterator[dict[str, object]]:
    for one in load.attached:
        with contextlib.suppress(RegistryError):
            entry = index_entry(one.data, subject) if one.subject == subject else None
            if entry is not None:
                yield entry


def _move_aliases(parcels: Sequence[Parcel], parts: CopyParts) -> None:
    """Let `v2.1` and `v2` over there name the highest release that is there."""
    for name in dict.fromkeys(parcel.name for parcel in parcels):
        target = parts.place(name)
        releases = [tag for tag in parts.target.tags(target) if version_of(tag) is not None]
        there = {tag: parts.target.resolve(target.tagged(tag)).digest for tag in releases}
        versions = [parcel.version for parcel in parcels if parcel.name == name]
        for alias, digest in sorted(aliases_for(versions, there, parts.yanked(name)).items()):
            if _resolved(parts.target, target.tagged(alias)) != digest:
                parts.on_step(f"alias {alias}")
                one = held_of(parts.target.unparsed(target.at(digest)))
                _put(alias, one, target, parts)
                _read_back(alias, digest, target, parts)


def _told(load: _Load) -> Copied:
    blobs = load.blobs()
    return Copied(
        name=load.parcel.name,
        version=load.parcel.version,
        digest=load.parcel.digest,
        source=load.parcel.source,
        target=load.target,
        manifests=len(load.manifests),
        sent=len(load.missing),
        there=len(blobs) - len(load.missing),
        tags=tuple(load.tags),
    )


def _notes(load: _Load, parts: CopyParts) -> Iterator[str]:
    """Yield what the signatures' own words mean over there."""
    for one in load.attached:
        if not any(tag.endswith(".sig") for tag in one.tags):
            continue
        for layer in one.blobs[1:2]:
            if layer.size <= _PAYLOAD_LIMIT:
                payload = b"".join(parts.source.stream_blob(load.parcel.source, layer.digest))
                signed = signed_name(payload)
                yield from notes_on(signed, load.target) if signed else ()
