"""What `rpm-ostree status --json` says, as a state.

Rules: deployments stand in boot order, so the first one boots next; a staged one is first and is written at
shutdown. `rpm-ostree rollback` is the same toggle as bootc's: it swaps the first two that are written. A
deployment of a plain ostree branch has no image digest and is unknown by digest. One with layered packages or
overrides is foreign: its content is not an image's alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.domain.hostcontrol.reading import Table
from pipeline.domain.hostcontrol.state import BootEntry, HostState, System, Timer, digest_or_none

_SCHEMES = (
    "ostree-image-signed:docker://",
    "ostree-image-signed:registry:",
    "ostree-unverified-image:docker://",
    "ostree-unverified-image:registry:",
    "ostree-unverified-registry:",
)
_LOCKED = ("finalization-locked", "staged-finalization-locked")
_LAYERED = ("requested-packages", "requested-local-packages", "requested-base-removals")


def parse_rpm_ostree(text: str, timers: tuple[Timer, ...] = ()) -> HostState:
    """Return the state a status document tells.

    Raises:
        HostError: It is no JSON object, or a value has another type than the document's form says.
    """
    document = Table.parse(System.RPM_OSTREE, text)
    rows = list(document.tables("deployments"))
    staged = next((_entry(row) for row in rows if row.flag("staged")), None)
    written = [row for row in rows if not row.flag("staged")]
    at = next((number for number, row in enumerate(written) if row.flag("booted")), None)
    entries = [_entry(row) for row in written]
    booted = None if at is None else entries[at]
    fallback_at = _fallback(at, len(entries))
    queued = None if at is None else at > 0
    return HostState(
        system=System.RPM_OSTREE,
        booted=booted,
        staged=staged,
        fallback=None if fallback_at is None else entries[fallback_at],
        next=staged if staged is not None and not staged.held else _first(entries),
        others=tuple(entry for number, entry in enumerate(entries) if number not in (at, fallback_at)),
        queued=queued,
        unknown=frozenset({"queued"} if queued is None else ()),
        busy="a transaction of rpm-ostree" if document.filled("transaction") else "",
        timers=timers,
    )


def _fallback(at: int | None, count: int) -> int | None:
    """Return the place of what a toggle would boot: the first if it is not booted, else the second."""
    if at is None:
        return None
    other = 1 if at == 0 else 0
    return other if other < count else None


def _first(entries: Sequence[BootEntry]) -> BootEntry | None:
    return entries[0] if entries else None


def _entry(row: Table) -> BootEntry:
    return BootEntry(
        reference=_reference(row.text("container-image-reference")) or row.text("origin"),
        digest=digest_or_none(row.text("container-image-reference-digest")),
        version=row.text("version") or "",
        pinned=row.flag("pinned") is True,
        held=any(row.flag(key) is True for key in _LOCKED),
        foreign=any(row.filled(key) for key in _LAYERED),
    )


def _reference(text: str | None) -> str | None:
    """Return the image's name without the scheme that says how it is verified."""
    for scheme in _SCHEMES:
        if text is not None and text.startswith(scheme):
            return text.removeprefix(scheme)
    return text
