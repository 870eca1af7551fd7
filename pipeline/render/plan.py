"""A plan as a tree for people and as JSON for programs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.text import Text
from rich.tree import Tree

from pipeline.domain.plan import Plan, Step
from pipeline.domain.text import plain


def to_tree(plan: Plan) -> Tree:
    """Return the plan as a tree: each image hangs on the one it is built on."""
    tree = Tree(Text(f"line {plain(plan.line)}", style="bold"))
    branches: dict[str, Tree] = {}
    for step in plan.steps:
        above = branches.get(step.source)
        if above is None:
            above = tree.add(Text(plain(step.source), style="dim"))
            branches[step.source] = above
        branches[step.image] = above.add(_label(step))
    return tree


def to_json(plan: Plan) -> dict[str, Any]:
    """Return the plan as JSON values; keys are stable."""
    return {
        "line": plan.line,
        "steps": [
            {
                "image": step.image,
                "tier": step.tier.value,
                "repository": step.repository,
                "source": step.source,
                "parent": step.parent,
                "kernel": step.kernel,
                "modules": dict(step.modules),
                "obstacles": list(step.obstacles),
            }
            for step in plan.steps
        ],
    }


def _label(step: Step) -> Text:
    label = Text(plain(step.image), style="bold")
    label.append(f"  {step.tier}", style="cyan")
    for line in _facts(step):
        label.append(f"\n{plain(line, 400)}", style="default not bold")
    for obstacle in step.obstacles:
        label.append(f"\n! {plain(obstacle, 400)}", style="red not bold")
    return label


def _facts(step: Step) -> Iterable[str]:
    if step.parent is not None:
        yield f"from {step.parent}"
    if step.kernel is not None:
        yield f"kernel {step.kernel}"
    for name, version in step.modules.items():
        yield f"module {name} {version or '(no version pinned)'}"
    yield f"to   {step.repository}"
