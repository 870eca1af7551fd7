"""What the gates on files and packages share: exemptions, readings that may miss, and how an answer is put.

Rules: a list of findings is bounded, and what was left out is counted; an exemption is a pattern of the
definition with its reason, never a habit of a gate.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable, Sequence

from pipeline.domain.gate import Finding, Verdict
from pipeline.domain.tree import Tree
from pipeline.errors import NotFoundError

MOST_DETAILS = 60
"""Findings listed one by one."""


def matcher(patterns: Iterable[str]) -> Callable[[str], bool]:
    """Return a test whether a name or path matches any of the fnmatch patterns (`*` also matches `/`)."""
    joined = "|".join(fnmatch.translate(pattern) for pattern in patterns)
    if not joined:
        return lambda _: False
    found = re.compile(joined)
    return lambda text: found.match(text) is not None


def answer(found: Sequence[str], *, clean: str, bad: str, notes: Sequence[str] = ()) -> Finding:
    """Return a pass with the summary `clean`, or a fail that lists what was found.

    Args:
        found: One line for each finding.
        clean: Summary of the pass.
        bad: Summary of the fail, after the number of findings.
        notes: Lines worth knowing either way.
    """
    if not found:
        return Finding(verdict=Verdict.PASS, summary=clean, details=bounded(notes))
    summary = f"{len(found)} {'finding' if len(found) == 1 else 'findings'}: {bad}"
    return Finding(verdict=Verdict.FAIL, summary=summary, details=(*bounded(found), *bounded(notes)))


def bounded(lines: Sequence[str]) -> tuple[str, ...]:
    """Return the first lines, and how many more there are."""
    if len(lines) <= MOST_DETAILS:
        return tuple(lines)
    return (*lines[:MOST_DETAILS], f"… and {len(lines) - MOST_DETAILS} more")


def read(tree: Tree, path: str, *, limit: int) -> bytes | None:
    """Return a file's bytes, or None when it is missing, larger than `limit` bytes or a broken link."""
    try:
        return tree.read(path, limit=limit)
    except NotFoundError:
        return None


def etc(tree: Tree, path: str) -> str:
    """Return where a file of `/etc` is in the image: there, or in `/usr/etc`, its origin."""
    twin = f"/usr{path}"
    if path.startswith("/etc/") and tree.entry(path) is None and tree.entry(twin) is not None:
        return twin
    return path
