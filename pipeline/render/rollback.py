"""What a rollback would do, did, and what does not come back with it: for people and as JSON.

Rules: warnings stand last before the commands, so that they are read; commands are printed whole, to be
pasted; texts from images and hosts are printed literally and harmless; the JSON has the same, whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from pipeline.domain.diff.groups import Group
from pipeline.domain.hostcontrol.plan import PlanStep
from pipeline.domain.hostcontrol.rollback import (
    FleetOutcome,
    FleetPlan,
    NotDone,
    RollbackOutcome,
    RollbackPlan,
)
from pipeline.domain.hostcontrol.state import HostState, System
from pipeline.domain.hostcontrol.wayback import WayBack
from pipeline.domain.lineage import CHANNEL
from pipeline.domain.release import Seal
from pipeline.domain.text import plain

_MOST = 12
"""Changes of one kind that are listed."""
_LONGEST = 2000
Line = tuple[str, str]
"""A text and its style."""


def show_plan(plan: RollbackPlan, *, console: Console, as_json: bool) -> None:
    """Print what would be done to one host."""
    if as_json:
        _write(plan_json(plan), console)
        return
    _print(plan_lines(plan), console)


def show_outcome(outcome: RollbackOutcome, *, console: Console, as_json: bool) -> None:
    """Print what was done to one host."""
    if as_json:
        _write(outcome_json(outcome), console)
        return
    _print(outcome_lines(outcome), console)


def show_fleet_plan(plan: FleetPlan, *, console: Console, as_json: bool) -> None:
    """Print what would be done to many hosts."""
    if as_json:
        refused = [_not_done_json(one) for one in plan.refused]
        plans = [plan_json(one) for one in plan.plans]
        _write({"waves": list(plan.waves), "plans": plans, "refused": refused}, console)
        return
    for one in plan.plans:
        _print(plan_lines(one), console)
        console.print()
    _print(_not_done_lines(plan.refused), console)
    waves = " + ".join(str(size) for size in plan.waves)
    _print([(f"{len(plan.plans)} hosts would be rolled back, in waves of {waves}", "bold")], console)


def show_fleet_outcome(outcome: FleetOutcome, *, console: Console, as_json: bool) -> None:
    """Print what became of many hosts."""
    if as_json:
        _write(
            {
                "outcomes": [outcome_json(one) for one in outcome.outcomes],
                "failed": [_not_done_json(one) for one in outcome.failed],
                "left": list(outcome.left),
            },
            console,
        )
        return
    for one in outcome.outcomes:
        _print([(_result(one), "green")], console)
    _print(_not_done_lines(outcome.failed), console)
    _print([(f"{name}: not begun", "yellow") for name in outcome.left], console)


def plan_lines(plan: RollbackPlan) -> Iterator[Line]:
    """Yield a plan for people."""
    seal = plan.seal
    yield f"{seal.name}: {_version(plan.left)} → v{seal.version}  {seal.repository}@{seal.digest}", "bold"
    yield f"  why: {plan.why}", ""
    for problem in plan.problems:
        yield f"  DOES NOT VERIFY: {problem}", "bold red"
    held = "nothing" if plan.channel is None else str(plan.channel)
    if plan.down:
        yield f"  THE CHANNEL IS NOT MOVED, run this again when the registry answers: {plan.down}", "bold red"
    else:
        yield ("  the channel stays" if not plan.moves else f"  the channel moves, from {held}"), ""
    yield from _host_lines(plan)
    yield from _change_lines(plan)
    for warning in plan.warnings:
        yield f"  ! {warning}", "yellow"
    yield from _by_hand(plan)


def outcome_lines(outcome: RollbackOutcome) -> Iterator[Line]:
    """Yield an outcome for people."""
    yield _result(outcome), "bold green"
    for step in outcome.steps:
        yield f"  done: {step}", ""
    if outcome.state is not None:
        yield from _state_lines(outcome.state)
    yield from _by_hand(outcome.plan)


def _result(outcome: RollbackOutcome) -> str:
    seal = outcome.plan.seal
    channel = "the channel was moved" if outcome.moved else "the channel was there"
    if outcome.plan.down:
        channel = "the channel was NOT moved (run this again when the registry answers)"
    host = "the host was not asked"
    if outcome.state is not None:
        host = "the host runs it" if not outcome.steps else "the host was switched and runs it"
    return f"{seal.name} v{seal.version}: {channel}, {host}"


def _host_lines(plan: RollbackPlan) -> Iterator[Line]:
    if plan.state is None:
        return
    yield from _state_lines(plan.state)
    for step in plan.steps:
        yield f"  {step.action}: {step}  ({step.why})", ""
    if not plan.steps:
        yield "  nothing is to be done on the host", ""


def _state_lines(state: HostState) -> Iterator[Line]:
    for role, entry in state.entries():
        yield f"  {role}: {entry}", "dim"


def _change_lines(plan: RollbackPlan) -> Iterator[Line]:
    if plan.unknown:
        yield f"  what differs is not known: {plan.unknown}", "yellow"
    if plan.changes is None:
        return
    for group in plan.changes.groups:
        yield from _group_lines(group)
    others = ", ".join(f"{title} {count}" for title, count in plan.changes.others)
    yield f"  also: {others or 'nothing else'}", "dim"
    yield f"  all of it: pipeline diff {plan.runs} {plan.seal.repository}@{plan.seal.digest}", "dim"


def _group_lines(group: Group) -> Iterator[Line]:
    yield f"  {group.title}: {group.count}", ""
    for item in group.items[:_MOST]:
        words = " → ".join(text for text in (item.before, item.after) if text)
        yield f"    {item.name} {item.how} {words}", ""
    if len(group.items) > _MOST:
        yield f"    … and {len(group.items) - _MOST} more", "dim"


def _by_hand(plan: RollbackPlan) -> Iterator[Line]:
    if plan.by_hand:
        yield "  on the host:", ""
    for system, commands in plan.by_hand.items():
        bootc = system is System.BOOTC
        yield (
            f"    {'' if bootc else f'where {system} manages it: '}{' && '.join(commands)}",
            ("bold" if bootc else "dim"),
        )


def plan_json(plan: RollbackPlan) -> dict[str, Any]:
    """Return a plan as JSON values."""
    seal = plan.seal
    return {
        "image": seal.name,
        "host": plan.host,
        "why": plan.why,
        "from": _release_json(plan.left),
        "to": _release_json(seal),
        "verifies": not plan.problems,
        "problems": list(plan.problems),
        "channel": {
            "tag": str(seal.repository.tagged(CHANNEL)),
            "names": None if plan.channel is None else str(plan.channel),
            "moves": plan.moves,
            "down": plan.down or None,
        },
        "runs": None if plan.runs is None else str(plan.runs),
        "changes": None if plan.changes is None else _changes_json(plan.changes),
        "changes_unknown": plan.unknown or None,
        "warnings": list(plan.warnings),
        "state": None if plan.state is None else state_json(plan.state),
        "steps": _steps_json(plan.steps),
        "by_hand": {system.value: list(commands) for system, commands in plan.by_hand.items()},
    }


def outcome_json(outcome: RollbackOutcome) -> dict[str, Any]:
    """Return an outcome as JSON values: the plan, and what came of it."""
    return {
        "plan": plan_json(outcome.plan),
        "channel_moved": outcome.moved,
        "done": _steps_json(outcome.steps),
        "state": None if outcome.state is None else state_json(outcome.state),
    }


def state_json(state: HostState) -> dict[str, Any]:
    """Return what a host said of itself as JSON values; `unknown` names what it did not say."""
    return {
        "system": state.system.value,
        "entries": [
            {
                "role": role,
                "reference": entry.reference,
                "digest": None if entry.digest is None else str(entry.digest),
                "version": entry.version,
                "pinned": entry.pinned,
                "held": entry.held,
            }
            for role, entry in state.entries()
        ],
        "next": None if state.next is None or state.next.digest is None else str(state.next.digest),
        "queued": state.queued,
        "unknown": sorted(state.unknown),
        "complete": state.complete,
        "busy": state.busy,
    }


def _changes_json(changes: WayBack) -> dict[str, Any]:
    kinds = {
        group.kind: [
            {"name": item.name, "how": item.how, "before": item.before, "after": item.after}
            for item in group.items
        ]
        for group in changes.groups
    }
    return {**kinds, "others": dict(changes.others)}


def _steps_json(steps: Sequence[PlanStep]) -> list[dict[str, Any]]:
    return [{"action": step.action.value, "command": list(step.argv), "why": step.why} for step in steps]


def _release_json(seal: Seal | None) -> dict[str, str] | None:
    return None if seal is None else {"version": seal.version, "digest": str(seal.digest)}


def _not_done_json(one: NotDone) -> dict[str, str]:
    return {"image": one.name, "error": one.error.message, "hint": one.error.hint}


def _not_done_lines(failures: Sequence[NotDone]) -> Iterator[Line]:
    for one in failures:
        for line in f"{one.name}: {one.error.message}".split("\n"):
            yield line, "bold red"


def _version(seal: Seal | None) -> str:
    return "no release" if seal is None else f"v{seal.version}"


def _print(lines: Iterator[Line] | Sequence[Line], console: Console) -> None:
    for text, style in lines:
        console.print(Text(plain(text, _LONGEST), style=style), soft_wrap=True)


def _write(data: dict[str, Any], console: Console) -> None:
    console.file.write(json.dumps(data, indent=2, ensure_ascii=False) + "\n")
