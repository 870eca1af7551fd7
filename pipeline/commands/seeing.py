"""The verbs that look at releases: yank, releases, status."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from pipeline.commands.console import show
from pipeline.commands.reaching import reaching
from pipeline.errors import UsageError
from pipeline.wiring import Parts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rich.console import RenderableType

    from pipeline.adapters.registry import Registry
    from pipeline.domain.hostcontrol.state import HostState

_ATTEMPTS, _CONNECT_SECONDS, _READ_SECONDS = 2, 3.0, 5.0
"""How patient `status` is with a registry: who looks at night must not wait for one that is down."""


def yank(parts: Parts) -> int:
    """`yank IMAGE VERSION`."""
    from pipeline.render import yank as render  # noqa: PLC0415
    from pipeline.verbs.yank import yank as verb  # noqa: PLC0415

    options = parts.options
    found = verb(
        parts.ledger,
        _named(parts, options.image),
        options.version,
        why=options.why,
        author=parts.author[0],
        clock=parts.clock,
        line=_default_line(parts),
        dry_run=options.dry_run,
    )
    _show(parts, lambda: render.as_text(found, every=options.all), lambda: render.as_json(found))
    return 0


def releases(parts: Parts) -> int:
    """`releases [IMAGE]`."""
    from pipeline.render import releases as render  # noqa: PLC0415
    from pipeline.verbs.releases import releases as verb  # noqa: PLC0415

    options = parts.options
    image = None if options.image is None else _named(parts, options.image)
    found = verb(parts.ledger, image=image, only=options.line, line=_default_line(parts))
    if options.changelog and not options.json:
        sys.stdout.write(render.as_changelog(found))
    else:
        _show(parts, lambda: render.as_tables(found), lambda: render.as_json(found))
    return 0


def status(parts: Parts) -> int:
    """`status [HOST]`."""
    return _everything(parts) if parts.options.host is None else _host(parts)


def _everything(parts: Parts) -> int:
    from pipeline.adapters.authors import GitAuthors  # noqa: PLC0415
    from pipeline.render import status as render  # noqa: PLC0415
    from pipeline.verbs.status import status as verb  # noqa: PLC0415

    options = parts.options
    if options.host_access is not None:
        raise UsageError("--host-access is for one host", hint="name the host: pipeline status HOST")
    found = verb(
        parts.ledger,
        defined=parts.defined,
        branch=parts.releasing.branch,
        authors=GitAuthors(parts.images),
        signatures=parts.releasing.signatures,
        now=parts.clock(),
        line=options.line,
    )
    _show(parts, lambda: render.as_shown(found, every=options.all), lambda: render.as_json(found))
    return 0


def _host(parts: Parts) -> int:
    from pipeline.domain.image import Tier  # noqa: PLC0415
    from pipeline.render import status_host as render  # noqa: PLC0415
    from pipeline.verbs.status_host import host_status  # noqa: PLC0415

    options = parts.options
    found = host_status(
        parts.ledger,
        _named(parts, options.host),
        defined=frozenset(name for name, tier in parts.defined.items() if tier is Tier.INSTANCE),
        tags=_impatient(parts),
        ask=_asking(parts),
        now=parts.clock(),
        line=_default_line(parts),
    )
    _show(parts, lambda: render.as_shown(found), lambda: render.as_json(found))
    if found.failure is not None:
        raise found.failure  # what is known was shown; that the host did not answer is the end of it
    return 0


def _show(
    parts: Parts, shown: Callable[[], Iterable[RenderableType]], data: Callable[[], dict[str, Any]]
) -> None:
    """Print what is asked for, and make nothing else: of a thousand releases either takes a while."""
    if parts.options.json:
        show(parts, [], data())
    else:
        show(parts, [*shown()], None)


def _named(parts: Parts, text: str) -> str:
    """Return an image's name with the line that was asked for, if one was."""
    line = parts.options.line
    return text if line is None or "/" in text else f"{line}/{text}"


def _default_line(parts: Parts) -> str | None:
    return parts.settings.default_line


def _impatient(parts: Parts) -> Registry:
    from pipeline.adapters.transport import Patience  # noqa: PLC0415

    settings = parts.settings.registry
    patience = Patience(attempts=_ATTEMPTS, connect=_CONNECT_SECONDS, read=_READ_SECONDS)
    return parts.registry_at(settings.url.partition("/")[0], insecure=settings.insecure, patience=patience)


def _asking(parts: Parts) -> Callable[[], HostState] | None:
    """Return what asks the host; None without --host-access.

    Raises:
        UsageError: What was given is no address.
    """
    from pipeline.verbs.hosts import status_of  # noqa: PLC0415

    reach, host = reaching(parts), parts.options.host.rpartition("/")[2]
    return None if reach is None else lambda: status_of(reach(host))
