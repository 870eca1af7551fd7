from __future__ import annotations

from pathlib import Path

from ledgers import git, state

from pipeline.adapters.sources import source_state
from pipeline.domain.record import SourceState


def test_source_state_without_a_repository_knows_nothing(tmp_path: Path) -> None:
    assert source_state(tmp_path) == SourceState()


def test_source_state_before_the_first_commit(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    assert source_state(tmp_path) == SourceState(commit=None, clean=False)


def test_source_state_tells_clean_from_dirty(repo: Path) -> None:
    before = state(repo)
    head = git(repo, "rev-parse", "HEAD")
    assert source_state(repo) == SourceState(commit=head, clean=False, dirty=("a.txt", "staged.txt"))
    assert state(repo) == before
    git(repo, "checkout", "-q", "--detach")
    git(repo, "add", ".")
    git(repo, "commit", "-q", "-m", "all")
    (repo / ".gitignore").write_text("*.log\n")
    git(repo, "add", ".gitignore")
    git(repo, "commit", "-q", "-m", "ignore")
    (repo / "build.log").write_text("x")
    (repo / "images").mkdir()
    head = git(repo, "rev-parse", "HEAD")
    assert source_state(repo / "images") == SourceState(commit=head, clean=True)
    (repo / "new\x1b[2J\n.toml").write_text("x")
    git(repo, "config", "status.showUntrackedFiles", "no")
    assert source_state(repo) == SourceState(commit=head, clean=False, dirty=("new\\x1b[2J\\n.toml",))


def test_untracked_files_count_where_a_build_reads(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "tool.py").write_text("x")
    (tmp_path / "os" / "images").mkdir(parents=True)
    (tmp_path / "os" / "images" / "a.toml").write_text("x")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "all")
    images = tmp_path / "os" / "images"
    for name in ("dossier.html", "os/notes.txt"):
        (tmp_path / name).write_text("x")
    assert source_state(images).clean
    (tmp_path / "os" / "Containerfiles").mkdir()
    (tmp_path / "os" / "Containerfiles" / "x.sh").write_text("x")
    (images / "new").mkdir()
    (images / "new" / "b.toml").write_text("x")
    assert source_state(images).dirty == ("os/Containerfiles/", "os/images/new/")
    (tmp_path / "tool.py").write_text("y")
    assert source_state(images).dirty == ("os/Containerfiles/", "os/images/new/", "tool.py")


def test_definitions_in_no_commit_at_all_are_told(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "none")
    (tmp_path / "os" / "images").mkdir(parents=True)
    (tmp_path / "os" / "images" / "a.toml").write_text("x")
    assert source_state(tmp_path / "os" / "images").dirty == ("os/",)


def test_a_folder_the_repository_ignores_is_not_spoken_for(repo: Path) -> None:
    (repo / ".gitignore").write_text("vendor/\n")
    (repo / "vendor").mkdir()
    assert source_state(repo / "vendor") == SourceState()
