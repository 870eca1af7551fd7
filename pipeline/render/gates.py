"""What the gates said, as a table for people and as a JSON document for machines.

Rules: everything that came out of an image is shown as plain text, never as terminal escapes or as markup;
the keys of the JSON document only ever grow.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.domain.checks import CheckReport
from pipeline.domain.gate import Gate, GateResult, Verdict
from pipeline.domain.text import plain

_LONGEST = 2000
_STYLES = {
    Verdict.PASS: "green",
    Verdict.FAIL: "bold red",
    Verdict.UNCHECKED: "bold yellow",
    Verdict.WAIVED: "yellow",
}


def to_json(report: CheckReport) -> dict[str, Any]:
    """Return `{"ok", "tier", "gates": [{"gate", "verdict", "summary", "details"}]}`."""
    return {
        "ok": report.ok,
        "tier": report.tier.value,
        "gates": [
            {
                "gate": result.gate,
                "verdict": result.finding.verdict.value,
                "summary": plain(result.finding.summary, _LONGEST),
                "details": [plain(detail, _LONGEST) for detail in result.finding.details],
            }
            for result in report.results
        ],
    }


def list_to_json(gates: Sequence[Gate]) -> list[dict[str, Any]]:
    """Return `[{"gate", "asks", "tiers"}]`."""
    return [{"gate": gate.name, "asks": gate.asks, "tiers": sorted(gate.tiers)} for gate in gates]


def show(report: CheckReport, console: Console) -> None:
    """Print the report: one row a gate, what it found below its summary, and the outcome."""
    console.print(
        table_of(("verdict", "gate", "what was found"), (_row(result) for result in report.results))
    )
    if report.ok:
        console.print(Text(f"all {len(report.results)} gates let the image pass", style="green"))
    else:
        console.print(Text(f"{len(report.refused)} of {len(report.results)} gates said no", style="bold red"))


def show_list(gates: Sequence[Gate], console: Console) -> None:
    """Print the gates there are, what each asks, and of which tiers."""
    rows = ((Text(gate.name), Text(gate.asks), Text(", ".join(sorted(gate.tiers)))) for gate in gates)
    console.print(table_of(("gate", "asks", "tiers"), rows))


def _row(result: GateResult) -> tuple[Text, ...]:
    finding = result.finding
    found = Text(plain(finding.summary))
    for detail in finding.details:
        found.append(f"\n{plain(detail)}", style="dim")
    return Text(finding.verdict.value, style=_STYLES[finding.verdict]), Text(result.gate), found


def table_of(heads: Sequence[str], rows: Iterable[Sequence[Text]]) -> Table:
    """Return answers as a table without a frame, whose first column stays on one line."""
    table = Table(*heads, show_edge=False, pad_edge=False)
    table.columns[0].no_wrap = True
    for row in rows:
        table.add_row(*row)
    return table
