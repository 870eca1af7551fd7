"""Reject and withdraw with a real ledger and real keys: what counts at once, and what is not taken back."""

from __future__ import annotations

import dataclasses

import pytest
from approvalworld import Says, World
from sshkeys import PROCESSES

from pipeline.adapters.sshsig import SshKey
from pipeline.domain.decision import Approval, Proof
from pipeline.domain.release import Seal
from pipeline.errors import GateRefusedError, LedgerRemoteError, NotFoundError, UsageError
from pipeline.verbs.reject import reject
from pipeline.verbs.withdraw import withdraw


@pytest.mark.parametrize("why", ["", "two\nlines", "\x1b[2J"])
def test_texts_that_no_record_can_hold_are_refused(world: World, why: str) -> None:
    with pytest.raises(UsageError, match="the reason"):
        reject([world.proposal(world.candidate())], world.deciding("ben"), why=why)


def test_a_rejection_counts_at_once_and_so_does_taking_it_back(world: World) -> None:
    one = world.candidate()
    world.approve("ben", world.proposal(one))
    world.approve("cleo", world.proposal(one))
    before = world.ledger().read()
    seen = reject([world.proposal(one)], world.deciding("ada"), why="it does not boot", dry_run=True)
    assert (seen.proof, *seen.names()) == (None, "debian/base")
    assert world.ledger().read() == before
    no = reject([world.proposal(one)], world.deciding("ada"), why="it does not boot on my host")
    assert "rejections: got " in world.why(one)
    with pytest.raises(GateRefusedError, match="it does not boot on my host"):
        world.approve("dan", world.proposal(one))
    with pytest.raises(GateRefusedError, match=r"made by ada@example\.org, not by ben@"):
        withdraw(no.id, world.deciding("ben"), why="nonsense")
    back = withdraw(no.id[:12], world.deciding("ada"), why="it was a loose cable", dry_run=True)
    assert (back.proof, world.ledger().read()[-1]) == (None, no)
    withdraw(no.id[:12], world.deciding("ada"), why="it was a loose cable")
    assert world.why(one) == ""


def test_a_rejection_while_the_person_thinks_stops_the_approval(world: World) -> None:
    one = world.candidate()

    class Slow(Says):
        def ask(self, text: str) -> bool:
            reject([world.proposal(one)], world.deciding("dan"), why="stop")
            return True

    with pytest.raises(GateRefusedError, match="stop, expected none that stands"):
        world.approve("ben", world.proposal(one), person=Slow())
    assert not any(isinstance(record, Approval) for record in world.ledger().read())


def test_a_rejection_that_cannot_be_delivered_is_not_kept_for_later(world: World) -> None:
    one = world.candidate()

    class Unplugs(SshKey):
        def sign(self, statement: bytes, identity: str) -> Proof:
            world.hub.rename(world.hub.with_name("moved.git"))
            return super().sign(statement, identity)

    parts = dataclasses.replace(world.deciding("ben"), key=Unplugs(PROCESSES, world.keys / "ben"))
    with pytest.raises(LedgerRemoteError, match="nothing was recorded"):
        reject([world.proposal(one)], parts, why="stop")
    assert world.ledger().kept() == ()


def test_a_withdrawn_approval_does_not_count(world: World) -> None:
    one = world.candidate()
    made = world.approve("ben", world.proposal(one))
    world.approve("cleo", world.proposal(one))
    withdraw(made.id, world.deciding("ben"), why="I looked at the wrong page")
    assert "ben@example.org does not count: it was withdrawn" in world.why(one)
    copy = dataclasses.replace(made, author="eve")
    world.ledger().append([copy])
    assert "it was withdrawn" in world.why(one)


def test_what_a_release_rests_on_is_not_taken_back(world: World) -> None:
    one = world.candidate()
    made = world.approve("ben", world.proposal(one))
    seal = Seal(
        time=world.now,
        author="ben",
        line=one.line,
        image=one.image,
        repository=one.repository,
        digest=one.digest,
        version="1.0.0",
        tier=one.tier,
        candidate=one.id,
        approvals=(made.id,),
        what="w",
        why="y",
        approvers=("ben@example.org",),
    )
    world.ledger().append([seal])
    with pytest.raises(GateRefusedError, match=r"debian/base v1\.0\.0 was released on the approval"):
        withdraw(made.id, world.deciding("ben"), why="too late")


@pytest.mark.parametrize("name", ["", "abc", "zz" * 32, "0" * 64, "../../etc"])
def test_a_name_of_no_decision_is_refused(world: World, name: str) -> None:
    world.candidate()
    with pytest.raises((UsageError, NotFoundError)):
        withdraw(name, world.deciding("ben"), why="x")
