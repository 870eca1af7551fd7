"""What a Kairos host says of itself, as a state: which of its three slots runs, and what each holds.

Rules: slots are `active`, `passive` and `recovery`; `kairos-agent state get boot` names the one that runs,
`state.yaml` on the state partition what each was installed from. The next boot takes the active slot, unless
one boot of another entry was selected, which nothing on the host tells; so what runs as passive is never
taken for durable. An upgrade writes the active slot and, when that one runs, keeps it as passive.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from pipeline.domain.hostcontrol.state import BootEntry, HostState, System, digest_or_none, not_understood

STATE_FILE = "/run/initramfs/cos-state/state.yaml"
"""Where a running host has its state partition's record of what was installed."""

ACTIVE, PASSIVE, RECOVERY = "active", "passive", "recovery"
_PLACES = ((ACTIVE, "state"), (PASSIVE, "state"), (RECOVERY, "recovery"))
_LIMIT = 256 << 10


def parse_kairos(boot: str, record: str | None) -> HostState:
    """Return the state.

    Args:
        boot: What `kairos-agent state get boot` printed, such as `active_boot`.
        record: Content of `state.yaml`, or None where the host has none.

    Raises:
        HostError: The record is no YAML of the known form.
    """
    slot = boot.strip().removesuffix("_boot")
    entries = _entries(record)
    known = slot in entries
    others = tuple(entry for name, entry in entries.items() if name not in (slot, ACTIVE, PASSIVE))
    return HostState(
        system=System.KAIROS,
        booted=entries[slot] if known else None,
        staged=entries[ACTIVE] if slot != ACTIVE else None,
        fallback=entries[PASSIVE] if slot != PASSIVE else None,
        next=entries[ACTIVE],
        others=others,
        queued=None,
        unknown=frozenset({"queued"}),
        read_only=not known,
    )


def _entries(record: str | None) -> dict[str, BootEntry]:
    document = _parsed(record)
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
