"""The ledger's records as a table for people and as JSON.

Rules: texts of records are printed literally, never as markup; the JSON is the records as they are written.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.domain.record import Candidate, Record, record_json
from pipeline.domain.text import plain

_COLUMNS = ("time (UTC)", "what", "image", "digest", "kernel", "gates", "commit")


def log_json(records: Sequence[Record]) -> str:
    """Return one JSON document: `{"records": […]}`, oldest first, without a newline at the end."""
    return json.dumps({"records": [record_json(record) for record in records]}, ensure_ascii=False, indent=2)


def log_table(records: Sequence[Record]) -> Table:
    """Return the records as a table, one line each, oldest first."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in _COLUMNS:
        table.add_column(name, no_wrap=name != "image", overflow="fold")
    for record in records:
        table.add_row(*(Text(plain(cell)) for cell in log_row(record)))
    return table


def show_log(records: Sequence[Record], *, console: Console, as_json: bool) -> None:
    """Print the records on the console's stream, as JSON or as a table; an empty ledger is said in words."""
    if as_json:
        console.file.write(log_json(records) + "\n")
    elif records:
        console.print(log_table(records))
    else:
        console.print("the ledger is empty")


def log_row(record: Record) -> tuple[str, ...]:
    """Return the cells of one record."""
    first = (f"{record.time:%Y-%m-%d %H:%M}", record.kind.value, ", ".join(sorted(record.names())))
    if not isinstance(record, Candidate):
        return (*first, "", "", "", "")
    return (
        *first,
        record.digest.short,
        "-" if record.pins is None else record.pins.kernel,
        _gates(record),
        _commit(record),
    )


def _gates(record: Candidate) -> str:
    failed = [gate.gate for gate in record.gates if not gate.ok]
    if failed:
        return f"failed: {', '.join(failed)}"
    return f"{len(record.gates)} ok" if record.gates else "none ran"


def _commit(record: Candidate) -> str:
    """Return the commit, `+` for one with changes beside it, `?` where that is unknown."""
    source = record.source
    if source.commit is None:
        return "-"
    return source.commit[:10] + {True: "", False: "+", None: "?"}[source.clean]
