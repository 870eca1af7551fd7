"""How one host stands, for people and as JSON.

Rules: what a host says is printed literally; each line tells who says so and how old it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from pipeline.domain.record_codec import stamp
from pipeline.domain.seen import HostReport, Line
from pipeline.domain.text import plain
from pipeline.render.figures import age
from pipeline.render.status import trouble_json

_LONGEST = 1000


def as_shown(found: HostReport) -> Iterator[RenderableType]:
    """Yield lines and a table."""
    by = "" if found.state is None else f", managed by {found.state.system}"
    yield Text(plain(f"{found.host} ({found.name}){by}"), style="bold")
    if found.failure is not None:
        yield Text(plain(f"the host could not be asked: {found.failure.message}", _LONGEST), style="bold red")
    for trouble in found.troubles:
        yield Text(plain(f"{found.host} {trouble.says}", _LONGEST), style="red")
        if trouble.do:
            yield Text(f"  {plain(trouble.do, _LONGEST)}", style="dim")
    for notice in found.notices:
        yield Text(plain(notice, _LONGEST), style="yellow")
    yield _table(found)


def as_json(found: HostReport) -> dict[str, Any]:
    """Return everything as JSON values; times are UTC, a line without one was asked now."""
    state = found.state
    return {
        "now": stamp(found.now),
        "host": found.host,
        "image": found.name,
        "system": None if state is None else state.system.value,
        "complete": None if state is None else state.complete,
        "failure": None if found.failure is None else found.failure.message,
        "notices": list(found.notices),
        "troubles": [trouble_json(one) for one in found.troubles],
        "lines": [_line_json(line) for line in found.lines],
    }


def _table(found: HostReport) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("", "release", "digest", "who says so", "more"):
        table.add_column(column, overflow="fold")
    for line in found.lines:
        said = "now" if line.time is None else f"{age((found.now - line.time).total_seconds())} ago"
        cells = (
            line.role,
            f"v{line.seal.version}" if line.seal is not None else "no release" if line.digest else "-",
            "-" if line.digest is None else line.digest.short,
            f"{line.source}, {said}" if line.digest is not None else str(line.source),
            line.says,
        )
        table.add_row(*(Text(plain(cell, _LONGEST)) for cell in cells))
    return table


def _line_json(line: Line) -> dict[str, Any]:
    return {
        "role": line.role,
        "source": line.source.value,
        "digest": None if line.digest is None else str(line.digest),
        "version": None if line.seal is None else line.seal.version,
        "says": line.says,
        "time": None if line.time is None else stamp(line.time),
    }
