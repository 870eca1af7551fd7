"""Loads the definitions under an images folder into a catalogue.

Rules: every file is looked at before anything is said, and all problems are said together; what is read
never lies outside the images folder; a file or folder nobody asked for is a problem, for its name may be
a misspelling of one that is wanted (hidden files, backups and *.md are left alone).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import BaseModel

from pipeline.adapters import toml_source
from pipeline.domain.catalogue import Catalogue, Line
from pipeline.domain.definition import BaseDefinition, Definition, UpstreamDefinition
from pipeline.domain.host import HostDefinition, RoleDefinition
from pipeline.domain.host_merge import merged_host
from pipeline.domain.image import NAME, Tier
from pipeline.domain.merge import Layer
from pipeline.domain.nearest import nearest
from pipeline.domain.prepared import wanted
from pipeline.domain.resolve import LineSource, Parsed, resolve
from pipeline.domain.settings import Settings
from pipeline.domain.validation import partial_problems, validate
from pipeline.errors import DefinitionError
from pipeline.problem import Problem

SETTINGS = "pipeline.toml"
KEYS = "keys"
"""Folder of public keys, beside the lines."""

ROLES, HOSTS = "roles", "hosts"
FOLDERS: Mapping[str, type[Definition]] = {
    "upstream": UpstreamDefinition,
    "base": BaseDefinition,
    ROLES: RoleDefinition,
    HOSTS: HostDefinition,
}
_TIERS = {"upstream": Tier.UPSTREAM, "base": Tier.BASE}
MATERIAL_LARGEST = 16 << 20
"""Bytes of the largest file that a definition may bring into an image."""

_OTHER_FOLDERS = frozenset({"files", "templates", "keys"})
_OTHER_FILES = frozenset({"pins.toml"})


def load(images: Path, *, containerfiles: Path | None = None, registry: str | None = None) -> Catalogue:
    """Load all lines.

    Args:
        images: The images folder.
        containerfiles: Folder with one folder of Containerfiles a line; by default beside `images`.
        registry: Overrides the registry's url of the settings.

    Raises:
        DefinitionError: With every problem of every file.
    """
    loader = _loader(images, containerfiles or images.parent / "Containerfiles")
    settings = loader.settings(registry)
    lines = loader.lines(settings)
    if settings is not None:
        loader.check_default_line(settings, lines)
    if settings is None or loader.problems:
        raise loader.error
    return Catalogue(settings=settings, lines=lines)


def load_settings(images: Path, *, registry: str | None = None) -> Settings:
    """Load the settings of all lines alone: what leads back must not stumble over a definition.

    Args:
        images: The images folder.
        registry: Overrides the registry's url of the settings.

    Raises:
        DefinitionError: With every problem of that file.
    """
    loader = _loader(images, images)
    settings = loader.settings(registry)
    if settings is None:
        raise loader.error
    return settings


def _loader(images: Path, containerfiles: Path) -> _Loader:
    if not images.is_dir():
        hint = "name the folder with --images, or scaffold one with `pipeline init`"
        problem = Problem(file=str(images), line=None, key="", message="there is no such folder", hint=hint)
        raise DefinitionError((problem,))
    return _Loader(images=images, containerfiles=containerfiles)


@dataclass(slots=True, kw_only=True)
class _Loader:
    images: Path
    containerfiles: Path
    problems: list[Problem] = field(default_factory=list)
    read_before: dict[Path, bytes | str] = field(default_factory=dict)
    settings_lines: Mapping[str, int] = field(default_factory=dict)

    @property
    def error(self) -> DefinitionError:
        """All problems so far."""
        return DefinitionError(tuple(sorted(self.problems, key=lambda one: (one.file, one.line or 0))))

    def shown(self, path: Path) -> str:
        return str(Path(self.images.name) / path.relative_to(self.images))

    def complain(self, path: Path, message: str, hint: str) -> None:
        self.problems.append(Problem(file=self.shown(path), line=None, key="", message=message, hint=hint))

    def settings(self, registry: str | None) -> Settings | None:
        path = self.images / SETTINGS
        source = self.read(path)
        if source is None:
            return None
        values = dict(source.values)
        if registry is not None and isinstance(values.get("registry", {}), dict):
            # Plain HTTP was allowed for the registry of the settings, not for whatever replaces it.
            local = registry.startswith(("127.0.0.1", "localhost", "[::1]"))
            table = values.get("registry", {})
            values["registry"] = {**table, "url": registry, **({} if local else {"insecure": False})}
        result = validate(Settings, values, file=source.file, lines=source.lines)
        if isinstance(result, tuple):
            self.problems.extend(result)
            return None
        self.settings_lines = source.lines
        return result

    def check_default_line(self, settings: Settings, lines: Mapping[str, Line]) -> None:
        default = settings.default_line
        if default is not None and default not in lines:
            self.problems.append(
                Problem(
                    file=self.shown(self.images / SETTINGS),
                    line=self.settings_lines.get("default_line"),
                    key="default_line",
                    message=f"there is no line {default!r}",
                    hint=nearest(default, lines),
                )
            )

    def lines(self, settings: Settings | None) -> dict[str, Line]:
        found: dict[str, Line] = {}
        for path in self.entries(self.images):
            if path.name in (SETTINGS, KEYS):
                continue
            if not path.is_dir():
                hint = nearest(path.name, [SETTINGS])
                self.complain(path, f"unknown file; allowed: {SETTINGS} and one folder a line", hint)
            elif self.named(path, path.name, "line") and self.inside(path):
                line, problems = resolve(self.line(path, settings))
                self.problems.extend(problems)
                found[path.name] = line
        return found

    def line(self, folder: Path, settings: Settings | None) -> LineSource:
        parsed: list[Parsed] = []
        broken: dict[str, Tier] = {}
        layers: dict[str, dict[str, Layer | None]] = {ROLES: {}, HOSTS: {}}
        for path in self.entries(folder):
            kind = FOLDERS.get(path.name)
            if kind is None or not path.is_dir() or not self.inside(path):
                self.check_other(path)
                continue
            for file in self.entries(path):
                if path.name in layers:
                    layers[path.name][file.stem] = self.layer(file, kind)
                elif (one := self.definition(file, kind, folder)) is not None:
                    parsed.append(one)
                else:
                    broken[file.stem] = _TIERS[path.name]
        parsed += self.hosts(layers[HOSTS], layers[ROLES], folder)
        broken |= dict.fromkeys(set(layers[HOSTS]) - {one.name for one in parsed}, Tier.INSTANCE)
        if not any(isinstance(one.definition, UpstreamDefinition) for one in parsed) and not broken:
            self.complain(folder, "the line has no upstream image", "add upstream/NAME.toml")
        return LineSource(
            name=folder.name,
            folder=folder,
            shown=self.shown(folder),
            containerfiles=self.containerfiles / folder.name,
            parsed=tuple(parsed),
            broken=broken,
            registry=settings.registry.url if settings else "",
            allow=settings.policy.allow if settings else (),
        )

    def hosts(
        self, hosts: Mapping[str, Layer | None], roles: Mapping[str, Layer | None], folder: Path
    ) -> list[Parsed]:
        read = {name: layer for name, layer in roles.items() if layer is not None}
        found: list[Parsed] = []
        for layer in hosts.values():
            if layer is None:
                continue
            result = merged_host(layer, read, broken=frozenset(roles) - frozenset(read))
            if isinstance(result, tuple):
                self.problems.extend(result)
                continue
            parsed = Parsed(
                name=layer.name,
                file=layer.file,
                definition=result.definition,
                lines=layer.lines,
                merged=result.merged,
            )
            self.problems.extend(_missing_files(parsed, folder, self.containerfiles / folder.name))
            found.append(replace(parsed, materials=self.materials(parsed, folder)))
        return found

    def materials(self, parsed: Parsed, folder: Path) -> dict[str, bytes]:
        """Read every file of the line's folder that a host names; each is read once a run."""
        assert isinstance(parsed.definition, HostDefinition)  # noqa: S101 - only hosts name files
        found: dict[str, bytes] = {}
        for one in wanted(parsed.definition):
            path = folder / one.path
            if path not in self.read_before:
                self.read_before[path] = _bytes(path, folder)
            result = self.read_before[path]
            if isinstance(result, bytes):
                found[one.path] = result
            else:
                there = [
                    str(other.relative_to(folder)) for other in folder.glob(f"{one.path.split('/')[0]}/**/*")
                ]
                hint = nearest(one.path, there) if not path.exists() else "put a regular file there"
                self.problems.append(parsed.problem(one.name_key, f"{one.path} {result}", hint))
        return found

    def check_other(self, path: Path) -> None:
        names = sorted({*FOLDERS, *_OTHER_FOLDERS, *_OTHER_FILES})
        if path.name not in names:
            self.complain(path, f"unknown name; allowed: {', '.join(names)}", nearest(path.name, names))
        elif path.is_dir() == (path.name in _OTHER_FILES):
            wanted = "a file" if path.name in _OTHER_FILES else "a folder"
            self.complain(path, f"must be {wanted}", f"make {path.name} {wanted}")

    def source(self, path: Path) -> tuple[toml_source.TomlFile | None, bool]:
        """Read a definition file; return it and whether its name is a valid one."""
        if path.suffix != ".toml":
            self.complain(path, "unknown file; allowed: NAME.toml", f"rename it to {path.stem}.toml")
            return None, False
        named = self.named(path, path.stem, "role" if path.parent.name == ROLES else "image")
        return self.read(path), named

    def layer(self, path: Path, kind: type[Definition]) -> Layer | None:
        """Read a role or a host: a part of a definition, of which only the types can be checked yet."""
        source, named = self.source(path)
        if source is None:
            return None
        problems = partial_problems(kind, source.values, file=source.file, lines=source.lines)
        self.problems.extend(problems)
        if problems or not named:
            return None
        return Layer(name=path.stem, file=source.file, values=source.values, lines=source.lines)

    def definition(self, path: Path, kind: type[Definition], folder: Path) -> Parsed | None:
        source, named = self.source(path)
        if source is None:
            return None
        result = validate(kind, source.values, file=source.file, lines=source.lines)
        if isinstance(result, tuple):
            self.problems.extend(result)
            return None
        assert isinstance(result, UpstreamDefinition | BaseDefinition)  # noqa: S101 - hosts are layers
        parsed = Parsed(name=path.stem, file=source.file, definition=result, lines=source.lines)
        problems = [*_missing_files(parsed, folder, self.containerfiles / folder.name)]
        self.problems.extend(problems)
        return parsed if named else None

    def read(self, path: Path) -> toml_source.TomlFile | None:
        result = toml_source.read(path, top=self.images, shown=self.shown(path))
        if isinstance(result, Problem):
            self.problems.append(result)
            return None
        return result

    def named(self, path: Path, name: str, what: str) -> bool:
        if NAME.fullmatch(name):
            return True
        message = f"{name[:80]!r} is no valid name of {'an' if what == 'image' else 'a'} {what}"
        self.complain(path, message, "use lower-case letters, digits and '-', 63 at most")
        return False

    def inside(self, path: Path) -> bool:
        if path.resolve().is_relative_to(self.images.resolve()):
            return True
        self.complain(path, f"leads out of {self.images.name}/", "put the folder itself there, not a link")
        return False

    def entries(self, folder: Path) -> Iterator[Path]:
        try:
            names = sorted(path.name for path in folder.iterdir())
        except OSError as error:
            self.complain(folder, f"cannot be read: {error.strerror}", "check its mode and owner")
            return
        for name in names:
            if not name.startswith(".") and not name.endswith(("~", ".md")):
                yield folder / name


