from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from ledgers import BRANCH, HERE, REF, checkout, git, ledger, state
from records import NOON, candidate

from pipeline.adapters.ledger import Ledger
from pipeline.adapters.sources import source_state
from pipeline.domain.record import record_bytes, record_path
from pipeline.errors import (
    StateError,
    ToolMissingError,
    UsageError,
)


def test_records_come_back_in_order_and_the_checkout_is_untouched(repo: Path) -> None:
    before = state(repo)
    book = ledger(repo)
    assert book.read() == ()
    first = book.append([candidate(2)])
    second = book.append([candidate(1), candidate(3)])
    assert ledger(repo).read() == (candidate(2), candidate(1), candidate(3))
    assert git(repo, "rev-list", REF).split() == [second, first]
    assert state(repo) == before
    assert book.verify() == 3


def test_plain_git_log_tells_what_happened(repo: Path) -> None:
    ledger(repo).append([candidate(5)])
    shown = git(repo, "log", "--format=%an <%ae> %aI %s%n%b", REF)
    assert shown.splitlines()[0] == (
        "Ada <ada@example.org> 2026-11-21T12:00:00+00:00 candidate debian/base sha256:000000000000"
    )
    assert f"Digest: 127.0.0.1:5000/os/debian/base@{candidate(5).digest}" in shown
    assert f"Record: {candidate(5).id}" in shown
    content = git(repo, "show", f"{REF}:{record_path(candidate(5))}")
    assert content.encode() + b"\n" == record_bytes(candidate(5))


def test_a_fleet_is_one_commit(repo: Path) -> None:
    fleet = [candidate(number, image=f"host-{number}") for number in range(100)]
    ledger(repo).append(fleet)
    assert git(repo, "rev-list", "--count", REF) == "1"
    assert list(ledger(repo).read()) == fleet
    shown = git(repo, "log", "--format=%s%n%b", REF).splitlines()
    assert shown[0] == "100 records: candidate"
    assert f"{fleet[7].title}  {fleet[7].id}" in shown


def test_appending_the_same_record_again_writes_nothing(repo: Path) -> None:
    commit = ledger(repo).append([candidate(1)])
    ledger(repo).append([candidate(2)])
    assert ledger(repo).append([candidate(1), candidate(1)]) == commit
    assert git(repo, "rev-list", "--count", REF) == "2"


def test_nothing_of_the_users_setup_can_break_it(repo: Path, tmp_path: Path) -> None:
    for key, value in {
        "commit.gpgSign": "true", "core.autocrlf": "true", "init.defaultBranch": BRANCH,
        "core.splitIndex": "true", "i18n.commitEncoding": "latin1", "user.useConfigOnly": "true",
        "core.hooksPath": str(tmp_path / "hooks"), "log.showSignature": "true", "diff.noprefix": "true",
        "diff.renames": "copies", "core.quotePath": "false", "core.fsmonitor": "/bin/false",
        "gpg.program": "/bin/false",
    }.items():  # fmt: skip
        git(repo, "config", key, value)
    (tmp_path / "hooks").mkdir()
    for hook in ("reference-transaction", "pre-push", "pre-commit", "post-index-change"):
        (tmp_path / "hooks" / hook).write_text(f"#!/bin/sh\ntouch {tmp_path}/hook-ran\nexit 1\n")
        (tmp_path / "hooks" / hook).chmod(0o755)
    ledger(repo).append([candidate(1, author="Zoë")])
    assert ledger(repo).read() == (candidate(1, author="Zoë"),)
    assert not (tmp_path / "hook-ran").exists()


def test_an_environment_left_by_a_git_hook_leads_nowhere_else(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = checkout(tmp_path / "other")
    before = state(other)
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git/index"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    ledger(repo).append([candidate(1)])
    found = source_state(repo)
    monkeypatch.undo()
    assert git(repo, "rev-list", "--count", REF) == "1"
    assert state(other) == before
    assert found.commit == git(repo, "rev-parse", "HEAD")


def test_a_linked_work_tree_and_a_bare_repository_serve_as_well(repo: Path, hub: Path) -> None:
    git(repo, "worktree", "add", "-q", "--detach", str(repo.parent / "linked"))
    ledger(repo.parent / "linked").append([candidate(1)])
    assert ledger(repo).read() == (candidate(1),)
    ledger(hub).append([candidate(2)])
    assert ledger(hub).read() == (candidate(2),)


def test_a_checked_out_ledger_is_not_moved_under_the_user(repo: Path) -> None:
    ledger(repo).append([candidate(1)])
    git(repo, "worktree", "add", "-q", str(repo.parent / "look"), BRANCH)
    with pytest.raises(StateError, match="checked out"):
        ledger(repo).append([candidate(2)])


def test_names_that_git_could_misread_are_refused(repo: Path) -> None:
    for branch, remote in (
        ("-x", None),
        ("a..b", None),
        ("a.lock", None),
        ("a b", None),
        ("a", "--upload-pack=x"),
    ):
        with pytest.raises(UsageError):
            Ledger(
                repo,
                branch=branch,
                remote=remote,
                identity=("A", "a@b"),
                clock=lambda: NOON,
                jitter=lambda: 0.0,
            )
    with pytest.raises(UsageError):
        Ledger(repo, branch="a", remote=None, identity=("A\n", "a@b"), clock=lambda: NOON, jitter=lambda: 0.0)
    with pytest.raises(UsageError):
        ledger(repo).append([])


def test_outside_a_repository_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="no git repository"):
        ledger(tmp_path)


# Missing git, and the state of sources.


def test_without_git_the_line_that_installs_it_is_named(repo: Path) -> None:
    script = (
        "from pathlib import Path\n"
        "from pipeline.adapters.sources import source_state\n"
        "from pipeline.errors import ToolMissingError\n"
        "try:\n    source_state(Path('.'))\n"
        "except ToolMissingError as error:\n    print(error.hint)\n"
    )
    environment = {"PATH": "/nonexistent", "PYTHONPATH": str(HERE)}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=repo, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.startswith("install it: "), done.stderr
    assert done.stdout.endswith(" git\n")


def test_git_that_goes_away_later_is_told_as_well(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book = ledger(repo)
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(ToolMissingError):
        book.read()
