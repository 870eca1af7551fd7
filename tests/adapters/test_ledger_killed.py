"""The ledger's append, killed after every git command it runs: no record is lost or doubled."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
from pathlib import Path

import pytest
from ledgers import clone, git, ledger, state
from records import candidate

pytestmark = pytest.mark.engine
GIT = """#!/bin/sh
n=$(($(cat {folder}/count) + 1))
echo $n >{folder}/count
{git} "$@"
code=$?
[ "$n" = "{after}" ] && kill -KILL $PPID
exit $code
"""


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    path = tmp_path / "hub.git"
    git(tmp_path, "init", "-q", "--bare", str(path))
    return path


def _append(folder: Path, path: Path, remote: str | None, numbers: tuple[int, ...]) -> None:
    os.environ["PATH"] = f"{folder}:{os.environ['PATH']}"
    ledger(path, remote).append([candidate(number) for number in numbers])


def append(folder: Path, path: Path, remote: str | None, *numbers: int, after: int = 0) -> int:
    """Append in a process of its own, killed after a git command; return how many it ran, 0 when killed."""
    folder.mkdir(exist_ok=True)
    (folder / "count").write_text("0")
    shim = folder / "git"
    shim.write_text(GIT.format(folder=folder, git=shutil.which("git"), after=after))
    shim.chmod(0o755)
    process = multiprocessing.get_context("fork").Process(
        target=_append, args=(folder, path, remote, numbers)
    )
    process.start()
    process.join(120)
    assert process.exitcode in (0, -signal.SIGKILL), process.exitcode
    count = int((folder / "count").read_text())
    return count if process.exitcode == 0 else 0


@pytest.mark.parametrize("remote", ["origin", None], ids=["shared", "alone"])
def test_killed_at_every_git_command_the_same_append_completes(
    tmp_path: Path, hub: Path, remote: str | None
) -> None:
    path = clone(hub, "one")
    untouched = state(path)
    ledger(path, remote).append([candidate(1)])
    steps = append(tmp_path / "bin", path, remote, 2)
    assert steps > 3
    known = {candidate(1).id, candidate(2).id}
    for step in range(1, steps + 1):
        one = candidate(2 + step)
        assert append(tmp_path / "bin", path, remote, 2 + step, after=step) == 0, step
        seen = {record.id for record in ledger(path, remote).read()}
        assert seen in (known, known | {one.id}), step
        assert append(tmp_path / "bin", path, remote, 2 + step) > 0, step
        known.add(one.id)
        here = [record.id for record in ledger(path, remote).read()]
        assert (len(here), set(here)) == (len(known), known), step
    assert ledger(path, remote).verify() == len(known)
    if remote:
        assert {record.id for record in ledger(clone(hub, "two"), remote).read()} == known
    assert state(path) == untouched
