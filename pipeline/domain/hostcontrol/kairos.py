"""What a Kairos host says of itself, as a state: which of its three slots runs, and what each holds.

Rules: slots are `active`, `passive` and `recovery`; `kairos-agent state get boot` names the one that runs,
`state.yaml` on the state partition what each was installed from. The next boot takes the active slot, unless
one boot of another entry was selected, which nothing on the host tells; so what runs as passive is never
taken for durable. An upgrade writes the active slot and, when that one runs, keeps it as passive: a record
younger than the boot therefore names as passive what runs, and as active what the next boot takes. A record
without a date does not tell what runs.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping
from typing import Any

import yaml

from pipeline.domain.hostcontrol.state import BootEntry, HostState, System, digest_or_none, not_understood

STATE_FILE = "/run/initramfs/cos-state/state.yaml"
"""Where a running host has its state partition's record of what was installed."""

ACTIVE, PASSIVE, RECOVERY = "active", "passive", "recovery"
_PLACES = ((ACTIVE, "state"), (PASSIVE, "state"), (RECOVERY, "recovery"))
_LIMIT = 256 << 10


def parse_kairos(boot: str, record: str | None, started: int | None, busy: str = "") -> HostState:
    """Return the state.

    Args:
        boot: What `kairos-agent state get boot` printed, such as `active_boot`.
        record: Content of `state.yaml`, or None where the host has none.
        started: When the host booted, in seconds since 1970, or None where it does not tell.
        busy: What the host was doing to its images just before it was asked, or "".

    Raises:
        HostError: The record is no YAML of the known form.
    """
    slot = boot.strip().removesuffix("_boot")
    document = _parsed(record)
    entries = _entries(document)
    known = slot in entries
    runs = _running(slot, entries, document.get("date"), started) if known else None
    others = tuple(entry for name, entry in entries.items() if name not in (slot, ACTIVE, PASSIVE))
    return HostState(
        system=System.KAIROS,
        booted=runs,
        staged=entries[ACTIVE] if slot != ACTIVE else None,
        fallback=entries[PASSIVE] if slot != PASSIVE else None,
        next=entries[ACTIVE],
        others=others,
        queued=None,
        unknown=frozenset({"queued"}),
        read_only=not known,
        busy=busy,
    )


def _running(slot: str, entries: Mapping[str, BootEntry], written: object, started: int | None) -> BootEntry:
    if slot != ACTIVE:
        return entries[slot]
    moment = _seconds(written)
    if moment is None or started is None:
        return BootEntry(slot=slot)
    return dataclasses.replace(entries[PASSIVE], slot=slot) if moment >= started else entries[slot]


def _seconds(written: object) -> float | None:
    """Return a record's date in seconds since 1970; YAML may have made a time of it already."""
    try:
        moment = dt.datetime.fromisoformat(written) if isinstance(written, str) else written
    except ValueError:
        return None
    if not isinstance(moment, dt.datetime):
        return None
    return moment.replace(tzinfo=moment.tzinfo or dt.UTC).timestamp()


def _entries(document: Mapping[str, Any]) -> dict[str, BootEntry]:
    return {slot: _entry(slot, _inner(_inner(document, place), slot)) for slot, place in _PLACES}


def _parsed(record: str | None) -> Mapping[str, Any]:
    if record is None:
        return {}
    if len(record) > _LIMIT:
        not_understood(System.KAIROS, f"state.yaml is larger than {_LIMIT} characters")
    try:
        document = yaml.safe_load(record)
    except (yaml.YAMLError, ValueError, RecursionError):
        not_understood(System.KAIROS, "state.yaml is no YAML")
    if document is not None and not isinstance(document, Mapping):
        not_understood(System.KAIROS, "state.yaml is no mapping")
    return document or {}


def _inner(table: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = table.get(key)
    return value if isinstance(value, Mapping) else {}


def _entry(slot: str, table: Mapping[str, Any]) -> BootEntry:
    source = table.get("source")
    reference = source.partition("://")[2] or source if isinstance(source, str) else None
    named = digest_or_none(reference.partition("@")[2]) if reference is not None else None
    said = digest_or_none(_inner(table, "source-metadata").get("digest"))
    # The digest that was asked for: what the agent notes beside it may be that of a platform's manifest.
    return BootEntry(reference=reference, digest=named or said, slot=slot)
