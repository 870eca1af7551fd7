"""A rendered host for people: its files, or where each of its values comes from."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from pipeline.domain.placement import TreeEntry
from pipeline.domain.rootfs.rendered import Rendered
from pipeline.domain.text import plain
from pipeline.domain.tree import FileType


def files_table(rendered: Rendered) -> Table:
    """Return one row a file: mode, owner, size, path and what a link leads to."""
    table = Table(title=f"{rendered.host.name}: {len(rendered.entries)} files", title_justify="left")
    for name in ("mode", "owner", "bytes"):
        table.add_column(name, justify="right")
    table.add_column("path", overflow="fold")
    for entry in rendered.entries:
        size = str(len(entry.content)) if entry.type is FileType.FILE else ""
        table.add_row(f"{entry.mode:04o}", f"{entry.uid}:{entry.gid}", size, Text(_path(entry)))
    return table


def _path(entry: TreeEntry) -> str:
    path = plain(entry.path, 400)
    return f"{path} -> {plain(entry.target, 400)}" if entry.type is FileType.SYMLINK else path


def explain_table(rendered: Rendered) -> Table:
    """Return one row a value: its key, the value, and the line of each file that says it."""
    table = Table(title=f"{rendered.host.name}: where each value comes from", title_justify="left")
    for name in ("key", "value", "from"):
        table.add_column(name, overflow="fold")
    for one in rendered.explained:
        origins = ", ".join(str(origin) for origin in one.origins)
        table.add_row(Text(plain(one.key, 400)), Text(plain(str(one.value), 200)), Text(plain(origins, 400)))
    return table


def warnings(rendered: Rendered) -> Text:
    """Return the rules the host is excused from; empty when there are none."""
    return Text("\n".join(f"! {plain(line, 400)}" for line in rendered.warnings), style="red")
