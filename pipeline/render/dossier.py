"""The dossier in a terminal, and as JSON.

Rules: every text is printed literally and harmless (`domain.text.plain`), never as markup or as an escape of
the terminal; the same order as on the page: verdict, what and why, proofs, changes, size, pin, SBOM,
vulnerabilities, evidence, commands; long lists are cut and counted. The JSON's keys only ever grow.
"""

from __future__ import annotations

import datetime as dt
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from pipeline.domain.dossier.difference import ChangeGroup, Difference, Risk, Sizes
from pipeline.domain.dossier.dossier import Boot, Dossier, GateLine, Held, History, KernelPin, Missing, Sbom
from pipeline.domain.gate import Verdict
from pipeline.domain.image import Digest
from pipeline.domain.record import Candidate, record_json
from pipeline.domain.text import plain
from pipeline.domain.vulnerabilities import VulnerabilityChange
from pipeline.render import figures

_ROWS = 12
_LINES = 40
_LONGEST = 2000
_STYLES = {Risk.CRITICAL: "bold red", Risk.HIGH: "bold red", Risk.MEDIUM: "yellow"}
_WORDS = {
    Risk.CRITICAL: ", critical",
    Risk.HIGH: ", risky",
    Risk.MEDIUM: ", notable",
    Risk.LOW: "",
    Risk.NONE: "",
}
_GATES = {Verdict.PASS: "green", Verdict.WAIVED: "yellow"}
_HELD = {Held.VERIFIED: "green", Held.ABSENT: "yellow"}


def dossier_json(dossier: Dossier) -> dict[str, Any]:
    """Return the dossier as JSON values; a part that is not there is `{"missing": why}`."""
    made = {field.name: _json(getattr(dossier, field.name)) for field in fields(dossier)}
    judgement = {"ok": dossier.judgement.ok, **made["judgement"]}
    return {**made, "judgement": judgement}


def show_dossier(dossier: Dossier, console: Console) -> None:
    """Print the dossier."""
    for part in _parts(dossier):
        console.print(part)
    for words in (dossier.approve, dossier.reject):  # never wrapped or cut: they are to be copied
        console.print(Text(f"  {plain(shlex.join(words), _LONGEST)}"), soft_wrap=True)


def _parts(dossier: Dossier) -> Iterator[RenderableType]:
    yield _verdict(dossier)
    yield from _history(dossier.history)
    yield from _gates(dossier.gates)
    yield from _boot(dossier.boot)
    yield from _difference(dossier.difference)
    yield from _pin(dossier.pin)
    yield from _sbom(dossier.sbom)
    yield from _vulnerabilities(dossier.vulnerabilities)
    yield from _origin(dossier)
    yield _decide(dossier)


def _verdict(dossier: Dossier) -> RenderableType:
    candidate, judgement = dossier.candidate, dossier.judgement
    style = "green" if judgement.ok else "red"
    verdict = "May be approved" if judgement.ok else "Not to be approved"
    lines = [
        Text(verdict, style=f"bold {style}"),
        Text(f"{candidate.repository}@{candidate.digest}", style="dim", overflow="fold"),
    ]
    for head, points, mark in (
        ("What blocks", judgement.blocks, "bold red"),
        ("What to look at first", judgement.cautions, "yellow"),
    ):
        if points:
            lines.append(Text(head, style="bold"))
            lines.extend(Text.assemble((" • ", mark), plain(point.text)) for point in points)
    title = Text(f"{candidate.line}/{candidate.image}", style="bold")
    return Panel(Group(*lines), title=title, title_align="left", border_style=style, box=box.HEAVY)


def _head(title: str, note: str = "", style: str = "") -> Text:
    return Text.assemble("\n", (title, "bold"), ("  " if note else ""), (note, style))


def _absent(title: str, part: Missing) -> Iterator[RenderableType]:
    yield _head(title, "MISSING", "bold red")
    yield _indented(Text(plain(part.why), style="red"))


def _indented(part: RenderableType) -> Padding:
    return Padding(part, (0, 0, 0, 2))


def _table(rows: Iterable[Sequence[Text | str]]) -> Padding:
    table = Table(box=None, show_header=False, pad_edge=False)
    found = list(rows)
    for _ in range(max((len(row) for row in found), default=0)):
        table.add_column(overflow="fold")
    for row in found:
        table.add_row(*(cell if isinstance(cell, Text) else Text(plain(cell)) for cell in row))
    return _indented(table)


