"""What refers to an image, in a registry: by the referrers API where there is one, else by the fallback tag.

Rules of the fallback, an index under `sha256-<hex>` that any program may replace at any moment, and that no
registry can guard (there is no "write only if unchanged"):
1. Each artifact is first written under a tag of its own (`artifact.evidence_tag`), which nobody else writes.
2. Then the index is read, added to and written; entries of others stay as they are.
3. Who wrote the index reads the tags and the index again, and writes again while any tag's artifact is
   missing. So whoever writes last has seen every tag that was there, and who sets a tag later looks at the
   index after that: once all writers are done, no artifact is missing. A writer that died is repaired by the
   next one, and readers look at the tags too.
4. An entry is taken out only when the registry refuses the index and has no such manifest any more.
The tags also keep the artifacts where a registry's garbage collection removes untagged manifests.
Safe to use from several threads. Protocol: OCI distribution specification 1.1.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from pipeline.adapters.registry import Registry
from pipeline.domain.artifact import (
    EMPTY,
    Attachment,
    Listing,
    evidence_tag,
    evidence_tags,
    fallback_tag,
    index_entry,
    is_ours,
    joined,
    merged_index,
    read_index,
    without_entries,
)
from pipeline.domain.image import Digest, ImageRef, Repository
from pipeline.domain.oci import DOCUMENT_LIMIT, OCI_INDEX, OCI_MANIFEST, Descriptor, digest_of
from pipeline.errors import NotFoundError, RegistryError

_ATTEMPTS = 40
_FIRST = 0.01
_LONGEST = 2.0


class Referrers:
    """Stores and finds artifacts that refer to images of one registry.

    Args:
        registry: Its client.
        jitter: Returns a number from 0 to 1, another one for each writer.
        pause: Waits that many seconds.
        attempts: How often the fallback index is written at most.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        jitter: Callable[[], float],
        pause: Callable[[float], None],
        attempts: int = _ATTEMPTS,
    ) -> None:
        self._registry = registry
        self._jitter = jitter
        self._pause = pause
        self._attempts = attempts
        self._lock = threading.Lock()
        self._has_api: bool | None = None
        self._with_empty: dict[str, Repository] = {}

    def store(self, repository: Repository, subject: Digest, artifacts: Sequence[Attachment]) -> None:
        """Store artifacts of one image, which is there already; what is there is not sent again.

        Raises:
            RegistryError: The registry refuses or fails, or other writers of the index never paused.
        """
        if not artifacts:
            return
        self._give_empty(repository)
        for one in artifacts:
            self._registry.offer_blob(repository, one.document)
        if not (self._api(repository, subject) and self._filed(repository, artifacts)):
            self._store_by_tag(repository, subject, artifacts)

    def entries(self, repository: Repository, subject: Digest) -> Listing:
        """Return what refers to an image, by API, fallback index and tags; nothing of it is checked.

        Raises:
            RegistryError: The registry refuses or fails, or has something else where the index belongs.
        """
        pages = self._registry.referrers(repository, subject)
        held = self._index(repository, subject)
        listings = [read_index(page) for page in (*(pages or ()), *(() if held is None else (held,)))]
        if pages is None:
            known = {entry.digest for listing in listings for entry in listing.entries}
            left = self._tagged(repository, subject, known)
            if left and (index := merged_index(None, left)):
                listings.append(read_index(index))
        return joined(listings)

    def manifest(self, repository: Repository, digest: Digest) -> bytes:
        """Return an artifact's manifest, compared with its digest.

        Raises:
            NotFoundError: It is not there.
            RegistryError: It is something else than its digest says, or cannot be had.
        """
        return self._registry.manifest(repository.at(digest))

    def blob(self, repository: Repository, digest: Digest, *, limit: int = DOCUMENT_LIMIT) -> bytes:
        """Return a document, compared with its digest (errors as `manifest`, or larger than `limit`)."""
        return self._registry.blob(repository, digest, limit=limit)

    def _give_empty(self, repository: Repository) -> None:
        """Let a repository have the empty config, from another that has it where there is one."""
        if repository.path in self._with_empty:
            return
        other = next(iter(self._with_empty.values()), None)
        if other is None or not self._registry.mount_blob(repository, digest_of(EMPTY), other):
            self._registry.offer_blob(repository, EMPTY)
        self._with_empty[repository.path] = repository

    def _api(self, repository: Repository, subject: Digest) -> bool:
        """Tell whether the registry has the referrers API; asked once, of an image that is there."""
        with self._lock:
            if self._has_api is None:
                self._has_api = self._registry.referrers(repository, subject) is not None
            return self._has_api

    def _filed(self, repository: Repository, artifacts: Sequence[Attachment]) -> bool:
        """Write the manifests by digest; False when the registry did not file one under its subject."""
        put = self._registry.put_unread
        filed = [put(repository, one.digest, one.manifest, OCI_MANIFEST) for one in artifacts]
        return all(filed)

    def _store_by_tag(self, repository: Repository, subject: Digest, artifacts: Sequence[Attachment]) -> None:
        wanted: dict[str, dict[str, Any]] = {}
        for one in artifacts:
            tag = evidence_tag(subject, one.digest)
            self._registry.put_unread(repository, tag, one.manifest, OCI_MANIFEST)
            entry = index_entry(one.manifest, subject)
            if entry is None:
                raise RegistryError(
                    f"an artifact for {repository}@{subject} refers to another image",
                    hint="this is a fault of the program; make the artifact for this image",
                )
            wanted[entry["digest"]] = entry
        for attempt in range(self._attempts):
            if attempt > 1:
                self._pause(min(_FIRST * 2**attempt, _LONGEST) * self._jitter())
            if attempt > 0:
                for entry in self._tagged(repository, subject, map(Digest, wanted)):
                    wanted[entry["digest"]] = entry
            held = self._index(repository, subject)
            index = merged_index(held, tuple(wanted.values()))
            if index is None:
                return
            self._write(repository, subject, index)
        raise RegistryError(
            f"other writers replaced the index {repository}:{fallback_tag(subject)} {self._attempts} times",
            hint="run the same command again; what was stored is there and will be listed then",
        )

    def _index(self, repository: Repository, subject: Digest) -> bytes | None:
        try:
            return self._registry.unparsed(repository.tagged(fallback_tag(subject)))
        except NotFoundError:
            return None

    def _write(self, repository: Repository, subject: Digest, index: bytes) -> None:
        tag = fallback_tag(subject)
        try:
            self._registry.put_unread(repository, tag, index, OCI_INDEX)
        except (RegistryError, NotFoundError):
            # Registries refuse an index that names a manifest which was deleted since.
            gone = [
                entry.digest for entry in read_index(index).entries if self._gone(repository, entry.digest)
            ]
            if not gone:
                raise
            self._registry.put_unread(repository, tag, without_entries(index, gone), OCI_INDEX)

    def _gone(self, repository: Repository, digest: Digest) -> bool:
        try:
            self._registry.resolve(repository.at(digest))
        except NotFoundError:
            return True
        return False

    def _tagged(
        self, repository: Repository, subject: Digest, known: Iterable[Digest]
    ) -> list[dict[str, Any]]:
        """Return the entries of evidence that has a tag and is not known yet."""
        beginning = evidence_tags(subject)
        have = {evidence_tag(subject, digest) for digest in known}
        try:
            tags = self._registry.tags(repository)
        except NotFoundError:
            return []
        new = [tag for tag in tags if tag.startswith(beginning) and tag not in have]
        return [entry for tag in new if (entry := self._entry(repository, subject, tag)) is not None]

    def _entry(self, repository: Repository, subject: Digest, tag: str) -> dict[str, Any] | None:
        """Return the entry of one tag; None for a tag that is gone, or whose manifest is not what it says."""
        try:
            manifest = self._registry.unparsed(repository.tagged(tag))
        except NotFoundError:
            return None
        fits = evidence_tag(subject, digest_of(manifest)) == tag
        return index_entry(manifest, subject) if fits and is_ours(manifest, subject) else None


