"""Releases as tables for people, as JSON, and as a changelog in Markdown; what a yank leaves to be done.

Rules: texts of records are printed literally, never as markup, and escaped in Markdown; the JSON holds the
records as they are written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from pipeline.domain.lineage import CHANNEL
from pipeline.domain.record import Candidate, record_json
from pipeline.domain.record_codec import to_json
from pipeline.domain.seen import Releases, ReleaseView
from pipeline.domain.text import plain

_LONGEST = 1000
_COLUMNS = ("version", "released (UTC)", "digest", "built with", "approved by", "what and why", "is")
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~!&])")
_LIST = re.compile(r"^( *)([-+=]|\d+[.)](?= |$))")
"""What begins a list or a heading where it stands first in a line."""


def as_tables(found: Releases) -> Iterator[RenderableType]:
    """Yield a heading and a table for each image."""
    if found.notice:
        yield Text(plain(found.notice, _LONGEST), style="bold red")
    for name, views in found.images.items():
        yield Text(plain(name), style="bold")
        yield _table(views) if views else Text("  not released yet")
    if not found.images:
        yield Text("nothing is released yet")


def as_json(found: Releases) -> dict[str, Any]:
    """Return everything as JSON values; releases newest first."""
    return {
        "notice": found.notice,
        "images": [
            {"name": name, "releases": [_json(view) for view in views]}
            for name, views in found.images.items()
        ],
    }


def as_changelog(found: Releases) -> str:
    """Return what was released, by whom and why, as Markdown; newest first in each image."""
    lines = ["# Releases"]
    for name, views in found.images.items():
        lines += ["", f"## {_escaped(name)}"]
        for view in views:
            lines += ["", *_entry(view)]
    return "\n".join(lines) + "\n"


def _table(views: tuple[ReleaseView, ...]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in _COLUMNS:
        table.add_column(column, no_wrap=column in _COLUMNS[:3], overflow="fold")
    for view in views:
        seal = view.seal
        cells = (
            f"v{seal.version}",
            f"{seal.time:%Y-%m-%d %H:%M}",
            seal.digest.short,
            built_with(view.candidate),
            ", ".join(seal.approvers),
            seal.what if seal.what == seal.why else f"{seal.what} / {seal.why}",
            "; ".join(_is(view)),
        )
        style = "red" if view.yank else "yellow" if view.unsound else "dim" if view.removed else ""
        table.add_row(*(Text(plain(cell, _LONGEST)) for cell in cells), style=style)
    return table


def built_with(candidate: Candidate | None) -> str:
    """Return kernel and modules of a candidate; `-` where it has none or is not known."""
    if candidate is None or candidate.pins is None:
        return "-"
    modules = (f"{name} {version}" for name, version in sorted(candidate.pins.modules.items()))
    return ", ".join((candidate.pins.kernel, *modules))


def _is(view: ReleaseView) -> Iterator[str]:
    if view.yank is not None:
        yield f"YANKED: {view.yank.why}"
    elif view.unsound:
        yield "built on a yanked release"
    if view.removed is not None:
        yield f"deleted: {view.removed}"
    if CHANNEL in view.tags:
        yield "the channel"
    aliases = [tag for tag in view.tags if tag != CHANNEL]
    if aliases:
        yield ", ".join(aliases)


def _json(view: ReleaseView) -> dict[str, Any]:
    candidate = view.candidate
    return {
        **record_json(view.seal),
        "pins": None if candidate is None or candidate.pins is None else to_json(candidate.pins),
        "source": None if candidate is None else to_json(candidate.source),
        "tags": list(view.tags),
        "channel": CHANNEL in view.tags,
        "yank": None if view.yank is None else record_json(view.yank),
        "unsound": view.unsound,
        "removed": view.removed,
    }


def _entry(view: ReleaseView) -> Iterator[str]:
    seal = view.seal
    yield f"### v{seal.version} - {seal.time:%Y-%m-%d}"
    yield ""
    if view.yank is not None:
        yield f"**Yanked** {view.yank.time:%Y-%m-%d}: {_escaped(view.yank.why)}"
        yield ""
    yield _escaped(seal.what)
    yield ""
    before = "none" if seal.predecessor is None else f"v{seal.predecessor.version}"
    rows = (
        ("Why", seal.why),
        ("Approved by", ", ".join(seal.approvers) or "nobody"),
        ("Version raised by", "; ".join(seal.bump) or "not told"),
        ("Built with", built_with(view.candidate)),
        ("Release before", before),
    )
    for key, value in rows:
        yield f"- {key}: {_escaped(value)}"
    yield f"- Digest: `{seal.digest}`"


def _escaped(text: str) -> str:
    """Return one line that Markdown shows as it is, whatever stands in it."""
    shown = _SPECIAL.sub(r"\\\1", plain(text, _LONGEST))
    return _LIST.sub(lambda found: f"{found[1]}{_before_last(found[2])}", shown)


def _before_last(mark: str) -> str:
    return f"{mark[:-1]}\\{mark[-1]}"
