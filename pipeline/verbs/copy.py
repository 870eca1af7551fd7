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

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor

from pipeline.domain.artifact import evidence_tags
from pipeline.domain.holding import Shelf, held_of, subject_of_tag
from pipeline.domain.image import Digest, ImageRef, Repository
from pipeline.domain.parcel import Copied, CopyResult, Parcel, notes_on, signed_name
from pipeline.errors import GateRefusedError, NotFoundError
from pipeline.verbs.copy_parts import CopyParts, Load
from pipeline.verbs.copy_writing import move_aliases, refuse_conflict, send_blobs, write
from pipeline.verbs.shelves import read_shelf

_PAYLOAD_LIMIT = 1 << 16


def copy(parcels: Sequence[Parcel], parts: CopyParts) -> CopyResult:
    """Copy releases, in their order.

    Raises:
        GateRefusedError: A release tag over there names something else, or signatures there would be lost.
        NotFoundError: A release, a platform or a blob of it is not in the source.
        RegistryError: A registry refuses or fails, or content is not what its digest says.
        StateError: A folder is not what it must be.
    """
    for parcel in parcels:
        refuse_conflict(parcel, parts)
    done: list[Copied] = []
    notes: dict[str, None] = {}
    bytes_sent = 0
    known: dict[Digest, Repository] = {}
    with ThreadPoolExecutor(parts.jobs, thread_name_prefix="copy") as pool:
        for parcel in parcels:
            with parts.reporter.stage(f"copy {parcel.name} {parcel.tag}") as stage:
                load = _load(parcel, parts, pool)
                stage.note(f"{len(load.missing)} of {len(load.blobs())} blobs to send")
                if parts.dry_run:
                    load.mounted |= known.keys()
                else:
                    send_blobs(load, parts, pool, known, stage.line)
                    write(load, parts)
            known |= dict.fromkeys((blob.digest for blob in load.blobs()), load.target)
            bytes_sent += sum(blob.size for blob in load.sent)
            done.append(_told(load))
            notes |= dict.fromkeys(_notes(load, parts))
        if not parts.dry_run:
            move_aliases(parcels, parts)
    return CopyResult(releases=tuple(done), bytes=bytes_sent, dry_run=parts.dry_run, notes=tuple(notes))


def _load(parcel: Parcel, parts: CopyParts, pool: Executor) -> Load:
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
    load = Load(
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


def _told(load: Load) -> Copied:
    blobs = load.blobs()
    return Copied(
        name=load.parcel.name,
        version=load.parcel.version,
        digest=load.parcel.digest,
        source=load.parcel.source,
        target=load.target,
        manifests=len(load.manifests),
        sent=len(load.sent),
        there=len(blobs) - len(load.sent),
        tags=tuple(load.tags),
    )


def _notes(load: Load, parts: CopyParts) -> Iterator[str]:
    """Yield what the signatures' own words mean over there."""
    for one in load.attached:
        if not any(tag.endswith(".sig") for tag in one.tags):
            continue
        for layer in one.blobs[1:2]:
            if layer.size <= _PAYLOAD_LIMIT:
                payload = b"".join(parts.source.stream_blob(load.parcel.source, layer.digest))
                signed = signed_name(payload)
                yield from notes_on(signed, load.target) if signed else ()
