"""Commits of the definitions between two releases, as a small port.

Rules: a commit that is not in the repository is said to be missing, never skipped: then the list would lie.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from pipeline.domain.dossier.dossier import Commit

MOST_COMMITS = 200
"""Commits that are read at most where there is no commit to begin from."""


class Commits(Protocol):
    """Reads the history of the definitions."""

    def commits_since(self, since: str | None, until: str, paths: Sequence[str] = ()) -> tuple[Commit, ...]:
        """Return the commits after `since` up to and with `until`, newest first.

        Args:
            since: Full id of a commit; None for the last `MOST_COMMITS` up to `until`.
            until: Full id of a commit.
            paths: Only commits that touch one of these; empty for all.

        Raises:
            NotFoundError: There is no repository, or it lacks one of the two commits (a shallow clone).
        """
