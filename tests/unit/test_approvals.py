from __future__ import annotations

import dataclasses
import datetime as dt
from functools import partial

import pytest
from approvalkit import CANDIDATE, EVIDENCE, KEYS, LATER, NOW, approval, decided, proof, rejection, withdrawal
from records import candidate, digest

from pipeline.domain.approvals import Ballot, Decisions, Entry, Proved, Signed, Unproved, ballot
from pipeline.domain.image import Repository, Tier
from pipeline.domain.record import Candidate, Record

SECOND = dt.timedelta(seconds=1)
OTHER = candidate(2, image="other", evidence=EVIDENCE)


def proved(entry: Entry, bad: str = "") -> Proved:
    """Every proof holds, but those of a person who is named."""
    proof = entry.decision.proof
    if proof is None or (bad and proof.key == KEYS[bad]):
        return Unproved(why="it is not good")
    return Signed(identity=proof.identity, key=proof.key)


def count(*records: Record, now: dt.datetime = NOW, bad: str = "", of: Candidate = CANDIDATE) -> Ballot:
    return ballot(of, Decisions(records), partial(proved, bad=bad), now)


def test_an_approval_of_exactly_this_counts() -> None:
    found = count(CANDIDATE, approval())
    assert [one.identity for one in found.votes] == ["ben@example.org"]
    assert (found.discounted, found.rejections) == ((), ())


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        (decided(digest=digest(77)), "another digest: got sha256:"),
        (decided(candidate="f" * 64), "another candidate's record: got ffff"),
        (
            decided(repository=Repository(registry="localhost", path="x")),
            "another repository: got localhost/x",
        ),
        (decided(tier=Tier.INSTANCE), "another tier: got instance, expected base"),
        (decided(evidence={**EVIDENCE, "sbom": digest(9)}), "another sbom: got sha256:"),
        (
            decided(evidence={k: v for k, v in EVIDENCE.items() if k != "diff"}),
            "another diff: got none, expected",
        ),
        (decided(evidence={**EVIDENCE, "extra": digest(9)}), "another extra: got sha256:"),
        (decided(OTHER, digest=CANDIDATE.digest), "it is for debian/other, not for debian/base"),
    ],
)
def test_an_approval_of_anything_else_does_not_count(changed: object, why: str) -> None:
    found = count(CANDIDATE, approval("ben", changed))  # type: ignore[arg-type]
    assert found.votes == ()
    assert why in found.discounted[0].why


def test_a_candidate_whose_gates_were_edited_has_no_approvals() -> None:
    edited = dataclasses.replace(CANDIDATE, gates=())
    found = count(CANDIDATE, approval(), edited, of=edited)
    assert found.votes == ()
    assert "another candidate's record" in found.discounted[0].why


def test_an_expired_one_and_one_of_tomorrow_do_not_count() -> None:
    late = LATER + dt.timedelta(days=7)
    assert (
        "it expired at 2026-11-28T13:00:01Z, now is 2026-11-28"
        in count(approval(), now=late).discounted[0].why
    )
    assert count(approval(), now=late - dt.timedelta(seconds=1)).votes
    assert "it is dated" in count(approval(), now=LATER - dt.timedelta(seconds=1)).discounted[0].why


def test_what_is_not_proved_or_was_not_looked_at_does_not_count() -> None:
    assert count(approval(), bad="ben").discounted[0].why == "it is not good"
    assert count(approval(proof=None)).discounted[0].identity == "nobody"


def test_a_withdrawn_approval_stays_withdrawn_however_it_is_written_again() -> None:
    first = approval()
    again = dataclasses.replace(first, author="somebody else")
    found = count(first, withdrawal(first), again)
    assert again.id != first.id
    assert found.votes == ()
    assert {one.why for one in found.discounted} == {"it was withdrawn"}


def test_a_new_approval_after_a_withdrawal_counts() -> None:
    first = approval()
    later = approval(time=NOW)
    assert [one.approval for one in count(first, withdrawal(first), later).votes] == [later.id]


def test_a_withdrawal_of_an_approval_needs_no_proof() -> None:
    assert count(approval(), withdrawal(approval(), "eve"), bad="eve").votes == ()


def test_a_rejection_stands_proved_or_not_until_its_maker_takes_it_back() -> None:
    no = rejection("dan")
    assert [one.proved for one in count(no).rejections] == [True]
    assert [one.proved for one in count(no, bad="dan").rejections] == [False]
    assert count(no, withdrawal(no, "eve")).rejections
    assert count(no, withdrawal(no, "dan"), bad="dan").rejections
    assert count(no, withdrawal(no, "dan")).rejections == ()


def test_an_unproved_rejection_is_taken_back_by_anybody_on_the_list() -> None:
    no = dataclasses.replace(rejection("dan"), proof=None)
    assert count(no).rejections
    assert count(no, withdrawal(no, "ben")).rejections == ()


def test_a_rejection_is_of_a_digest_whatever_the_image_is_called() -> None:
    assert count(rejection("dan", decided(OTHER, digest=CANDIDATE.digest))).rejections
    assert count(rejection("dan", decided(digest=digest(77)))).rejections == ()


def test_old_approvals_of_earlier_images_are_not_told() -> None:
    old = approval("ben", decided(digest=digest(77)), time=LATER, expires=LATER + dt.timedelta(seconds=1))
    assert count(old) == Ballot()
    assert count(approval("ben", decided(OTHER))) == Ballot()


def test_one_record_approves_many_images_each_for_itself() -> None:
    both = approval("ben", decided(), decided(OTHER))
    assert [one.decided.name for one in count(both).votes] == ["debian/base"]
    assert count(both, of=OTHER).votes[0].decided.name == "debian/other"


def test_only_proofs_that_matter_are_asked_for() -> None:
    mine, foreign, late = approval(), approval("ben", decided(OTHER)), approval("dan", expires=LATER + SECOND)
    asked: list[str] = []

    def prove(entry: Entry) -> Proved:
        asked.append(entry.id)
        return proved(entry)

    records = [CANDIDATE, mine, foreign, late, withdrawal(foreign)]
    assert len(ballot(CANDIDATE, Decisions(records), prove, NOW).votes) == 1
    assert asked == [mine.id]


def test_the_proof_is_no_part_of_the_statement_and_everything_else_is() -> None:
    one = approval()
    assert dataclasses.replace(one, proof=proof("cleo"), author="x").statement() == one.statement()
    for changed in (
        dataclasses.replace(one, why="x"),
        dataclasses.replace(one, what="x"),
        dataclasses.replace(one, expires=one.expires + dt.timedelta(1)),
        dataclasses.replace(one, time=one.time + dt.timedelta(1)),
        dataclasses.replace(one, decided=(decided(version="9.0.0"),)),
    ):
        assert changed.statement() != one.statement()


def test_a_withdrawal_speaks_of_either_decision() -> None:
    for one in (approval("ben"), rejection("ben")):
        taken = withdrawal(one)
        assert taken.title == f"withdrawal of decision {one.id[:12]}"
        assert taken.summary()[0] == ("Decision", one.id)
