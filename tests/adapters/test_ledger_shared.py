from __future__ import annotations

from pathlib import Path

import pytest
from ledgers import KEPT, REF, clone, git, ledger, state
from records import candidate

from pipeline.domain.record import Record
from pipeline.errors import (
    LedgerError,
    LedgerRaceError,
    LedgerRemoteError,
    StateError,
)

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


def test_what_was_kept_can_be_pushed_by_hand(hub: Path) -> None:
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
    ledger(path, "origin").append([candidate(1)])
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
