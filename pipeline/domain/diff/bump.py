"""Which version a release should get, proposed from what differs, with the reasons.

Rules: another kernel release or another major version of the system is major; a package or module that
came, went or moved beyond a patch is minor, and so is anything a host would do differently (units, users,
kernel arguments, policy, rights, containers); everything less, a rebuild or patch updates, is a patch. A
package that goes down, and what could not be read, are never a mere patch. A person may raise the proposal.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from pipeline.domain.diff.difference import Difference
from pipeline.domain.diff.kernel import versions
from pipeline.domain.diff.packages import Direction, direction

_NUMBERS = re.compile(r"[0-9]+")


class Bump(IntEnum):
    """Which number of a version goes up; greater is more."""

    PATCH = 1
    MINOR = 2
    MAJOR = 3

    @property
    def word(self) -> str:
        """The word on the command line."""
        return self.name.lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """The least bump that tells the truth, and why; each reason with the bump it asks for, greatest first."""

    bump: Bump
    reasons: tuple[tuple[Bump, str], ...]


def propose(difference: Difference) -> Proposal:
    """Return the proposed bump."""
    if difference.first:
        return Proposal(bump=Bump.MAJOR, reasons=((Bump.MAJOR, "first release"),))
    reasons = sorted(_reasons(difference), key=lambda one: (-one[0], one[1]))
    if not reasons:
        reasons = [(Bump.PATCH, "a rebuild: nothing differs but when and how it was built")]
    return Proposal(bump=reasons[0][0], reasons=tuple(reasons))


def beyond_patch(old: str, new: str) -> bool:
    """Return whether two versions differ in their epoch or first two numbers, or cannot be compared.

    A version with a single number (a date, a serial) is beyond a patch when that number differs.
    """
    before, after = _leading(old), _leading(new)
    return before is None or after is None or before != after


def _leading(version: str) -> tuple[str, ...] | None:
    epoch, colon, rest = version.partition(":")
    upstream = (rest if colon else version).rpartition("-")[0] or (rest if colon else version)
    numbers = [number.lstrip("0") or "0" for number in _NUMBERS.findall(upstream)]
    return (epoch if colon else "0", *numbers[:2]) if numbers else None


def _reasons(difference: Difference) -> Iterator[tuple[Bump, str]]:
    yield from _major(difference)
    yield from _packages(difference)
    yield from _modules(difference)
    yield from _behaviour(difference)
    if difference.files or difference.texts:
        count = sum(area.total for area in difference.areas)
        yield Bump.PATCH, f"{_counted(count, 'file')} changed"


def _major(difference: Difference) -> Iterator[tuple[Bump, str]]:
    kernel, system = difference.kernel, difference.system
    if kernel.old != kernel.new:
        yield Bump.MAJOR, f"kernel {', '.join(kernel.old) or 'none'} → {', '.join(kernel.new) or 'none'}"
    if system.differs:
        bump = Bump.MAJOR if system.major else Bump.MINOR
        yield bump, f"{system.old_name or system.old_id} → {system.new_name or system.new_id}"


def _packages(difference: Difference) -> Iterator[tuple[Bump, str]]:
    for change in difference.packages:
        where = direction(change)
        if where in (Direction.ADDED, Direction.REMOVED):
            yield Bump.MINOR, f"package {change.name} {where.value}"
        elif where is Direction.SAME or change.old is None or change.new is None:
            yield Bump.PATCH, f"package {change.name} rebuilt"
        else:
            old, new = change.old.version, change.new.version
            least = Bump.MINOR if where is Direction.DOWN or beyond_patch(old, new) else Bump.PATCH
            yield least, f"package {change.name} {old} → {new}"


def _modules(difference: Difference) -> Iterator[tuple[Bump, str]]:
    changed = versions(difference.modules)
    for change in changed:
        if change.old is None or change.new is None:
            yield Bump.MINOR, f"module {change.name} {change.kind.value}"
        else:
            least = Bump.MINOR if beyond_patch(change.old, change.new) else Bump.PATCH
            yield least, f"module {change.name} {change.old} → {change.new}"
    if difference.modules and not changed:
        yield Bump.PATCH, f"{_counted(len(difference.modules), 'module')} rebuilt"


def _behaviour(difference: Difference) -> Iterator[tuple[Bump, str]]:
    for found, words in (
        (difference.units, "what systemd starts"),
        (difference.accounts, "users and groups"),
        (difference.privileges, "setuid, capabilities or devices"),
        (difference.policy.scopes or difference.policy.faults, "the signature policy"),
        (difference.kargs, "kernel arguments"),
        (difference.containers or difference.bound, "container images"),
        (difference.config, "the image's config"),
        (difference.unread, "what could not be read"),
    ):
        if found:
            yield Bump.MINOR, f"{words}: {_counted(len(found), 'change')}"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
