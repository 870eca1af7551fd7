"""`pipeline render`: a host's files as they will lie on its base, to be looked at before a build."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pipeline.domain.catalogue import AnyImage, Catalogue, Instance, Line
from pipeline.domain.merge import Origin, nearest_origin
from pipeline.domain.nearest import nearest
from pipeline.domain.placement import TreeEntry
from pipeline.domain.rootfs.render import render
from pipeline.domain.trust import Trust
from pipeline.errors import UsageError


class TreeWriter(Protocol):
    """Writes entries into a folder."""

    def __call__(self, entries: tuple[TreeEntry, ...], target: Path) -> None:
        """Write them; the folder holds exactly them afterwards, or is as it was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """One value of a host: its dotted key, the value, and where it stands."""

    key: str
    value: object
    origins: tuple[Origin, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """A host's files, where its values come from, and the rules it is excused from."""

    host: Instance
    entries: tuple[TreeEntry, ...]
    explained: tuple[Explained, ...]

    @property
    def warnings(self) -> tuple[str, ...]:
        """One loud line for each rule the host is excused from."""
        return self.host.warnings

    def document(self) -> dict[str, Any]:
        """Return the result for `--json`."""
        return {
            "host": self.host.name,
            "line": self.host.line,
            "warnings": list(self.warnings),
            "entries": [_described(entry) for entry in self.entries],
            "values": [
                {"key": one.key, "value": one.value, "from": [str(origin) for origin in one.origins]}
                for one in self.explained
            ],
        }


def render_host(
    catalogue: Catalogue,
    line: Line,
    name: str,
    *,
    trust: Trust,
    target: Path | None = None,
    write: TreeWriter | None = None,
) -> Rendered:
    """Render one host; write its files to `target` where one is given.

    Args:
        catalogue: All definitions.
        line: The host's line.
        name: Name of the host's image.
        trust: The project's registry and keys.
        target: Folder for the files.
        write: Writes them.

    Raises:
        UsageError: There is no such host, or the image is none.
        DefinitionError: A file takes the place of a rendered one.
    """
    host = _host(line, name)
    entries = render(host, trust, insecure=catalogue.settings.registry.insecure)
    if target is not None and write is not None:
        write(entries, target)
    return Rendered(host=host, entries=entries, explained=tuple(explain(host)))


def _host(line: Line, name: str) -> Instance:
    names = [one.name for one in line.instances]
    found: AnyImage | None = line.images.get(name)
    if not isinstance(found, Instance):
        what = f"is of tier {found.tier}" if found is not None else "does not exist"
        raise UsageError(f"host {name!r} {what} in line {line.name}", hint=nearest(name, names))
    return found


def explain(host: Instance) -> Iterator[Explained]:
    """Yield every value that the host or a role of it says, in order of the keys."""
    for key, value in sorted(_leaves(host.values)):
        origin = nearest_origin(host.origins, key)
        origins = host.origins.get(key) or ((origin,) if origin is not None else ())
        yield Explained(key=key, value=value, origins=origins)


def _leaves(values: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        dotted = f"{path}.{key}" if path else key
        if isinstance(value, Mapping):
            yield from _leaves(value, dotted)
        elif isinstance(value, tuple):
            yield from ((f"{dotted}.{index}", item) for index, item in enumerate(value))
        else:
            yield dotted, value


def _described(entry: TreeEntry) -> dict[str, Any]:
    return {
        "path": entry.path,
        "type": entry.type.value,
        "mode": f"{entry.mode:04o}",
        "uid": entry.uid,
        "gid": entry.gid,
        "size": len(entry.content),
        "sha256": hashlib.sha256(entry.content).hexdigest(),
        "target": entry.target,
    }
