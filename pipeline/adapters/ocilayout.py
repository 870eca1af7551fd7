"""An OCI image layout: a folder that holds images as a registry does, for sites that no network reaches.

Rules: nothing in the folder is believed: the index has limits and every entry is checked, what is read is
hashed (`ocifiles`). The index is written last, so that what it names is there. Images are named
`line/image:tag` in it, as `skopeo copy oci:FOLDER:line/image:tag …` reads them; entries of others stay.
Grammar: OCI image specification 1.1, image layout. Safe to use from several threads of one process.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.adapters.ocifiles import FOREIGN, LayoutFiles
from pipeline.domain.image import Digest, ImageRef, Repository
from pipeline.domain.oci import DOCUMENT_LIMIT, OCI_INDEX, Descriptor, canonical, digest_of, load, parse
from pipeline.domain.parcel import FOLDER, Named, require_name
from pipeline.domain.text import plain
from pipeline.errors import NotFoundError, RegistryError, StateError, UsageError

NAME = "org.opencontainers.image.ref.name"
PARENT = "io.bootc-pipeline.parent"
"""Annotation of a release: the release it is built on, `line/image:vX.Y.Z@sha256:…`."""

ENTRY_LIMIT = 10_000
_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'

_Entry = dict[str, Any]


class OciLayout:
    """One folder.

    Args:
        folder: Where it is.
        parents: What releases are built on, by repository path and tag; noted when their tags are written.
        create: Whether the folder is made when it is not there.
        absent: Whether a folder that is not there is taken as an empty one.

    Raises:
        StateError: It is no image layout, or cannot be read or made.
        RegistryError: Its index is damaged or forged.
    """

    def __init__(
        self,
        folder: Path,
        *,
        parents: Mapping[tuple[str, str], Named] | None = None,
        create: bool = False,
        absent: bool = False,
    ) -> None:
        self._files = LayoutFiles(folder)
        self._folder = folder
        self._parents = parents or {}
        self._lock = threading.Lock()
        if create and self._files.create():
            self._files.replace("index.json", _spelled({}, ()))
            self._files.replace("oci-layout", _LAYOUT)
        self._others: tuple[_Entry, ...] = ()
        self._entries: dict[str, _Entry] = {}
        if not absent or folder.exists():
            self._read_index()

    def tags(self, repository: Repository) -> tuple[str, ...]:
        """Return every tag of one image, sorted."""
        start = f"{repository.path}:"
        return tuple(sorted(name.removeprefix(start) for name in self._entries if name.startswith(start)))

    def parent_of(self, repository: Repository, tag: str) -> Named | None:
        """Return what a release is built on, by the folder's own word.

        Raises:
            NotFoundError: There is no such release.
            UsageError: The word is none.
        """
        text = self._entry(repository.tagged(tag))["annotations"].get(PARENT)
        return None if text is None else Named.parse(text)

    def resolve(self, ref: ImageRef) -> Descriptor:
        """Return what a tag or digest names.

        Raises:
            NotFoundError: There is none.
            RegistryError: It is not what its digest says, or no manifest.
        """
        data = self.unparsed(ref)
        return Descriptor(media_type=parse(data).media_type, digest=digest_of(data), size=len(data))

    def unparsed(self, ref: ImageRef) -> bytes:
        """Return the bytes of a manifest, compared with their digest.

        Raises:
            NotFoundError: There is none.
            RegistryError: It is not what its digest says, or too large.
        """
        data = b""
        for chunk in self._files.read(ref.digest or Digest(self._entry(ref)["digest"])):
            data += chunk
            if len(data) > DOCUMENT_LIMIT:
                raise RegistryError(f"{ref} is larger than {DOCUMENT_LIMIT} bytes", hint=FOREIGN)
        return data

    def referrers(self, repository: Repository, subject: Digest) -> tuple[bytes, ...] | None:  # noqa: ARG002
        """Return None: a folder has no API; the list of referrers is a tag in it."""
        return None

    def has_blob(self, repository: Repository, digest: Digest) -> bool:  # noqa: ARG002 - all share the blobs
        """Tell whether a blob is there and whole; one that is damaged is as good as missing."""
        try:
            for _ in self._files.read(digest):
                pass
        except (NotFoundError, RegistryError, StateError):
            return False
        return True

    def mount_blob(self, repository: Repository, digest: Digest, source: Repository) -> bool:  # noqa: ARG002
        """Tell whether the blob is there, since all images of a folder share their blobs."""
        return self.has_blob(repository, digest)

    def stream_blob(self, repository: Repository, digest: Digest) -> Iterator[bytes]:  # noqa: ARG002
        """Yield a blob in pieces; its digest is checked at the end.

        Raises:
            NotFoundError: It is not there.
            RegistryError: It is not what its digest says.
        """
        return self._files.read(digest)

    def put_stream(
        self,
        repository: Repository,  # noqa: ARG002 - all share the blobs
        digest: Digest,
        size: int,
        chunks: Callable[[], Iterable[bytes]],
    ) -> None:
        """Write a blob from pieces; it gets its name when it is whole.

        Raises:
            RegistryError: The pieces are not what the digest and the size say.
            StateError: The folder cannot be written to.
        """
        self._files.write(digest, size, chunks)

    def put_unread(
        self, repository: Repository, reference: str | Digest, data: bytes, media_type: str
    ) -> bool:
        """Write a manifest or index; a tag is put into the index, with what a release is built on.

        Raises:
            StateError: The folder cannot be written to.
        """
        digest = digest_of(data)
        with self._lock:
            if not self.has_blob(repository, digest):
                self._files.write(digest, len(data), lambda: (data,))
            if isinstance(reference, str):
                self._name(repository.tagged(reference), digest, len(data), media_type)
        return False

    def _name(self, ref: ImageRef, digest: Digest, size: int, media_type: str) -> None:
        name = _name_of(ref)
        parent = self._parents.get((ref.repository.path, str(ref.tag)))
        annotations = {NAME: name} | ({} if parent is None else {PARENT: str(parent)})
        entry = {"mediaType": media_type, "digest": digest.value, "size": size, "annotations": annotations}
        if self._entries.get(name) == entry:
            return
        entries = {**self._entries, name: entry}
        index = _spelled(entries, self._others)
        if len(entries) + len(self._others) > ENTRY_LIMIT or len(index) > DOCUMENT_LIMIT:
            raise StateError(f"{self._folder} has too many images", hint="write to another folder")
        self._files.replace("index.json", index)
        self._entries = entries

    def _entry(self, ref: ImageRef) -> _Entry:
        try:
            return self._entries[_name_of(ref)]
        except KeyError:
            raise NotFoundError(
                f"{self._folder} has no {_name_of(ref)}", hint="its index.json names what it has"
            ) from None

    def _read_index(self) -> None:
        """Read the entries that name images of ours; others' are left alone, damaged ones refused."""
        layout = load(self._files.document("oci-layout"), f"oci-layout of {self._folder}")
        if not str(layout.get("imageLayoutVersion", "")).startswith("1."):
            raise StateError(f"{self._folder} is no image layout of version 1", hint=FOREIGN)
        index = load(self._files.document("index.json"), f"the index of {self._folder}")
        listed = index.get("manifests")
        if not isinstance(listed, list) or len(listed) > ENTRY_LIMIT:
            raise RegistryError(
                f"the index of {self._folder} has no list of at most {ENTRY_LIMIT} images", hint=FOREIGN
            )
        checked = [_checked(item, str(self._folder)) for item in listed]
        self._others = tuple(entry for entry in checked if not _is_ours(entry))
        for entry in filter(_is_ours, checked):
            name = entry["annotations"][NAME]
            if self._entries.setdefault(name, entry) != entry:
                raise RegistryError(f"{self._folder} has {plain(name, 120)} twice", hint=FOREIGN)


