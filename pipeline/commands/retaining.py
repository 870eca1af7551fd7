"""The verbs that look after the registry: prune and copy."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.commands.console import show
from pipeline.commands.reaching import reaching, require_template
from pipeline.errors import UsageError
from pipeline.wiring import Parts

if TYPE_CHECKING:
    from pipeline.adapters.ocilayout import OciLayout
    from pipeline.domain.image import Repository
    from pipeline.domain.parcel import Named, Parcel
    from pipeline.domain.retention import HostsKnown, Limits
    from pipeline.verbs.copy_parts import CopySource, CopyTarget

_OCI = "oci:"
_VERSION = re.compile(r"v?[0-9]+(?:\.[0-9]+)*", re.ASCII)
"""What is given as TO when TO was forgotten."""


def prune(parts: Parts) -> int:
    """`prune [IMAGE…]`."""
    from pipeline.domain.retention import Limits  # noqa: PLC0415
    from pipeline.render.retention import prune_json, prune_table  # noqa: PLC0415
    from pipeline.verbs.prune import PruneOrder, PruneParts  # noqa: PLC0415
    from pipeline.verbs.prune import prune as verb  # noqa: PLC0415

    options, settings = parts.options, parts.settings.retention
    limits = Limits(
        releases=options.keep or settings.releases,
        candidate_days=options.candidates_days or settings.candidate_days,
    )
    order = PruneOrder(
        limits=limits,
        images=tuple(_full_name(parts, name) for name in options.names),
        hosts=_hosts(parts, limits),
        apply=options.apply,
    )
    tools = PruneParts(
        store=parts.registry,
        ledger=parts.ledger,
        reporter=parts.reporter,
        author=parts.author[0],
        clock=parts.clock,
        jobs=options.jobs,
    )
    result = verb(order, tools)
    show(parts, [prune_table(result)], prune_json(result))
    return 0


def _hosts(parts: Parts, limits: Limits) -> HostsKnown:
    """Return what the hosts say of themselves; nothing without --host-access.

    Raises:
        UsageError: What was given is no address.
    """
    from pipeline.domain.retention import NOBODY, Images  # noqa: PLC0415
    from pipeline.verbs.hosts import status_of  # noqa: PLC0415
    from pipeline.verbs.prune import ask_hosts  # noqa: PLC0415

    options = parts.options
    reach = reaching(parts)
    if reach is None:
        return NOBODY
    names = Images(parts.ledger.read(), limits, now=parts.clock()).hosts()
    if len(names) > 1:
        require_template(options.host_access, str(len(names)))
    return ask_hosts(names, lambda host: status_of(reach(host)), parts.reporter, jobs=options.jobs)


def copy(parts: Parts) -> int:
    """`copy IMAGE [VERSION…] TO`."""
    from pipeline.render.retention import copy_json, copy_table  # noqa: PLC0415
    from pipeline.verbs.copy import copy as verb  # noqa: PLC0415
    from pipeline.verbs.copy_parts import CopyParts  # noqa: PLC0415

    options = parts.options
    source, parcels = _parcels(parts)
    target, place = _target(parts, parcels)
    result = verb(
        parcels,
        CopyParts(
            source=source,
            target=target,
            place=place,
            yanked=lambda name: _yanked(parts, name),
            reporter=parts.reporter,
            jobs=options.jobs,
            dry_run=options.dry_run,
        ),
    )
    show(parts, [copy_table(result)], copy_json(result))
    return 0


def _parcels(parts: Parts) -> tuple[CopySource, tuple[Parcel, ...]]:
    """Return where releases are taken from, and which."""
    from pipeline.domain.parcel import parcels_of  # noqa: PLC0415
    from pipeline.verbs.copy_folder import parcels_in  # noqa: PLC0415

    options = parts.options
    every, parents = options.all, not options.without_parents
    if options.source is not None:
        folder = _layout(options.source)
        chosen = parcels_in(folder, options.image, options.versions, every=every, parents=parents)
        return folder, chosen
    name = _full_name(parts, options.image)
    records = parts.ledger.read()
    return parts.registry, parcels_of(records, name, options.versions, every=every, parents=parents)


def _target(parts: Parts, parcels: Sequence[Parcel]) -> tuple[CopyTarget, Callable[[str], Repository]]:
    """Return where releases are brought to, and what tells the repository of an image there.

    Raises:
        UsageError: It is no place, or the one that they come from.
    """
    from pipeline.domain.image import Repository  # noqa: PLC0415
    from pipeline.domain.parcel import FOLDER  # noqa: PLC0415

    options = parts.options
    if options.to.startswith(_OCI):
        parents = {(one.name, one.tag): one.parent for one in parcels if one.parent is not None}
        folder = _layout(options.to, parents=parents, create=not options.dry_run)
        return folder, lambda name: Repository(registry=FOLDER, path=name)
    host, _, prefix = options.to.partition("/")
    prefix = prefix.rstrip("/")
    if _VERSION.fullmatch(options.to) or not ("." in host or ":" in host or host == "localhost"):
        raise UsageError(
            f"{options.to!r} is no place to copy to", hint="write HOST[:PORT]/PREFIX or oci:FOLDER, last"
        )

    def place(name: str) -> Repository:
        return Repository(registry=host, path="/".join(filter(None, (prefix, name))))

    if any(place(one.name) == one.source for one in parcels):
        raise UsageError(f"the releases lie in {options.to} already", hint="name another registry or prefix")
    own = options.source is None and host == parts.registry.host
    return parts.registry if own else parts.registry_at(host, insecure=options.insecure), place


def _layout(
    text: str, *, parents: Mapping[tuple[str, str], Named] | None = None, create: bool = False
) -> OciLayout:
    from pipeline.adapters.ocilayout import OciLayout  # noqa: PLC0415

    if not text.startswith(_OCI) or text == _OCI:
        raise UsageError(f"{text!r} names no folder", hint="write oci:FOLDER")
    return OciLayout(
        Path(text.removeprefix(_OCI)),
        parents=parents,
        create=create,
        absent=parents is not None and not create,
    )


def _yanked(parts: Parts, name: str) -> frozenset[str]:
    """Return the versions of an image that were yanked; a folder does not know."""
    if parts.options.source is not None:
        return frozenset()
    lineage = parts.releasing.lineage()
    return frozenset(one.version for one in lineage.releases(name) if lineage.yank_of(one) is not None)


def _full_name(parts: Parts, name: str) -> str:
    """Return `line/image` of an image; without a line it is one of the line that is worked on."""
    return name if "/" in name else f"{parts.line.name}/{name}"
