"""A small estate for tests of what is seen of releases: a base, hosts on it, and what became of them."""

from __future__ import annotations

import dataclasses
import datetime as dt
import io
import sys
from collections.abc import Callable, Iterable
from typing import TypeVar

from records import candidate, seal
from rich.console import Console, RenderableType

from pipeline.domain.decision import Release
from pipeline.domain.image import Repository, Tier
from pipeline.domain.record import Candidate, Parent
from pipeline.domain.release import Seal

_T = TypeVar("_T")


def repository(image: str) -> Repository:
    return Repository(registry="127.0.0.1:5000", path=f"os/debian/{image}")


def base(version: str, number: int) -> tuple[Candidate, Seal]:
    """A candidate of the base that nothing is below, and its release."""
    one = candidate(number, parent=None)
    return one, seal(version, of=one)


def host(name: str, version: str, number: int, on: Seal) -> tuple[Candidate, Seal]:
    """A candidate of a host on a release of the base, and its release."""
    one = candidate(
        number,
        image=name,
        tier=Tier.INSTANCE,
        repository=repository(name),
        parent=Parent(image=on.name, digest=on.digest),
    )
    return one, seal(version, of=one, parent=Release(version=on.version, digest=on.digest))


def waiting(name: str, number: int, on: Seal, **changes: object) -> Candidate:
    """A candidate of a host that is no release yet."""
    return dataclasses.replace(host(name, "1.0.0", number, on)[0], **changes)  # type: ignore[arg-type]


def later(one: Seal, **ago: float) -> dt.datetime:
    return one.time + dt.timedelta(**ago)


def shown(parts: Iterable[RenderableType], width: int = 160) -> str:
    """Return what a person sees."""
    stream = io.StringIO()
    console = Console(file=stream, width=width, highlight=False, markup=False)
    for part in parts:
        console.print(part)
    return stream.getvalue()


def counted(work: Callable[[], _T]) -> tuple[_T, int]:
    """Return what a function returns, and how many functions were called for it."""
    calls = 0

    def on_event(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(on_event)
    try:
        found = work()
    finally:
        sys.setprofile(before)
    return found, calls
