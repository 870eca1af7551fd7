"""What systemd starts: units enabled, masked, aliased, the default target, and presets.

Rules: what is enabled is read from symbolic links, as systemd does; a link is named by what it does, not by
the folder it lies in, and two spellings of one target are the same. Presets matter on a host's first boot,
so their rules count as well.
Sources: systemd.unit(5), systemd.preset(5).
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from pipeline.domain.diff.change import Change, compare
from pipeline.domain.diff.pair import Pair, Side
from pipeline.domain.diff.snapshot import FileFacts
from pipeline.domain.tree import FileType

UNIT_FOLDERS = re.compile(
    r"/(?:usr/)?(?:etc|lib|local/lib)/systemd/(?P<scope>system|user)/(?P<rest>.+)", re.DOTALL
)
_PRESET = re.compile(
    r"/(?:usr/)?(?:etc|lib|local/lib)/systemd/(?P<scope>system|user)-preset/[^/]+\.preset", re.DOTALL
)
_WANTED = re.compile(r"(?P<by>[^/]+)\.(?P<relation>wants|requires|upholds)/(?P<unit>[^/]+)", re.DOTALL)
_LARGEST = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """One thing systemd is told: which relation, about which unit, by what, in which scope.

    Attributes:
        scope: `system` or `user`.
        unit: The unit, or a preset's pattern.
        relation: `wants`, `requires`, `upholds`, `mask`, `alias`, `link` (a unit that lies
            elsewhere), or `preset`.
        by: The unit that pulls it in; the name a link leads to; the verb of a preset's rule.
        path: Where it is said.
    """

    scope: str
    unit: str
    relation: str
    by: str
    path: str = field(compare=False)


def start_changes(pair: Pair) -> tuple[Change[Start], ...]:
    """Return what is started, masked, aliased or preset differently; a mere move to another folder is not."""
    return compare(dict(_starts(pair.old)), dict(_starts(pair.new)))


def _starts(side: Side) -> Iterator[tuple[str, Start]]:
    for facts in side.changed:
        if facts.type is FileType.SYMLINK and (start := _link(facts)) is not None:
            yield _name(start), start
        elif facts.type is FileType.FILE and (found := _PRESET.fullmatch(facts.path)):
            yield from _presets(side, facts.path, found["scope"])


def _name(start: Start) -> str:
    scope = "" if start.scope == "system" else "user "
    match start.relation:
        case "wants" | "requires" | "upholds":
            return f"{scope}{start.by} {start.relation} {start.unit}"
        case "preset":
            return f"{scope}preset {start.by} {start.unit}"
        case _:
            return f"{scope}{start.relation} {start.unit}"


def _link(facts: FileFacts) -> Start | None:
    found = UNIT_FOLDERS.fullmatch(facts.path)
    if found is None:
        return None
    scope, rest = found["scope"], found["rest"]
    if wanted := _WANTED.fullmatch(rest):
        return Start(
            scope=scope,
            unit=wanted["unit"],
            relation="mask" if facts.target == "/dev/null" else wanted["relation"],
            by=wanted["by"],
            path=facts.path,
        )
    if "/" in rest:
        return None
    if facts.target == "/dev/null":
        return Start(scope=scope, unit=rest, relation="mask", by="", path=facts.path)
    by = posixpath.basename(facts.target)
    relation = "link" if by == rest else "alias"
    return Start(scope=scope, unit=rest, relation=relation, by=by, path=facts.path)


def _presets(side: Side, path: str, scope: str) -> Iterator[tuple[str, Start]]:
    text = (side.read(path, limit=_LARGEST) or b"").decode("utf-8", "replace")
    for line in text.splitlines():
        verb, _, unit = line.strip().partition(" ")
        if verb in ("enable", "disable", "ignore"):
            start = Start(scope=scope, unit=unit.strip(), relation="preset", by=verb, path=path)
            yield _name(start), start
