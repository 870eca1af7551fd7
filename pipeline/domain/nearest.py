"""Hints that name what was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_MOST_NAMED = 20


def nearest(wrong: str, right: Iterable[str]) -> str:
    """Return a hint that names the nearest right name, or all there are."""
    names = sorted(right)
    close = difflib.get_close_matches(wrong, names, n=1, cutoff=0.5)
    if close:
        return f"did you mean {close[0]}?"
    return f"there are: {', '.join(names[:_MOST_NAMED])}" if names else "there are none yet"
