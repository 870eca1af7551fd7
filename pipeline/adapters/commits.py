"""Reads commits from the git repository that holds the definitions.

Rules: the range is asked by full ids only; authors are named as the repository's mailmap says; fields are
parted by NUL, which git keeps out of messages, so that no subject can pretend to be another commit.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.adapters.gitrepo import GitRepo
from pipeline.domain.commits import MOST_COMMITS
from pipeline.domain.dossier.dossier import Commit
from pipeline.errors import NotFoundError, ToolFailedError

_FORMAT = "%H%x00%aN%x00%ct%x00%s"
_FIELDS = 4


class GitCommits:
    """The history of one folder's repository.

    Args:
        path: A folder in the work tree.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def commits_since(self, since: str | None, until: str, paths: Sequence[str] = ()) -> tuple[Commit, ...]:
        """Return the commits after `since` up to and with `until`, newest first.

        Paths are relative to the folder.

        Raises:
            NotFoundError: There is no repository, or it lacks one of the two commits.
        """
        repo = GitRepo.find(self._path)
        if repo is None:
            raise NotFoundError(
                f"{self._path} is in no git repository", hint="keep the definitions in a git repository"
            )
        for commit in filter(None, (since, until)):
            _require(repo, commit)
        wanted = [f"--max-count={MOST_COMMITS}", until] if since is None else [until, f"^{since}"]
        answer = repo.ask(
            "log",
            "-z",
            "--encoding=UTF-8",
            "--no-show-signature",
            f"--format={_FORMAT}",
            *wanted,
            "--",
            *repo.literal(self._path, paths),
        )
        return tuple(_commits(answer.text))


def _require(repo: GitRepo, commit: str) -> None:
    if not repo.has(commit):
        raise NotFoundError(
            f"the repository does not have commit {commit}",
            hint="a shallow clone lacks it: fetch the whole history (git fetch --unshallow)",
        )


def _commits(text: str) -> Iterator[Commit]:
    fields = text.split("\0")
    if len(fields) % _FIELDS not in (0, 1):  # 1: the empty rest after the last NUL, or of no commit at all
        raise ToolFailedError(
            "git log gave an answer that is not understood",
            hint="run `git log` yourself; `git fsck` checks the repository",
            argv=("git", "log"),
            code=0,
            tail=text[-1000:],
        )
    for start in range(0, len(fields) - _FIELDS + 1, _FIELDS):
        name, author, seconds, subject = fields[start : start + _FIELDS]
        yield Commit(
            id=name, subject=subject, author=author, time=dt.datetime.fromtimestamp(int(seconds), tz=dt.UTC)
        )