def _more(count: int, shown: int) -> Iterator[RenderableType]:
    if count > shown:
        yield _indented(Text(f"… and {count - shown:,} more; --html shows them", style="dim"))


def _history(history: History | Missing) -> Iterator[RenderableType]:
    if isinstance(history, Missing):
        yield from _absent("What and why", history)
        return
    yield _head("What and why", figures.many(len(history.commits), "commit"))
    rows = [(f"{one.time:%Y-%m-%d}", one.subject, one.author) for one in history.commits[:_ROWS]]
    yield _table(rows)
    yield from _more(len(history.commits), _ROWS)


def _gates(gates: tuple[GateLine, ...] | Missing) -> Iterator[RenderableType]:
    if isinstance(gates, Missing):
        yield from _absent("Gates", gates)
        return
    passed = sum(one.ok for one in gates)
    good = passed == len(gates) and gates
    yield _head("Gates", f"{passed} of {len(gates)} let it pass", "green" if good else "bold red")
    yield _table(
        (Text(one.verdict.value, style=_GATES.get(one.verdict, "bold red")), one.gate, one.summary)
        for one in gates
        if one.verdict is not Verdict.PASS
    )


def _boot(boot: Boot | Missing) -> Iterator[RenderableType]:
    if isinstance(boot, Missing):
        yield from _absent("Boot test", boot)
        return
    took = figures.duration(boot.milliseconds)
    yield _head(
        "Boot test", f"{'passed' if boot.ok else 'FAILED'} in {took}", "green" if boot.ok else "bold red"
    )
    yield _indented(Text(plain(boot.summary)))
    yield _table(
        (Text("ok" if one.ok else "failed", style="green" if one.ok else "bold red"), one.name, one.found)
        for one in boot.steps
    )
    if not boot.ok:
        yield _indented(Text("\n".join(plain(line) for line in boot.console[-_LINES:]), style="dim"))


def _difference(difference: Difference | Missing) -> Iterator[RenderableType]:
    if isinstance(difference, Missing):
        yield from _absent("What changed", difference)
        return
    against = difference.predecessor or "nothing"
    risky = figures.many(len(difference.risky), "risky kind") if difference.risky else "nothing risky"
    yield _head("What changed", risky, "bold red" if difference.risky else "green")
    yield _indented(Text(f"compared with {plain(against)}: {plain(difference.because)}", style="dim"))
    for group in difference.groups:
        if group.changes:
            yield from _group(group)
    quiet = [group.title for group in difference.groups if not group.changes]
    if quiet:
        yield _indented(Text(f"nothing changed: {plain(', '.join(quiet))}", style="dim"))
    licences = [(one.package, one.before, "→", one.after) for one in difference.licences]
    yield _head("Licences", figures.many(len(licences), "change"))
    yield _table(licences[:_ROWS])
    yield from _more(len(licences), _ROWS)
    yield from _sizes(difference.sizes)


def _group(group: ChangeGroup) -> Iterator[RenderableType]:
    style = _STYLES.get(group.risk, "")
    yield _indented(
        Text.assemble(
            (plain(group.title), style or "bold"), (f"  {group.total:,}{_WORDS[group.risk]}", "dim")
        )
    )
    shown = _ROWS if group.risk in _STYLES else 3
    rows = []
    for one in group.changes[:shown]:
        words = " → ".join(filter(None, (one.before, one.after)))
        rows.append(
            (
                Text(f"  {one.how}", style=style if one.risky else "dim"),
                one.name,
                words,
                Text(plain(one.why), style=style),
            )
        )
    yield _table(rows)
    yield from _more(len(group.changes), shown)
    for one in group.changes[:shown]:
        if one.lines:
            yield _indented(_indented(_lines(one.name, one.lines)))


def _lines(name: str, lines: Sequence[str]) -> Text:
    styles = {"+": "green", "-": "red", "@": "dim"}
    text = Text(f"{plain(name)}\n", style="bold")
    for line in lines[:_LINES]:
        text.append(f"{plain(line)}\n", style=styles.get(line[:1], "not bold"))
    if len(lines) > _LINES:
        text.append(f"… and {len(lines) - _LINES} lines more", style="dim")
    return text


