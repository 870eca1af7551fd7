"""The command's entry: parses the words, wires the parts, turns errors into exit codes.

The only place that reads the clock, the environment and randomness, and the only one that exits. An error
that nobody foresaw becomes a report file whose path is shown, never a traceback.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from pipeline.arguments import parser
from pipeline.errors import InternalError, InterruptedRunError, PipelineError

if TYPE_CHECKING:
    import argparse


_LONGEST_LINE = 20_000
"""Commands are shown whole, so that they can be pasted."""


class _Signalled(KeyboardInterrupt):
    """A signal that ends the run."""

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {number}")
        self.number = number


def _on_signal(number: int, _frame: FrameType | None) -> NoReturn:
    # A second one must not cut the cleaning-up short.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise _Signalled(number)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    signal.signal(signal.SIGTERM, _on_signal)
    signal.signal(signal.SIGINT, _on_signal)
    try:
        options = parser().parse_args(words)
        code = _run(options)
        sys.stdout.flush()
    except PipelineError as error:
        return _tell(error, words)
    except KeyboardInterrupt:
        interrupted = "interrupted; nothing half-done was left behind"
        return _tell(InterruptedRunError(interrupted, hint="run the same command again"), words)
    except BrokenPipeError:
        # The reader of our output went away (`pipeline log | head`): no fault of anybody.
        _discard_output()
        return 0
    except Exception as error:  # noqa: BLE001 - the boundary: everything unforeseen becomes a report
        return _tell(_report(error, words), words)
    return code


def _run(options: argparse.Namespace) -> int:
    from pipeline.wiring import run_verb  # noqa: PLC0415 - `--help` must not pay for it

    return run_verb(options, environment=os.environ)


def _tell(error: PipelineError, words: Sequence[str]) -> int:
    """Say what is wrong, for people, or as one more JSON line where `--json` was given."""
    message, hint = _harmless(error.message), _harmless(error.hint)
    said = f"pipeline: {message}\n  -> {hint}\n"
    if "--json" in words:  # also where the words themselves are what is wrong
        import json  # noqa: PLC0415 - only needed here

        told = {"event": "error", "exit_code": error.exit_code, "message": message, "hint": hint}
        said = f"{json.dumps(told)}\n"
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _discard_output()
    with contextlib.suppress(BrokenPipeError):
        sys.stderr.write(said)
    return error.exit_code


def _discard_output() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _harmless(text: str) -> str:
    """Return a message that may quote images, logs and registries without their control characters."""
    from pipeline.domain.text import plain  # noqa: PLC0415 - only needed when something is said

    return "\n".join(plain(line, _LONGEST_LINE) for line in text.split("\n"))


def _report(error: Exception, words: Sequence[str]) -> InternalError:
    import platform  # noqa: PLC0415 - only needed when something broke
    import tempfile  # noqa: PLC0415
    import traceback  # noqa: PLC0415

    from pipeline import __version__  # noqa: PLC0415

    text = "".join(
        [
            f"pipeline {__version__}, Python {platform.python_version()}, {platform.platform()}\n",
            f"words: {words!r}\n\n",
            *traceback.format_exception(error),
        ]
    )
    with tempfile.NamedTemporaryFile(
        "w", prefix="pipeline-report-", suffix=".txt", delete=False, encoding="utf-8"
    ) as file:
        file.write(text)
    return InternalError(
        f"this is a fault of the program: {type(error).__name__}: {error}",
        hint=f"please report it with the file {file.name}",
    )
