"""The verbs of the house: the ledger's log, schemas, the machine's tools, a new repository, CI."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from pipeline.commands.console import console, show
from pipeline.errors import NotFoundError, UsageError
from pipeline.wiring import Parts


def log(parts: Parts) -> int:
    """`log [IMAGE]`; what its author may not write is not shown, and told as an error after the rest."""
    from pipeline.domain.writers import refused  # noqa: PLC0415
    from pipeline.render.log import show_log  # noqa: PLC0415
    from pipeline.verbs.log import log as verb  # noqa: PLC0415
    from pipeline.verbs.sifted import SiftedLedger  # noqa: PLC0415

    ledger = SiftedLedger(parts.ledger)
    try:
        records = verb(ledger, image=parts.options.image)
    except NotFoundError:
        if ledger.breaches:
            raise refused(ledger.breaches) from None
        raise
    show_log(records, console=console(), as_json=parts.options.json)
    if ledger.breaches:
        raise refused(ledger.breaches)
    return 0


def schema(parts: Parts) -> int:
    """`schema [KIND]`."""
    from pipeline.domain.catalogue import nearest  # noqa: PLC0415
    from pipeline.verbs.schema import Kind  # noqa: PLC0415
    from pipeline.verbs.schema import schema as verb  # noqa: PLC0415

    kind = parts.options.kind
    if kind is not None and kind not in list(Kind):
        raise UsageError(f"there is no definition of the kind {kind!r}", hint=nearest(kind, list(Kind)))
    sys.stdout.write(json.dumps(verb(None if kind is None else Kind(kind)), indent=2) + "\n")
    return 0


def doctor(parts: Parts) -> int:
    """`doctor`."""
    from pipeline.adapters.probe import SystemProbe  # noqa: PLC0415
    from pipeline.render import doctor as render  # noqa: PLC0415
    from pipeline.verbs.doctor import doctor as verb  # noqa: PLC0415
    from pipeline.verbs.doctor import refuse  # noqa: PLC0415

    report = verb(SystemProbe(parts.processes, user=parts.user, uid=os.geteuid()))
    show(parts, [render.as_tables(report)], render.as_json(report))
    refuse(report)
    return 0


def init(parts: Parts) -> int:
    """`init DIR`."""
    from pipeline.adapters.scaffold import ScaffoldFolder, installed_source  # noqa: PLC0415
    from pipeline.verbs.init import init as verb  # noqa: PLC0415

    options = parts.options
    made = verb(
        ScaffoldFolder(installed_source()),
        Path(options.folder),
        line=options.lines,
        registry=options.registry,
        insecure=options.insecure,
        release_key=_text_of(options.key),
        dry_run=options.dry_run,
    )
    did = "wrote" if made.written else "would write"
    shown = [f"{did} {len(made.files)} files for {', '.join(made.lines)} to {made.directory}", *made.files]
    data = {
        "directory": str(made.directory),
        "lines": made.lines,
        "files": made.files,
        "written": made.written,
    }
    show(parts, shown, data)
    return 0


def _text_of(path: str | None) -> str | None:
    if path is None:
        return None
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}", hint="name a readable text file") from error


def ci_render(parts: Parts) -> int:
    """`ci render`."""
    from pipeline.verbs import ci_render as verb  # noqa: PLC0415

    settings = parts.settings
    wanted = verb.CiSettings.of(settings)
    text = verb.ci_render(verb.lines_of(parts.catalogue), wanted)
    if parts.options.json:
        show(parts, [], {"gitlab": text})
    else:
        sys.stdout.write(text)
    return 0
