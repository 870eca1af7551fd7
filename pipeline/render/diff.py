"""What differs between two images, for people: the risky kinds first, and no more of each than can be read.

Rules: every text from an image is made harmless and printed literally; long lists are cut and say by how
much, since the JSON document has all; kinds without a change are named in one line, so that silence is seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.domain.diff.areas import Area
from pipeline.domain.diff.bump import Proposal, propose
from pipeline.domain.diff.difference import Difference, ImageName
from pipeline.domain.diff.document import document
from pipeline.domain.diff.groups import Group, groups
from pipeline.domain.diff.item import Item, Risk
from pipeline.domain.diff.size import PackageSize, SizeChange
from pipeline.domain.diff.snapshot import ChangeKind
from pipeline.domain.diff.texts import TextChange
from pipeline.domain.text import plain

MOST_ITEMS = 25
"""Changes shown of one kind."""
MOST_TEXTS = 12
"""Files of which the text is shown."""
MOST_LINES = 40
"""Lines shown of one file's text, where it changed."""
MOST_NEW_LINES = 8
"""Lines shown of one file's text, where all of it came or went."""
_LARGEST = 8
_LONGEST = 200
_STYLES = {
    Risk.CRITICAL: "bold red reverse",
    Risk.HIGH: "bold red",
    Risk.MEDIUM: "yellow",
    Risk.LOW: "cyan",
    Risk.NONE: "dim",
}
_SIGNS = {
    "added": ("+", "green"),
    "removed": ("-", "red"),
    "changed": ("~", "yellow"),
    "up": ("↑", "green"),
    "down": ("↓", "red"),
    "same": ("=", "yellow"),
}
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_STEP = 1024


def diff_json(difference: Difference) -> str:
    """Return the canonical document as text, without the newline at its end."""
    return document(difference).decode().removesuffix("\n")


def show_diff(difference: Difference, *, console: Console, as_json: bool) -> None:
    """Print the difference on the console's stream: the document, or its kinds in words."""
    if as_json:
        console.file.write(diff_json(difference) + "\n")
        return
    found = groups(difference)
    _print_head(difference, console)
    for group in found:
        if group.items and group.kind != "files":
            _print_group(group, difference.texts if group.kind == "texts" else (), console)
    _print_areas(difference.areas, console, first=difference.first)
    _print_files(next(group for group in found if group.kind == "files"), console)
    _print_size(difference.size, console)
    quiet = ", ".join(group.title for group in found if not group.items and group.kind != "files")
    console.print(Text(f"no change: {quiet or 'nothing'}", style="dim"))
    _print_bump(propose(difference), console)


def size_text(size: int) -> str:
    """Return bytes with a unit: `512 B`, `1.5 MiB`, `-3.0 KiB`."""
    value, unit = float(abs(size)), 0
    while value >= _STEP and unit < len(_UNITS) - 1:
        value, unit = value / _STEP, unit + 1
    number = f"{value:.0f}" if unit == 0 else f"{value:.1f}"
    return f"{'-' if size < 0 else ''}{number} {_UNITS[unit]}"


def _print_head(difference: Difference, console: Console) -> None:
    old = "nothing" if difference.old is None else _image(difference.old)
    console.print(Text(f"{old} → {_image(difference.new)}", style="bold"))
    console.print(Text(plain(difference.because), style="dim"))


def _image(image: ImageName) -> str:
    return f"{plain(image.name)}@{image.digest.short}"


def _print_group(group: Group, texts: Sequence[TextChange], console: Console) -> None:
    head = Text(f"\n{group.title}", style="bold")
    risk = f"{group.risk.word}, " if group.risk else ""
    head.append(f"  {risk}{group.count}", style=_STYLES[group.risk])
    console.print(head)
    _print_items(group.items, console)
    for text in sorted(texts, key=lambda text: text.kind is not ChangeKind.CHANGED)[:MOST_TEXTS]:
        _print_text(text, console)


def _print_items(items: Sequence[Item], console: Console) -> None:
    table = Table.grid(padding=(0, 1))
    for item in items[:MOST_ITEMS]:
        table.add_row(*_row(item))
    if table.row_count:
        console.print(table)
    _print_more(len(items) - MOST_ITEMS, console)


def _row(item: Item) -> tuple[Text, Text, Text]:
    sign, style = _SIGNS.get(item.how, ("~", "yellow"))
    words = " → ".join(plain(text, _LONGEST) for text in (item.before, item.after) if text)
    told = Text(words)
    if item.why:
        told.append(f"{'  ' if words else ''}{plain(item.why, _LONGEST)}", style=_STYLES[item.risk])
    return Text(sign, style=style), Text(plain(item.name, _LONGEST)), told


def _print_text(text: TextChange, console: Console) -> None:
    if not text.lines:
        return
    console.print(Text(f"  {plain(text.path, _LONGEST)}", style="bold"))
    most = MOST_LINES if text.kind is ChangeKind.CHANGED else MOST_NEW_LINES
    for line in text.lines[:most]:
        console.print(Text(f"    {line}", style={"+": "green", "-": "red", "@": "cyan"}.get(line[:1], "")))
    _print_more(len(text.lines) + text.cut - most, console)


def _print_more(count: int, console: Console) -> None:
    if count > 0:
        console.print(Text(f"    … and {count} more, in the JSON document", style="dim"))


def _print_areas(areas: Iterable[Area], console: Console, *, first: bool) -> None:
    table = Table.grid(padding=(0, 2))
    for area in areas:
        counts = ((area.added, "added"), (area.removed, "removed"), (area.changed, "changed"))
        table.add_row(Text(area.name), Text(", ".join(f"{count} {word}" for count, word in counts if count)))
    if table.row_count:
        console.print(Text("\nFiles" if not first else "\nFiles, all of them new", style="bold"))
        console.print(table)


def _print_files(group: Group, console: Console) -> None:
    """Print the files that ask for a look, and all of them where they are few."""
    items = group.items if len(group.items) <= MOST_ITEMS else [one for one in group.items if one.why]
    _print_items(items, console)


def _print_size(size: SizeChange, console: Console) -> None:
    console.print(Text("\nSize", style="bold"))
    console.print(
        Text(
            f"download {size_text(size.old_download)} → {size_text(size.new_download)}, of which "
            f"{size_text(size.fetched)} in {sum(not one.shared for one in size.new_layers)} new layers; "
            f"files {_signed(size.grown)}"
        )
    )
    table = Table.grid(padding=(0, 2))
    for package in size.packages[:_LARGEST]:
        table.add_row(*_package_row(package))
    if table.row_count:
        console.print(table)


def _package_row(package: PackageSize) -> tuple[Text, Text]:
    return Text(plain(package.name, _LONGEST)), Text(_signed(package.new - package.old))


def _signed(size: int) -> str:
    return f"+{size_text(size)}" if size > 0 else size_text(size)


def _print_bump(proposal: Proposal, console: Console) -> None:
    console.print(Text(f"\nproposed bump: {proposal.bump.word}", style="bold"))
    reasons = [reason for bump, reason in proposal.reasons if bump is proposal.bump]
    for reason in reasons[:_LARGEST]:
        console.print(Text(f"  {plain(reason, _LONGEST)}"))
    _print_more(len(reasons) - _LARGEST, console)