def _sizes(sizes: Sizes) -> Iterator[RenderableType]:
    grown = "" if sizes.before is None else f", {figures.growth(sizes.grown)}"
    yield _head("Size", f"{figures.size(sizes.after)}{grown}; a host fetches {figures.size(sizes.fetched)}")
    changed = sorted((one for one in sizes.packages if one.delta), key=lambda one: -abs(one.delta))
    if sizes.before is not None:
        most = max((abs(one.delta) for one in changed), default=1)
        yield _table((one.name, figures.growth(one.delta), _bar(one.delta, most)) for one in changed[:_ROWS])
    if sizes.trend:
        past = [figures.size(one.total) for one in sizes.trend]
        yield _indented(Text(f"the last releases: {', '.join(past)}, now {figures.size(sizes.after)}"))


def _bar(value: int, most: int) -> Text:
    length = max(round(24 * abs(value) / most), 1)
    return Text("█" * length, style="yellow" if value > 0 else "green")


def _pin(pin: KernelPin | Missing) -> Iterator[RenderableType]:
    if isinstance(pin, Missing):
        yield _head("Kernel pin", plain(pin.why), "yellow")
        return
    yield _head("Kernel pin", plain(pin.kernel))
    yield _indented(Text(plain(pin.reason)))
    if pin.expires is not None:
        yield _indented(Text(f"by hand, until {pin.expires}", style="yellow"))
    yield _table((f"not {one.kernel}", one.reason) for one in pin.passed_over)


def _sbom(sbom: Sbom | Missing) -> Iterator[RenderableType]:
    if isinstance(sbom, Missing):
        yield from _absent("SBOM", sbom)
        return
    yield _head("SBOM", f"CycloneDX {plain(sbom.spec)}, {figures.many(sbom.total, 'component')}")
    if isinstance(sbom.scores, Missing):
        yield from _absent("Score", sbom.scores)
        return
    yield _table(
        (
            one.name,
            f"{figures.points(one.points)} of {figures.points(one.best)}",
            figures.many(len(one.shortfalls), "shortfall") if one.shortfalls else "",
        )
        for one in sbom.scores
    )


def _vulnerabilities(change: VulnerabilityChange | Missing) -> Iterator[RenderableType]:
    if isinstance(change, Missing):
        yield _head("Vulnerabilities", f"not supplied: {change.why}", "dim")
        return
    known = f"{len(change.came)} came, {len(change.went)} went" if change.compared else "not compared"
    yield _head("Vulnerabilities", f"{len(change.now)} now, {known} ({plain(change.tool)})")
    lists = (("came", change.came), ("went", change.went)) if change.compared else (("now", change.now),)
    for word, found in lists:
        yield _table(
            (word, one.severity.value, one.id, f"{one.package} {one.version}") for one in found[:_ROWS]
        )
        yield from _more(len(found), _ROWS)


def _origin(dossier: Dossier) -> Iterator[RenderableType]:
    provenance = dossier.provenance
    if isinstance(provenance, Missing):
        yield from _absent("Provenance", provenance)
    else:
        yield _head("Provenance", f"claims SLSA Build L{provenance.level}")
        yield _table((("builder", provenance.builder), ("why", provenance.why)))
    yield _head("Evidence")
    yield _table(
        (
            Text(one.held.value, style=_HELD.get(one.held, "bold red")),
            one.name,
            "" if one.digest is None else one.digest.hex,
        )
        for one in dossier.evidence
    )


def _decide(dossier: Dossier) -> RenderableType:
    if isinstance(dossier.difference, Missing):
        return _head("Decide")
    return _head("Decide", f"the diff asks for a {plain(dossier.difference.bump.proposed)} version")


def _json(value: Any) -> Any:  # noqa: PLR0911 - one return a kind of value
    if isinstance(value, Missing):
        return {"missing": plain(value.why, _LONGEST)}
    if isinstance(value, Candidate):
        return record_json(value)
    if isinstance(value, str):
        return plain(value, _LONGEST)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, Digest):
        return str(value)
    if isinstance(value, dt.date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {plain(str(key)): _json(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_json(item) for item in value]
    if is_dataclass(value):
        return {field.name: _json(getattr(value, field.name)) for field in fields(value)}
    raise TypeError(f"{type(value).__name__} has no place in a dossier's JSON")
