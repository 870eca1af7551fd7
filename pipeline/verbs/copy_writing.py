"""Writes one release to where it is copied: blobs, manifests, what is attached, and its release tag last.

Rules: what is there by its digest is not sent again; a tag is looked at before it is written and read again
after; signatures and lists over there that others have added to are never lost.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor

from pipeline.domain.artifact import fallback_tag, index_entry, merged_index, without_entries
from pipeline.domain.holding import Held, held_of
from pipeline.domain.image import Digest, ImageRef, Repository
from pipeline.domain.oci import OCI_INDEX, OCI_MANIFEST, Descriptor
from pipeline.domain.parcel import Parcel, aliases_for, newer_set, version_of
from pipeline.errors import GateRefusedError, NotFoundError, RegistryError
from pipeline.verbs.copy_parts import CopyParts, CopyTarget, Load


def refuse_conflict(parcel: Parcel, parts: CopyParts) -> bool:
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


def send_blobs(
    load: Load, parts: CopyParts, pool: Executor, known: dict[Digest, Repository], tell: Callable[[str], None]
) -> None:
    """Send what is missing, on threads.

    Args:
        load: The release.
        parts: What copying is done with.
        pool: The threads.
        known: Where blobs already lie over there.
        tell: Told how far it is.
    """
    target, source = load.target, load.parcel.source

    def send(blob: Descriptor) -> None:
        parts.on_step(f"blob {blob.digest}")
        near = known.get(blob.digest)
        if near is not None and near != target and parts.target.mount_blob(target, blob.digest, near):
            load.mounted.add(blob.digest)
            return
        parts.target.put_stream(
            target, blob.digest, blob.size, lambda: parts.source.stream_blob(source, blob.digest)
        )

    for number, _ in enumerate(pool.map(send, load.missing), 1):
        tell(f"{number} of {len(load.missing)} blobs are there")


def write(load: Load, parts: CopyParts) -> None:
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
    if not refuse_conflict(load.parcel, parts):
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


def _put_bound(tag: str, one: Held, load: Load, parts: CopyParts) -> None:
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


def _put_list(subject: Digest, load: Load, parts: CopyParts) -> None:
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


def _only_copied(ours: Held, load: Load) -> bytes:
    copied = {one.digest for one in load.manifests}
    gone = [child for child in ours.children if child not in copied]
    return without_entries(ours.data, gone) if gone else ours.data


def _entries(subject: Digest, load: Load) -> Iterator[dict[str, object]]:
    for one in load.attached:
        with contextlib.suppress(RegistryError):
            entry = index_entry(one.data, subject) if one.subject == subject else None
            if entry is not None:
                yield entry


def move_aliases(parcels: Sequence[Parcel], parts: CopyParts) -> None:
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
