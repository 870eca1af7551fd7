"""Who wrote a change, from the git repository of the definitions, for rules that ask for somebody else.

Rules: names and addresses are taken as the commits have them, for a mailmap is a file that the change can
edit; co-authors of trailers are authors too; what cannot be told in full is None, never a shorter list.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.adapters.gitrepo import GitRepo

_FORMAT = "%an <%ae>%x00%(trailers:key=Co-authored-by,valueonly,separator=%x00)"


class GitAuthors:
    """The authors of commits.

    Args:
        path: A folder in the work tree; paths are relative to it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()

    def authors(
        self, since: str | None, until: str | None, paths: Sequence[str] = ()
    ) -> tuple[str, ...] | None:
        """Return `Name <address>` of who wrote the commits after `since` up to `until`, sorted.

        Args:
            since: Full id of the predecessor's commit; None for the whole history.
            until: Full id of the candidate's commit; None when it is not known.
            paths: Only commits that touch one of these, which lie in the work tree; empty for all.

        Raises:
            ValueError: A path leads out of the work tree.
            ToolMissingError: Git is not installed.
        """
        repo = GitRepo.find(self._path)
        if repo is None or until is None or repo.run("rev-parse", "--is-shallow-repository").text != "false":
            return None
        if not all(repo.has(commit) for commit in filter(None, (since, until))):
            return None
        wanted = [until] if since is None else [until, f"^{since}"]
        log = ("log", "-z", "--full-history", "--encoding=UTF-8", f"--format={_FORMAT}")
        answer = repo.run(*log, *wanted, "--", *repo.literal(self._path, paths))
        if answer.code != 0:
            return None
        return tuple(sorted({name.strip() for name in answer.text.split("\0") if name.strip()}))
