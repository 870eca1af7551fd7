"""Commits are read from a real repository, whatever is in their messages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import git
import pytest

from pipeline.adapters.commits import GitCommits
from pipeline.errors import NotFoundError

ADA = git.Actor("Ada Lovelace", "ada@example.org")


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[git.Repo]:
    with git.Repo.init(tmp_path / "os", initial_branch="main") as repo:
        yield repo


def commit(repository: git.Repo, path: str, message: str) -> str:
    file = Path(repository.working_dir) / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(message, encoding="utf-8")
    repository.index.add([path])
    return repository.index.commit(message, author=ADA, committer=ADA).hexsha


def test_commits_after_one_are_told_newest_first(repository: git.Repo) -> None:
    first = commit(repository, "images/a.toml", "First")
    second = commit(repository, "images/a.toml", "Second\n\nwith a body")
    third = commit(repository, "images/a.toml", "Third, hostile \x1b[31m \u202e <b>")
    found = GitCommits(Path(repository.working_dir) / "images").commits_since(first, third)
    assert [(one.id, one.subject, one.author) for one in found] == [
        (third, "Third, hostile \x1b[31m \u202e <b>", "Ada Lovelace"),
        (second, "Second", "Ada Lovelace"),
    ]
    assert GitCommits(Path(repository.working_dir)).commits_since(third, third) == ()


def test_only_commits_that_touch_the_paths_are_told(repository: git.Repo) -> None:
    first = commit(repository, "images/debian/a.toml", "First")
    commit(repository, "README", "Second")
    last = commit(repository, "images/debian/[b].toml", "Third")
    images = GitCommits(Path(repository.working_dir) / "images")
    assert [one.subject for one in images.commits_since(None, last, ["debian"])] == ["Third", "First"]
    assert [one.subject for one in images.commits_since(first, last, ["debian/[b].toml"])] == ["Third"]
    assert images.commits_since(None, last, ["centos"]) == ()


def test_a_path_outside_the_repository_is_in_no_commit(repository: git.Repo) -> None:
    first = commit(repository, "debian/a.toml", "First")
    commit(repository, "notes", "Second")
    found = GitCommits(Path(repository.working_dir))
    assert [one.id for one in found.commits_since(None, first, ["debian", "../Containerfiles"])] == [first]


def test_a_commit_that_is_not_there_is_said_to_be_missing(repository: git.Repo) -> None:
    only = commit(repository, "images/a.toml", "First")
    commits = GitCommits(Path(repository.working_dir))
    for since, until in (("f" * 40, only), (None, "f" * 40)):
        with pytest.raises(NotFoundError, match="does not have commit ffff"):
            commits.commits_since(since, until)


def test_a_folder_in_no_repository_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no git repository"):
        GitCommits(tmp_path).commits_since(None, "f" * 40)
