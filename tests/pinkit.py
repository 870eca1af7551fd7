"""What tests of pins ask of a yard: kernels that fail, a search among some, what was compiled."""

from __future__ import annotations

from typing import Any

from buildkit import Yard, offer, release

from pipeline.domain.pin import Pin
from pipeline.domain.record import Candidate
from pipeline.verbs.pin import pin

ALL = (117, 116, 113, 111, 94)


def parent(yard: Yard) -> Candidate:
    return yard.world.records[0]


def fail(yard: Yard, *numbers: int, module: str = "nvidia") -> None:
    yard.world.fails |= {(module, release(number)) for number in numbers}


def kernels(yard: Yard) -> list[str]:
    """Return the kernels something was compiled for, in order, each once."""
    return list(dict.fromkeys(name for _, name in yard.world.compiled))


def searched(yard: Yard, *numbers: int, **offered: Any) -> Pin:
    """Pin the base from an offer of these kernels."""
    return pin(yard.run, yard.base, offer(parent(yard), numbers, **offered), yard.pins)
