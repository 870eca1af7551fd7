"""The git state of the folder that holds the definitions: which commit, and whether all of it is in there.

Rules: nothing is changed, not even the index's cached times; what cannot be known is None, never a guess.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.adapters.gitrepo import GitRepo
from pipeline.domain.record import DIRTY_LIMIT, SourceState, harmless

CONTAINERFILES = "Containerfiles"
"""The folder beside the definitions in which builds look for Containerfiles."""
_UNTRACKED = "?? "


def source_state(path: Path) -> SourceState:
    """Return the state of the repository that holds `path`.

    Ignored files do not make it dirty. Untracked ones do where a build reads: in `path` and in the
    Containerfiles beside it, so a page or a log somebody saved elsewhere goes into no image. Without a
    repository, or where the repository ignores the folder itself, nothing is known; before the first commit
    nothing is in one, so not clean.

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
    read = _read_by_builds(repo.work_tree, path)
    entries = [entry for entry in status.text.split("\0") if entry]
    changed = sorted(one[3:] for one in entries if not one.startswith(_UNTRACKED) or _touches(one[3:], read))
    return SourceState(
        commit=commit,
        clean=commit is not None and not changed,
        dirty=tuple(harmless(name) for name in changed[:DIRTY_LIMIT]),
    )


def _read_by_builds(top: Path, path: Path) -> tuple[str, ...]:
    """Return the folders that builds read, from the repository's top, each with a slash at its end."""
    folders = (path.resolve(), path.resolve().parent / CONTAINERFILES)
    inside = (one.relative_to(top.resolve()) for one in folders if one.is_relative_to(top.resolve()))
    return tuple("" if one == Path() else f"{one}/" for one in inside)


def _touches(name: str, folders: tuple[str, ...]) -> bool:
    """Whether a file, or a folder with a slash at its end, lies in one of the folders, or around one."""
    return any(name.startswith(one) or (name.endswith("/") and one.startswith(name)) for one in folders)


def _ignored(repo: GitRepo, path: Path) -> bool:
    """Whether git leaves the folder out: then the repository around it says nothing about it."""
    return repo.run("check-ignore", "--quiet", "--", str(path.resolve())).code == 0
