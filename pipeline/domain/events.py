"""What a long run tells while it runs: stages that start, speak and end.

The verbs speak to a `Reporter`; `render.progress` shows it live, as plain lines, or as JSON lines.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol


class Stage(Protocol):
    """One piece of work that is under way."""

    def line(self, text: str) -> None:
        """Say one line of what the work prints. May come from any thread; text is hostile."""

    def note(self, text: str) -> None:
        """Say one line that a person should see even when the stage's output is not shown."""


class Reporter(Protocol):
    """Shows stages; safe to call from several threads."""

    def stage(self, name: str, *, log: str | None = None) -> AbstractContextManager[Stage]:
        """Open a stage. Leaving it normally marks it done, leaving it by an exception marks it failed.

        Args:
            name: Short name for people, such as `modules zfs`.
            log: Path of the full log, shown when the stage fails.
        """

    def note(self, text: str) -> None:
        """Say one line outside any stage."""
