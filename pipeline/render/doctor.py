"""The doctor's report as tables for people and as JSON for machines.

Rules: the JSON's keys are a contract; what programs told about themselves is made harmless first.
"""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from pipeline.domain.text import plain
from pipeline.domain.tool import DoctorReport, ToolReport, ToolState, dotted

_STYLES = {
    ToolState.OK: "green",
    ToolState.MISSING: "red",
    ToolState.TOO_OLD: "red",
    ToolState.UNKNOWN: "yellow",
}


def as_json(report: DoctorReport) -> dict[str, Any]:
    """Return the report as plain JSON values: `ok`, `problems`, `tools`, `facts`."""
    return {
        "ok": not report.problems,
        "problems": [plain(problem) for problem in report.problems],
        "tools": [_tool_json(tool) for tool in report.tools],
        "facts": [
            {"name": fact.name, "value": plain(fact.value), "ok": fact.ok, "hint": plain(fact.hint)}
            for fact in report.facts
        ],
    }


def as_tables(report: DoctorReport) -> Group:
    """Return the report as tables; install commands stand below, whole, so that they can be copied."""
    tools = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("program", "state", "version", "minimum", "needed for"):
        tools.add_column(title, no_wrap=title != "needed for")
    for found in report.tools:
        state = _state(found)
        tools.add_row(
            found.tool.program,
            state,
            _version(found),
            dotted(found.tool.minimum) or "any",
            Text(found.tool.purpose + (" (required)" if found.tool.required else "")),
        )
    facts = Table(box=None, pad_edge=False, show_header=False)
    for fact in report.facts:
        style = "" if fact.ok else "red"
        facts.add_row(
            Text(fact.name, style="bold"), Text(plain(fact.value), style=style), Text(plain(fact.hint))
        )
    parts: list[RenderableType] = [tools, Text(""), facts]
    lacking = [found for found in report.tools if found.state is not ToolState.OK]
    if lacking:
        parts.append(Text("\nto install what is missing or too old:", style="bold"))
        parts.extend(Text(f"  {found.install}", no_wrap=True, overflow="ignore") for found in lacking)
    return Group(*parts)


def _state(found: ToolReport) -> Text:
    style = _STYLES[found.state] if found.tool.required or found.state is ToolState.OK else "yellow"
    return Text(found.state.value, style=style)


def _version(found: ToolReport) -> str:
    return "not told" if found.featured else dotted(found.version)


def _tool_json(found: ToolReport) -> dict[str, Any]:
    return {
        "program": found.tool.program,
        "purpose": found.tool.purpose,
        "required": found.tool.required,
        "state": found.state.value,
        "path": plain(found.path, 4096) if found.path is not None else None,
        "version": dotted(found.version) or None,
        "minimum": dotted(found.tool.minimum) or None,
        "install": found.install,
    }