def _name_of(ref: ImageRef) -> str:
    if ref.repository.registry != FOLDER:
        raise UsageError(f"{ref.repository} was asked of a folder", hint="use the client of its registry")
    require_name(ref.repository.path)
    return f"{ref.repository.path}:{ref.tag}"


def _spelled(entries: Mapping[str, _Entry], others: Iterable[_Entry]) -> bytes:
    manifests = [*others, *(entries[name] for name in sorted(entries))]
    return canonical({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests})


def _is_ours(entry: _Entry) -> bool:
    """Tell whether an entry names an image as this program does."""
    path, _, tag = entry["annotations"].get(NAME, "").partition(":")
    try:
        require_name(path)
        Repository(registry=FOLDER, path=path).tagged(tag)
    except UsageError:
        return False
    return True


def _checked(item: object, folder: str) -> _Entry:
    """Return an entry of an index whose parts are what they must be.

    Raises:
        RegistryError: They are not.
    """
    entry = item if isinstance(item, dict) else {}
    annotations = entry.get("annotations") or {}
    size = entry.get("size")
    good = type(size) is int and 0 <= size <= DOCUMENT_LIMIT and isinstance(entry.get("mediaType"), str)
    good = good and isinstance(annotations, dict)
    if not good or not all(isinstance(text, str) for text in annotations.values()):
        raise _forged(item, folder)
    try:
        Digest(str(entry.get("digest")))
    except UsageError:
        raise _forged(item, folder) from None
    return {**entry, "annotations": annotations}


def _forged(item: object, folder: str) -> RegistryError:
    return RegistryError(
        f"the index of {folder} has an entry that is none: {plain(json.dumps(item), 200)}", hint=FOREIGN
    )
