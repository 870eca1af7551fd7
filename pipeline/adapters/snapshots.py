"""Snapshots of images, from a registry or from the engine's own store, made of kept tables of contents.

Rules: an image is taken by digest or id, never by what a tag may mean next; only layers whose tables are not
kept yet are fetched, several at once; of a local image, whose store checked them, layers come by diff ID.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

from pipeline.adapters.layers import unpacked
from pipeline.adapters.process import Pipes, Processes
from pipeline.adapters.tarstream import TarStream
from pipeline.adapters.toc import TocStore
from pipeline.domain.append import BaseImage
from pipeline.domain.diff.layered import LayeredSnapshot
from pipeline.domain.diff.snapshot import LayerSize
from pipeline.domain.image import Digest, Repository
from pipeline.domain.oci import load, parse_config
from pipeline.domain.toc import LayerToc
from pipeline.domain.tocline import normal, unescaped
from pipeline.errors import NotFoundError, RegistryError, ToolFailedError

_WORKERS = 2
_RECENT = 8
_PIECE = 1 << 20
_HINT = "the image is damaged; build and push it again"


class BlobSource(Protocol):
    """The part of a registry that is used here."""

    def stream_blob(self, repository: Repository, digest: Digest) -> Iterator[bytes]:
        """Yield a blob in pieces, its digest checked at the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layer:
    """A layer and where its bytes come from."""

    diff_id: Digest
    blob: Digest | None
    size: int
    archive: Callable[[], Iterator[bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Image:
    """An image's layers and config; `saved` is its id where the engine has it, else empty."""

    name: str
    saved: str = ""
    layers: tuple[_Layer, ...]
    config: Mapping[str, Any]


class Snapshots:
    """Opens images.

    Args:
        store: Keeps the tables.
        source: The registry of the images.
        processes: The door to other programs, for local images.
        engine: The engine's command with the options it needs here, for local images.
        environment: Variables the engine needs.
    """

    def __init__(
        self,
        store: TocStore,
        source: BlobSource,
        *,
        processes: Processes | None = None,
        engine: Sequence[str] = ("podman",),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._store = store
        self._source = source
        self._processes = processes
        self._engine = tuple(engine)
        self._environment = environment
        self._recent: dict[Digest, LayerToc] = {}

    def open(self, *images: BaseImage | str) -> tuple[LayeredSnapshot, ...]:
        """Return snapshots of images, which share the tables of the layers they share.

        Args:
            images: Images in the registry, or ids or names of local ones.

        Raises:
            NotFoundError: There is no such local image.
            RegistryError: A layer cannot be had or is not what it is told to be.
            StateError: The tables cannot be kept.
        """
        found = [self._local(image) if isinstance(image, str) else self._remote(image) for image in images]
        tables: dict[Digest, LayerToc] = {}
        for image in found:
            if image.saved:
                tables |= self._tables_of_saved(image)
        needed = {layer.diff_id: layer for image in found for layer in image.layers}
        # The largest first, so that it is not what all the others wait for.
        order = sorted(needed.keys() - tables.keys(), key=lambda diff_id: -needed[diff_id].size)
        with ThreadPoolExecutor(_WORKERS) as pool:
            made = pool.map(lambda diff_id: self._table(needed[diff_id]), order)
            tables |= dict(zip(order, made, strict=True))
        self._remember({diff_id: tables[diff_id] for diff_id in needed})
        return tuple(self._snapshot(image, tables) for image in found)

    def _remember(self, tables: Mapping[Digest, LayerToc]) -> None:
        """Keep the tables of the last images: the hosts of a fleet stand on the same layers."""
        kept = {**self._recent, **tables}
        self._recent = dict(list(kept.items())[-_RECENT:])

    def _tables_of_saved(self, image: _Image) -> dict[Digest, LayerToc]:
        """Return the tables of a local image; those that are missing are made in one pass over it."""
        kept = {layer.diff_id: self._store.table(layer.diff_id) for layer in image.layers}
        tables = {diff_id: toc for diff_id, toc in kept.items() if toc is not None}
        missing = {f"{diff_id.hex}.tar".encode(): diff_id for diff_id, toc in kept.items() if toc is None}
        if not missing:
            return tables
        with contextlib.closing(self._save(image.saved)) as saved:
            for member, content in saved:
                diff_id = missing.pop(member, None)
                if diff_id is not None:
                    tables[diff_id] = self._store.make(diff_id, lambda: map(bytes, content), blob=None)  # noqa: B023 - used at once
                if not missing:
                    return tables
        raise RegistryError(f"{image.name} was saved without {len(missing)} of its layers", hint=_HINT)

    def _table(self, layer: _Layer) -> LayerToc:
        if layer.blob is None or self._store.diff_id_of(layer.blob) == layer.diff_id:
            kept = self._recent.get(layer.diff_id) or self._store.table(layer.diff_id)
            if kept is not None:
                return kept
        return self._store.make(layer.diff_id, layer.archive, blob=layer.blob)

    def _remote(self, image: BaseImage) -> _Image:
        layers = image.parsed.layers
        diff_ids = parse_config(image.config, f"the config of {image.ref}").diff_ids
        if len(diff_ids) != len(layers):
            raise RegistryError(
                f"{image.ref} has {len(layers)} layers, but its config names {len(diff_ids)}", hint=_HINT
            )
        repository = image.ref.repository
        return _Image(
            name=str(image.ref),
            config=load(image.config, f"the config of {image.ref}"),
            layers=tuple(
                _Layer(
                    diff_id=diff_id,
                    blob=layer.digest,
                    size=layer.size,
                    archive=lambda layer=layer: unpacked(  # type: ignore[misc]
                        layer, self._source.stream_blob(repository, layer.digest)
                    ),
                )
                for layer, diff_id in zip(layers, diff_ids, strict=True)
            ),
        )

    def _local(self, name: str) -> _Image:
        image, config = self._local_config(name)
        diff_ids = parse_config(config, f"the config of {name}").diff_ids
        return _Image(
            name=name,
            saved=image,
            config=load(config, f"the config of {name}"),
            layers=tuple(
                _Layer(
                    diff_id=diff_id,
                    blob=None,
                    size=0,
                    archive=lambda diff_id=diff_id: self._saved(image, diff_id),  # type: ignore[misc]
                )
                for diff_id in diff_ids
            ),
        )

    def _local_config(self, name: str) -> tuple[str, bytes]:
        """Return the id of a local image, and its config as it was pulled or built."""
        processes = self._programs()
        argv = [*self._engine, "image", "inspect", "--format", "{{.Id}}", "--", name]
        done = processes.run(argv, check=False, env=self._environment)
        if done.code != 0:
            raise NotFoundError(f"there is no local image {name!r}", hint="pull or build it, or name another")
        image = done.stdout.strip()
        config = processes.run(["skopeo", "inspect", "--config", "--raw", f"containers-storage:{image}"])
        return image, config.stdout.encode()

    def _saved(self, name: str, diff_id: Digest) -> Iterator[bytes]:
        """Yield one layer of a local image, out of the stream that the engine saves it as."""
        with contextlib.closing(self._save(name)) as saved:
            for member, content in saved:
                if member == f"{diff_id.hex}.tar".encode():
                    yield from map(bytes, content)
                    return
        raise RegistryError(f"{name} was saved without its layer {diff_id}", hint=_HINT)

    def _save(self, name: str) -> Generator[tuple[bytes, Iterator[memoryview]]]:
        argv = [*self._engine, "save", "--quiet", "--format", "docker-archive", "--", name]
        with self._programs().conversation(argv, env=self._environment) as pipes:
            stream = TarStream(_pieces(pipes), f"the local image {name}")
            for member in stream:
                yield member.name, stream.content()
            said = pipes.errors()
        if said.strip():
            raise ToolFailedError(
                said.strip(), hint="see the engine's log", argv=tuple(argv), code=None, tail=said
            )

    def _programs(self) -> Processes:
        if self._processes is None:
            raise NotFoundError(
                "local images cannot be read here", hint="name an image in a registry by digest"
            )
        return self._processes

    def _snapshot(self, image: _Image, tables: Mapping[Digest, LayerToc]) -> LayeredSnapshot:
        made_by = [
            str(step.get("created_by", ""))
            for step in image.config.get("history") or ()
            if isinstance(step, dict) and not step.get("empty_layer")
        ]
        made_by += [""] * (len(image.layers) - len(made_by))
        return LayeredSnapshot(
            tocs=[tables[layer.diff_id] for layer in image.layers],
            layers=tuple(
                LayerSize(
                    digest=layer.blob or layer.diff_id,
                    diff_id=layer.diff_id,
                    size=layer.size if layer.blob else tables[layer.diff_id].size,
                    unpacked=tables[layer.diff_id].size,
                    created_by=by,
                )
                for layer, by in zip(image.layers, made_by, strict=False)
            ),
            config=image.config,
            contents=lambda at, path, sha256: self._content(
                image.layers[at], tables[image.layers[at].diff_id], path, sha256
            ),
        )

    def _content(self, layer: _Layer, toc: LayerToc, path: str, sha256: str) -> bytes:
        kept = self._store.content(layer.diff_id, toc, sha256)
        if kept is not None:
            return kept
        wanted = {key for key, line in toc.entries.items() if sha256.encode() in line}
        stream = TarStream(layer.archive(), f"layer {layer.diff_id}")
        for member in stream:
            if normal(member.name) in wanted:
                data = b"".join(stream.content())
                if hashlib.sha256(data).hexdigest() == sha256:
                    return data
        raise NotFoundError(
            f"the content of {path} is no longer in {unescaped(min(wanted, default=b'the layer'))}",
            hint="the layer changed since its table was made; remove the cache of tables and try again",
        )


def _pieces(pipes: Pipes) -> Iterator[bytes]:
    while piece := pipes.read(_PIECE):
        yield piece
