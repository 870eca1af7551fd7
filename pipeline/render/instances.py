"""What became of a fleet's hosts, as a table and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from pipeline.domain.fleet import FleetResult, InstanceResult
from pipeline.domain.text import plain
from pipeline.render.candidates import candidates_json
from pipeline.render.gates import to_json

_STYLES = {"built": "green", "unchanged": "dim", "failed": "bold red"}
_LONGEST = 4000


def instance_table(result: FleetResult) -> Table:
    """Return one row a host: what became of it, and its candidate or why it failed."""
    table = Table(box=box.SIMPLE)
    for column in ("host", "outcome", "gates", "candidate, or what is wrong"):
        table.add_column(column, overflow="fold")
    for one in result.hosts:
        table.add_row(
            Text(f"{plain(one.host.line)}/{plain(one.host.name)}"),
            Text(one.outcome.value, style=_STYLES[one.outcome.value]),
            Text(_gates(one)),
            Text(_what(one)),
        )
    return table


def instances_json(result: FleetResult) -> dict[str, Any]:
    """Return `{"hosts": [{"host", "line", "outcome", …}], "candidates": […]}`; keys only ever grow."""
    return {
        "hosts": [_host_json(one) for one in result.hosts],
        "candidates": candidates_json(result.candidates),
    }


def _host_json(one: InstanceResult) -> dict[str, Any]:
    return {
        "line": one.host.line,
        "host": one.host.name,
        "outcome": one.outcome.value,
        "image": str(one.image) if one.image is not None else None,
        "gates": to_json(one.report)["gates"] if one.report is not None else None,
        "kept": [plain(path) for path in one.kept],
        "warnings": [plain(warning, _LONGEST) for warning in one.host.warnings],
        "error": _error_json(one),
    }


def _error_json(one: InstanceResult) -> dict[str, Any] | None:
    if one.error is None:
        return None
    return {
        "message": _lines(one.error.message),
        "hint": plain(one.error.hint, _LONGEST),
        "code": one.error.exit_code,
    }


def _gates(one: InstanceResult) -> str:
    if one.report is None:
        return "-" if one.error is not None else "as before"
    results: Sequence[Any] = one.report.results
    return f"{len(results) - len(one.report.refused)} of {len(results)} passed"


def _what(one: InstanceResult) -> str:
    if one.error is not None:
        return f"{_lines(one.error.message)}\n-> {plain(one.error.hint, _LONGEST)}"
    kept = "".join(f"\nkept as the base has it: {plain(path)}" for path in one.kept)
    return f"{plain(str(one.image), _LONGEST)}{kept}"


def _lines(text: str) -> str:
    return "\n".join(plain(line, _LONGEST) for line in text.splitlines())