class SignedStore:
    """Images of one registry with their signatures and attestations, as `verbs.signing` needs them.

    Args:
        registry: Its client.
        referrers: What stores artifacts in it.
    """

    def __init__(self, registry: Registry, referrers: Referrers) -> None:
        self._registry = registry
        self._referrers = referrers

    def resolve(self, ref: ImageRef) -> Descriptor:
        """Return digest, media type and size of what a reference names now (errors as the registry's)."""
        return self._registry.resolve(ref)

    def unparsed(self, ref: ImageRef) -> bytes:
        """Return what lies under a reference, compared with its digest (errors as the registry's)."""
        return self._registry.unparsed(ref)

    def blob(self, repository: Repository, digest: Digest, *, limit: int = DOCUMENT_LIMIT) -> bytes:
        """Return a blob, compared with its digest (errors as the registry's)."""
        return self._registry.blob(repository, digest, limit=limit)

    def offer_blob(self, repository: Repository, data: bytes) -> bool:
        """Upload a blob unless it is there (errors as the registry's)."""
        return self._registry.offer_blob(repository, data)

    def put_manifest(self, repository: Repository, reference: str | Digest, data: bytes) -> Digest:
        """Write a manifest; a tag is read again afterwards (errors as the registry's)."""
        return self._registry.put_manifest(repository, reference, data)

    def entries(self, repository: Repository, subject: Digest) -> Listing:
        """Return what refers to an image; nothing of it is checked (errors as `Referrers.entries`)."""
        return self._referrers.entries(repository, subject)

    def attach(self, repository: Repository, subject: Digest, artifacts: Sequence[Attachment]) -> None:
        """Store artifacts of one image (errors as `Referrers.store`)."""
        self._referrers.store(repository, subject, artifacts)
