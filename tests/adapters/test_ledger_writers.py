from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from ledgers import HERE, REF, clone, git, ledger, state
from records import candidate

# Many writers, as processes.

WRITER = textwrap.dedent("""
    import datetime as dt, random, sys
    from pathlib import Path
    from records import NOON, candidate
    from pipeline.adapters.ledger import Ledger
    path, remote, writer, count = Path(sys.argv[1]), sys.argv[2] or None, int(sys.argv[3]), int(sys.argv[4])
    book = Ledger(path, branch="pipeline-ledger", remote=remote, identity=("W", "w@example.org"),
                  clock=lambda: NOON, jitter=random.Random(writer).random)
    for number in range(count):
        book.append([candidate(writer * 1000 + number)])
        print(number, flush=True)
""")


def writer(path: Path, remote: str, number: int, count: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", WRITER, str(path), remote, str(number), str(count)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": f"{HERE}:{HERE / 'tests'}"}, start_new_session=True,
    )  # fmt: skip


def finish(children: Sequence[subprocess.Popen[str]]) -> Iterator[tuple[int, str]]:
    for child in children:
        _, errors = child.communicate()
        yield child.returncode, errors


@pytest.mark.parametrize("shared", [True, False], ids=["clones", "one clone"])
def test_writers_at_once_lose_and_double_nothing(hub: Path, shared: bool) -> None:  # noqa: FBT001
    count, each = (8, 4)
    paths = [clone(hub, f"c{number}") for number in range(count)] if shared else [clone(hub, "c")] * count
    before = [state(path) for path in paths]
    children = [writer(path, "origin" if shared else "", n, each) for n, path in enumerate(paths)]
    assert [end for end in finish(children) if end[0]] == []
    book = ledger(paths[0], "origin" if shared else None)
    ids = [record.id for record in book.read()]
    assert sorted(ids) == sorted(
        candidate(w * 1000 + n).id for w, n in itertools.product(range(count), range(each))
    )
    assert git(paths[0], "rev-list", "--count", "--merges", REF) == "0"
    assert git(paths[0], "rev-list", "--count", REF) == str(count * each)
    assert [state(path) for path in paths] == before


def test_threads_share_a_clone(repo: Path) -> None:
    def write(number: int) -> None:
        book = ledger(repo, attempts=100)
        for step in range(3):
            book.append([candidate(number * 10 + step)])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert sorted(record.id for record in ledger(repo).read()) == sorted(
        candidate(number * 10 + step).id for number in range(4) for step in range(3)
    )
    assert git(repo, "rev-list", "--count", REF) == "12"


def test_two_writers_in_one_clone_with_a_remote(hub: Path) -> None:
    path = clone(hub, "one")
    children = [writer(path, "origin", number, 4) for number in range(2)]
    assert [end for end in finish(children) if end[0]] == []
    assert len(ledger(clone(hub, "two"), "origin").read()) == 8


@pytest.mark.parametrize("shared", [True, False], ids=["remote", "local"])
@pytest.mark.parametrize("group", [True, False], ids=["with its git", "alone"])
def test_a_killed_writer_leaves_a_readable_ledger(hub: Path, shared: bool, group: bool) -> None:  # noqa: FBT001
    path = clone(hub, "one")
    before = state(path)
    told = written = 0
    for number in range(8):
        child = writer(path, "origin" if shared else "", number, 50)
        assert child.stdout is not None
        assert child.stdout.readline(), child.communicate()[1]  # it was at work when it was killed
        told += 1
        time.sleep(random.Random(number).random() / 8)
        (os.killpg if group else os.kill)(child.pid, signal.SIGKILL)
        told += len(child.stdout.read().split())  # as `communicate` it would lose what `readline` read ahead
        child.communicate()
        written = len(ledger(path, "origin" if shared else None).read())
        assert told <= written <= told + number + 1
        for lock in [*(path / ".git/refs").rglob("*.lock"), *(hub / "refs").rglob("*.lock")]:
            lock.unlink()  # what the hint of the error says to do
    book = ledger(path, "origin" if shared else None)
    book.append([candidate(999_999)])
    assert book.verify() in (written + 1, written + 2)
    assert state(path) == before
