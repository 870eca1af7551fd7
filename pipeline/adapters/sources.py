"""The git state of the folder that holds the definitions: which commit, and whether all of it is in there.

Rules: nothing is changed, not even the index's cached times; what cannot be known is None, never a guess.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.adapters.gitrepo import GitRepo
from pipeline.domain.record import DIRTY_LIMIT, SourceState, harmless


def source_state(path: Path) -> SourceState:
    """Return the state of the repository that holds `path`.

    Ignored files do not make it dirty; untracked ones do. Without a repository, or where the repository
    ignores the folder itself, nothing is known; before the first commit nothing is in one, so not clean.

    Raises:
        ToolMissingError: Git is not installed.
    """
    repo = GitRepo.find(path)
    if repo is None or repo.work_tree is None or _ignored(repo, path):
        return SourceState()
    commit = repo.ref("HEAD")
    status = repo.run("status", "--porcelain", "-z", "--no-renames", "--untracked-files=normal")
    if status.code != 0:
        return SourceState(commit=commit)
    changed = sorted(entry[3:] for entry in status.text.split("\0") if entry)
    return SourceState(
        commit=commit,
        clean=commit is not None and not changed,
        dirty=tuple(harmless(name) for name in changed[:DIRTY_LIMIT]),
    )


def _ignored(repo: GitRepo, path: Path) -> bool:
    """Whether git leaves the folder out: then the repository around it says nothing about it."""
    return repo.run("check-ignore", "--quiet", "--", str(path.resolve())).code == 0
