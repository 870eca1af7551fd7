"""What all verbs' functions use to show a result: one JSON document, or tables and text."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console, RenderableType

from pipeline.wiring import Parts

_WIDTH_OF_A_PIPE = 160


def show(parts: Parts, shown: Sequence[RenderableType], data: Any) -> None:
    """Print JSON for programs, or tables and text for people."""
    if parts.options.json:
        sys.stdout.write(json.dumps(data, indent=2, ensure_ascii=False) + "\n")
        return
    screen = console()
    for one in shown:
        screen.print(one)


class _Console(Console):
    """Leaves it to `cli` to say what a reader that went away means."""

    def on_broken_pipe(self) -> None:
        """Raise what was met.

        Raises:
            BrokenPipeError: Always.
        """
        raise BrokenPipeError


def console() -> Console:
    """Return a console on stdout, as wide as the terminal or as a pipe is taken to be."""
    width = None if sys.stdout.isatty() else _WIDTH_OF_A_PIPE
    return _Console(file=sys.stdout, width=width, highlight=False, markup=False)
