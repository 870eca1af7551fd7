"""A candidate's evidence as a table and as JSON.

Rules: names and problems come from a registry and are printed literally; digests are whole in the JSON.
"""

from __future__ import annotations

import json
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.domain.artifact import Entry
from pipeline.domain.evidence_report import EvidenceReport, Piece, Standing
from pipeline.domain.image import Digest
from pipeline.domain.text import plain

_COLUMNS = ("evidence", "ledger", "sha256", "bytes", "artifact")
_STYLES = {
    Standing.MATCHES: "green",
    Standing.MISSING: "bold red",
    Standing.DIFFERS: "bold red",
    Standing.DAMAGED: "bold red",
    Standing.NOT_RECORDED: "yellow",
    Standing.HASH_ONLY: "dim",
}


def evidence_json(report: EvidenceReport) -> dict[str, Any]:
    """Return the report as JSON values; keys are part of the command line's contract."""
    return {
        "candidate": f"{report.repository}@{report.candidate}",
        "ok": report.ok,
        "evidence": [_piece_json(piece) for piece in report.pieces],
        "foreign": [
            {"artifact": str(entry.digest), "size": entry.size, "type": entry.artifact_type}
            for entry in report.foreign
        ],
        "problems": list(report.problems),
    }


def evidence_table(report: EvidenceReport) -> Table:
    """Return every piece of evidence, one line each, and what others attached."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in _COLUMNS:
        table.add_column(name, justify="right" if name == "bytes" else "left", overflow="fold")
    for piece in report.pieces:
        table.add_row(
            Text(plain(piece.name, 60)),
            Text(piece.standing.value, style=_STYLES[piece.standing]),
            Text(_short(piece.digest)),
            Text("-" if piece.size is None else f"{piece.size:,}"),
            Text(_short(piece.artifact)),
        )
    for entry in report.foreign:
        table.add_row(*(Text(cell, style="dim") for cell in _foreign(entry)))
    return table


def show_evidence(report: EvidenceReport, *, console: Console, as_json: bool) -> None:
    """Print the report on the console's stream, as JSON or as a table with its verdict in words."""
    if as_json:
        console.file.write(json.dumps(evidence_json(report), ensure_ascii=False, indent=2) + "\n")
        return
    console.print(Text(plain(f"{report.repository}@{report.candidate}")))
    console.print(evidence_table(report))
    for piece in report.pieces:
        if piece.problem:
            console.print(Text(f"{plain(piece.name, 60)} {piece.standing.value}: {plain(piece.problem)}"))
    for problem in report.problems:
        console.print(Text(plain(problem)))
    console.print(Text(verdict(report)))


def verdict(report: EvidenceReport) -> str:
    """Return the report in one sentence."""
    count = sum(piece.standing is Standing.MATCHES for piece in report.pieces)
    if report.ok:
        return (
            f"all {count} documents are what the ledger says" if count > 1 else "the document is as recorded"
        )
    if report.failed:
        return f"not as the ledger says: {', '.join(report.failed)}"
    return "the ledger names no evidence of this candidate"


def _piece_json(piece: Piece) -> dict[str, Any]:
    return {
        "name": plain(piece.name, 60),
        "standing": piece.standing.value,
        "digest": None if piece.digest is None else str(piece.digest),
        "size": piece.size,
        "artifact": None if piece.artifact is None else str(piece.artifact),
        "problem": piece.problem,
    }


def _foreign(entry: Entry) -> tuple[str, ...]:
    return (plain(entry.artifact_type or "(no type)", 60), "not ours", "-", "-", entry.digest.short)


def _short(digest: Digest | None) -> str:
    return "-" if digest is None else digest.short
