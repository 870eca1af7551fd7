"""What an image says of itself: its operating system's release, and its config (variables, labels …).

Rules: labels that tell when and from what an image was built differ in every build; they are told, and told
apart. Values are shown as text; what differs in anything else of the config is the layers' business.
Sources: os-release(5), OCI image specification (config), its pre-defined annotation keys.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.domain.diff.change import Change, compare
from pipeline.domain.diff.pair import Pair, Side
from pipeline.domain.diff.snapshot import Snapshot
from pipeline.domain.secretlike import secret_variable

_RELEASE = ("/usr/lib/os-release", "/etc/os-release")
_LARGEST = 64 << 10
_EACH_BUILD = frozenset(
    (
        "io.buildah.version",
        *(f"org.opencontainers.image.{key}" for key in ("created", "revision", "version")),
        *(f"org.opencontainers.image.{key}" for key in ("ref.name", "base.digest")),
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemChange:
    """The operating system's release on both sides: `ID`, `VERSION_ID` and name; "" where it tells none."""

    old_id: str = ""
    old_version: str = ""
    old_name: str = ""
    new_id: str = ""
    new_version: str = ""
    new_name: str = ""

    @property
    def differs(self) -> bool:
        """Whether it is another system, or another version of it."""
        return (self.old_id, self.old_version) != (self.new_id, self.new_version)

    @property
    def major(self) -> bool:
        """Whether it is another system, or the first number of its version differs."""
        versions = self.old_version.partition(".")[0], self.new_version.partition(".")[0]
        return self.old_id != self.new_id or versions[0] != versions[1]


def system_change(pair: Pair) -> SystemChange:
    """Return the release on both sides; equal on both where no os-release file differs."""
    new = _release(pair.new)
    known = pair.old.tree is not None and not any(pair.has(path) for path in _RELEASE)
    old = new if known else _release(pair.old)
    return SystemChange(
        old_id=old.get("ID", ""),
        old_version=old.get("VERSION_ID", ""),
        old_name=old.get("PRETTY_NAME", ""),
        new_id=new.get("ID", ""),
        new_version=new.get("VERSION_ID", ""),
        new_name=new.get("PRETTY_NAME", ""),
    )


def config_changes(
    old: Snapshot | None, new: Snapshot
) -> tuple[tuple[Change[str], ...], tuple[Change[str], ...]]:
    """Return what differs in the configs: what matters, and the labels that differ in every build."""
    changes = compare(_config(old.config) if old is not None else {}, _config(new.config))
    return (
        tuple(change for change in changes if not _each_build(change.name)),
        tuple(change for change in changes if _each_build(change.name)),
    )


def _each_build(name: str) -> bool:
    return name.removeprefix("label ") in _EACH_BUILD


def _release(side: Side) -> dict[str, str]:
    for path in _RELEASE:
        if side.facts(path) is None:
            continue
        text = (side.read(path, limit=_LARGEST) or b"").decode("utf-8", "surrogateescape")
        pairs = (line.partition("=") for line in text.splitlines() if not line.startswith("#"))
        return {key.strip(): _unquoted(value) for key, mark, value in pairs if mark}
    return {}


def _unquoted(value: str) -> str:
    try:
        return " ".join(shlex.split(value))
    except ValueError:
        return value


def _masked(name: str, value: str) -> str:
    """Return the value of a variable; of what looks like a secret only enough to tell it from another one."""
    kind = secret_variable(name, value)
    if kind is None:
        return value
    mark = hashlib.sha256(f"{name}={value}".encode("utf-8", "surrogateescape")).hexdigest()[:4]
    return f"({kind}, {mark})"


def _config(document: Mapping[str, Any]) -> dict[str, str]:
    config = document.get("config")
    if not isinstance(config, Mapping):
        return {}
    found: dict[str, str] = {}
    for key, value in config.items():
        match key, value:
            case "Labels", Mapping():
                found |= {f"label {name}": str(text) for name, text in value.items()}
            case "Env", list():
                entries = (str(entry).partition("=") for entry in value)
                found |= {f"variable {name}": _masked(name, text) for name, _, text in entries}
            case _ if value not in (None, "", [], {}):
                found[str(key)] = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return found
