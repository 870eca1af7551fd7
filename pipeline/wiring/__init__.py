"""The composition root: joins verbs to adapters.

Together with `cli` and `commands` the only place that sees everything. The clock, the environment and
randomness are read here and handed down.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pipeline.wiring.parts import Parts, container_limits

if TYPE_CHECKING:
    import argparse

__all__ = ["Parts", "container_limits", "run_verb"]


def run_verb(options: argparse.Namespace, *, environment: Mapping[str, str]) -> int:
    """Do the verb that was asked for and return the exit code."""
    from pipeline import commands  # noqa: PLC0415 - needs this module

    return commands.VERBS[options.verb](Parts(options, environment))
