"""Makes one definition of a host out of its roles and its own file, and keeps where each value stands.

Rules of the merge:
1. Tables merge key by key, at any depth.
2. A single value that the host gives wins over its roles. Two roles may say the same; two roles that say
   different things are a conflict, and an error, unless the host says it itself.
3. Lists are put together: the roles' items in the order of the roles, then the host's; an item that is
   there already is not added again. `exec` is one value, not a list of independent items.
4. `drop` in the host names dotted keys whose values from roles are left out before all that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.domain.nearest import nearest
from pipeline.problem import Problem

_WHOLE_LISTS = frozenset({"exec", "arguments"})
_OWN_KEYS = frozenset({"description"})
"""What a role says of itself, not of its hosts."""

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a value stands."""

    file: str
    line: int | None

    def __str__(self) -> str:
        return self.file if self.line is None else f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One file that takes part: a role or the host."""

    name: str
    file: str
    values: Mapping[str, Any]
    lines: Mapping[str, int]

    def origin(self, path: Path) -> Origin:
        """Return where a key of this file stands, or the table around it."""
        for length in range(len(path), 0, -1):
            line = self.lines.get(".".join(path[:length]))
            if line is not None:
                return Origin(file=self.file, line=line)
        return Origin(file=self.file, line=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """The one definition: its values, and the origins of each dotted key (several roles may agree)."""

    values: Mapping[str, Any]
    origins: Mapping[str, tuple[Origin, ...]]

    def origin(self, key: str) -> Origin | None:
        """Return where a key stands, or the nearest table around it that stands anywhere."""
        return nearest_origin(self.origins, key)


def nearest_origin(origins: Mapping[str, tuple[Origin, ...]], key: str) -> Origin | None:
    """Return the origin of a dotted key, or of the nearest table around it."""
    while key:
        if key in origins:
            return origins[key][-1]
        key = key.rpartition(".")[0]
    return None


def merge(host: Layer, roles: Sequence[Layer]) -> tuple[Merged, tuple[Problem, ...]]:
    """Return the merged definition and all conflicts; see the module for the rules."""
    merger = _Merger(host=host)
    dropped = merger.drop(roles)
    values = merger.tables((), [*dropped, (host, host.values)])
    return Merged(values=values, origins=merger.origins), tuple(merger.problems)


_Given = tuple[Layer, Any]


@dataclass(slots=True, kw_only=True)
class _Merger:
    host: Layer
    origins: dict[str, tuple[Origin, ...]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def drop(self, roles: Sequence[Layer]) -> list[_Given]:
        wanted = self.host.values.get("drop", ())
        keys = {key for role in roles for key in _dotted(role.values)}
        for index, key in enumerate(wanted):
            if key not in keys:
                origin = self.host.origin(("drop", str(index)))
                message = f"no role of this host has the key {key!r}"
                self.complain(origin, f"drop.{index}", message, nearest(key, keys))
        return [(role, _without(role.values, (), frozenset(wanted) | _OWN_KEYS)) for role in roles]

    def complain(self, origin: Origin, key: str, message: str, hint: str) -> None:
        self.problems.append(Problem(file=origin.file, line=origin.line, key=key, message=message, hint=hint))

    def note(self, path: Path, origins: Sequence[Origin]) -> None:
        self.origins[".".join(path)] = tuple(dict.fromkeys(origins))

    def tables(self, path: Path, given: Sequence[_Given]) -> dict[str, Any]:
        if path:
            self.note(path, [layer.origin(path) for layer, _ in given])
        keys = dict.fromkeys(key for _, table in given for key in table)
        return {
            key: self.value((*path, key), [(layer, table[key]) for layer, table in given if key in table])
            for key in keys
        }

    def value(self, path: Path, given: Sequence[_Given]) -> Any:
        if all(isinstance(value, Mapping) for _, value in given):
            return self.tables(path, given)
        if all(isinstance(value, tuple) for _, value in given) and path[-1] not in _WHOLE_LISTS:
            return self.lists(path, given)
        return self.single(path, given)

    def lists(self, path: Path, given: Sequence[_Given]) -> tuple[Any, ...]:
        found: dict[Any, list[Origin]] = {}
        for layer, items in given:
            for index, item in enumerate(items):
                found.setdefault(item, []).append(layer.origin((*path, str(index))))
        self.note(path, [layer.origin(path) for layer, _ in given])
        for index, origins in enumerate(found.values()):
            self.note((*path, str(index)), origins)
        return tuple(found)

    def single(self, path: Path, given: Sequence[_Given]) -> Any:
        if given[-1][0] is self.host:
            given = given[-1:]
        first, value = given[0]
        for layer, other in given[1:]:
            if (type(other), other) != (type(value), value):
                message = f"is {_shown(other)} here and {_shown(value)} in {first.origin(path)}"
                hint = "say it in one role only, or in the host, which wins over its roles"
                self.complain(layer.origin(path), ".".join(path), message, hint)
        self.note(path, [layer.origin(path) for layer, _ in given])
        if isinstance(value, tuple):
            for index in range(len(value)):
                self.note((*path, str(index)), [first.origin((*path, str(index)))])
        return value


def _shown(value: object) -> str:
    text = "a table" if isinstance(value, Mapping) else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."  # noqa: PLR2004 - a line of a terminal


def _dotted(table: Mapping[str, Any], path: Path = ()) -> Iterator[str]:
    for key, value in table.items():
        yield ".".join((*path, key))
        if isinstance(value, Mapping):
            yield from _dotted(value, (*path, key))


def _without(table: Mapping[str, Any], path: Path, keys: frozenset[str]) -> dict[str, Any]:
    """Return the table without the dotted keys."""
    return {
        key: _without(value, (*path, key), keys) if isinstance(value, Mapping) else value
        for key, value in table.items()
        if ".".join((*path, key)) not in keys
    }
