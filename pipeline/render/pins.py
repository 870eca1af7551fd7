"""Pins and their states as text and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from pipeline.domain.offer import Offer
from pipeline.domain.pin import Pin, PinState, PinVerdict
from pipeline.domain.text import plain

_COLOURS = {PinState.HOLDS: "green", PinState.OBSOLETE: "yellow", PinState.GONE: "red"}


def pin_table(name: str, pin: Pin) -> Table:
    """Return a pin with the kernels that were passed over."""
    table = Table(box=box.SIMPLE, show_header=False, title=f"pin of {plain(name)}", title_justify="left")
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    rows = [
        ("kernel", pin.kernel),
        ("kernel-devel", " ".join(pin.kernel_devel)),
        *((f"module {module}", version) for module, version in pin.modules.items()),
        ("upstream", f"{pin.upstream}@{pin.upstream_digest}"),
        ("reason", pin.reason),
        *((f"not {one.kernel}", one.reason) for one in pin.passed_over),
    ]
    if pin.expires is not None:
        rows.append(("by hand until", str(pin.expires)))
    for key, value in rows:
        table.add_row(Text(plain(key)), Text(plain(value, 400)))
    return table


def pin_json(name: str, pin: Pin) -> dict[str, Any]:
    """Return a pin as JSON values; keys are stable."""
    return {
        "base": name,
        "kernel": pin.kernel,
        "kernel_devel": list(pin.kernel_devel),
        "kernel_packages": list(pin.kernel_packages),
        "modules": dict(pin.modules),
        "userspace": dict(pin.userspace),
        "upstream": pin.upstream,
        "upstream_digest": str(pin.upstream_digest),
        "reason": pin.reason,
        "time": pin.time.isoformat(),
        "evidence": {key: str(value) for key, value in pin.evidence.items()},
        "passed_over": [{"kernel": one.kernel, "reason": one.reason} for one in pin.passed_over],
        "expires": None if pin.expires is None else pin.expires.isoformat(),
    }


def verdict_table(verdicts: Sequence[PinVerdict]) -> Table:
    """Return the states of pins."""
    table = Table(box=box.SIMPLE)
    for column in ("base", "kernel", "state", "why"):
        table.add_column(column, overflow="fold")
    for one in verdicts:
        state = Text(one.state.value, style=_COLOURS[one.state])
        why = Text("\n".join(plain(reason, 300) for reason in one.reasons))
        table.add_row(Text(plain(one.base)), Text(plain(one.pin.kernel)), state, why)
    return table


def verdict_json(verdicts: Sequence[PinVerdict]) -> list[dict[str, Any]]:
    """Return the states of pins as JSON values."""
    return [
        {
            "base": one.base,
            "kernel": one.pin.kernel,
            "state": one.state.value,
            "reasons": list(one.reasons),
        }
        for one in verdicts
    ]


def offer_table(name: str, offer: Offer) -> Table:
    """Return the kernels a base could have, newest first, and what speaks against each."""
    table = Table(box=box.SIMPLE, title=f"kernels for {plain(name)}", title_justify="left")
    for column in ("kernel", "package", "in the image", "verdict"):
        table.add_column(column, overflow="fold")
    dropped = {one.release: one.reason for one in offer.dropped}
    for one in offer.candidates:
        table.add_row(
            Text(plain(one.release)),
            Text(plain(one.package_version)),
            Text("yes" if one.in_image else ""),
            Text(plain(dropped.get(one.release, "to be proved"), 300)),
        )
    return table


def offer_json(name: str, offer: Offer) -> dict[str, Any]:
    """Return the kernels a base could have as JSON values."""
    dropped = {one.release: one.reason for one in offer.dropped}
    return {
        "base": name,
        "modules": dict(offer.modules),
        "userspace": dict(offer.userspace),
        "candidates": [
            {
                "kernel": one.release,
                "package_version": one.package_version,
                "in_image": one.in_image,
                "kernel_devel": one.devel_package or None,
                "dropped": dropped.get(one.release),
            }
            for one in offer.candidates
        ],
    }
