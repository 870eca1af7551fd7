"""What a build was made from, collected for its provenance: files by digest, packages, builder stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.domain.canonical import Json
from pipeline.domain.catalogue import Base, Image, Instance, Upstream
from pipeline.domain.definition import Bootstrap
from pipeline.domain.image import Digest
from pipeline.domain.oci import digest_of
from pipeline.domain.pin import Pin
from pipeline.domain.provenance import BuildFacts
from pipeline.verbs.module_stages import BuiltModule, package_word
from pipeline.verbs.source_files import SourceFiles

PINS = "pins.toml"
TOOLCHAIN = "toolchain"
"""The stage that module stages start from."""

_ECOSYSTEMS = {"apt": "deb/debian", "dnf": "rpm/centos"}


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
    toolchain: str,
    packages: Sequence[str],
    timestamp: int,
    options: Mapping[str, Json],
) -> BuildFacts:
    """Return the facts of a base's build.

    Args:
        files: Reads files of the definitions.
        base: The base.
        pin: Its pin.
        modules: What was compiled for it.
        toolchain: Id of the image the modules were compiled on, without `sha256:`; "" for the parent's.
        packages: Words its final stage installed.
        timestamp: Date of its files.
        options: Options of the command line.
    """
    sources = {
        one.module.name: package_word(one.module.package, pin.modules[one.module.name]) for one in modules
    }
    stages = {one.module.name: Digest(f"sha256:{one.image}") for one in modules}
    pins = f"{files.images.name}/{base.line}/{PINS}"
    return BuildFacts(
        definition=base.file,
        timestamp=timestamp,
        options=options,
        files={**files.digests([base.file, pins, *files.common]), **_context(files, base)},
        packages=(*pin.kernel_packages, *pin.kernel_devel, *sources.values(), *packages),
        ecosystem=_ECOSYSTEMS.get(base.package_manager, ""),
        stages=stages | ({TOOLCHAIN: Digest(f"sha256:{toolchain}")} if toolchain else {}),
        sources={sources[one.module.name]: one.source for one in modules if one.source is not None},
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
