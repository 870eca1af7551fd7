from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from ledgers import BRANCH, REF, clone, git, ledger
from records import candidate

from pipeline.domain.canonical import Json, canonical_digest, canonical_json
from pipeline.domain.record import record_bytes, record_path
from pipeline.errors import (
    LedgerError,
)

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
