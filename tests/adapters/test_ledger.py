from __future__ import annotations

import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from records import NOON, candidate

from pipeline.adapters.ledger import Ledger
from pipeline.adapters.sources import source_state
from pipeline.domain.canonical import Json, canonical_digest, canonical_json
from pipeline.domain.record import Record, SourceState, record_bytes, record_path
from pipeline.errors import (
    LedgerError,
    LedgerRaceError,
    LedgerRemoteError,
    StateError,
    ToolMissingError,
    UsageError,
)

BRANCH = "pipeline-ledger"
REF = f"refs/heads/{BRANCH}"
KEPT = f"refs/pipeline/ledger-kept/{BRANCH}"
HERE = Path(__file__).parents[2]


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


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return checkout(tmp_path / "repo")


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q", "--bare", str(tmp_path / "hub.git"))
    return tmp_path / "hub.git"


def clone(hub: Path, name: str) -> Path:
    path = checkout(hub.parent / name)
    git(path, "remote", "add", "origin", str(hub))
    return path


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


# Damage: each is made with git itself, on top of a good ledger.


def graft(repo: Path, files: dict[str, bytes | None], *, parents: Sequence[str] = (REF,)) -> str:
    """Commit an arbitrary change to the ledger behind its back."""
    index = {"GIT_INDEX_FILE": str(repo / ".git/evil-index")}
    git(repo, "read-tree", parents[0], env=index)
    for path, content in files.items():
        if content is None:
            git(repo, "update-index", "--force-remove", path, env=index)
            continue
        file = repo / ".git/evil-blob"
        file.write_bytes(content)
        blob = git(repo, "hash-object", "-w", "--no-filters", str(file))
        git(repo, "update-index", "--add", "--cacheinfo", f"100644,{blob},{path}", env=index)
    tree = git(repo, "write-tree", env=index)
    over = [part for parent in parents for part in ("-p", parent)]
    commit = git(repo, "commit-tree", tree, *over, "-m", "evil")
    git(repo, "update-ref", REF, commit)
    return commit


def forged(**changes: Json) -> tuple[str, bytes]:
    document = {**candidate(9).content(), **changes}
    identity = canonical_digest(document).hex
    data = canonical_json({**document, "id": identity})
    return f"records/2026/11/{identity}.json", data


