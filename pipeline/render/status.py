"""How everything stands, for people at three in the morning, and as JSON.

Rules: the worst first; images and hosts of which the same is to be said are told together, so that a
thousand hosts stay one screen, unless each is asked for; texts of records are printed literally; the JSON is
complete and never grouped.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from pipeline.domain.decision import Release
from pipeline.domain.image import Tier
from pipeline.domain.record_codec import stamp
from pipeline.domain.release import Deployment, Seal
from pipeline.domain.seen import Status
from pipeline.domain.text import plain
from pipeline.domain.trouble import HostStatus, ImageStatus, Severity, Trouble
from pipeline.domain.waiting import Stage, Wait
from pipeline.render.figures import age, many
from pipeline.render.yank import named

_LONGEST = 1000
_RED = (Severity.HOST_FAILED, Severity.CHANNEL_YANKED, Severity.HOST_YANKED)
_T = TypeVar("_T")


def as_shown(found: Status, *, every: bool) -> Iterator[RenderableType]:
    """Yield lines and tables; `every` groups nothing."""
    yield Text(_headline(found), style="bold")
    for notice in found.notices:
        yield Text(plain(notice, _LONGEST), style="bold red")
    for group in _groups(found.troubles, lambda one: (one.severity, one.says), every=every):
        yield from _trouble(group, found.now, every=every)
    if found.images:
        yield _images(found, every=every)
    if found.hosts:
        yield _hosts(found, every=every)


def as_json(found: Status) -> dict[str, Any]:
    """Return everything as JSON values; times are UTC."""
    return {
        "now": stamp(found.now),
        "notices": list(found.notices),
        "troubles": [trouble_json(one) for one in found.troubles],
        "images": [_image_json(one) for one in found.images],
        "hosts": [_host_json(one) for one in found.hosts],
    }


def trouble_json(one: Trouble) -> dict[str, Any]:
    """Return one trouble as JSON values."""
    return {
        "severity": one.severity.name.lower().replace("_", "-"),
        "subject": one.subject,
        "since": stamp(one.since),
        "says": one.says,
        "do": one.do,
    }


def _headline(found: Status) -> str:
    waiting = sum(one.waits is not None for one in found.images)
    parts = (
        f"{many(len(found.troubles), 'trouble')}" if found.troubles else "no trouble",
        f"{many(waiting, 'candidate')} waiting" if waiting else "nothing waits",
        many(len(found.images), "image"),
        many(len(found.hosts), "host"),
    )
    return ", ".join(parts)


def _trouble(group: Sequence[Trouble], now: dt.datetime, *, every: bool) -> Iterator[Text]:
    first = group[0]
    style = "red" if first.severity in _RED else "yellow"
    subjects = named([one.subject for one in group], every=every)
    since = f" ({age((now - first.since).total_seconds())})"
    yield Text(plain(f"{subjects}: {first.says}", _LONGEST) + since, style=style)
    if first.do:
        more = " and so for the others (--all shows each)" if len(group) > 1 else ""
        yield Text(f"  {plain(first.do, _LONGEST)}{more}", style="dim")


def _images(found: Status, *, every: bool) -> Table:
    table = _table("image", "newest release", "candidate", "waits for", "for")

    def alike(one: ImageStatus) -> Hashable:
        if one.tier is not Tier.INSTANCE:
            return one.name
        waits = one.waits
        return (
            one.name.partition("/")[0],
            one.newest and one.newest.version,
            waits and (waits.stage, waits.needs, waits.notes),
            one.released,
        )

    groups = _groups(found.images, alike, every=every)
    for group in sorted(groups, key=lambda group: _urgency(group[0])):
        table.add_row(*(Text(plain(cell, _LONGEST)) for cell in _image_row(group, found.now)))
    return table


def _urgency(one: ImageStatus) -> int:
    return len(Stage) if one.waits is None else list(Stage).index(one.waits.stage)


def _image_row(group: Sequence[ImageStatus], now: dt.datetime) -> tuple[str, ...]:
    one = group[0]
    candidates = [it.candidate for it in group if it.candidate is not None]
    waits = [it.waits for it in group if it.waits is not None]
    oldest = min((it.since for it in waits), default=None)
    return (
        _whose([it.name for it in group], "image"),
        "none" if one.newest is None else f"v{one.newest.version} ({_ago(one.newest.time, now)})",
        candidates[0].digest.short if len(candidates) == 1 else "",
        _waits(waits[0]) if waits else _idle(one),
        "" if oldest is None else _ago(oldest, now),
    )


def _idle(one: ImageStatus) -> str:
    if one.newest is not None:
        return "-"
    return "a new build: every release was yanked" if one.released else "its first build"


def _waits(wait: Wait) -> str:
    return "; ".join((*wait.needs, *(f"({note})" for note in wait.notes)))


def _hosts(found: Status, *, every: bool) -> Table:
    table = _table("host", "runs", "seen", "falls back to", "channel", "on the way to")

    def alike(one: HostStatus) -> Hashable:
        view = one.view
        mentioned = (view.runs, view.fallback, one.channel, view.wanted, view.staged, view.failed)
        return (view.name.partition("/")[0], *(it and it.version for it in mentioned))

    groups = _groups(found.hosts, alike, every=every)
    for group in sorted(groups, key=len):
        table.add_row(*(Text(plain(cell, _LONGEST)) for cell in _host_row(group, found.now)))
    return table


def _host_row(group: Sequence[HostStatus], now: dt.datetime) -> tuple[str, ...]:
    one = group[0]
    seen = sorted(it.view.runs.time for it in group if it.view.runs is not None)
    ages = dict.fromkeys(_ago(moment, now) for moment in (seen[-1], seen[0])) if seen else {}
    return (
        _whose([it.view.name for it in group], "host"),
        _version(one.view.runs),
        " to ".join(ages),
        _version(one.view.fallback),
        _version(one.channel, none="none"),
        _way(one, now),
    )


def _way(one: HostStatus, now: dt.datetime) -> str:
    view = one.view
    if view.wanted is not None:
        staged = ", staged" if view.staged is not None else ""
        return f"v{view.wanted.version} for {_ago(view.wanted.time, now)}{staged}"
    if view.failed is not None:
        return f"v{view.failed.version} FAILED"
    return "" if view.staged is None else f"v{view.staged.version} staged"


def _version(one: Deployment | Seal | Release | None, *, none: str = "unknown") -> str:
    return none if one is None else f"v{one.version}"


def _whose(names: list[str], what: str) -> str:
    """Return one name, or how many of a line, with the first of them."""
    if len(names) == 1:
        return names[0]
    line = names[0].partition("/")[0]
    short = [name.partition("/")[2] for name in names]
    return f"{many(len(names), what)} of {line}: {named(short, every=False)}"


def _ago(moment: dt.datetime, now: dt.datetime) -> str:
    return age((now - moment).total_seconds())


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _groups(found: Iterable[_T], alike: Callable[[_T], Hashable], *, every: bool) -> list[list[_T]]:
    """Return what belongs together, in the order of the first of each; each alone where that is asked."""
    if every:
        return [[one] for one in found]
    groups: dict[Hashable, list[_T]] = {}
    for one in found:
        groups.setdefault(alike(one), []).append(one)
    return list(groups.values())


def _image_json(one: ImageStatus) -> dict[str, Any]:
    candidate, waits = one.candidate, one.waits
    return {
        "name": one.name,
        "tier": None if one.tier is None else one.tier.value,
        "candidate": None
        if candidate is None
        else {"digest": str(candidate.digest), "record": candidate.id, "time": stamp(candidate.time)},
        "waits": None
        if waits is None
        else {
            "stage": waits.stage.value,
            "since": stamp(waits.since),
            "needs": list(waits.needs),
            "notes": list(waits.notes),
        },
        "newest": _release_json(one.newest),
        "released": one.released,
    }


def _host_json(one: HostStatus) -> dict[str, Any]:
    view = one.view
    return {
        "host": view.host,
        "image": view.name,
        "runs": _release_json(view.runs),
        "fallback": _release_json(view.fallback),
        "wanted": _release_json(view.wanted),
        "staged": _release_json(view.staged),
        "failed": _release_json(view.failed),
        "channel": _release_json(one.channel),
    }


def _release_json(one: Deployment | Seal | Release | None) -> dict[str, Any] | None:
    if one is None:
        return None
    found: dict[str, Any] = {"version": one.version, "digest": str(one.digest)}
    if not isinstance(one, Release):
        found |= {"time": stamp(one.time), "why": one.why}
    return found
