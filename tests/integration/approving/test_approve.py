"""Approve with a real shared repository, a real ledger and real keys: what is shown, asked and refused."""

from __future__ import annotations

import dataclasses
import datetime as dt
import io
from pathlib import Path

import pytest
from approvalkit import EVIDENCE
from approvalworld import START, Says, World
from rich.console import Console
from sshkeys import PROCESSES

from pipeline.domain.gate import Verdict
from pipeline.domain.image import Repository
from pipeline.domain.record import Builder, Candidate, GateRecord
from pipeline.errors import GateRefusedError, LedgerRemoteError, NotFoundError, UsageError
from pipeline.render.approve import show_briefs, show_decision


def hosts(world: World, *names: str) -> list[Candidate]:
    return [
        world.candidate(
            number, image=name, repository=Repository(registry="127.0.0.1:5000", path=f"os/debian/{name}")
        )
        for number, name in enumerate(names, 10)
    ]


def test_two_people_approve_and_it_may_be_released(world: World) -> None:
    one = world.candidate()
    person = Says()
    first = world.approve("ben", world.proposal(one), person=person)
    assert (
        f"Approve debian/base {one.digest} as ben@example.org, by the rules of origin/main" in person.asked[0]
    )
    assert "got 1 (ben@example.org), expected 2 distinct people" in world.why(one)
    second = world.approve("cleo", world.proposal(one))
    standing = world.stand(one)
    assert standing.refusals == ()
    assert [vote.approval for vote in standing.require()] == [first.id, second.id]
    assert first.expires == START + dt.timedelta(days=7)
    assert [record.id for record in world.ledger().read()][1:] == [first.id, second.id]


def test_the_approval_is_checked_offline_by_ssh_keygen_alone(world: World, tmp_path: Path) -> None:
    one = world.candidate()
    made = world.approve("ben", world.proposal(one))
    assert made.proof is not None
    (tmp_path / "sig").write_text(
        f"-----BEGIN SSH SIGNATURE-----\n{made.proof.text}\n-----END SSH SIGNATURE-----\n"
    )
    allowed = str(world.images / "keys/allowed_signers")
    verify = ["ssh-keygen", "-Y", "verify", "-f", allowed, "-n", "decision@bootc-pipeline"]
    PROCESSES.run(
        [*verify, "-I", "ben@example.org", "-s", str(tmp_path / "sig")], stdin=made.statement().decode()
    )


def test_many_images_are_approved_in_one_record_and_shown_in_groups(world: World) -> None:
    found = hosts(world, "web", "db", "cache")
    odd = dataclasses.replace(
        world.proposal(found[1]), facts=("look at: \x1b[31mits own key\x1b[0m", "[b]not markup[/]")
    )
    made = world.approve("ben", world.proposal(found[0]), odd, world.proposal(found[2]))
    assert [image.name for image in made.decided] == ["debian/cache", "debian/db", "debian/web"]
    assert len(world.ledger().read()) == 4
    console = Console(file=io.StringIO(), width=200)
    show_briefs(*world.shown[0], console=console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "2 images of which the same is to be said" in text
    assert "1 image, different from the first in this" in text
    assert "look at: \\x1b[31mits own key" in text
    assert "[b]not markup[/]" in text
    assert all(f"{one.repository}@{one.digest}" in text for one in found)
    for one in found:
        assert "got 1 (ben@example.org)" in world.why(one)


def test_a_decision_is_shown_as_it_was_recorded(world: World) -> None:
    made = world.approve("ben", world.proposal(world.candidate()))
    for as_json in (True, False):
        console = Console(file=io.StringIO(), width=200)
        show_decision(made, console=console, as_json=as_json)
        text = console.file.getvalue()  # type: ignore[attr-defined]
        assert made.id in text
        assert "fixes the pool import" in text


def test_no_is_no(world: World) -> None:
    one = world.candidate()
    with pytest.raises(GateRefusedError, match="the answer was not yes"):
        world.approve("ben", world.proposal(one), person=Says(answer=False))
    assert len(world.ledger().read()) == 1


def test_nobody_to_ask_is_refused_unless_the_rule_names_who_signs_in_ci(tmp_path: Path) -> None:
    world = World(tmp_path, rule='ci_identities = ["robot@example.org"]')
    one = world.candidate()
    with pytest.raises(UsageError, match=r"names no CI identity ben@example\.org"):
        world.approve("ben", world.proposal(one), nobody=True)
    world.approve("robot", world.proposal(one), nobody=True)
    assert "got 1 (robot@example.org)" in world.why(one)


def test_what_would_not_count_is_refused_before_anybody_is_asked(world: World) -> None:
    one, person = world.candidate(), Says()
    with pytest.raises(GateRefusedError, match=r"ada@example.org built it"):
        world.approve("ada", world.proposal(one), person=person)
    with pytest.raises(UsageError, match="is not on the list of signers of origin/main"):
        world.approve("eve", world.proposal(one), person=person)
    with pytest.raises(UsageError, match=r"not for cleo@example\.org"):
        world.approve("ben", world.proposal(one), person=person, identity="cleo@example.org")
    with pytest.raises(GateRefusedError, match="kernel panics"):
        world.approve(
            "ben", dataclasses.replace(world.proposal(one), blocks=("kernel panics",)), person=person
        )
    failed = world.candidate(2, gates=(GateRecord(gate="one-kernel", verdict=Verdict.FAIL, summary="two"),))
    with pytest.raises(GateRefusedError, match="one-kernel fail, expected all pass"):
        world.approve("ben", world.proposal(failed), person=person)
    with pytest.raises(GateRefusedError, match="boot-test missing or changed"):
        world.approve("ben", world.proposal(one, held=frozenset(EVIDENCE) - {"boot-test"}), person=person)
    assert person.asked == []


def test_what_the_ledger_does_not_have_and_what_is_named_twice_is_refused(world: World) -> None:
    one = world.candidate()
    with pytest.raises(NotFoundError, match="has no candidate debian/base"):
        world.approve("ben", world.proposal(dataclasses.replace(one, tag="candidate-x")))
    with pytest.raises(UsageError, match="each once"):
        world.approve("ben", world.proposal(one), world.proposal(one))


def test_an_approval_that_cannot_be_delivered_is_not_kept_for_later(world: World) -> None:
    one = world.candidate()

    class Unplugs(Says):
        def ask(self, text: str) -> bool:
            world.hub.rename(world.hub.with_name("moved.git"))
            return True

    with pytest.raises(LedgerRemoteError):
        world.approve("ben", world.proposal(one), person=Unplugs())
    assert world.ledger().kept() == ()


def test_a_ci_job_that_nobody_lists_lets_nobody_approve(world: World) -> None:
    job = Builder(identity="https://gitlab.example.org/os/-/jobs/9", host="CI runner")
    one = world.candidate(5, builder=job)
    with pytest.raises(GateRefusedError, match="not told who 'https://gitlab"):
        world.approve("ben", world.proposal(one))
