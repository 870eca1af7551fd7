"""What verification and audit found, as tables and as JSON.

Rules: names, texts and problems come from registries and the ledger and are printed literally; nothing that
is wrong is left out, however long the list; the JSON's keys and the kinds of findings are a contract.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from pipeline.domain.audit import AuditReport, Finding
from pipeline.domain.text import plain
from pipeline.domain.verification import Check, TierChecked, Verification

_LONGEST = 1000


def show_verification(found: Verification, *, console: Console, as_json: bool) -> None:
    """Print a verification on the console's stream, as JSON or as a table of its checks by tier."""
    _show(verification_json(found), verification_text(found), console, as_json=as_json)


def show_audit(report: AuditReport, *, console: Console, as_json: bool) -> None:
    """Print an audit on the console's stream, as JSON or as a table of its findings."""
    _show(audit_json(report), audit_text(report), console, as_json=as_json)


def verification_json(found: Verification) -> dict[str, Any]:
    """Return a verification as JSON values."""
    return {
        "ok": found.ok,
        "tiers": [_tier_json(one) for one in found.tiers],
        "problems": list(found.problems),
    }


def verification_text(found: Verification) -> Iterator[RenderableType]:
    """Yield the checks as a table, a column a tier, and then everything that is wrong or to be known."""
    for tier in found.tiers:
        yield Text(plain(f"{tier.title}  {tier.repository}@{tier.digest}", _LONGEST))
    yield _checks_table(found)
    for problem in found.problems:
        yield Text(f"✗ {plain(problem, _LONGEST)}", style="bold red")
    for tier in found.tiers:
        for check in tier.checks:
            for note in check.notes:
                yield Text(f"! {plain(f'{tier.title}: {check.name}: {note}', _LONGEST)}", style="yellow")
    yield Text(verification_verdict(found))


def verification_verdict(found: Verification) -> str:
    """Return a verification in one sentence."""
    first, below = found.tiers[0], len(found.tiers) - 1
    chain = f" and the {below} it is built on" if below else ""
    if found.ok:
        return f"{plain(first.title)}{chain} verify"
    return f"{plain(first.title)} does not verify: {_count(len(found.problems), 'problem')}"


def audit_json(report: AuditReport) -> dict[str, Any]:
    """Return an audit as JSON values."""
    return {
        "ok": report.ok,
        "deep": report.deep,
        "images": report.images,
        "releases": report.releases,
        "findings": [_finding_json(one) for one in report.findings],
    }


def audit_text(report: AuditReport) -> Iterator[RenderableType]:
    """Yield the findings as a table, faults before notes, and the verdict."""
    if report.findings:
        yield _findings_table(report)
    yield Text(audit_verdict(report))


def audit_verdict(report: AuditReport) -> str:
    """Return an audit in one sentence."""
    looked = f"{_count(report.releases, 'release')} of {_count(report.images, 'image')}"
    notes = len(report.findings) - len(report.faults)
    more = f", {_count(notes, 'note')}" if notes else ""
    if not report.ok:
        return f"{looked}: {_count(len(report.faults), 'fault')}{more}"
    whole = "every chain verified" if report.deep else "as the ledger says; --deep verifies every chain too"
    return f"{looked}: {whole}{more}"


def _show(data: Any, shown: Iterator[RenderableType], console: Console, *, as_json: bool) -> None:
    if as_json:
        console.file.write(json.dumps(data, ensure_ascii=False, indent=2) + "\n")
        return
    for one in shown:
        console.print(one)


def _checks_table(found: Verification) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("check", *(tier.title for tier in found.tiers), "seen"):
        table.add_column(Text(plain(name, 80)), overflow="fold")
    first = found.tiers[0]
    for check in first.checks:
        table.add_row(
            Text(check.name),
            *(_mark(_same(tier, check.name)) for tier in found.tiers),
            Text(plain(check.said, 160)),
        )
    return table


def _same(tier: TierChecked, name: str) -> Check | None:
    return next((one for one in tier.checks if one.name == name), None)


def _mark(check: Check | None) -> Text:
    if check is None:
        return Text("-")
    return Text("✓", style="green") if check.ok else Text("✗", style="bold red")


def _findings_table(report: AuditReport) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("finding", "image", "release", "what is there and what to do"):
        table.add_column(name, overflow="fold", no_wrap=name in ("finding", "release"))
    for one in report.findings:
        style = "yellow" if one.note else "bold red"
        mark = "!" if one.note else "✗"
        table.add_row(
            Text(f"{mark} {one.what.value}", style=style),
            Text(plain(one.image, 140)),
            Text(plain(one.release, 60)),
            Text(f"{plain(one.text, _LONGEST)}\n-> {plain(one.todo, _LONGEST)}"),
        )
    return table


def _tier_json(tier: TierChecked) -> dict[str, Any]:
    return {
        "image": tier.name,
        "version": tier.version,
        "tier": None if tier.tier is None else tier.tier.value,
        "reference": f"{tier.repository}@{tier.digest}",
        "checks": [
            {
                "name": one.name,
                "ok": one.ok,
                "seen": one.said,
                "problems": list(one.problems),
                "notes": list(one.notes),
            }
            for one in tier.checks
        ],
    }


def _finding_json(one: Finding) -> dict[str, Any]:
    return {
        "what": one.what.value,
        "note": one.note,
        "image": one.image,
        "release": one.release,
        "text": one.text,
        "todo": one.todo,
    }


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number:,} {what}s"
