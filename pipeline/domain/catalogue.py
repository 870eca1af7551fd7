"""Definitions put together: every image with its parents, and with what it inherits from them.

Rules of inheritance, the same for all tiers: tables merge key by key and the child's key wins; a list
replaces the parent's list; a link with an empty target takes the inherited link away.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.domain import gate
from pipeline.domain.definition import Bootstrap, Mirror
from pipeline.domain.host import HostDefinition
from pipeline.domain.image import Repository, Tier
from pipeline.domain.merge import Origin
from pipeline.domain.nearest import nearest as nearest  # noqa: PLC0414 - other modules take it from here
from pipeline.domain.settings import Settings
from pipeline.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Persistence:
    """The persistence layout: symlink to exact target, directory to permission bits."""

    links: Mapping[str, str] = field(default_factory=dict)
    directories: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class GatePolicy:
    """What a definition asks of the gates; see `gate.Expectations`."""

    build_packages: tuple[str, ...] = ()
    allowed_files: Mapping[str, str] = field(default_factory=dict)
    waivers: Mapping[str, gate.Waiver] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """What images of all tiers have.

    Attributes:
        line: Name of the line.
        name: Name of the image, unique in its line.
        file: The definition file, as problems name it.
        parent: Name of the image it is built on; None for an upstream.
        containerfile: The file the engine builds it from, or None.
        package_manager: `apt` or `dnf`.
        kernel_flavour: Debian: suffix of `linux-image-*-<flavour>`; EL: architecture.
        persistence: The layout with everything inherited.
        gates: The policy with everything inherited.
    """

    line: str
    name: str
    file: str
    description: str
    parent: str | None
    containerfile: Path | None
    package_manager: str
    kernel_flavour: str
    persistence: Persistence
    gates: GatePolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream(Image):
    """An image a line starts from: bootstrapped, or mirrored (`key`: public key of the vendor, if any)."""

    source: Bootstrap | Mirror
    key: Path | None = None

    @property
    def tier(self) -> Tier:
        """The tier."""
        return Tier.UPSTREAM


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedModule:
    """A module set with the path of its builder stage."""

    name: str
    containerfile: Path
    dkms: str
    package: str
    kernel_modules: tuple[str, ...]
    userspace: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Base(Image):
    """A base: `modules` are its own, `inherited_modules` those of the bases below it.

    `toolchain` is the file of the stage that its module stages start from; None when that is the parent.
    """

    packages: tuple[str, ...]
    modules: tuple[ResolvedModule, ...]
    inherited_modules: tuple[ResolvedModule, ...] = ()
    toolchain: Path | None = None

    @property
    def tier(self) -> Tier:
        """The tier."""
        return Tier.BASE

    @property
    def all_modules(self) -> tuple[ResolvedModule, ...]:
        """Every module set the image must hold."""
        return (*self.inherited_modules, *self.modules)


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance(Image):
    """One host's image.

    Attributes:
        definition: The host with its roles merged in.
        texts: Bytes of each key that brings a file (`files./etc/motd`), templates filled in.
        materials: Files of the line's folder that the definition names, by path.
        values: The merged values as plain data, and `origins`: where each dotted key stands.
        warnings: One loud line for each rule the host is excused from.
    """

    definition: HostDefinition
    texts: Mapping[str, bytes] = field(default_factory=dict)
    materials: Mapping[str, bytes] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    origins: Mapping[str, tuple[Origin, ...]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    all_modules: tuple[ResolvedModule, ...] = ()

    @property
    def tier(self) -> Tier:
        """The tier."""
        return Tier.INSTANCE

    @property
    def hostname(self) -> str:
        """The host's name."""
        return self.definition.hostname


AnyImage = Upstream | Base | Instance


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line: its folder, its Containerfiles folder, and its images in build order (parents first)."""

    name: str
    folder: Path
    containerfiles: Path
    images: Mapping[str, AnyImage]

    @property
    def upstreams(self) -> tuple[Upstream, ...]:
        """The images the line starts from."""
        return tuple(image for image in self.images.values() if isinstance(image, Upstream))

    @property
    def bases(self) -> tuple[Base, ...]:
        """The bases, parents first."""
        return tuple(image for image in self.images.values() if isinstance(image, Base))

    @property
    def instances(self) -> tuple[Instance, ...]:
        """The hosts' images."""
        return tuple(image for image in self.images.values() if isinstance(image, Instance))

    @property
    def pins(self) -> Path:
        """Where the line's kernel pins are kept."""
        return self.folder / "pins.toml"

    def image(self, name: str) -> AnyImage:
        """Return an image by name.

        Raises:
            UsageError: The line has no such image.
        """
        if name not in self.images:
            raise UsageError(f"line {self.name} has no image {name!r}", hint=nearest(name, self.images))
        return self.images[name]

    def parents(self, image: Image) -> Iterator[AnyImage]:
        """Yield the images below one, nearest first."""
        name = image.parent
        while name is not None:
            parent = self.images[name]
            yield parent
            name = parent.parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """All lines under one images folder, with the settings."""

    settings: Settings
    lines: Mapping[str, Line]

    def line(self, name: str | None = None) -> Line:
        """Return a line by name, or the default one (settings' `default_line`, else the only one).

        Raises:
            UsageError: There is no such line, or none was named and there are several.
        """
        if name is None:
            name = self.settings.default_line or (next(iter(self.lines)) if len(self.lines) == 1 else None)
        if name is None:
            raise UsageError("there are several lines", hint=f"name one with --line: {', '.join(self.lines)}")
        if name not in self.lines:
            raise UsageError(f"there is no line {name!r}", hint=nearest(name, self.lines))
        return self.lines[name]

    def repository(self, image: Image) -> Repository:
        """Return where an image is pushed to."""
        return self.settings.registry.repository(image.line, image.name)

    def expectations(self, image: AnyImage, kernel: str | None) -> gate.Expectations:
        """Return what the gates are to find in `image`, built for `kernel` (release, None if unpinned)."""
        modules = () if isinstance(image, Upstream) else image.all_modules
        return gate.Expectations(
            kernel=kernel,
            modules=tuple(_expected(module) for module in modules),
            links=image.persistence.links,
            directories=image.persistence.directories,
            registry=self.settings.registry.url,
            policy_required=image.tier is not Tier.UPSTREAM,
            build_packages=image.gates.build_packages,
            allowed_files=image.gates.allowed_files,
            waivers=image.gates.waivers,
        )


def _expected(module: ResolvedModule) -> gate.ModuleExpectation:
    return gate.ModuleExpectation(
        name=module.name, kernel_modules=module.kernel_modules, userspace=module.userspace
    )
