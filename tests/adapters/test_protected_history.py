"""What the protected branch said in the past, from a real repository with commits of known times."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from approvalworld import SETTINGS, START
from ledgers import git
from releaseworld import TIERS, ReleaseWorld
from sshkeys import listed

from pipeline.adapters.protected_history import ProtectedHistory
from pipeline.domain.image import Tier
from pipeline.domain.protected_rules import ProtectedRules
from pipeline.errors import DefinitionError, LedgerRemoteError

HOUR = dt.timedelta(hours=1)


@pytest.fixture
def world(tmp_path: Path) -> ReleaseWorld:
    """A branch that began at START; two hours later Ben left and bases need three people."""
    made = ReleaseWorld(tmp_path, "127.0.0.1:1")
    made.now = START + 2 * HOUR
    made.signers(*(listed(made.keys / name) for name in ("ada", "cleo", "dan", "robot")))
    made.settings(SETTINGS.format(rule=TIERS, more="").replace("at_least = 2", "at_least = 3"))
    made.commit("Ben left", "ada")
    made.push()
    return made


def history(world: ReleaseWorld, remote: str = "origin") -> ProtectedHistory:
    return ProtectedHistory(world.images, remote=remote)


def signers(rules: ProtectedRules) -> set[str]:
    return {name.partition("@")[0] for one in rules.signers.keys for name in one.principals}


def needed(rules: ProtectedRules) -> int:
    return rules.settings.rule_table(Tier.BASE).people[0].at_least


def test_rules_and_signers_are_those_of_the_time(world: ReleaseWorld) -> None:
    past = history(world)
    then, later = past.at(START + HOUR), past.at(START + 3 * HOUR)
    assert ("ben" in signers(then), needed(then)) == (True, 2)
    assert ("ben" in signers(later), needed(later)) == (False, 3)
    assert (then.notices, later.notices) == ((), ())
    assert then.source != later.source
    assert past.at(START + 2 * HOUR).source == later.source


def test_a_time_before_all_of_it_is_judged_by_what_counts_now_and_said(world: ReleaseWorld) -> None:
    rules = history(world).at(START - HOUR)
    assert "ben" not in signers(rules)
    assert "does not reach back to 2026-11-21T13:00:00Z" in rules.notices[-1]


def test_what_a_merge_brought_counts_from_the_merge_on(world: ReleaseWorld) -> None:
    """A change lies on its own branch for days; it is the merge that lets it count."""
    git(world.top, "checkout", "-q", "-b", "change")
    world.now = START + 3 * HOUR
    world.signers(*(listed(world.keys / name) for name in ("ada", "eve")))
    world.commit("Eve may approve", "eve")
    git(world.top, "checkout", "-q", "main")
    merged = {f"GIT_{role}_DATE": (START + 9 * HOUR).isoformat() for role in ("AUTHOR", "COMMITTER")}
    git(world.top, "merge", "-q", "--no-ff", "-m", "merge", "change", env=merged)
    world.push()
    past = history(world)
    assert "eve" not in signers(past.at(START + 5 * HOUR))
    assert "eve" in signers(past.at(START + 10 * HOUR))


def test_the_remote_is_asked_once(world: ReleaseWorld) -> None:
    past = history(world)
    past.at(START + 3 * HOUR)
    world.hub.rename(world.hub.with_name("away"))
    assert "ben" in signers(past.at(START + HOUR))
    with pytest.raises(LedgerRemoteError):
        history(world).at(START)


def test_without_a_remote_the_local_branch_is_read_and_that_is_said(world: ReleaseWorld) -> None:
    rules = history(world, remote="nowhere").at(START + HOUR)
    assert "ben" in signers(rules)
    assert rules.notices[0].startswith("UNPROTECTED")


def test_what_was_wrong_then_is_told_and_what_follows_can_still_be_read(world: ReleaseWorld) -> None:
    world.now = START + 3 * HOUR
    world.signers("*@example.org ssh-ed25519 AAAA\n")
    world.commit("anybody", "ada")
    world.now = START + 4 * HOUR
    world.signers(listed(world.keys / "cleo"))
    world.commit("not anybody", "ada")
    world.push()
    past = history(world)
    with pytest.raises(DefinitionError):
        past.at(START + 3 * HOUR)
    assert signers(past.at(START + 5 * HOUR)) == {"cleo"}
    assert "ben" in signers(past.at(START))
