"""Makes a host's one definition from its file and its roles' files, or says what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from pipeline.domain.host import HostDefinition
from pipeline.domain.merge import Layer, Merged, merge
from pipeline.domain.nearest import nearest
from pipeline.domain.validation import validate
from pipeline.problem import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class MergedHost:
    """A host's definition with its roles, and where each value stands."""

    definition: HostDefinition
    merged: Merged


def merged_host(
    host: Layer, roles: Mapping[str, Layer], *, broken: frozenset[str] = frozenset()
) -> MergedHost | tuple[Problem, ...]:
    """Return the host with its roles, or its problems.

    Args:
        host: The host's own file, whose types have been checked.
        roles: The line's roles by name.
        broken: Roles whose files had problems; a host that has one is refused without a further complaint.
    """
    named = host.values.get("roles", ())
    unknown = [
        Problem(
            file=host.file,
            line=host.origin(("roles", str(index))).line,
            key=f"roles.{index}",
            message=f"there is no role {name!r}",
            hint=nearest(name, roles),
        )
        for index, name in enumerate(named)
        if name not in roles and name not in broken
    ]
    if unknown or any(name in broken for name in named):
        return tuple(unknown)
    merged, conflicts = merge(host, [roles[name] for name in named])
    if conflicts:
        return conflicts
    result = validate(HostDefinition, merged.values, file=host.file, lines={})
    if isinstance(result, tuple):
        return tuple(_located(problem, merged) for problem in result)
    return MergedHost(definition=result, merged=merged)


def _located(problem: Problem, merged: Merged) -> Problem:
    origin = merged.origin(problem.key)
    return problem if origin is None else replace(problem, file=origin.file, line=origin.line)
