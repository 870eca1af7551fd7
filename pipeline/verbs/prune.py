"""`pipeline prune`: what need not stay in the registry any longer is deleted, and every deletion is recorded.

Rules:
1. Nothing is deleted without `apply`; the plan lists every manifest with the reason why it stays or goes.
2. One repository after the other: its tags are read anew, the plan is made anew, the deletions are recorded
   in the ledger, and only then is anything deleted. The record is refused when the ledger, as it is at that
   very moment, says that one of them must stay; who moves a host or a channel afterwards finds the record.
3. Killed anywhere, nothing that must stay is gone and no deletion lacks its record; the next run deletes what
   is recorded and still there.
4. Whether the registry deletes at all is asked before anything is recorded, with a digest that nothing has.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Protocol

from pipeline.domain.events import Reporter
from pipeline.domain.holding import Shelf
from pipeline.domain.hostcontrol.state import HostState
from pipeline.domain.image import Digest, Repository
from pipeline.domain.nearest import nearest
from pipeline.domain.oci import digest_of
from pipeline.domain.record import Record, harmless
from pipeline.domain.release import Removed, Retention
from pipeline.domain.retention import NOBODY, HostsKnown, Images, Limits
from pipeline.domain.retention_plan import PruneResult, Row, in_order, rows_of
from pipeline.domain.text import plain
from pipeline.errors import (
    GateRefusedError,
    HostError,
    NotFoundError,
    RegistryError,
    ToolFailedError,
)
from pipeline.verbs.shelves import ShelfStore, read_shelf
from pipeline.verbs.standing import DecisionLedger

NOWHERE = digest_of(b"no manifest has these bytes; pipeline prune asks whether it may delete")
"""Digest of something that is no manifest and so in no registry."""

_SHOWN = 3


class PruneStore(ShelfStore, Protocol):
    """The project's registry."""

    host: str

    def delete_manifest(self, repository: Repository, digest: Digest) -> None:
        """Delete a manifest and every tag that names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneOrder:
    """What to prune.

    Attributes:
        limits: How much stays.
        images: `line/image` of those to look at; all when empty.
        hosts: What hosts said of themselves just now.
        apply: Whether anything is deleted.
    """

    limits: Limits
    images: tuple[str, ...] = ()
    hosts: HostsKnown = NOBODY
    apply: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneParts:
    """What it is done with.

    Attributes:
        store, ledger, reporter: The registry, the ledger, what shows progress.
        author: Who records.
        clock: UTC, whole seconds.
        jobs: Requests at once.
        on_step: Told before each step, in words; a test ends the process there.
    """

    store: PruneStore
    ledger: DecisionLedger
    reporter: Reporter
    author: str
    clock: Callable[[], dt.datetime]
    jobs: int = 16
    on_step: Callable[[str], None] = lambda _step: None


def prune(order: PruneOrder, parts: PruneParts) -> PruneResult:
    """Return what stays and what goes, and with `order.apply` delete what goes.

    Raises:
        NotFoundError: The ledger knows no image of that name.
        GateRefusedError: What was to go must stay by now; what was deleted before that is recorded.
        RegistryError: The registry refuses or fails, or does not delete; run again, it goes on.
        LedgerError, LedgerRaceError, LedgerRemoteError: The ledger cannot be read or added to.
    """
    images = _images(order, parts)
    wanted, elsewhere = _repositories(images, order, parts.store.host)
    with ThreadPoolExecutor(parts.jobs, thread_name_prefix="prune") as pool:
        rows: list[Row] = []
        with parts.reporter.stage("look at the registry") as stage:
            for repository in wanted:
                stage.line(str(repository))
                rows += rows_of(_look(repository, images, parts, pool), images)
        result = PruneResult(rows=tuple(rows), elsewhere=elsewhere)
        if order.apply and result.going:
            result = replace(result, deleted=tuple(_applied(order, parts, result.going, pool)))
    return result


def ask_hosts(
    names: Sequence[str], ask: Callable[[str], HostState], reporter: Reporter, *, jobs: int = 16
) -> HostsKnown:
    """Return what hosts say of themselves; of one that does not answer, the ledger's word goes on counting.

    Args:
        names: Their images, `line/host`.
        ask: Asks one by its name.
        reporter: Told who did not answer.
        jobs: How many at once.
    """

    def asked(name: str) -> HostState | None:
        try:
            return ask(name.rpartition("/")[2])
        except (HostError, ToolFailedError) as error:
            reporter.note(f"{name} does not tell what it runs, so all it may run stays: {error.message}")
            return None

    with ThreadPoolExecutor(jobs, thread_name_prefix="ask") as pool:
        told = dict(zip(names, pool.map(asked, names), strict=True))
    return HostsKnown(states={name: state for name, state in told.items() if state is not None})


def _images(order: PruneOrder, parts: PruneParts) -> Images:
    return Images(parts.ledger.read(), order.limits, hosts=order.hosts, now=parts.clock())


def _repositories(
    images: Images, order: PruneOrder, host: str
) -> tuple[list[Repository], tuple[Repository, ...]]:
    """Return the repositories to look at, and those in other registries."""
    for name in order.images:
        if name not in images.names:
            raise NotFoundError(f"the ledger knows no image {plain(name)}", hint=nearest(name, images.names))
    named = {
        repository
        for repository, name in images.repositories().items()
        if not order.images or name in order.images
    }
    ours = sorted((one for one in named if one.registry == host), key=str)
    return ours, tuple(sorted((one for one in named if one.registry != host), key=str))


def _look(repository: Repository, images: Images, parts: PruneParts, pool: Executor) -> Shelf:
    """Read a repository: its tags, images without one, and what a run that was cut short may have left."""
    gone = {digest for where, digest in images.removed if where == repository}
    digests = (set(images.in_repository(repository)) - gone) | images.left_over(repository)
    return read_shelf(parts.store, repository, sorted(digests), pool)


def _applied(order: PruneOrder, parts: PruneParts, going: Sequence[Row], pool: Executor) -> Iterator[Row]:
    """Delete what goes, one repository after the other."""
    repositories = list(dict.fromkeys(row.repository for row in going))
    for repository in repositories:
        parts.on_step(f"ask {repository.path}")
        _require_deletion(parts.store, repository)
    for repository in repositories:
        shown = {row.digest for row in going if row.repository == repository}
        with parts.reporter.stage(f"prune {repository.path}"):
            yield from _emptied(repository, shown, order, parts, pool)


def _require_deletion(store: PruneStore, repository: Repository) -> None:
    try:
        store.delete_manifest(repository, NOWHERE)
    except NotFoundError:
        return
    except RegistryError as error:
        raise RegistryError(
            f"{error.message}; nothing was recorded or deleted",
            hint="the registry must allow deletion (docker-registry: storage.delete.enabled: true in its"
            " configuration, then a restart), and the account must have the right to delete",
        ) from error


def _emptied(
    repository: Repository, shown: Collection[Digest], order: PruneOrder, parts: PruneParts, pool: Executor
) -> Iterator[Row]:
    """Delete what goes from one repository, and of that only what was shown."""
    parts.on_step(f"look again {repository.path}")
    images = _images(order, parts)
    shelf = _look(repository, images, parts, pool)
    batch = in_order(tuple(row for row in rows_of(shelf, images) if not row.keep and row.digest in shown))
    if not batch:
        return
    parts.on_step(f"record {repository.path}")
    _record(batch, images, shelf, order, parts)
    for number, row in enumerate(batch):
        parts.on_step(f"delete {row.role} {row.digest}")
        try:
            parts.store.delete_manifest(repository, row.digest)
        except NotFoundError:
            pass  # another run deleted it, or the registry did so with its image
        except RegistryError as error:
            raise RegistryError(
                f"{error.message}; {number} of {len(batch)} manifests of {repository} were deleted before",
                hint="mend the cause and run the same command again; it goes on where this one ended",
            ) from error
        yield row
    parts.on_step(f"done {repository.path}")


def _record(batch: Sequence[Row], images: Images, shelf: Shelf, order: PruneOrder, parts: PruneParts) -> None:
    """Record what is about to be deleted, unless the ledger as it is then says that some of it must stay."""
    new = [row for row in batch if (row.repository, row.digest) not in images.removed]
    if not new:
        return

    def check(there: tuple[Record, ...]) -> None:
        fresh = Images(there, order.limits, hosts=order.hosts, now=parts.clock())
        now = {row.digest: row for row in rows_of(shelf, fresh)}
        stays = [now[row.digest] for row in batch if now[row.digest].keep]
        if stays:
            said = "; ".join(f"{row.title} {row.digest}: {row.reasons[0]}" for row in stays[:_SHOWN])
            raise GateRefusedError(
                f"what was to go from {shelf.repository} must stay by now: {plain(said, 1000)}",
                hint="nothing of it was deleted; look at `pipeline prune` again",
            )

    removed = [
        Removed(repository=row.repository, digest=row.digest, reason=_reason(row))
        for row in sorted(new, key=lambda row: (str(row.repository), row.digest))
    ]
    record = Retention(time=parts.clock(), author=parts.author, removed=tuple(removed))
    parts.ledger.append([record], check=check)


def _reason(row: Row) -> str:
    return harmless(f"{row.role} of {row.image} {row.title}: {'; '.join(row.reasons)}")
