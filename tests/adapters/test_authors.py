"""Who wrote a change, from a real repository."""

from __future__ import annotations

from pathlib import Path

import pytest
from ledgers import git

from pipeline.adapters.authors import GitAuthors


@pytest.fixture
def project(tmp_path: Path) -> Path:
    top = tmp_path / "project"
    git(tmp_path, "init", "-q", "-b", "main", str(top))
    return top


def commit(top: Path, path: str, author: str, message: str = "change") -> str:
    file = top / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{file.read_text() if file.exists() else ''}{author} {message}\n")
    git(top, "add", "-A")
    git(top, "commit", "-q", "-m", message, f"--author={author}")
    return git(top, "rev-parse", "HEAD")


def test_authors_and_co_authors_of_the_range_are_named_as_the_commits_have_them(project: Path) -> None:
    first = commit(project, "images/a", "Ada <ada@example.org>")
    commit(project, "images/a", "Ben <ben@example.org>", "x\n\nCo-authored-by: Cleo <cleo@example.org>")
    last = commit(
        project, ".mailmap", "Ben <ben@example.org>", "Nobody <nobody@example.org> <ben@example.org>"
    )
    (project / ".mailmap").write_text("Nobody <nobody@example.org> <ben@example.org>\n")
    found = GitAuthors(project)
    assert found.authors(first, last) == ("Ben <ben@example.org>", "Cleo <cleo@example.org>")
    assert found.authors(None, last) is not None
    assert found.authors(None, first) == ("Ada <ada@example.org>",)
    assert found.authors(last, last) == ()


def test_only_commits_of_the_named_paths_count(project: Path) -> None:
    first = commit(project, "images/a", "Ada <ada@example.org>")
    commit(project, "images/debian/base.toml", "Ben <ben@example.org>")
    last = commit(project, "docs/x", "Cleo <cleo@example.org>")
    found = GitAuthors(project / "images")
    assert found.authors(first, last, ["debian"]) == ("Ben <ben@example.org>",)
    both = ("Ben <ben@example.org>", "Cleo <cleo@example.org>")
    assert found.authors(first, last, ["../docs", "debian"]) == both
    # No commit has what lies outside; where nothing else is named, every author counts: the strict side.
    assert found.authors(first, last, ["../../elsewhere", "debian"]) == ("Ben <ben@example.org>",)
    assert found.authors(first, last, ["../../elsewhere"]) == both


def test_a_merge_brings_the_authors_of_its_branch(project: Path) -> None:
    first = commit(project, "images/a", "Ada <ada@example.org>")
    git(project, "checkout", "-q", "-b", "feature")
    commit(project, "images/b", "Ben <ben@example.org>")
    git(project, "checkout", "-q", "main")
    git(project, "merge", "-q", "--no-ff", "-m", "merge", "feature")
    found = GitAuthors(project).authors(first, git(project, "rev-parse", "HEAD"))
    assert found is not None
    assert "Ben <ben@example.org>" in found


def test_what_cannot_be_told_in_full_is_not_told(project: Path, tmp_path: Path) -> None:
    first = commit(project, "a", "Ada <ada@example.org>")
    last = commit(project, "a", "Ben <ben@example.org>")
    found = GitAuthors(project)
    assert found.authors(first, None) is None
    assert found.authors("f" * 40, last) is None
    assert found.authors(first, "f" * 40) is None
    assert GitAuthors(tmp_path).authors(first, last) is None
    git(tmp_path, "clone", "-q", "--depth=1", f"file://{project}", "shallow")
    assert GitAuthors(tmp_path / "shallow").authors(None, last) is None
