"""What all verbs' functions use to show a result: one JSON document, or tables and text."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console, RenderableType

from pipeline.errors import UsageError
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


def write_out(data: bytes, output: str | None) -> None:
    """Write a document to a file that is made whole or not at all, or to stdout.

    Raises:
        UsageError: The file cannot be written.
    """
    if output is None:
        sys.stdout.buffer.write(data)
        return
    target = Path(output)
    partial = target.with_name(f".{target.name}.part")
    try:
        partial.write_bytes(data)
        partial.replace(target)
    except OSError as error:
        raise UsageError(
            f"{output} cannot be written: {error}", hint="name a file in a folder that you may write to"
        ) from error


class _Console(Console):
    """Leaves it to `cli` to say what a reader that went away means."""

    def on_broken_pipe(self) -> None:
        """Raise what was met.

        Raises:
            BrokenPipeError: Always.
        """
        raise BrokenPipeError


def console(stream: TextIO | None = None) -> Console:
    """Return a console, on stdout unless told, as wide as the terminal or as a pipe is taken to be."""
    target = stream or sys.stdout
    width = None if target.isatty() else _WIDTH_OF_A_PIPE
    return _Console(file=target, width=width, highlight=False, markup=False)
