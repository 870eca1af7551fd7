"""Candidates as a table and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from pipeline.domain.record import Candidate, record_json
from pipeline.domain.text import plain


def candidate_table(candidates: Sequence[Candidate]) -> Table:
    """Return what was built: image, digest, kernel, gates."""
    table = Table(box=box.SIMPLE)
    for column in ("image", "candidate", "kernel", "gates"):
        table.add_column(column, overflow="fold")
    for one in candidates:
        table.add_row(
            Text(f"{plain(one.line)}/{plain(one.image)}"),
            Text(f"{plain(str(one.repository))}@{one.digest}"),
            Text(plain(one.pins.kernel) if one.pins is not None else "-"),
            Text(f"{sum(gate.ok for gate in one.gates)} of {len(one.gates)} passed"),
        )
    return table


def candidates_json(candidates: Sequence[Candidate]) -> list[dict[str, Any]]:
    """Return the records of candidates as JSON values."""
    return [dict(record_json(one)) for one in candidates]
