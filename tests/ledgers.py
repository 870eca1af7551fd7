"""Git repositories with a ledger, and git as a user would run it, for tests of the ledger."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from pathlib import Path

from records import NOON

from pipeline.adapters.ledger import Ledger

BRANCH = "pipeline-ledger"
REF = f"refs/heads/{BRANCH}"
KEPT = f"refs/pipeline/ledger-kept/{BRANCH}"
HERE = Path(__file__).parents[1]


def git(repo: Path, *arguments: str, stdin: str | None = None, env: dict[str, str] | None = None) -> str:
    """Run git as a user would, with nothing of this machine's settings."""
    assert shutil.which("git"), "git is missing: apt-get install git"
    calm = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    person = {f"GIT_{role}_{part}": "Eve" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")}
    done = subprocess.run(
        ["git", "-C", str(repo), *arguments],
        input=stdin, capture_output=True, text=True, check=False,
        env={**os.environ, **calm, **person, **(env or {})},
    )  # fmt: skip
    assert done.returncode == 0, f"git {arguments}: {done.stderr}"
    return done.stdout.strip()


def checkout(path: Path) -> Path:
    """A user's repository with a commit, a staged and a changed file."""
    git(path.parent, "init", "-q", "-b", "main", str(path))
    (path / "a.txt").write_text("a\n")
    git(path, "add", "a.txt")
    git(path, "commit", "-q", "-m", "first")
    (path / "staged.txt").write_text("s\n")
    git(path, "add", "staged.txt")
    (path / "a.txt").write_text("changed\n")
    return path


def ledger(path: Path, remote: str | None = None, attempts: int = 6) -> Ledger:
    return Ledger(
        path,
        branch=BRANCH,
        remote=remote,
        identity=("Ada", "ada@example.org"),
        clock=lambda: NOON,
        jitter=random.Random(1).random,
        sleep=lambda _: None,
        attempts=attempts,
    )


def state(path: Path) -> tuple[object, ...]:
    """Everything of a checkout that the ledger must leave alone."""
    return (
        (path / ".git/HEAD").read_text(),
        (path / ".git/index").read_bytes(),
        {file: file.read_bytes() for file in path.iterdir() if file.is_file()},
        git(path, "rev-parse", "HEAD", "refs/heads/main"),
        (path / ".git/FETCH_HEAD").exists(),
    )


def clone(hub: Path, name: str) -> Path:
    path = checkout(hub.parent / name)
    git(path, "remote", "add", "origin", str(hub))
    return path
