"""Reads what a repository holds: every tag, and every manifest that tags, lists and records lead to.

Rules: one request a tag and a manifest, on threads; what is gone meanwhile is gone; a list is only a place to
look, so what it names is fetched and speaks for itself. Content addressed bytes are compared with their
digest by whoever fetches them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from typing import Protocol

from pipeline.domain.artifact import read_index
from pipeline.domain.holding import Held, Shelf, held_of
from pipeline.domain.image import Digest, ImageRef, Repository
from pipeline.errors import NotFoundError, RegistryError

MANIFEST_LIMIT = 50_000
"""Manifests of one repository that are looked at."""


class ShelfStore(Protocol):
    """A registry, as far as reading what a repository holds needs it."""

    def tags(self, repository: Repository) -> tuple[str, ...]:
        """Return every tag."""

    def unparsed(self, ref: ImageRef) -> bytes:
        """Return the bytes under a tag or digest, compared with the digest, not looked into."""

    def referrers(self, repository: Repository, subject: Digest) -> tuple[bytes, ...] | None:
        """Return the indexes of what refers to a digest; None without that API."""


def read_shelf(
    store: ShelfStore,
    repository: Repository,
    digests: Iterable[Digest],
    pool: Executor,
    *,
    only: Callable[[str], bool] = lambda _tag: True,
    missing: Callable[[ImageRef], None] = lambda _ref: None,
) -> Shelf:
    """Return what a repository holds.

    Args:
        store: Where it lies.
        repository: Which.
        digests: What to look for beside the tags: images of the ledger, say.
        pool: Threads for the requests.
        only: Which tags are of interest.
        missing: Told of each tag and digest that is named and not there.

    Raises:
        RegistryError: The registry refuses or fails, or there is no end to what its lists name.
    """
    try:
        tags = [tag for tag in store.tags(repository) if only(tag)]
    except NotFoundError:
        return Shelf(repository=repository, held={})
    named: dict[Digest, list[str]] = {}
    held: dict[Digest, Held] = {}
    found = pool.map(lambda tag: _fetched(store, repository.tagged(tag)), tags)
    for tag, data in zip(tags, found, strict=True):
        if data is None:
            missing(repository.tagged(tag))
        else:
            one = held_of(data)
            named.setdefault(one.digest, []).append(tag)
            held[one.digest] = one
    held = {digest: held_of(one.data, named[digest]) for digest, one in held.items()}
    for digest in _follow(store, repository, [*held, *digests], held, pool):
        missing(repository.at(digest))
    return Shelf(repository=repository, held=held)


def _follow(
    store: ShelfStore,
    repository: Repository,
    todo: Sequence[Digest],
    held: dict[Digest, Held],
    pool: Executor,
) -> list[Digest]:
    """Fetch what is named but has no tag, platforms and referrers; return what is not there."""
    asked: set[Digest] = set()
    api = True
    while todo:
        new = [digest for digest in dict.fromkeys(todo) if digest not in asked]
        asked.update(new)
        if len(asked) > MANIFEST_LIMIT:
            raise RegistryError(
                f"{repository} names more than {MANIFEST_LIMIT} manifests",
                hint="see who pushes to it; lists of referrers in it may have been forged",
            )
        absent = [digest for digest in new if digest not in held]
        for data in pool.map(lambda digest: _fetched(store, repository.at(digest)), absent):
            if data is not None:
                one = held_of(data)
                held[one.digest] = one
        here = [digest for digest in new if digest in held]
        pages = _referring(store, repository, here, pool) if api else None
        api = pages is not None
        todo = [child for digest in here for child in held[digest].children] + (pages or [])
    return sorted(asked - held.keys())


def _referring(
    store: ShelfStore, repository: Repository, subjects: Sequence[Digest], pool: Executor
) -> list[Digest] | None:
    """Return what the referrers API names; None without that API, which one question tells."""
    if not subjects:
        return []
    if store.referrers(repository, subjects[0]) is None:
        return None
    found: list[Digest] = []
    for pages in pool.map(lambda subject: store.referrers(repository, subject), subjects):
        found += [entry.digest for page in pages or () for entry in read_index(page).entries]
    return found


def _fetched(store: ShelfStore, ref: ImageRef) -> bytes | None:
    try:
        return store.unparsed(ref)
    except NotFoundError:
        return None
