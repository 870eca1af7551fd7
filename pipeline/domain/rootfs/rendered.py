"""A rendered host as a value: its files, where each of its values stands, the rules it is excused from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.domain.catalogue import Instance
from pipeline.domain.merge import Origin, nearest_origin
from pipeline.domain.placement import TreeEntry


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