DAMAGE: dict[str, tuple[dict[str, bytes | None], str]] = {
    "edited": ({record_path(candidate(1)): record_bytes(candidate(1, author="Eve"))}, "changes records/"),
    "deleted": ({record_path(candidate(1)): None}, "deletes records/"),
    "garbage": ({f"records/2026/11/{'0' * 64}.json": b"\x00garbage"}, "not understood"),
    "unknown kind": (dict([forged(kind="blessing")]), "unknown kind of record 'blessing'"),
    "newer schema": (dict([forged(schema=99)]), "schema 99"),
    "another file": ({"README.md": b"hello"}, "no place for a record"),
    "an empty commit": ({}, "records nothing"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_named_with_its_commit_on_read_and_on_append(repo: Path, damage: str) -> None:
    files, words = DAMAGE[damage]
    ledger(repo).append([candidate(1)])
    commit = graft(repo, files)
    for use in (lambda: ledger(repo).read(), lambda: ledger(repo).append([candidate(2)])):
        with pytest.raises(LedgerError, match=words) as caught:
            use()
        assert commit in caught.value.message
        assert git(repo, "rev-parse", REF) == commit


def test_a_merge_is_refused(repo: Path) -> None:
    first = ledger(repo).append([candidate(1)])
    ledger(repo).append([candidate(2)])
    graft(repo, {record_path(candidate(3)): record_bytes(candidate(3))}, parents=(REF, first))
    with pytest.raises(LedgerError, match="merge"):
        ledger(repo).read()


@pytest.mark.parametrize("how", ["truncated", "rewritten", "deleted"])
@pytest.mark.parametrize("where", ["here", "there"])
def test_a_history_without_what_was_seen_is_refused(hub: Path, how: str, where: str) -> None:
    path = clone(hub, "one")
    book = ledger(path, "origin" if where == "there" else None)
    first = book.append([candidate(1)])
    book.append([candidate(2)])
    victim = hub if where == "there" else path
    if how == "deleted":
        git(victim, "update-ref", "-d", REF)
    else:
        git(victim, "update-ref", REF, first)
    if how == "rewritten":
        ledger(victim) if where == "there" else None
        other = clone(hub, "two")
        ledger(other).append([candidate(7)])
        git(other, "push", "-q", "--force", str(victim), REF)
    for use in (
        lambda: ledger(path, "origin" if where == "there" else None).read(),
        lambda: ledger(path, "origin" if where == "there" else None).append([candidate(3)]),
    ):
        with pytest.raises(LedgerError, match="rewritten or truncated") as caught:
            use()
        assert "git " in caught.value.hint


def test_a_replacement_object_hides_nothing(repo: Path) -> None:
    first = ledger(repo).append([candidate(1)])
    second = ledger(repo).append([candidate(2)])
    git(repo, "replace", second, first)
    assert ledger(repo).read() == (candidate(1), candidate(2))


def test_a_shallow_ledger_is_refused(hub: Path) -> None:
    for number in range(3):
        ledger(clone(hub, f"c{number}"), "origin").append([candidate(number)])
    git(
        hub.parent, "clone", "-q", "--bare", "--depth=1", f"--branch={BRANCH}", f"file://{hub}", "shallow.git"
    )
    with pytest.raises(LedgerError, match="shallow"):
        ledger(hub.parent / "shallow.git", "origin").read()


def test_a_shallow_checkout_still_gets_the_whole_ledger(hub: Path) -> None:
    path = clone(hub, "one")
    git(path, "commit", "-q", "-m", "second")
    git(path, "push", "-q", "origin", "main")
    for number in range(3):
        ledger(path, "origin").append([candidate(number)])
    git(hub.parent, "clone", "-q", "--depth=1", "--branch=main", f"file://{hub}", "shallow")
    shallow = ledger(hub.parent / "shallow", "origin")
    shallow.append([candidate(9)])
    assert len(shallow.read()) == 4
    assert len(ledger(path, "origin").read()) == 4


# With a remote.


def test_two_clones_share_one_line(hub: Path) -> None:
    one, two = clone(hub, "one"), clone(hub, "two")
    before = state(one), state(two)
    ledger(one, "origin").append([candidate(1)])
    ledger(two, "origin").append([candidate(2)])
    ledger(one, "origin").append([candidate(3)])
    assert ledger(two, "origin").read() == (candidate(1), candidate(2), candidate(3))
    assert git(two, "rev-parse", REF) == git(hub, "rev-parse", REF)
    assert (state(one), state(two)) == before


def test_a_remote_that_is_not_set_up_means_no_remote(repo: Path) -> None:
    book = ledger(repo, "origin")
    assert not book.shared
    book.append([candidate(1)])
    assert book.read() == (candidate(1),)


@pytest.mark.parametrize("number", [1, 2])
def test_a_local_ledger_is_published_when_a_remote_comes(hub: Path, number: int) -> None:
    path = clone(hub, "one")
    ledger(path).append([candidate(1)])
    assert ledger(path, "origin").read() == (candidate(1),)
    ledger(path, "origin").append([candidate(number)])
    assert ledger(clone(hub, "two"), "origin").read() == ledger(path).read()
    assert candidate(number) in ledger(path, "origin").read()


def test_two_unrelated_histories_are_not_mixed(hub: Path) -> None:
    one, two = clone(hub, "one"), clone(hub, "two")
    ledger(one, "origin").append([candidate(1)])
    ledger(two).append([candidate(2)])
    with pytest.raises(LedgerError, match="two histories"):
        ledger(two, "origin").append([candidate(3)])


def test_what_cannot_be_delivered_is_kept_and_goes_out_once(hub: Path) -> None:
    one, two = clone(hub, "one"), clone(hub, "two")
    ledger(one, "origin").append([candidate(1)])
    hub.rename(hub.parent / "away")
    for number in (2, 3):
        with pytest.raises(LedgerRemoteError, match="kept in this clone") as caught:
            ledger(one, "origin").append([candidate(number)])
        assert f"git push origin {KEPT}:{REF}" in caught.value.hint
    with pytest.raises(LedgerRemoteError, match="kept in this clone"):
        ledger(one, "origin").append([candidate(2)])
    with pytest.raises(LedgerRemoteError):
        ledger(one, "origin").read()
    assert ledger(one, "origin").read(offline=True) == (candidate(1),)
    assert ledger(one, "origin").kept() == (candidate(2), candidate(3))
    (hub.parent / "away").rename(hub)
    ledger(two, "origin").append([candidate(4)])
    ledger(one, "origin").append([candidate(5)])
    numbers = (1, 4, 2, 3, 5)
    assert ledger(two, "origin").read() == tuple(candidate(number) for number in numbers)
    assert ledger(one, "origin").kept() == ()
    assert ledger(one, "origin").send_kept() == ()


def test_what_was_kept_can_be_pushed_by_hand_or_sent_alone(hub: Path) -> None:
    one = clone(hub, "one")
    ledger(one, "origin").append([candidate(1)])
    hub.rename(hub.parent / "away")
    for number in (2, 3):
        with pytest.raises(LedgerRemoteError):
            ledger(one, "origin").append([candidate(number)])
    (hub.parent / "away").rename(hub)
    git(one, "push", "-q", "origin", f"{KEPT}:{REF}")
    ledger(one, "origin").append([candidate(3)])
    assert ledger(one, "origin").read() == tuple(candidate(number) for number in (1, 2, 3))
    assert ledger(one, "origin").kept() == ()


def refuse(hub: Path, reason: str) -> None:
    hook = hub / "hooks/pre-receive"
    hook.write_text(f"#!/bin/sh\necho {reason}\nexit 1\n")
    hook.chmod(0o755)


def test_a_refusal_of_the_remote_is_quoted_and_the_record_kept(hub: Path) -> None:
    path = clone(hub, "one")
    refuse(hub, "protected-branch")
    with pytest.raises(LedgerRemoteError, match="pre-receive hook declined"):
        ledger(path, "origin").append([candidate(1)])
    (hub / "hooks/pre-receive").unlink()
    assert ledger(path, "origin").send_kept() == (candidate(1),)
    assert ledger(path, "origin").read() == (candidate(1),)


def test_a_checked_write_is_never_kept_and_sees_what_others_wrote(hub: Path) -> None:
    one, two = clone(hub, "one"), clone(hub, "two")
    ledger(two, "origin").append([candidate(1)])
    saw: list[int] = []

    def first_only(records: tuple[Record, ...]) -> None:
        saw.append(len(records))
        if records:
            raise StateError("somebody was first", hint="look at it")

    with pytest.raises(StateError, match="somebody"):
        ledger(one, "origin").append([candidate(2)], check=first_only)
    hub.rename(hub.parent / "away")
    with pytest.raises(LedgerRemoteError, match="nothing was recorded"):
        ledger(one, "origin").append([candidate(2)], check=first_only)
    assert saw == [1]
    assert ledger(one, "origin").kept() == ()


def test_a_race_that_is_lost_every_time_ends_with_the_reason(repo: Path) -> None:
    ledger(repo).append([candidate(1)])
    (repo / ".git" / f"{REF}.lock").touch()
    with pytest.raises(LedgerRaceError, match=r"6 times; last: .*File exists"):
        ledger(repo).append([candidate(2)])
    (repo / ".git" / f"{REF}.lock").unlink()
    ledger(repo).append([candidate(2)])
    assert len(ledger(repo).read()) == 2


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
        told += bool(child.stdout.readline())
        time.sleep(random.Random(number).random() / 8)
        (os.killpg if group else os.kill)(child.pid, signal.SIGKILL)
        told += len(child.communicate()[0].split())
        written = len(ledger(path, "origin" if shared else None).read())
        assert told <= written <= told + number + 1
        for lock in [*(path / ".git/refs").rglob("*.lock"), *(hub / "refs").rglob("*.lock")]:
            lock.unlink()  # what the hint of the error says to do
    book = ledger(path, "origin" if shared else None)
    book.append([candidate(999_999)])
    assert book.verify() in (written + 1, written + 2)
    assert state(path) == before


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


def test_a_folder_the_repository_ignores_is_not_spoken_for(repo: Path) -> None:
    (repo / ".gitignore").write_text("vendor/\n")
    (repo / "vendor").mkdir()
    assert source_state(repo / "vendor") == SourceState()
