"""Turns the parsed definitions of a line into images that know their parents.

Rules: nothing stops at the first problem; an image whose parent could not be read is left out without a
second complaint; a parent is of the tier below, or for a base another base; no name is used twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.domain.catalogue import (
    AnyImage,
    Base,
    GatePolicy,
    Instance,
    Line,
    Persistence,
    ResolvedModule,
    Upstream,
)
from pipeline.domain.definition import (
    BaseDefinition,
    GatesTable,
    Module,
    PersistenceTable,
    UpstreamDefinition,
)
from pipeline.domain.gate import Waiver
from pipeline.domain.host import HostDefinition
from pipeline.domain.host_rules import Surroundings, excused, faults
from pipeline.domain.image import Tier
from pipeline.domain.merge import Merged
from pipeline.domain.nearest import nearest
from pipeline.domain.prepared import prepare
from pipeline.problem import Problem

AnyDefinition = UpstreamDefinition | BaseDefinition | HostDefinition
_PARENT_TIERS = {Tier.BASE: (Tier.UPSTREAM, Tier.BASE), Tier.INSTANCE: (Tier.BASE,)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """One definition that was read.

    Attributes:
        name: The file's stem.
        file: The file as problems name it.
        definition: Its content, a host's with its roles.
        lines: Line of each dotted key.
        merged: A host's values and their origins.
        materials: Files of the line's folder that a host names, by path.
    """

    name: str
    file: str
    definition: AnyDefinition
    lines: Mapping[str, int] = field(default_factory=dict)
    merged: Merged | None = None
    materials: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def tier(self) -> Tier:
        """The tier, which follows from the kind of definition."""
        match self.definition:
            case UpstreamDefinition():
                return Tier.UPSTREAM
            case BaseDefinition():
                return Tier.BASE
            case HostDefinition():
                return Tier.INSTANCE

    @property
    def parent(self) -> str | None:
        """Name of the image it is built on."""
        return None if isinstance(self.definition, UpstreamDefinition) else self.definition.parent

    def problem(self, key: str, message: str, hint: str) -> Problem:
        """Return a problem at one of its keys."""
        origin = self.merged.origin(key) if self.merged is not None else None
        file, line = (self.file, self.lines.get(key)) if origin is None else (origin.file, origin.line)
        return Problem(file=file, line=line, key=key, message=message, hint=hint)


@dataclass(frozen=True, slots=True, kw_only=True)
class LineSource:
    """What was read of one line.

    Attributes:
        name: Its name.
        folder: Its folder.
        shown: Its folder as problems name it.
        containerfiles: The folder of its Containerfiles.
        parsed: Its definitions.
        broken: Names whose file had problems of its own, with the tier they were meant for.
        registry: `host[:port][/prefix]` of the project's own images.
        allow: Scopes that every host of the project trusts.
    """

    name: str
    folder: Path
    shown: str
    containerfiles: Path
    parsed: tuple[Parsed, ...]
    broken: Mapping[str, Tier] = field(default_factory=dict)
    registry: str = ""
    allow: tuple[str, ...] = ()


def resolve(source: LineSource) -> tuple[Line, tuple[Problem, ...]]:
    """Return the line with every image that can be resolved, parents first, and all problems found."""
    problems = [*_duplicate_names(source), *_duplicate_hosts(source)]
    by_name = {parsed.name: parsed for parsed in reversed(source.parsed)}
    problems += [problem for parsed in by_name.values() for problem in _wrong_parent(parsed, by_name, source)]
    images: dict[str, AnyImage] = {}
    waiting = dict(sorted(by_name.items(), key=lambda item: (list(Tier).index(item[1].tier), item[0])))
    problems += [problem for parsed in by_name.values() for problem in _repeated_modules(parsed, by_name)]
    progress = True
    while progress:
        ready = [parsed for parsed in waiting.values() if parsed.parent is None or parsed.parent in images]
        for parsed in ready:
            if _fits(parsed, by_name):
                images[parsed.name], found = _image(parsed, images, source)
                problems += found
            del waiting[parsed.name]
        progress = bool(ready)
    problems += [problem for parsed in waiting.values() for problem in _cycle(parsed, by_name)]
    line = Line(name=source.name, folder=source.folder, containerfiles=source.containerfiles, images=images)
    return line, tuple(problems)


def _fits(parsed: Parsed, by_name: Mapping[str, Parsed]) -> bool:
    """Whether the parent is of a tier that may be one; a missing parent is somebody else's complaint."""
    parent = by_name.get(parsed.parent) if parsed.parent is not None else None
    return parent is None or parent.tier in _PARENT_TIERS[parsed.tier]


