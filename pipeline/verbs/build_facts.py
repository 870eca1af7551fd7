"""What a build was made from, collected for its provenance: files by digest, packages, builder stages.

Rules: a file is named as it lies in the image repository and hashed as it lies there now, once a run; a file
that cannot be read is left out, for the build itself has said so or did not need it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pipeline.domain.canonical import Json
from pipeline.domain.catalogue import Base, Image, Instance, Upstream
from pipeline.domain.definition import Bootstrap
from pipeline.domain.image import Digest
from pipeline.domain.oci import digest_of
from pipeline.domain.pin import Pin
from pipeline.domain.provenance import BuildFacts
from pipeline.verbs.module_stages import BuiltModule, package_word
from pipeline.verbs.stages import digest_of as digest_of_file

SETTINGS = "pipeline.toml"
PINS = "pins.toml"

_ECOSYSTEMS = {"apt": "deb/debian", "dnf": "rpm/centos"}


class SourceFiles:
    """Digests of the image repository's files; safe to use from several threads.

    Args:
        images: The images folder; its parent is the repository.
        release_keys: Files in it that hosts trust.
    """

    def __init__(self, images: Path, release_keys: Sequence[str] = ()) -> None:
        self.images = images.resolve()
        self.root = self.images.parent
        self.common = tuple(f"{self.images.name}/{name}" for name in (SETTINGS, *release_keys))
        self._known: dict[str, Digest | None] = {}

    def digests(self, names: Iterable[str]) -> dict[str, Digest]:
        """Return the digests of files named from the repository's top."""
        found = {name: self._digest(name) for name in names}
        return {name: digest for name, digest in found.items() if digest is not None}

    def folder(self, folder: Path) -> dict[str, Digest]:
        """Return the digests of all files below a folder of the repository."""
        top = folder.resolve()
        if not top.is_relative_to(self.root):
            return {}
        paths = sorted(path for path in top.rglob("*") if path.is_file())
        return self.digests(str(path.relative_to(self.root)) for path in paths)

    def _digest(self, name: str) -> Digest | None:
        if name not in self._known:
            self._known[name] = None
            with contextlib.suppress(OSError):
                self._known[name] = digest_of_file(self.root / name)
        return self._known[name]


def upstream_facts(
    files: SourceFiles, image: Upstream, *, timestamp: int, options: Mapping[str, Json]
) -> BuildFacts:
    """Return the facts of an upstream's build."""
    key = {} if image.key is None else files.digests([_named(files, image.key)])
    return BuildFacts(
        definition=image.file,
        timestamp=timestamp,
        options=options,
        files={**files.digests([image.file, files.common[0]]), **key, **_context(files, image)},
        packages=image.source.packages if isinstance(image.source, Bootstrap) else (),
        ecosystem=_ECOSYSTEMS.get(image.package_manager, ""),
    )


def base_facts(
    files: SourceFiles,
    base: Base,
    pin: Pin,
    modules: Sequence[BuiltModule],
    *,
    packages: Sequence[str],
    timestamp: int,
    options: Mapping[str, Json],
) -> BuildFacts:
    """Return the facts of a base's build; `packages` are the words its final stage installed."""
    sources = [package_word(one.module.package, pin.modules[one.module.name]) for one in modules]
    pins = f"{files.images.name}/{base.line}/{PINS}"
    return BuildFacts(
        definition=base.file,
        timestamp=timestamp,
        options=options,
        files={**files.digests([base.file, pins, *files.common]), **_context(files, base)},
        packages=(*pin.kernel_packages, *pin.kernel_devel, *sources, *packages),
        ecosystem=_ECOSYSTEMS.get(base.package_manager, ""),
        stages={one.module.name: Digest(f"sha256:{one.image}") for one in modules},
    )


def instance_facts(
    files: SourceFiles, host: Instance, *, timestamp: int, options: Mapping[str, Json]
) -> BuildFacts:
    """Return the facts of a host's build: its definition, its roles, and the files they name."""
    definitions = {host.file, *(origin.file for origins in host.origins.values() for origin in origins)}
    folder = f"{files.images.name}/{host.line}"
    named = {f"{folder}/{path}": digest_of(data) for path, data in host.materials.items()}
    return BuildFacts(
        definition=host.file,
        timestamp=timestamp,
        options=options,
        files={**files.digests([*sorted(definitions), *files.common]), **named, **_context(files, host)},
    )


def _context(files: SourceFiles, image: Image) -> dict[str, Digest]:
    return {} if image.containerfile is None else files.folder(image.containerfile.parent)


def _named(files: SourceFiles, path: Path) -> str:
    found = path.resolve()
    return str(found.relative_to(files.root)) if found.is_relative_to(files.root) else found.name
