"""Renders a resolved host into the entries that are laid on its base.

Rules: the same host always gives the same entries, sorted by path; nothing lies in /var, whose content a
new image does not change; what a program reads from /usr goes there, where no drift can reach it, and into
/etc goes only what is read from nowhere else; every text says which definition it comes from.
"""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.domain.catalogue import Instance
from pipeline.domain.placement import TreeEntry
from pipeline.domain.rootfs.accounts import accounts
from pipeline.domain.rootfs.containers import containers
from pipeline.domain.rootfs.entries import NUMBERS, file, number
from pipeline.domain.rootfs.machine import machine
from pipeline.domain.rootfs.persistence import persistence
from pipeline.domain.rootfs.pulls import pulls
from pipeline.domain.trust import Trust
from pipeline.errors import DefinitionError
from pipeline.problem import Problem


def render(host: Instance, trust: Trust, *, insecure: bool = False) -> tuple[TreeEntry, ...]:
    """Return the entries of one host.

    Args:
        host: The resolved host.
        trust: The project's own registry and keys, and what all hosts may pull.
        insecure: Whether the project's registry is spoken to in plain HTTP.

    Raises:
        DefinitionError: A file of the definition takes the place of one that is rendered from its tables.
    """
    rendered = [
        *machine(host),
        *accounts(host),
        *containers(host),
        *pulls(host, trust, insecure=insecure),
        *persistence(host),
    ]
    taken = {entry.path for entry in rendered}
    own = tuple(_files(host))
    clashes = tuple(_clash(host, entry.path) for entry in own if entry.path in taken)
    if clashes:
        raise DefinitionError(clashes)
    return tuple(sorted([*rendered, *own], key=lambda entry: entry.path))


def _files(host: Instance) -> Iterator[TreeEntry]:
    numbers = {**NUMBERS, **dict(_numbers(host))}
    for path, one in host.definition.files.items():
        yield file(
            path,
            host.texts[f"files.{path}"],
            mode=int(one.mode, 8),
            uid=number(one.owner, numbers),
            gid=number(one.group, numbers),
        )


def _numbers(host: Instance) -> Iterator[tuple[str, int]]:
    definition = host.definition
    for name, group in definition.groups.items():
        if group.gid is not None:
            yield name, group.gid
    for name, person in definition.users.items():
        yield name, person.uid
    for name, app in definition.apps.items():
        if app.uid is not None:
            yield app.user or name, app.uid
    if definition.alloy is not None:
        yield "alloy", definition.alloy.uid


def _clash(host: Instance, path: str) -> Problem:
    key = f"files.{path}"
    origin = host.origins[key][-1] if key in host.origins else None
    return Problem(
        file=origin.file if origin else host.file,
        line=origin.line if origin else None,
        key=key,
        message="is rendered from the definition's own tables",
        hint="say it in the table (hostname, users, apps, trust, …) and take the file away",
    )
