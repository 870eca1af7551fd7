"""What is asked of the ledger at each moment of a seal, on records in memory."""

from __future__ import annotations

import dataclasses
import datetime as dt

import pytest
from approvalkit import CANDIDATE, KEYS, KINDS, LATER, NOW, SIGNERS, approval, rejection, settings, withdrawal
from records import candidate, digest, seal, yank

from pipeline.domain.allowed_signers import AllowedSigners
from pipeline.domain.approvals import Proved, Signed, Unproved
from pipeline.domain.decision import Decision, Release
from pipeline.domain.gate import Verdict
from pipeline.domain.image import Tier
from pipeline.domain.lineage import Lineage
from pipeline.domain.oci import OCI_MANIFEST, Descriptor
from pipeline.domain.protected_rules import ProtectedRules
from pipeline.domain.record import Candidate, Record
from pipeline.domain.release import Removed, Retention, Seal
from pipeline.domain.sealing import LEASE, ProposedBump
from pipeline.errors import GateRefusedError, SealConflictError
from pipeline.verbs.seal_checks import OvertakenError, parent_of, recheck, standing_reasons
from pipeline.verbs.seal_parts import Sealing
from pipeline.verbs.standing import Known, Standings

UPSTREAM = candidate(7, image="upstream", tier=Tier.UPSTREAM, parent=None)
PARENT = seal("1.0.0", of=UPSTREAM)
YES = (approval("ben"), approval("cleo", why="the pool comes up"))
HELD = Known(authors=("Ada <ada@example.org>",), gates={"one-kernel": Verdict.PASS}, held=frozenset(KINDS))
RULES = ProtectedRules(
    settings=settings(rules={"base": {"people": ({"at_least": 2, "role": "managers"},)}}),
    signers=SIGNERS,
    source="origin/main",
)


class Believes:
    """Believes every proof of a listed key."""

    def check(self, decision: Decision, signers: AllowedSigners, revoked: bytes, now: dt.datetime) -> Proved:
        proof = decision.proof
        if proof is None or proof.key not in KEYS.values():
            return Unproved(why="it is not signed")
        return Signed(identity=proof.identity, key=proof.key)


def planned(*records: Record) -> Sealing:
    standing = Standings(records, RULES, Believes(), now=NOW).of(CANDIDATE, HELD)
    return Sealing(
        candidate=CANDIDATE,
        subject=Descriptor(media_type=OCI_MANIFEST, digest=CANDIDATE.digest, size=400),
        version="1.2.0",
        reserved=False,
        before=None,
        parent=Release(version="1.0.0", digest=UPSTREAM.digest),
        bump=ProposedBump(word="minor"),
        known=HELD,
        votes=standing.require(),
        what="a newer kernel",
        why="fixes the pool import",
    )


LEDGER: tuple[Record, ...] = (UPSTREAM, PARENT, CANDIDATE, *YES)
ONE = planned(*LEDGER)
MINE = ONE.reservation(NOW, "Ada")


def ask(*more: Record, reserved: bool = True, now: dt.datetime = NOW) -> None:
    recheck([ONE], (*LEDGER, *more), RULES, Believes(), now=now, reserved=reserved)


def test_what_is_still_so_passes() -> None:
    ask(reserved=False)
    ask(MINE)
    assert ONE.approvals == tuple(sorted(one.id for one in YES))


def test_a_reservation_that_is_gone() -> None:
    with pytest.raises(SealConflictError, match=r"no reservation of debian/base v1\.2\.0"):
        ask()


def test_what_another_run_released() -> None:
    done = seal("1.2.0", of=CANDIDATE)
    with pytest.raises(OvertakenError) as error:
        ask(MINE, done)
    assert error.value.seals == (done,)


def test_another_digest_that_was_first() -> None:
    other = dataclasses.replace(MINE, digest=digest(66))
    with pytest.raises(SealConflictError, match="belongs to sha256:"):
        ask(other, MINE)
    higher = dataclasses.replace(other, version="1.3.0")
    with pytest.raises(SealConflictError, match=r"is not above v1\.3\.0"):
        ask(MINE, higher, now=NOW + LEASE)
    lower = dataclasses.replace(other, version="1.1.0")
    with pytest.raises(SealConflictError, match="is being sealed from"):
        ask(lower, reserved=False)
    ask(lower, MINE, now=NOW + LEASE)


def pruned(one: Candidate | Seal) -> Retention:
    removed = Removed(repository=one.repository, digest=one.digest, reason="old")
    return Retention(time=LATER, author="ci", removed=(removed,))


@pytest.mark.parametrize(
    ("record", "why"),
    [
        (withdrawal(YES[0]), r"got 1 .*it was withdrawn"),
        (rejection("dan"), "it does not boot here"),
        (yank(PARENT, time=LATER), r"its parent debian/upstream v1\.0\.0 was yanked: zfs"),
        (pruned(CANDIDATE), "it was deleted by `pipeline prune`"),
        (pruned(PARENT), r"its parent debian/upstream v1\.0\.0 was deleted by `pipeline prune`"),
        (seal("1.1.0", 12), r"approved the difference to none, the last release is v1\.1\.0"),
    ],
)
def test_what_was_decided_meanwhile(record: Record, why: str) -> None:
    with pytest.raises(GateRefusedError, match=why):
        ask(MINE, record)


def test_an_approval_that_expires_while_it_runs() -> None:
    with pytest.raises(GateRefusedError, match="it expired at"):
        ask(MINE, now=YES[0].expires)


def test_one_of_three_that_is_withdrawn_is_not_recorded_as_counting() -> None:
    third = approval("dan", why="tried it")
    one = planned(*LEDGER, third)
    records = (*LEDGER, third, MINE, withdrawal(third, "dan"))
    with pytest.raises(GateRefusedError, match=f"the approval {third.id[:12]} does not count any more"):
        recheck([one], records, RULES, Believes(), now=NOW, reserved=True)


def test_parents() -> None:
    lineage = Lineage(LEDGER)
    assert list(standing_reasons(CANDIDATE, lineage)) == []
    assert parent_of(CANDIDATE, lineage) == PARENT
    assert list(standing_reasons(UPSTREAM, lineage)) == []
    assert parent_of(UPSTREAM, lineage) is None
    [why] = standing_reasons(CANDIDATE, Lineage(()))
    assert why.endswith("is not released; seals go from the top")
    [why] = standing_reasons(dataclasses.replace(CANDIDATE, parent=None), lineage)
    assert why.startswith("its record names no parent")
