"""`pipeline render`: a host's files as they will lie on its base, to be looked at before a build."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from pipeline.domain.catalogue import AnyImage, Catalogue, Instance, Line
from pipeline.domain.nearest import nearest
from pipeline.domain.placement import TreeEntry
from pipeline.domain.rootfs.render import render
from pipeline.domain.rootfs.rendered import Rendered, explain
from pipeline.domain.trust import Trust
from pipeline.errors import UsageError


class TreeWriter(Protocol):
    """Writes entries into a folder."""

    def __call__(self, entries: tuple[TreeEntry, ...], target: Path) -> None:
        """Write them; the folder holds exactly them afterwards, or is as it was."""


def render_host(
    catalogue: Catalogue,
    line: Line,
    name: str,
    *,
    trust: Trust,
    target: Path | None = None,
    write: TreeWriter | None = None,
) -> Rendered:
    """Render one host; write its files to `target` where one is given.

    Args:
        catalogue: All definitions.
        line: The host's line.
        name: Name of the host's image.
        trust: The project's registry and keys.
        target: Folder for the files.
        write: Writes them.

    Raises:
        UsageError: There is no such host, or the image is none.
        DefinitionError: A file takes the place of a rendered one.
    """
    host = _host(line, name)
    entries = render(host, trust, insecure=catalogue.settings.registry.insecure)
    if target is not None and write is not None:
        write(entries, target)
    return Rendered(host=host, entries=entries, explained=tuple(explain(host)))


def _host(line: Line, name: str) -> Instance:
    names = [one.name for one in line.instances]
    found: AnyImage | None = line.images.get(name)
    if not isinstance(found, Instance):
        what = f"is of tier {found.tier}" if found is not None else "does not exist"
        raise UsageError(f"host {name!r} {what} in line {line.name}", hint=nearest(name, names))
    return found
