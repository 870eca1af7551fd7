"""Answers of gates that hosts on one base share: what no host's layer touches is judged once.

Rules: an answer is kept with every path the gate looked at; it holds for another host when neither host's
layer changes what is at any of these paths, nor a link on the way there, nor, where a directory was listed
or walked, anything below it. A gate that ran a program, or was given other packages or another expectation,
is asked again. Only gates that bases have too are kept: the others look at what the host brought.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from pipeline.domain.gate import CommandResult, Expectations, Finding, Gate, Inside, Package, Subject
from pipeline.domain.image import Tier
from pipeline.domain.overlaid import OverlaidTree
from pipeline.domain.tree import Entry, Tree

Look = tuple[str, bool]
"""A path that was looked at, and whether everything below it was, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    finding: Finding
    looks: frozenset[Look]
    expected: Expectations
    packages: tuple[Package, ...] | None

    def holds(self, subject: Subject, tree: OverlaidTree) -> bool:
        return (
            self.expected == _expected(subject)
            and self.packages == subject.packages
            and all(tree.is_base(path, below=below) for path, below in self.looks)
        )


class Recall:
    """Keeps answers for the hosts of one base; used from several threads."""

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}
        self._lock = threading.Lock()

    def gates(self, gates: Sequence[Gate], tree: OverlaidTree) -> tuple[Gate, ...]:
        """Return the gates for one host, those that bases have too with a memory."""
        return tuple(self._remembering(gate, tree) if Tier.BASE in gate.tiers else gate for gate in gates)

    def _remembering(self, gate: Gate, tree: OverlaidTree) -> Gate:
        def rule(subject: Subject) -> Finding:
            with self._lock:
                kept = self._kept.get(gate.name)
            if kept is not None and kept.holds(subject, tree):
                return kept.finding
            return self._asked(gate, subject, tree)

        return replace(gate, rule=rule)

    def _asked(self, gate: Gate, subject: Subject, tree: OverlaidTree) -> Finding:
        traced, inside = _TracedTree(subject.tree), _TracedInside(subject.inside)
        finding = gate.rule(replace(subject, tree=traced, inside=inside))
        looks = frozenset(traced.looks)
        if not inside.asked and all(tree.is_base(path, below=below) for path, below in looks):
            kept = _Kept(finding=finding, looks=looks, expected=_expected(subject), packages=subject.packages)
            with self._lock:
                self._kept[gate.name] = kept
        return finding


def _expected(subject: Subject) -> Expectations:
    """Return what is expected without the waivers, which are applied to answers and never asked by a gate."""
    return replace(subject.expected, waivers={})


class _TracedTree:
    """Keeps what is looked at."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self.looks: set[Look] = set()

    def entry(self, path: str) -> Entry | None:
        self.looks.add((path, False))
        return self._tree.entry(path)

    def read(self, path: str, *, limit: int = 1 << 30) -> bytes:
        self.looks.add((path, False))
        return self._tree.read(path, limit=limit)

    def list(self, path: str) -> tuple[str, ...]:
        self.looks.add((path, True))
        return self._tree.list(path)

    def walk(self, top: str = "/") -> Iterator[Entry]:
        self.looks.add((top, True))
        yield from self._tree.walk(top)


class _TracedInside:
    """Keeps whether a program was run."""

    def __init__(self, inside: Inside) -> None:
        self._inside = inside
        self.asked = False

    def __call__(self, argv: Sequence[str], *, stdin: str = "", timeout: float = 120.0) -> CommandResult:
        self.asked = True
        return self._inside(argv, stdin=stdin, timeout=timeout)