def _bytes(path: Path, top: Path) -> bytes | str:
    """Return a file's bytes, or why it cannot be had."""
    try:
        if not path.resolve().is_relative_to(top.resolve()):
            return f"leads out of {top.name}/"
        if not path.is_file():
            return "is no regular file" if path.exists() else "does not exist"
        if path.stat().st_size > MATERIAL_LARGEST:
            return f"is larger than {MATERIAL_LARGEST >> 20} MiB"
        return path.read_bytes()
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of symlinks (Python 3.11)
        return f"cannot be read: {error}"


def _missing_files(parsed: Parsed, folder: Path, containerfiles: Path) -> Iterator[Problem]:
    """Yield a problem for each file a definition names that is not there, or lies outside its folder."""
    for key, name in _named_files(parsed.definition):
        top = folder if key == "mirror.key" else containerfiles
        where = f"{top.parent.name}/{top.name}"
        path = top / name
        if not path.is_file():
            there = [one.name for one in path.parent.iterdir()] if path.parent.is_dir() else []
            yield parsed.problem(key, f"there is no file {name} in {where}/", nearest(path.name, there))
        elif not path.resolve().is_relative_to(top.resolve()):
            yield parsed.problem(key, f"{name} leads out of {where}/", "put the file itself there")


def _named_files(definition: BaseModel) -> Iterator[tuple[str, str]]:
    match definition:
        case UpstreamDefinition(bootstrap=bootstrap, mirror=mirror):
            if bootstrap is not None:
                yield "bootstrap.containerfile", bootstrap.containerfile
            if mirror is not None and mirror.key is not None:
                yield "mirror.key", mirror.key
        case BaseDefinition(containerfile=containerfile, modules=modules, toolchain=toolchain):
            yield "containerfile", containerfile
            if toolchain is not None:
                yield "toolchain", toolchain
            for index, module in enumerate(modules):
                yield f"modules.{index}.containerfile", module.containerfile
        case HostDefinition(containerfile=str(containerfile)):
            yield "containerfile", containerfile
