"""The list of all gates, in the order in which people read the answers.

Rules: a gate is listed here or it does not exist; names are unique, for waivers name gates.
"""

from __future__ import annotations

from pipeline.domain.gate import Gate
from pipeline.domain.gates import instance, layout, modules, packages, policy, secrets


def all_gates() -> tuple[Gate, ...]:
    """Return every gate: kernel and modules, leftovers, secrets, policy, layout, a host's configuration."""
    return (*modules.GATES, *packages.GATES, *secrets.GATES, *policy.GATES, *layout.GATES, *instance.GATES)