def _duplicate_names(source: LineSource) -> Iterator[Problem]:
    first: dict[str, Parsed] = {}
    for parsed in source.parsed:
        other = first.setdefault(parsed.name, parsed)
        if other is not parsed:
            yield parsed.problem(
                "", f"image {parsed.name} is already defined in {other.file}", "rename one of the two files"
            )


def _duplicate_hosts(source: LineSource) -> Iterator[Problem]:
    for key in ("hostname", "hostid"):
        first: dict[str, Parsed] = {}
        for parsed in source.parsed:
            value = getattr(parsed.definition, key, None)
            if value is not None and (other := first.setdefault(value, parsed)) is not parsed:
                message = f"{key} {value!r} is already used in {other.file}"
                yield parsed.problem(key, message, f"give each host of a line a {key} of its own")


def _wrong_parent(parsed: Parsed, by_name: Mapping[str, Parsed], source: LineSource) -> Iterator[Problem]:
    name = parsed.parent
    if name is None or (name not in by_name and name in source.broken):
        return
    allowed = _PARENT_TIERS[parsed.tier]
    there = {**source.broken, **{one.name: one.tier for one in by_name.values()}}
    right = [one for one, tier in there.items() if tier in allowed and one != parsed.name]
    tiers = " or ".join(allowed)
    if name not in by_name:
        yield parsed.problem(
            "from",
            f"there is no image {name!r}; allowed is the name of one of tier {tiers}",
            nearest(name, right),
        )
    elif by_name[name].tier not in allowed:
        message = f"{name!r} is of tier {by_name[name].tier}; allowed is the name of one of tier {tiers}"
        yield parsed.problem("from", message, nearest(name, right))


def _repeated_modules(parsed: Parsed, by_name: Mapping[str, Parsed]) -> Iterator[Problem]:
    """Complain of modules that a base further down has already built."""
    if not isinstance(parsed.definition, BaseDefinition):
        return
    own = {module.name: index for index, module in enumerate(parsed.definition.modules)}
    seen = {parsed.name}
    below = by_name.get(parsed.definition.parent)
    while below is not None and isinstance(below.definition, BaseDefinition) and below.name not in seen:
        seen.add(below.name)
        for module in below.definition.modules:
            if module.name in own:
                message = f"module {module.name} is already built by {below.file}"
                hint = "leave it out here: a base has its parent's modules"
                yield parsed.problem(f"modules.{own[module.name]}.name", message, hint)
        below = by_name.get(below.definition.parent)


def _cycle(parsed: Parsed, by_name: Mapping[str, Parsed]) -> Iterator[Problem]:
    """Complain once for each member of a cycle; who merely stands on one is left out silently."""
    chain = [parsed.name]
    name = parsed.parent
    while name is not None and name in by_name and name not in chain:
        chain.append(name)
        name = by_name[name].parent
    if name == parsed.name and all(by_name[one].tier is Tier.BASE for one in chain):
        circle = " -> ".join([*chain, parsed.name])
        yield parsed.problem(
            "from", f"images are built on each other: {circle}", "let one start from an upstream"
        )


def _image(
    parsed: Parsed, images: Mapping[str, AnyImage], source: LineSource
) -> tuple[AnyImage, tuple[Problem, ...]]:
    parent = images[parsed.parent] if parsed.parent is not None else None
    match parsed.definition:
        case UpstreamDefinition() as definition:
            return _upstream(parsed, definition, source), ()
        case BaseDefinition() as definition:
            assert parent is not None and not isinstance(parent, Instance)  # noqa: S101, PT018
            return _base(parsed, definition, parent, source), ()
        case HostDefinition() as definition:
            assert isinstance(parent, Base)  # noqa: S101
            return _instance(parsed, definition, parent, source)


