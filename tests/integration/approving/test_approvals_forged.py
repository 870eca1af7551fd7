"""Approvals forged in a real ledger: none counts, and each is told why."""

from __future__ import annotations

import dataclasses
import datetime as dt

import pytest
from approvalworld import SETTINGS, START, World
from records import digest
from sshkeys import PROCESSES, listed

from pipeline.adapters.sshsig import SshKey
from pipeline.domain.decision import Approval, Release
from pipeline.domain.gate import Verdict
from pipeline.domain.image import Repository
from pipeline.domain.record import Candidate, GateRecord
from pipeline.errors import GateRefusedError


def resigned(world: World, name: str, one: Approval, **changes: object) -> Approval:
    """An approval as a person with a key could make it by hand, past every check of the verb."""
    draft = dataclasses.replace(one, **changes)  # type: ignore[arg-type]
    proof = SshKey(PROCESSES, world.keys / name).sign(draft.statement(), f"{name}@example.org")
    return dataclasses.replace(draft, proof=proof)


class TestForgeries:
    """Each in the ledger beside Cleo's good approval: one person is never two."""

    @pytest.fixture
    def one(self, world: World) -> Candidate:
        return world.candidate()

    @pytest.fixture
    def made(self, world: World, one: Candidate) -> Approval:
        """A good approval of Ben's that was not recorded."""
        world.approve("cleo", world.proposal(one))
        decided = (world.proposal(one).decided,)
        draft = Approval(
            time=world.now, author="ben", decided=decided, what="w", why="y",
            expires=world.now + dt.timedelta(days=7),
        )  # fmt: skip
        return resigned(world, "ben", draft)

    def test_the_good_one_counts(self, world: World, one: Candidate, made: Approval) -> None:
        world.ledger().append([made])
        assert world.why(one) == ""

    def test_for_another_digest(self, world: World, one: Candidate, made: Approval) -> None:
        other = dataclasses.replace(made.decided[0], digest=digest(66))
        world.ledger().append([resigned(world, "ben", made, decided=(other,))])
        assert f"another digest: got {digest(66)}, expected {one.digest}" in world.why(one)

    def test_edited_after_signing(self, world: World, one: Candidate, made: Approval) -> None:
        other = dataclasses.replace(made.decided[0], digest=digest(66))
        signed = resigned(world, "ben", made, decided=(other,))
        world.ledger().append([dataclasses.replace(signed, decided=made.decided)])
        assert "incorrect signature" in world.why(one)
        world.ledger().append([dataclasses.replace(made, expires=made.expires + dt.timedelta(days=90))])
        assert world.why(one).count("incorrect signature") == 2

    def test_by_a_removed_key(self, world: World, one: Candidate, made: Approval) -> None:
        world.ledger().append([made])
        assert world.why(one) == ""
        world.signers(*(listed(world.keys / name) for name in ("cleo", "dan")))
        world.commit("ben left", "ada")
        world.push()
        assert "speaks for nobody on the list of signers, not for ben@example.org" in world.why(one)

    def test_by_a_revoked_key(self, world: World, one: Candidate, made: Approval) -> None:
        world.ledger().append([made])
        world.settings(SETTINGS.format(rule="", more='revoked_keys = "keys/revoked"'))
        (world.images / "keys/revoked").write_bytes((world.keys / "ben.pub").read_bytes())
        world.commit("ben lost his key", "ada")
        world.push()
        assert "its key was revoked" in world.why(one)

    def test_by_the_builder(self, world: World, one: Candidate, made: Approval) -> None:
        world.ledger().append([resigned(world, "ada", made)])
        assert "ada@example.org built it" in world.why(one)

    def test_by_an_author_of_the_change(self, world: World) -> None:
        world.commit("a newer kernel\n\nCo-authored-by: Ben <ben@example.org>", "ada")
        world.push()
        one = world.candidate(2)
        with pytest.raises(GateRefusedError, match=r"ben@example.org wrote the change"):
            world.approve("ben", world.proposal(one, since=world.first))

    def test_expired(self, world: World, one: Candidate, made: Approval) -> None:
        world.ledger().append([made])
        text = world.why(one, now=made.expires)
        assert "it expired at 2026-11-28T14:00:00Z, now is 2026-11-28T14:00:00Z" in text

    def test_with_an_expiry_far_away(self, world: World, one: Candidate, made: Approval) -> None:
        world.ledger().append([resigned(world, "ben", made, expires=START + dt.timedelta(days=900))])
        assert "approved 8 days ago, expected 7 at most" in world.why(one, now=START + dt.timedelta(days=8))

    def test_copied_from_another_image(self, world: World, one: Candidate, made: Approval) -> None:
        world.ledger().append([made])
        twin = world.candidate(
            3, digest=one.digest, image="twin",
            repository=Repository(registry="127.0.0.1:5000", path="os/debian/twin"),
        )  # fmt: skip
        assert "it is for debian/base, not for debian/twin" in world.why(twin)
        renamed = dataclasses.replace(
            made.decided[0], image="twin", candidate=twin.id, repository=twin.repository
        )
        world.ledger().append([dataclasses.replace(made, decided=(renamed,))])
        assert "incorrect signature" in world.why(twin)

    def test_twice_by_one_person_with_two_names(self, world: World, one: Candidate, made: Approval) -> None:
        both = listed(world.keys / "cleo", "cleo@example.org", "dan@old.example.org")
        world.signers(*(listed(world.keys / name) for name in ("ben", "dan")), both)
        world.commit("cleo has two addresses", "ada")
        world.push()
        draft = dataclasses.replace(made, proof=None, why="once more")
        proof = SshKey(PROCESSES, world.keys / "cleo").sign(draft.statement(), "dan@old.example.org")
        world.ledger().append([dataclasses.replace(draft, proof=proof)])
        text = world.why(one)
        assert "got 1 (cleo@example.org, dan@old.example.org)" in text
        assert "are 1 by their keys and names" in text

    def test_the_same_approval_written_twice(self, world: World, one: Candidate, made: Approval) -> None:
        cleos = next(record for record in world.ledger().read() if isinstance(record, Approval))
        world.ledger().append([dataclasses.replace(cleos, author="somebody else")])
        assert "are 1 by their keys and names" in world.why(one)

    def test_a_candidate_whose_gates_were_edited(self, world: World, made: Approval) -> None:
        bad = (GateRecord(gate="one-kernel", verdict=Verdict.FAIL, summary="two kernels"),)
        one = world.candidate(4, gates=bad)
        decided = (world.proposal(one).decided,)
        world.ledger().append([resigned(world, name, made, decided=decided) for name in ("ben", "cleo")])
        assert "one-kernel fail, expected all pass" in world.why(one)
        good = (GateRecord(gate="one-kernel", verdict=Verdict.PASS, summary="one kernel"),)
        edited = world.candidate(4, gates=good)
        text = world.why(edited, gates={"one-kernel": Verdict.FAIL})
        assert f"another candidate's record: got {one.id}, expected {edited.id}" in text
        assert "got pass in the record, expected fail, as in its document" in text

    def test_of_a_difference_to_an_older_release(self, world: World, one: Candidate, made: Approval) -> None:
        world.ledger().append([made])
        released = Release(version="1.0.0", digest=digest(70))
        assert "approved the difference to none, the last release is v1.0.0" in world.why(
            one, predecessor=released
        )
