"""What `verify` looks at where it is told to: copies in place of the registry, and no remote of git."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import UsageError
from pipeline.wiring import Parts

if TYPE_CHECKING:
    from pipeline.adapters.elsewhere import Elsewhere
    from pipeline.domain.lookback import LookBack
    from pipeline.verbs.verify_parts import VerifyParts

_OCI = "oci:"


def look_back(parts: Parts) -> LookBack:
    """Return the ledger; offline, as this clone has it."""
    from pipeline.domain.lookback import LookBack  # noqa: PLC0415

    return LookBack(parts.ledger.read(offline=parts.options.offline))


def verify_parts(parts: Parts, look: LookBack) -> VerifyParts:
    """Return what releases are verified with, as the options of `verify` say.

    Raises:
        UsageError: The place of the copies is none.
        StateError: The folder is no image layout.
    """
    found = parts.releasing.verify_parts(look)
    if parts.options.source is not None:
        copies = _copies(parts, parts.options.source, look)
        found = dataclasses.replace(found, registry=copies, evidence=copies, signed=copies)
    if parts.options.offline:
        from pipeline.adapters.fetched_history import FetchedHistory  # noqa: PLC0415

        history = parts.releasing.protected(FetchedHistory)
        found = dataclasses.replace(found, rules=history, newcomers=history)
    return found


def _copies(parts: Parts, source: str, look: LookBack) -> Elsewhere:
    """Return what reads copies: in a folder, or in a registry under a prefix."""
    from pipeline.adapters.elsewhere import Elsewhere  # noqa: PLC0415
    from pipeline.adapters.ocilayout import OciLayout  # noqa: PLC0415
    from pipeline.domain.image import Repository  # noqa: PLC0415
    from pipeline.domain.parcel import FOLDER  # noqa: PLC0415

    released = (one for name in look.lineage.names for one in look.lineage.releases(name))
    names = {one.repository: one.name for one in released}
    if source.startswith(_OCI) and source != _OCI:
        folder = OciLayout(Path(source.removeprefix(_OCI)))
        return Elsewhere(folder, {one: Repository(registry=FOLDER, path=name) for one, name in names.items()})
    host, _, prefix = source.partition("/")
    if not ("." in host or ":" in host or host == "localhost"):
        raise UsageError(
            f"{source!r} is no place of copies", hint="write oci:FOLDER or HOST[:PORT]/PREFIX, as for `copy`"
        )
    there = {
        one: Repository(registry=host, path="/".join(filter(None, (prefix.strip("/"), name))))
        for one, name in names.items()
    }
    own = host == parts.registry.host
    registry = parts.registry if own else parts.registry_at(host, insecure=parts.options.insecure)
    return Elsewhere(registry, there)
