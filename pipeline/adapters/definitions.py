"""Loads the definitions under an images folder into a catalogue.

Rules: every file is looked at before anything is said, and all problems are said together; what is read
never lies outside the images folder; a file or folder nobody asked for is a problem, for its name may be
a misspelling of one that is wanted (hidden files, backups and *.md are left alone).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel

from pipeline.adapters import toml_source
from pipeline.domain.catalogue import Catalogue, Line, nearest
from pipeline.domain.definition import BaseDefinition, Settings, UpstreamDefinition
from pipeline.domain.host import HostDefinition
from pipeline.domain.image import NAME
from pipeline.domain.resolve import AnyDefinition, LineSource, Parsed, resolve
from pipeline.domain.validation import validate
from pipeline.errors import DefinitionError, Problem

SETTINGS = "pipeline.toml"
FOLDERS: Mapping[str, type[AnyDefinition]] = {
    "upstream": UpstreamDefinition,
    "base": BaseDefinition,
    "hosts": HostDefinition,
}
_OTHER_FOLDERS = frozenset({"roles", "files", "templates", "keys"})
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
    if not images.is_dir():
        hint = "name the folder with --images, or scaffold one with `pipeline init`"
        problem = Problem(file=str(images), line=None, key="", message="there is no such folder", hint=hint)
        raise DefinitionError((problem,))
    loader = _Loader(images=images, containerfiles=containerfiles or images.parent / "Containerfiles")
    lines = loader.lines()
    settings = loader.settings(registry, lines)
    if settings is None or loader.problems:
        raise DefinitionError(tuple(sorted(loader.problems, key=lambda one: (one.file, one.line or 0))))
    return Catalogue(settings=settings, lines=lines)


@dataclass(slots=True, kw_only=True)
class _Loader:
    images: Path
    containerfiles: Path
    problems: list[Problem] = field(default_factory=list)

    def shown(self, path: Path) -> str:
        return str(Path(self.images.name) / path.relative_to(self.images))

    def complain(self, path: Path, message: str, hint: str) -> None:
        self.problems.append(Problem(file=self.shown(path), line=None, key="", message=message, hint=hint))

    def settings(self, registry: str | None, lines: Mapping[str, Line]) -> Settings | None:
        path = self.images / SETTINGS
        source = self.read(path)
        if source is None:
            return None
        values = dict(source.values)
        if registry is not None and isinstance(values.get("registry", {}), dict):
            values["registry"] = {**values.get("registry", {}), "url": registry}
        result = validate(Settings, values, file=source.file, lines=source.lines)
        if isinstance(result, tuple):
            self.problems.extend(result)
            return None
        default = result.default_line
        if default is not None and default not in lines:
            self.problems.append(
                Problem(
                    file=source.file,
                    line=source.lines.get("default_line"),
                    key="default_line",
                    message=f"there is no line {default!r}",
                    hint=nearest(default, lines),
                )
            )
        return result

    def lines(self) -> dict[str, Line]:
        found: dict[str, Line] = {}
        for path in self.entries(self.images):
            if path.name == SETTINGS:
                continue
            if not path.is_dir():
                hint = nearest(path.name, [SETTINGS])
                self.complain(path, f"unknown file; allowed: {SETTINGS} and one folder a line", hint)
            elif self.named(path, path.name, "line") and self.inside(path):
                line, problems = resolve(self.line(path))
                self.problems.extend(problems)
                found[path.name] = line
        return found

    def line(self, folder: Path) -> LineSource:
        parsed: list[Parsed] = []
        broken: set[str] = set()
        for path in self.entries(folder):
            kind = FOLDERS.get(path.name)
            if kind is not None and path.is_dir() and self.inside(path):
                for file in self.entries(path):
                    one = self.definition(file, kind, folder)
                    if one is None:
                        broken.add(file.stem)
                    else:
                        parsed.append(one)
            else:
                self.check_other(path)
        if not any(isinstance(one.definition, UpstreamDefinition) for one in parsed) and not broken:
            self.complain(folder, "the line has no upstream image", "add upstream/NAME.toml")
        return LineSource(
            name=folder.name,
            folder=folder,
            containerfiles=self.containerfiles / folder.name,
            parsed=tuple(parsed),
            broken=frozenset(broken),
        )

    def check_other(self, path: Path) -> None:
        names = sorted({*FOLDERS, *_OTHER_FOLDERS, *_OTHER_FILES})
        if path.name not in names:
            self.complain(path, f"unknown name; allowed: {', '.join(names)}", nearest(path.name, names))
        elif path.is_dir() == (path.name in _OTHER_FILES):
            wanted = "a file" if path.name in _OTHER_FILES else "a folder"
            self.complain(path, f"must be {wanted}", f"make {path.name} {wanted}")

    def definition(self, path: Path, kind: type[AnyDefinition], folder: Path) -> Parsed | None:
        if path.suffix != ".toml":
            self.complain(path, "unknown file; allowed: NAME.toml", f"rename it to {path.stem}.toml")
            return None
        named = self.named(path, path.stem, "image")
        source = self.read(path)
        if source is None:
            return None
        result = validate(kind, source.values, file=source.file, lines=source.lines)
        if isinstance(result, tuple):
            self.problems.extend(result)
            return None
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
        case BaseDefinition(containerfile=containerfile, modules=modules):
            yield "containerfile", containerfile
            for index, module in enumerate(modules):
                yield f"modules.{index}.containerfile", module.containerfile
        case HostDefinition(containerfile=str(containerfile)):
            yield "containerfile", containerfile
