"""What a seal is going to do, and the releases it made, as tables for people and as JSON.

Rules: texts from records are printed literally and harmless; warnings stand last; the JSON holds the records
as they are written.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.domain.canonical import Json
from pipeline.domain.record import record_json
from pipeline.domain.sealing import PlannedSeal, Sealed, SealSummary
from pipeline.domain.text import plain

_LONGEST = 2000


def show_plan(summary: SealSummary, *, console: Console) -> None:
    """Print what is going to be released, what is released already, and warnings."""
    if summary.planned:
        columns = ("image", "from", "to", "digest", "because", "approved by")
        console.print(_table(columns, [_planned(one) for one in summary.planned]))
    for one in summary.already:
        console.print(Text(f"{one.name} {one.digest.short} is already released as v{one.version}"))
    for text in summary.warnings:
        console.print(Text(plain(text, _LONGEST), style="bold red"))


def show_sealed(sealed: Sequence[Sealed], warnings: Sequence[str], *, console: Console) -> None:
    """Print the releases, and the warnings again."""
    made = [one for one in sealed if one.new]
    if made:
        columns = ("image", "version", "digest", "tags", "git tag", "signed")
        console.print(_table(columns, [_sealed(one) for one in made]))
    for one in sealed:
        if not one.new:
            text = f"{one.seal.name} {one.seal.digest.short} is already released as v{one.seal.version}"
            console.print(Text(text))
    for text in warnings:
        console.print(Text(plain(text, _LONGEST), style="bold red"))


def plan_json(summary: SealSummary) -> dict[str, Json]:
    """Return a plan as JSON values."""
    return {
        "plan": [_plan_json(one) for one in summary.planned],
        "already": [record_json(one) for one in summary.already],
        "warnings": list(summary.warnings),
    }


def sealed_json(sealed: Sequence[Sealed], warnings: Sequence[str]) -> dict[str, Json]:
    """Return the releases as JSON values: their records, and whether this run made them."""
    return {
        "seals": [record_json(one.seal) for one in sealed],
        "new": [one.seal.id for one in sealed if one.new],
        "warnings": list(warnings),
    }


def _planned(one: PlannedSeal) -> tuple[str, ...]:
    because = ", ".join(one.bump.reasons[:2]) or "nothing is told"
    more = f" and {len(one.bump.reasons) - 2} more" if len(one.bump.reasons) > 2 else ""  # noqa: PLR2004
    return (
        one.name,
        "-" if one.before is None else f"v{one.before}",
        f"v{one.version}" + (" (begun before)" if one.reserved else ""),
        one.digest.short,
        f"{one.bump.word}: {because}{more}",
        ", ".join(one.approvers) or "nobody",
    )


def _sealed(one: Sealed) -> tuple[str, ...]:
    seal = one.seal
    tags = " ".join((f"v{seal.version}", *seal.aliases))
    signed = "yes" if seal.signatures else "NO"
    return seal.name, f"v{seal.version}", seal.digest.short, tags, seal.git_tag or "-", signed


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        table.add_column(name, no_wrap=name not in ("because", "approved by", "tags"), overflow="fold")
    for row in rows:
        table.add_row(*(Text(plain(cell, _LONGEST)) for cell in row))
    return table


def _plan_json(one: PlannedSeal) -> Json:
    return {
        "image": one.name,
        "version": one.version,
        "before": one.before,
        "digest": str(one.digest),
        "bump": one.bump.word,
        "reasons": list(one.bump.reasons),
        "approvers": list(one.approvers),
        "tags": list(one.tags),
        "git_tag": one.git_tag,
        "what": one.what,
        "why": one.why,
        "begun": one.reserved,
    }