def _upstream(parsed: Parsed, definition: UpstreamDefinition, source: LineSource) -> Upstream:
    origin = definition.bootstrap or definition.mirror
    assert origin is not None  # noqa: S101 - the definition's own validator holds it
    mirror = definition.mirror
    shape = definition.bootstrap.containerfile if definition.bootstrap else None
    return Upstream(
        line=source.name,
        name=parsed.name,
        file=parsed.file,
        description=definition.description,
        parent=None,
        containerfile=source.containerfiles / shape if shape else None,
        package_manager=definition.package_manager,
        kernel_flavour=definition.kernel.flavour,
        persistence=_persistence(Persistence(), definition.persistence),
        gates=_gates(GatePolicy(), definition.gates),
        source=origin,
        key=source.folder / mirror.key if mirror and mirror.key else None,
    )


def _base(parsed: Parsed, definition: BaseDefinition, parent: Upstream | Base, source: LineSource) -> Base:
    return Base(
        line=source.name,
        name=parsed.name,
        file=parsed.file,
        description=definition.description,
        parent=parent.name,
        containerfile=source.containerfiles / definition.containerfile,
        package_manager=parent.package_manager,
        kernel_flavour=parent.kernel_flavour,
        persistence=_persistence(parent.persistence, definition.persistence),
        gates=_gates(parent.gates, definition.gates),
        packages=definition.packages,
        modules=tuple(_module(module, source) for module in definition.modules),
        inherited_modules=parent.all_modules if isinstance(parent, Base) else (),
        toolchain=source.containerfiles / definition.toolchain if definition.toolchain else None,
    )


def _instance(
    parsed: Parsed, definition: HostDefinition, parent: Base, source: LineSource
) -> tuple[Instance, tuple[Problem, ...]]:
    own = definition.containerfile
    persistence = _persistence(parent.persistence, definition.persistence)
    built_in = {
        "hostname": definition.hostname,
        "image": parsed.name,
        "line": source.name,
        "registry": source.registry,
    }
    texts, problems = prepare(definition, parsed.materials, built_in, shown=source.shown)
    scopes = (source.registry, *source.allow) if source.registry else ()
    around = Surroundings(scopes=scopes, links=persistence.links, texts=texts)
    found = [parsed.problem(one.key, one.message, one.hint) for one in faults(definition, around)]
    instance = Instance(
        line=source.name,
        name=parsed.name,
        file=parsed.file,
        description=definition.description,
        parent=parent.name,
        containerfile=source.containerfiles / own if own else None,
        package_manager=parent.package_manager,
        kernel_flavour=parent.kernel_flavour,
        persistence=persistence,
        gates=_gates(parent.gates, definition.gates),
        definition=definition,
        all_modules=parent.all_modules,
        texts=texts,
        materials=parsed.materials,
        values=parsed.merged.values if parsed.merged else {},
        origins=parsed.merged.origins if parsed.merged else {},
        warnings=excused(definition),
    )
    return instance, (*problems, *found)


def _module(module: Module, source: LineSource) -> ResolvedModule:
    return ResolvedModule(
        name=module.name,
        containerfile=source.containerfiles / module.containerfile,
        dkms=module.dkms,
        package=module.package,
        kernel_modules=module.kernel_modules,
        userspace=module.userspace,
    )


def _persistence(parent: Persistence, own: PersistenceTable) -> Persistence:
    links = {path: target for path, target in {**parent.links, **own.links}.items() if target}
    modes = {path: int(mode, 8) for path, mode in own.directories.items()}
    return Persistence(links=links, directories={**parent.directories, **modes})


def _gates(parent: GatePolicy, own: GatesTable) -> GatePolicy:
    waivers = {
        gate: Waiver(reason=waiver.reason, expires=waiver.expires) for gate, waiver in own.waivers.items()
    }
    return GatePolicy(
        build_packages=parent.build_packages if own.build_packages is None else own.build_packages,
        allowed_files={**parent.allowed_files, **own.allowed_files},
        waivers={**parent.waivers, **waivers},
    )
