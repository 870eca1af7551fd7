"""What `bootc status --json` says (host v1), as a state.

Rules: a host is bootc's when `status.booted` is not null, whatever `status.type` says (on composefs hosts it
is null); a key that is absent is unknown. Older versions lack `rollbackQueued`; then nobody can tell whether
the toggle was pressed, unless `spec.bootOrder` does. What boots next: a staged entry that is not held back,
else the fallback when it is queued, else what runs.
"""

from __future__ import annotations

from pipeline.domain.hostcontrol.reading import Table
from pipeline.domain.hostcontrol.state import BootEntry, HostState, System, Timer, digest_or_none

_ORDERS = {"default": False, "rollback": True}


def parse_bootc(text: str, timers: tuple[Timer, ...] = (), busy: str = "") -> HostState:
    """Return the state a status document tells.

    Args:
        text: The document, JSON.
        timers: What updates the host by itself.
        busy: What the host was doing to its images just before it was asked, or "".

    Raises:
        HostError: It is no JSON object, or a value has another type than the document's form says.
    """
    document = Table.parse(System.BOOTC, text)
    status = document.table("status") or Table(System.BOOTC, {}, "the status.status")
    booted, staged, fallback = (_entry(status.table(key)) for key in ("booted", "staged", "rollback"))
    queued = _queued(document, status)
    absent = {name for key, name in (("staged", "staged"), ("rollback", "fallback")) if not status.has(key)}
    return HostState(
        system=System.BOOTC,
        booted=booted,
        staged=staged,
        fallback=fallback,
        next=_next(booted, staged, fallback, queued=queued, unsure="staged" in absent),
        others=tuple(entry for one in status.tables("otherDeployments") if (entry := _entry(one))),
        queued=queued,
        unknown=frozenset(absent | ({"queued"} if queued is None else set())),
        read_only=status.flag("readOnly") is True,
        busy=busy,
        timers=timers,
    )


def _queued(document: Table, status: Table) -> bool | None:
    said = status.flag("rollbackQueued")
    spec = document.table("spec")
    if said is not None or spec is None:
        return said
    return _ORDERS.get(spec.text("bootOrder") or "")


def _next(
    booted: BootEntry | None,
    staged: BootEntry | None,
    fallback: BootEntry | None,
    *,
    queued: bool | None,
    unsure: bool,
) -> BootEntry | None:
    if staged is not None and not staged.held:
        return staged
    if unsure or queued is None:
        return None
    return fallback if queued else booted


def _entry(entry: Table | None) -> BootEntry | None:
    if entry is None:
        return None
    status = entry.table("image")
    reference = status.table("image") if status is not None else None
    return BootEntry(
        reference=reference.text("image") if reference is not None else None,
        digest=digest_or_none(status.text("imageDigest")) if status is not None else None,
        version=(status.text("version") or "") if status is not None else "",
        pinned=entry.flag("pinned") is True,
        held=entry.flag("downloadOnly") is True,
        foreign=entry.flag("incompatible") is True,
    )
