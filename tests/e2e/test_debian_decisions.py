"""A person's decisions on the demo's candidates: asked at a terminal, signed, recorded, taken back."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from e2e import terminal
from e2e.conftest import Demo, command

pytestmark = [pytest.mark.e2e, pytest.mark.engine]


@pytest.fixture
def repository(demo: Demo, tmp_path: Path) -> tuple[Path, Path]:
    """A copy of the demo's image repository, in which Ada may approve, and her key."""
    folder = tmp_path / "copy"
    shutil.copytree(demo.folder, folder, symlinks=True)
    return folder, demo.state / "ada"


def records(folder: Path, kind: str) -> list[Any]:
    done = subprocess.run(command("--json", "log"), cwd=folder, capture_output=True, text=True, check=True)
    return [one for one in json.loads(done.stdout)["records"] if one["kind"] == kind]


def at_a_terminal(folder: Path, answer: str, *words: str) -> tuple[int, str]:
    """Run `pipeline` on a terminal that answers once."""
    calm = {name: value for name, value in os.environ.items() if name != "CI"}
    return terminal.at_a_terminal(command("-q", *words), folder, calm, answer=answer)


def test_an_approval_is_asked_for_signed_recorded_and_withdrawn(repository: tuple[Path, Path]) -> None:
    folder, key = repository
    words = ("approve", "debian/web-1", "--why", "first release", "--key", str(key))
    code, said = at_a_terminal(folder, "no\n", *words)
    assert code == 1, said
    assert records(folder, "approval") == []
    code, said = at_a_terminal(folder, "yes\n", *words)
    assert code == 0, said
    [approval] = records(folder, "approval")
    [decided] = approval["decided"]
    candidate = [one for one in records(folder, "candidate") if one["image"] == "web-1"][-1]
    assert decided["digest"] == candidate["digest"]
    assert decided["evidence"] == candidate["evidence"]
    assert decided["version"] == "1.0.0"
    assert approval["proof"]["identity"] == "ada@example.org"
    code, said = at_a_terminal(
        folder, "", "withdraw", approval["id"], "--why", "too early", "--key", str(key)
    )
    assert code == 0, said
    assert [one["approval"] for one in records(folder, "withdrawal")] == [approval["id"]]


def test_nobody_can_be_asked_in_ci_and_nothing_is_recorded(repository: tuple[Path, Path]) -> None:
    folder, key = repository
    done = subprocess.run(
        command("-q", "approve", "debian/db-1", "--why", "x", "--key", str(key)),
        cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        env={**os.environ, "CI": "true"},
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "CI identity" in done.stderr
    assert records(folder, "approval") == []


def test_a_rejection_counts_at_once(repository: tuple[Path, Path]) -> None:
    folder, key = repository
    code, said = at_a_terminal(folder, "", "reject", "debian/gpu-1", "--why", "no", "--key", str(key))
    assert code == 0, said
    code, said = at_a_terminal(folder, "yes\n", "approve", "debian/gpu-1", "--why", "yet", "--key", str(key))
    assert code == 1, said
    assert "reject" in said
