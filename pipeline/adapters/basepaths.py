"""The path lists of bases, made from the registry once per digest and kept in a folder.

Rules: layers are streamed, never stored; a list is kept only after every layer was what its digest says; a
kept list bears the hash of its own bytes and is made anew when they differ; it is mapped, not read, so that
memory does not grow with the base.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from pipeline.adapters.layers import unpacked
from pipeline.adapters.toc import TocStore, read_layer
from pipeline.domain.append import BaseImage
from pipeline.domain.basepaths import LayerStack, PathTable
from pipeline.domain.image import Digest, Repository
from pipeline.domain.oci import Descriptor
from pipeline.domain.toc import LayerToc
from pipeline.errors import StateError

_MAGIC = b"bootc-pipeline base paths 1 "
_START = len(_MAGIC) + 64 + 1
_CHUNK = 1 << 20


class BlobSource(Protocol):
    """The part of a registry that is used here."""

    def stream_blob(self, repository: Repository, digest: Digest) -> Iterator[bytes]:
        """Yield a blob in pieces, its digest checked at the end."""


class BasePathCache:
    """Gives the path list of a base.

    Args:
        folder: Where lists are kept; made when it does not exist.
        source: The registry of the bases.
        tables: Where a diff keeps tables of layers: a layer that has one is not fetched again.
    """

    def __init__(self, folder: Path, source: BlobSource, tables: TocStore | None = None) -> None:
        self._folder = folder
        self._source = source
        self._tables = tables

    def table(self, base: BaseImage) -> PathTable:
        """Return the paths of a base.

        Raises:
            RegistryError: A layer cannot be had, is not what its digest says, or is no layer.
            StateError: The folder cannot be written.
        """
        file = self._folder / f"{base.ref.pinned.hex}.paths"
        return _kept(file) or self._made(file, base)

    def _made(self, file: Path, base: BaseImage) -> PathTable:
        stack = LayerStack()
        for layer in base.parsed.layers:
            stack.put(self._kept_table(layer) or self._read(base.ref.repository, layer))
        table = stack.table()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            _write(file, _MAGIC + hashlib.sha256(table).hexdigest().encode() + b"\n" + table)
        except OSError as error:
            raise StateError(
                f"the path list of the base cannot be kept in {self._folder}: {error}",
                hint="free space there, or name another folder",
            ) from error
        found = _kept(file)
        if found is None:
            raise StateError(
                f"{file} changed right after it was written", hint="find out who writes to that folder"
            )
        return found

    def _kept_table(self, layer: Descriptor) -> LayerToc | None:
        diff_id = self._tables.diff_id_of(layer.digest) if self._tables else None
        return self._tables.table(diff_id) if self._tables and diff_id else None

    def _read(self, repository: Repository, layer: Descriptor) -> LayerToc:
        blob = self._source.stream_blob(repository, layer.digest)
        return read_layer(unpacked(layer, blob), f"layer {layer.digest}")


def _kept(file: Path) -> PathTable | None:
    try:
        with file.open("rb") as source:
            buffer = mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError):  # not there, or empty
        return None
    head = buffer[:_START]
    seen = hashlib.sha256()
    for at in range(_START, len(buffer), _CHUNK):
        seen.update(buffer[at : at + _CHUNK])
    if head != _MAGIC + seen.hexdigest().encode() + b"\n":
        buffer.close()
        return None
    return PathTable(buffer, _START)


def _write(file: Path, data: bytes) -> None:
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=".paths-")
    try:
        with os.fdopen(handle, "wb") as sink:
            sink.write(data)
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
