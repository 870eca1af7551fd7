"""A difference as canonical JSON: the bytes whose hash an approval binds.

Rules: same images, same bytes, whoever asks and whenever; both digests and the form's version are in it;
texts from images are made harmless first (`domain.text`); a number too large for JSON readers is written as
text. Fields are told in `docs/diff.md`; a change of their meaning raises `SCHEMA`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

from pipeline.domain.canonical import LARGEST, Json, canonical_json
from pipeline.domain.diff.bump import propose
from pipeline.domain.diff.change import Change
from pipeline.domain.diff.difference import Difference, ImageName
from pipeline.domain.diff.groups import Group, groups
from pipeline.domain.diff.packages import InstalledPackage, direction, licence_changed
from pipeline.domain.diff.snapshot import FileChange, FileFacts
from pipeline.domain.text import plain

SCHEMA = 1
"""Version of the document's form."""

_LONGEST = 4096
_PARTS = (
    "because",
    "system",
    "kernel",
    "modules",
    "privileges",
    "accounts",
    "units",
    "policy",
    "kargs",
    "containers",
    "bound",
    "config",
    "texts",
    "unexplained",
    "areas",
    "noise",
    "built",
    "size",
    "unread",
)


def document(difference: Difference) -> bytes:
    """Return the difference's canonical bytes."""
    return canonical_json(as_json(difference))


def as_json(difference: Difference) -> dict[str, Json]:
    """Return the document as plain values."""
    proposal = propose(difference)
    parts = {name: _json(getattr(difference, name)) for name in _PARTS}
    return {
        "schema": SCHEMA,
        "old": None if difference.old is None else _image(difference.old),
        "new": _image(difference.new),
        **parts,
        "packages": [_package(change) for change in difference.packages],
        "files": [_file(change) for change in difference.files],
        "risks": [_risk(group) for group in groups(difference)],
        "bump": {
            "proposed": proposal.bump.word,
            "reasons": [{"bump": bump.word, "reason": _text(reason)} for bump, reason in proposal.reasons],
        },
    }


def _image(image: ImageName) -> dict[str, Json]:
    return {"name": _text(image.name), "digest": str(image.digest)}


def _risk(group: Group) -> dict[str, Json]:
    return {
        "part": group.kind,
        "title": group.title,
        "risk": group.risk.word,
        "reasons": [_text(reason) for reason in group.reasons],
        "count": group.count,
    }


def _package(change: Change[InstalledPackage]) -> dict[str, Json]:
    return {
        **_change(change),
        "direction": direction(change).value,
        "licence_changed": licence_changed(change),
    }


def _change(change: Change[Any]) -> dict[str, Json]:
    return {
        "name": _text(change.name),
        "kind": change.kind.value,
        "old": _json(change.old),
        "new": _json(change.new),
    }


def _file(change: FileChange) -> dict[str, Json]:
    return {
        "path": _text(change.path),
        "kind": change.kind.value,
        "what": sorted(change.what),
        "old": _facts(change.old),
        "new": _facts(change.new),
    }


def _facts(facts: FileFacts | None) -> dict[str, Json] | None:
    """Return facts without what is empty, and without the time: it differs in any two builds."""
    if facts is None:
        return None
    found: dict[str, Json] = {"type": facts.type.value, "mode": f"{facts.mode:04o}"}
    found |= {"uid": _number(facts.uid), "gid": _number(facts.gid)}
    if facts.sha256:
        found |= {"sha256": facts.sha256, "size": _number(facts.size)}
    if facts.target:
        found["target"] = _text(facts.target)
    if facts.xattrs:
        found["xattrs"] = {_text(name): _text(value) for name, value in facts.xattrs}
    if any(facts.device):
        found["device"] = [_number(one) for one in facts.device]
    return found


def _json(value: object) -> Json:  # noqa: PLR0911 - one return a kind of value
    if isinstance(value, Change):
        return _change(value)
    if isinstance(value, Enum):
        return _json(value.value)
    if isinstance(value, str):
        return _text(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return _number(value)
    if isinstance(value, Mapping):
        return {_text(str(key)): _json(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_json(item) for item in value]
    if is_dataclass(value):
        return {field.name: _json(getattr(value, field.name)) for field in fields(value)}
    raise TypeError(f"{type(value).__name__} has no place in a diff's document")


def _text(text: str) -> str:
    return plain(text, _LONGEST)


def _number(number: int) -> Json:
    return number if abs(number) <= LARGEST else str(number)
