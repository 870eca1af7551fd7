"""What stays in the registry and what goes, and what was copied, as tables for people and as JSON.

Rules: tags and names come from the registry and are printed literally and harmless; every manifest has a
line with its reasons; JSON has whole digests.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from pipeline.domain.parcel import CopyResult
from pipeline.domain.retention_plan import PruneResult, Role, Row
from pipeline.domain.text import plain
from pipeline.render.figures import many, size

_DIGEST = re.compile(r"[0-9a-f]{64}")
_OWN = (Role.RELEASE, Role.CANDIDATE, Role.UNKNOWN)


def prune_table(result: PruneResult) -> RenderableType:
    """Return one table for each repository, then what it comes to."""
    parts: list[RenderableType] = []
    for repository in dict.fromkeys(row.repository for row in result.rows):
        rows = [row for row in result.rows if row.repository == repository]
        parts.append(_table(plain(str(repository)), rows))
    parts += [Text(line) for line in _summary(result)]
    return Group(*parts)


def prune_json(result: PruneResult) -> dict[str, Any]:
    """Return every manifest with its reasons, and what was deleted, as JSON values."""
    deleted = {(row.repository, row.digest) for row in result.deleted}
    return {
        "manifests": [_row_json(row, deleted=(row.repository, row.digest) in deleted) for row in result.rows],
        "not_looked_at": [str(one) for one in result.elsewhere],
        "going": len(result.going),
        "deleted": len(result.deleted),
    }


def copy_table(result: CopyResult) -> RenderableType:
    """Return what was copied, release by release, and what the far side has to know."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("release", "digest", "to", "manifests", "blobs", "tags"):
        table.add_column(name, overflow="fold")
    for one in result.releases:
        table.add_row(
            Text(f"{plain(one.name)} v{one.version}"),
            Text(one.digest.short),
            Text(plain(str(one.target))),
            Text(str(one.manifests)),
            Text(f"{one.sent} sent, {one.there} there" if not result.dry_run else f"{one.sent} to send"),
            Text(plain(", ".join(map(_short, one.tags)))),
        )
    did = "to send" if result.dry_run else "sent"
    lines = [Text(f"{many(len(result.releases), 'release')}, {size(result.bytes)} {did}")]
    lines += [Text(plain(note, 2000)) for note in result.notes]
    return Group(table, *lines)


def copy_json(result: CopyResult) -> dict[str, Any]:
    """Return what was copied as JSON values."""
    releases = [
        {
            "image": one.name,
            "version": one.version,
            "digest": one.digest.value,
            "from": str(one.source),
            "to": str(one.target),
            "manifests": one.manifests,
            "blobs_sent": one.sent,
            "blobs_there": one.there,
            "tags": list(one.tags),
        }
        for one in result.releases
    ]
    return {
        "releases": releases,
        "bytes": result.bytes,
        "dry_run": result.dry_run,
        "notes": list(result.notes),
    }


def _table(title: str, rows: Sequence[Row]) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("", "what", "digest", "tags", "why"):
        table.add_column(name, overflow="fold", no_wrap=name in ("", "digest"))
    for row in rows:
        style = "" if row.role in _OWN else "dim"
        what = plain(row.title) if row.role in _OWN else f"  {row.role}"
        table.add_row(
            Text("stays" if row.keep else "goes", style="green" if row.keep else "red"),
            Text(what, style=style),
            Text(row.digest.short, style=style),
            Text(plain(", ".join(map(_short, row.tags)), 600), style=style),
            Text(plain("; ".join(row.reasons), 600), style=style),
        )
    return table


def _short(tag: str) -> str:
    """Return a tag that names a whole digest with the beginning of it, for people."""
    return _DIGEST.sub(lambda match: f"{match[0][:12]}\u2026", tag)


def _summary(result: PruneResult) -> Iterator[str]:
    for repository in result.elsewhere:
        yield f"{plain(str(repository))} is in another registry and was not looked at"
    strange = [row for row in result.rows if row.role is Role.UNKNOWN]
    if strange:
        yield f"{many(len(strange), 'manifest')} that the ledger does not know: kept, see above"
    staying = len(result.rows) - len(result.going)
    if result.deleted:
        yield f"{many(len(result.deleted), 'manifest')} deleted and recorded, {staying} stay"
        yield "the registry's garbage collection frees the space; do not let it delete what has no tag"
    elif result.going:
        yield f"{many(len(result.going), 'manifest')} would go, {staying} stay; delete with --apply"
    else:
        yield f"nothing to delete; {many(staying, 'manifest')} stay" if staying != 1 else "nothing to delete"


def _row_json(row: Row, *, deleted: bool) -> dict[str, Any]:
    return {
        "repository": str(row.repository),
        "digest": row.digest.value,
        "image": row.image,
        "role": row.role.value,
        "of": row.title,
        "tags": list(row.tags),
        "keep": row.keep,
        "deleted": deleted,
        "reasons": list(row.reasons),
    }
