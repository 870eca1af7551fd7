"""The ledger's records as a table for people and as JSON.

Rules: texts of records are printed literally, never as markup; the JSON is the records as they are written.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.domain.decision import Approval, Decision, Rejection, Withdrawal
from pipeline.domain.record import Candidate, Record, record_json
from pipeline.domain.release import Deployment, Released, Reservation, Retention, Seal, Yank
from pipeline.domain.text import plain
from pipeline.render.figures import many

_COLUMNS = ("time (UTC)", "what", "image", "version", "digest", "more")
_NAMED = 3
_LONGEST = 1000


def log_json(records: Sequence[Record]) -> str:
    """Return one JSON document: `{"records": […]}`, oldest first, without a newline at the end."""
    return json.dumps({"records": [record_json(record) for record in records]}, ensure_ascii=False, indent=2)


def log_table(records: Sequence[Record]) -> Table:
    """Return the records as a table, one line each, oldest first."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in _COLUMNS:
        table.add_column(name, no_wrap=name not in ("image", "more"), overflow="fold")
    for record in records:
        table.add_row(*(Text(plain(cell, _LONGEST)) for cell in log_row(record)))
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
    names = sorted(record.names())
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED + 1 else ""
    shown = names[:_NAMED] if more else names
    return (
        f"{record.time:%Y-%m-%d %H:%M}",
        record.kind.value,
        ", ".join(shown) + more,
        *_image(record),
        "; ".join(filter(None, _more(record))),
    )


def _image(record: Record) -> tuple[str, str]:
    """Return version and digest of the one image that a record is about; nothing where it is of several."""
    if isinstance(record, Candidate):
        return "", record.digest.short
    if isinstance(record, Released):
        return f"v{record.version}", record.digest.short
    if isinstance(record, Approval | Rejection) and len(record.decided) == 1:
        return f"v{record.decided[0].version}", record.decided[0].digest.short
    return "", ""


def _more(record: Record) -> Iterator[str]:
    """Yield what else there is to say of a record: of each kind what a reader of the log looks for."""
    if isinstance(record, Candidate):
        yield from _built(record)
    elif isinstance(record, Decision):
        yield from _decided(record)
    elif isinstance(record, Reservation):
        yield f"about to be sealed, on {many(len(record.approvals), 'approval')}"
    elif isinstance(record, Seal):
        yield from dict.fromkeys((record.what, record.why))
        yield f"approved by {', '.join(record.approvers) or 'nobody'}"
    elif isinstance(record, Yank):
        yield f"{record.why}; by {record.author}"
    elif isinstance(record, Deployment):
        yield f"{record.host} {record.step}"
        yield record.why
    elif isinstance(record, Retention):
        reasons = dict.fromkeys(one.reason for one in record.removed)
        yield f"{many(len(record.removed), 'manifest')} deleted"
        yield from list(reasons)[:_NAMED]


def _built(record: Candidate) -> Iterator[str]:
    if record.pins is not None:
        yield f"kernel {record.pins.kernel}"
    yield _gates(record)
    yield _commit(record)


def _decided(record: Decision) -> Iterator[str]:
    yield f"by {'nobody who proved it' if record.proof is None else record.proof.identity}"
    if isinstance(record, Withdrawal):
        yield f"takes back {record.approval[:12]}"
    if isinstance(record, Approval):
        yield from dict.fromkeys((record.what, record.why))
        yield f"until {record.expires:%Y-%m-%d}"
    else:
        yield record.why
    yield f"record {record.id[:12]}"


def _gates(record: Candidate) -> str:
    failed = [gate.gate for gate in record.gates if not gate.ok]
    if failed:
        return f"FAILED gates: {', '.join(failed)}"
    return f"{many(len(record.gates), 'gate')} passed" if record.gates else "no gate ran"


def _commit(record: Candidate) -> str:
    """Return the commit, `+` for one with changes beside it, `?` where that is unknown."""
    source = record.source
    if source.commit is None:
        return "no commit"
    return f"commit {source.commit[:10]}" + {True: "", False: "+", None: "?"}[source.clean]
