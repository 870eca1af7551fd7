"""What a yank did, and what it leaves to be done, for people and as JSON.

Rules: texts of records are printed literally; hosts that are to do the same are told together, unless each
is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.text import Text

from pipeline.domain.record import record_json
from pipeline.domain.seen import Affected, Yanking
from pipeline.domain.text import plain
from pipeline.render.figures import many

_LONGEST = 1000
_NAMED = 3
_USES = {
    "runs": "running",
    "staged": "about to boot",
    "wanted": "on the way to",
    "may fall back to": "that may fall back to",
    "channel": "whose channel names",
}


def as_text(found: Yanking, *, every: bool) -> Iterator[Text]:
    """Yield the lines; `every` names each host."""
    seal, yank = found.seal, found.yank
    did = "was yanked already" if found.already else "is yanked" if found.written else "would be yanked"
    yield Text(plain(f"{seal.name} v{seal.version} {did}: {yank.why}", _LONGEST), style="bold")
    yield Text(f"  {seal.repository}@{seal.digest}")
    yield Text("  it can still be pulled; nothing in the registry is touched")
    if found.tags:
        yield Text(f"still named by {', '.join(found.tags)}; each moves with the next release of its version")
    if found.children:
        names = named([f"{one.name} v{one.version}" for one in found.children], every=every)
        yield Text(plain(f"{many(len(found.children), 'release')} built on it: {names}", _LONGEST))
        yield Text("  build these images again on a good release")
    yield from _hosts(found, every=every)
    if not (found.tags or found.children or found.hosts):
        yield Text("nothing else names it and no host is known to run it")


def as_json(found: Yanking) -> dict[str, Any]:
    """Return everything as JSON values."""
    return {
        "yank": record_json(found.yank),
        "written": found.written,
        "already": found.already,
        "tags": list(found.tags),
        "children": [{"image": one.name, "version": one.version} for one in found.children],
        "fleet_command": found.fleet_command,
        "hosts": [
            {
                "host": one.host,
                "use": one.use,
                "image": one.seal.name,
                "version": one.seal.version,
                "to": None if one.to is None else one.to.version,
                "command": one.command,
            }
            for one in found.hosts
        ],
    }


def named(names: list[str], *, every: bool) -> str:
    """Return names as a list, the first of many only."""
    if every or len(names) <= _NAMED + 1:
        return ", ".join(names)
    return f"{', '.join(names[:_NAMED])} and {len(names) - _NAMED:,} more"


def _hosts(found: Yanking, *, every: bool) -> Iterator[Text]:
    alike: dict[tuple[str, bool], list[Affected]] = {}
    for one in found.hosts:
        alike.setdefault((one.use, one.to is None), []).append(one)
    for (use, stuck), hosts in alike.items():
        names = named([f"{one.host} (v{one.seal.version})" for one in hosts], every=every)
        what = f"{many(len(hosts), 'host')} {_USES[use]} it or what is built on it"
        yield Text(plain(f"{what}: {names}", _LONGEST), style="yellow")
        if stuck:
            yield Text("  no good release of these is left: build, approve and seal one")
            continue
        for one in hosts if every else hosts[:1]:
            yield Text(f"  {one.command}")
        if len(hosts) > 1 and not every:
            yield Text("  and so for the others (--all shows each)", style="dim")
    if found.fleet_command is not None:
        yield Text("all that can go back, in waves:")
        yield Text(f"  {found.fleet_command}")
