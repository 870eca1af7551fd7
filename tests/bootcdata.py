"""bootc's published documents, and hosts whose documents must be like them.

The documents lie in `shared/data/bootc` beside the checkout, or where BOOTC_DATA says.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from hostmachine import entry, machine_state

BESIDE = Path(__file__).parents[2] / "shared" / "data" / "bootc"


def published_bootc() -> Path:
    """Return the folder; whether it is there is for a test to say."""
    return Path(os.environ.get("BOOTC_DATA") or BESIDE)


HOSTS: dict[str, dict[str, Any]] = {
    "one image": machine_state("bootc", 1),
    "a fallback": machine_state("bootc", 2, 1),
    "a queued rollback": machine_state("bootc", 2, 1, booted=1),
    "a staged update": machine_state("bootc", 2, 1, staged=entry(3)),
    "held back": machine_state("bootc", 2, 1, staged=entry(3, held=True)),
    "pinned": {**machine_state("bootc"), "entries": [entry(3), entry(2), entry(1, pinned=True)]},
    "unknown": {**machine_state("bootc"), "entries": [entry(3), entry(2, unknown=True)]},
    "layered": {**machine_state("bootc"), "entries": [entry(3, foreign=True)]},
    "composefs": machine_state("bootc", 2, 1, type=None),
    "few keys": machine_state("bootc", 2, 1, absent=["status.staged", "status.rollbackQueued", "spec"]),
}
