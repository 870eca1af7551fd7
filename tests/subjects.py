"""Subjects for gates, made of a tree in memory, and a short way to ask one gate."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from trees import Content, MemoryTree

from pipeline.domain.gate import CommandResult, Expectations, Inside, Package, Subject, Verdict
from pipeline.domain.gates.registry import all_gates
from pipeline.domain.image import Tier


class Answers:
    """An `Inside` that gives one answer and keeps what it was asked."""

    def __init__(self, code: int = 127, stdout: str = "", stderr: str = "") -> None:
        self.asked: list[tuple[str, ...]] = []
        self._result = CommandResult(code=code, stdout=stdout, stderr=stderr)

    def __call__(self, argv: Any, *, stdin: str = "", timeout: float = 120.0) -> CommandResult:
        self.asked.append(tuple(argv))
        return self._result


def subject(
    contents: Mapping[str, Content] | None = None,
    *,
    tier: Tier = Tier.BASE,
    packages: tuple[str, ...] | None = ("bash",),
    inside: Inside | None = None,
    **expected: Any,
) -> Subject:
    names = None if packages is None else tuple(Package(name=it, version="1") for it in packages)
    return Subject(
        tier=tier,
        tree=MemoryTree(contents or {}),
        inside=inside or Answers(),
        packages=names,
        expected=Expectations(**expected),
        now=dt.datetime(2026, 11, 21, tzinfo=dt.UTC),
    )


def ask(name: str, contents: Mapping[str, Content] | None = None, **rest: Any) -> tuple[Verdict, str]:
    """Ask one gate about contents; the answer is the verdict and all its text."""
    rules = {gate.name: gate.rule for gate in all_gates()}
    finding = rules[name](subject(contents, **rest))
    return finding.verdict, "\n".join((finding.summary, *finding.details))
