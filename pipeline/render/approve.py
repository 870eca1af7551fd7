"""What is shown before a decision is signed, and the decision after it was recorded.

Rules: texts from outside are printed literally and harmless; digests that are signed are shown whole;
warnings stand last, next to the question; nothing here asks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from pipeline.domain.approval_summary import Brief, Group, grouped
from pipeline.domain.decision import Decided, Decision
from pipeline.domain.record import record_json
from pipeline.domain.text import plain

_LONGEST = 2000


def show_briefs(briefs: Sequence[Brief], warnings: Sequence[str], *, console: Console) -> None:
    """Print what would be signed: the alike images together, then what differs in the others."""
    groups = grouped(briefs)
    for number, group in enumerate(groups):
        console.print(Text(_heading(group, first=number == 0), style="bold"))
        for line, style in _facts(group, first=number == 0):
            console.print(Text(f"  {plain(line, _LONGEST)}", style=style))
        for image in group.images:
            console.print(Text(f"  {_image(image)}"), soft_wrap=True)
    for warning in warnings:
        console.print(Text(plain(warning, _LONGEST), style="bold red"))


def show_decision(decision: Decision, *, console: Console, as_json: bool) -> None:
    """Print a decision, as JSON or as `git log` shows it; one without a proof was not recorded."""
    if as_json:
        console.print_json(data=_json(decision))
        return
    console.print(Text(plain(decision.title), style="bold"))
    for key, value in (
        *decision.summary(),
        ("Record", "none, this was a dry run" if decision.proof is None else decision.id),
    ):
        console.print(Text(f"  {key}: {plain(value, _LONGEST)}"), soft_wrap=True)


def _heading(group: Group, *, first: bool) -> str:
    count = len(group.images)
    what = f"{count} images of which the same is to be said" if count > 1 else "1 image"
    return what if first else f"{what}, different from the first in this"


def _facts(group: Group, *, first: bool) -> Iterator[tuple[str, str]]:
    for fact in group.facts if first else group.only:
        yield fact, "yellow" if fact.startswith(("BLOCKS", "look at")) else ""
    for fact in group.lacks:
        yield f"not so here: {fact}", "dim"


def _image(image: Decided) -> str:
    before = "first release" if image.predecessor is None else f"after v{image.predecessor.version}"
    return f"{image.name} v{image.version} ({before}) {image.repository}@{image.digest}"


def _json(decision: Decision) -> Any:
    return record_json(decision)
