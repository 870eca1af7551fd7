"""The scores of an SBOM as tables: item by item, one document's figure beside another's.

Rules: names come from images, and are shown as plain text, never as terminal escapes or markup. What is
lacking is said of the first document; the second is there to compare with.
"""

from __future__ import annotations

from fractions import Fraction

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.domain.sbom.score import Scorecard, hundredths
from pipeline.domain.sbom.score_item import Item, Rating
from pipeline.domain.text import plain

_LONGEST = 300
_LONGEST_NAME = 24


def show(card: Scorecard, console: Console, *, beside: Scorecard | None = None, other: str = "other") -> None:
    """Print a table for each yardstick, below it what is lacking, and the results; `other` names `beside`."""
    others: tuple[Rating | None, ...] = (None,) * len(card.ratings) if beside is None else beside.ratings
    for rating, second in zip(card.ratings, others, strict=True):
        console.print(_table(rating, second, other))
        _say_what_lacks(rating, console)
    console.print(summary(card, beside, other))


def summary(card: Scorecard, beside: Scorecard | None = None, other: str = "other") -> Text:
    """Return the three results in a line for each document."""
    line = Text(f"this document: {headline(card)}")
    if beside is not None:
        line.append(f"\n{plain(other)}: {headline(beside)}", style="dim")
    return line


def headline(card: Scorecard) -> str:
    """Return the results as one plain line, such as `NTIA 7/7, BSI required 11/13, sbomqs 9.12/10`."""
    required = [item for item in card.bsi.items if item.group.startswith("required")]
    met = sum(item.full for item in required)
    components = f"{card.components} components"
    return (
        f"NTIA {card.ntia.points}/{card.ntia.best}, BSI required {met}/{len(required)}, "
        f"sbomqs {decimal(card.sbomqs.points)}/10, {components}"
    )


def decimal(points: Fraction) -> str:
    """Return points with two decimals, rounded down."""
    whole, rest = divmod(hundredths(points), 100)
    return f"{whole}.{rest:02}"


def _table(rating: Rating, second: Rating | None, other: str) -> Table:
    table = Table(box=box.SIMPLE, title=Text(f"{rating.title} ({rating.version})"), title_justify="left")
    table.add_column("item", no_wrap=True)
    table.add_column("points", justify="right", no_wrap=True)
    table.add_column("here", justify="right", no_wrap=True)
    if second is not None:
        table.add_column(Text(plain(other, _LONGEST_NAME)), justify="right", no_wrap=True)
    theirs = {} if second is None else {(item.group, item.name): item for item in second.items}
    for group in rating.groups:
        table.add_row(Text(group, style="bold"), *[""] * (len(table.columns) - 1))
        for item in rating.of(group):
            row = [Text(f"  {item.name}"), Text(decimal(item.weight), style="dim"), _got(item)]
            beside = theirs.get((group, item.name))
            table.add_row(*row, *([] if beside is None else [_got(beside)]))
    return table


def _say_what_lacks(rating: Rating, console: Console) -> None:
    """Print a line for each item that is not full; as a column it would find no room on a narrow terminal."""
    for item in rating.items:
        if not item.full:
            line = (
                Text("  ")
                .append(item.name, style="bold")
                .append(f": {plain(item.reason, _LONGEST)}", style="dim")
            )
            console.print(line, soft_wrap=True)
    console.print()


def _got(item: Item) -> Text:
    """Return what an item got: points and, of components, how many have it."""
    style = "green" if item.full else "yellow" if item.share else "red"
    text = Text(decimal(item.points), style=style)
    if item.total > 1:
        text.append(f" {item.have}/{item.total}", style="dim")
    return text
