"""Aliases and channels of a seal that did not finish go back to what the ledger says.

Rules:
1. A tag is moved only when it names an image whose version is reserved and was never recorded: nothing that
   a release, a rollback or a stranger wrote is touched.
2. Of a reservation that is young, another run may be at work; it is left alone unless the caller knows that
   this very image was refused.
3. The ledger has the last word: it is read again after the tags were written, and what was recorded meanwhile
   is written in their place.
4. A tag that no release ever had cannot be taken away, for registries know no such thing; it is told.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from pipeline.domain.events import Reporter
from pipeline.domain.image import Digest, ImageRef, Repository, Tier
from pipeline.domain.lineage import Lineage, aliases_of
from pipeline.domain.oci import Descriptor
from pipeline.domain.record import Record
from pipeline.domain.release import Reservation
from pipeline.domain.sealing import LEASE
from pipeline.errors import NotFoundError, PipelineError

_TRIES = 5


class Resolving(Protocol):
    """A registry that is asked; `adapters.registry.Registry` is one."""

    def resolve(self, ref: ImageRef) -> Descriptor:
        """Return what a reference names now."""


class TagStore(Resolving, Protocol):
    """A registry that is written, too."""

    def manifest(self, ref: ImageRef) -> bytes:
        """Return a manifest, compared with its digest."""

    def put_manifest(self, repository: Repository, reference: str | Digest, data: bytes) -> Digest:
        """Write a manifest under a tag, read the tag again and return its digest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stray:
    """A tag that names an image which was never released.

    Attributes:
        reservation: Under which the image was to be released.
        tag: The tag.
        wanted: What the ledger says it names; None where no release ever had it.
    """

    reservation: Reservation
    tag: str
    wanted: Digest | None


def put_back(
    images: Collection[str],
    read: Callable[[], tuple[Record, ...]],
    store: Callable[[Repository], TagStore],
    *,
    now: dt.datetime,
    refused: Collection[Digest] = (),
) -> tuple[str, ...]:
    """Let the tags of unfinished seals name what the ledger says; return what was done, a line each.

    Args:
        images: `line/image` of the images to look at.
        read: Reads the ledger.
        store: Returns the registry that a repository is in.
        now: UTC.
        refused: Images that were refused just now: nobody is at work on them.

    Raises:
        RegistryError, NotFoundError: The registry refuses or fails, or lost what a tag has to name.
        LedgerError, LedgerRemoteError: The ledger cannot be read.
    """
    records = read()
    strays = [one for name in images for one in _strays(records, name, store, now, frozenset(refused))]
    lineage = Lineage(records)
    for _ in range(_TRIES):
        for one in strays:
            _write(one, lineage, store)
        if not any(one.wanted for one in strays):
            break
        before, records = records, read()
        if len(records) == len(before):
            break
        lineage = Lineage(records)
    return tuple(_told(strays, lineage))


def put_back_and_tell(
    images: Collection[str],
    read: Callable[[], tuple[Record, ...]],
    store: Callable[[Repository], TagStore],
    reporter: Reporter,
    *,
    now: dt.datetime,
    refused: Collection[Digest] = (),
) -> None:
    """Do as `put_back` beside something else, which a failure of this does not stop; a person is told."""
    try:
        for line in put_back(images, read, store, now=now, refused=refused):
            reporter.note(line)
    except PipelineError as error:
        names = ", ".join(sorted(images))
        reporter.note(f"{names}: whether an unfinished seal left its tags is not known: {error.message}")


def _strays(
    records: Sequence[Record],
    name: str,
    store: Callable[[Repository], TagStore],
    now: dt.datetime,
    refused: frozenset[Digest],
) -> Iterator[Stray]:
    lineage = Lineage(records)
    known = lineage.tags(name)
    unsealed = {
        (one.version, one.digest): one
        for one in records
        if isinstance(one, Reservation) and one.name == name and lineage.at(name, one.digest) is None
    }
    for one in unsealed.values():
        if now - one.time < LEASE and one.digest not in refused:
            continue
        for tag in aliases_of(one.version, Tier.INSTANCE):
            if named(store(one.repository), one.repository, tag) == one.digest != known.get(tag):
                yield Stray(reservation=one, tag=tag, wanted=known.get(tag))


def _write(one: Stray, lineage: Lineage, store: Callable[[Repository], TagStore]) -> None:
    """Let a tag name what the ledger says now."""
    wanted = lineage.tags(one.reservation.name).get(one.tag)
    if wanted is None:
        return
    repository = one.reservation.repository
    there = store(repository)
    if named(there, repository, one.tag) != wanted:
        there.put_manifest(repository, one.tag, there.manifest(repository.at(wanted)))


def _told(strays: Sequence[Stray], lineage: Lineage) -> Iterator[str]:
    """Yield what became of each image's tags."""
    for reservation in dict.fromkeys(one.reservation for one in strays):
        mine = [one for one in strays if one.reservation is reservation]
        begun = f"{reservation.name}: a seal of sha256:{reservation.digest.short} as v{reservation.version}"
        if lineage.at(reservation.name, reservation.digest) is not None:
            continue
        moved = [one for one in mine if one.wanted is not None]
        if moved:
            names = ", ".join(
                f"{one.tag} names {_release(reservation.name, one.wanted, lineage)} again" for one in moved
            )
            yield f"{begun} was begun and not finished; {names}"
        left = [one.tag for one in mine if one.wanted is None]
        if left:
            yield (
                f"{begun} was begun and not finished, and {', '.join(left)} still name it, for no release "
                f"ever had that tag; seal a release, or delete the tag in {reservation.repository}"
            )


def _release(name: str, digest: Digest | None, lineage: Lineage) -> str:
    seal = None if digest is None else lineage.at(name, digest)
    return f"{digest}" if seal is None else f"v{seal.version}"


def named(store: Resolving, repository: Repository, tag: str) -> Digest | None:
    """Return what a tag names now; None where there is none."""
    try:
        return store.resolve(repository.tagged(tag)).digest
    except NotFoundError:
        return None
