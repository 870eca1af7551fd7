"""Approve, reject and withdraw with a real shared repository, a real ledger and real keys."""

from __future__ import annotations

import dataclasses
import datetime as dt
import io
from pathlib import Path

import pytest
from approvalkit import EVIDENCE
from approvalworld import SETTINGS, START, Says, World
from ledgers import git
from records import digest
from rich.console import Console
from sshkeys import PROCESSES, listed

from pipeline.adapters.protected import ProtectedBranch
from pipeline.adapters.sshsig import SshKey
from pipeline.domain.decision import Approval, Proof, Release
from pipeline.domain.gate import Verdict
from pipeline.domain.image import Repository
from pipeline.domain.record import Builder, Candidate, GateRecord
from pipeline.domain.release import Seal
from pipeline.errors import (
    DefinitionError,
    GateRefusedError,
    LedgerRemoteError,
    NotFoundError,
    PipelineError,
    UsageError,
)
from pipeline.render.approve import show_briefs, show_decision
from pipeline.verbs.reject import reject
from pipeline.verbs.withdraw import withdraw


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def resigned(world: World, name: str, one: Approval, **changes: object) -> Approval:
    """An approval as a person with a key could make it by hand, past every check of the verb."""
    draft = dataclasses.replace(one, **changes)  # type: ignore[arg-type]
    proof = SshKey(PROCESSES, world.keys / name).sign(draft.statement(), f"{name}@example.org")
    return dataclasses.replace(draft, proof=proof)


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


@pytest.mark.parametrize("why", ["", "two\nlines", "\x1b[2J"])
def test_texts_that_no_record_can_hold_are_refused(world: World, why: str) -> None:
    with pytest.raises(UsageError, match="the reason"):
        reject([world.proposal(world.candidate())], world.deciding("ben"), why=why)


def test_what_the_ledger_does_not_have_and_what_is_named_twice_is_refused(world: World) -> None:
    one = world.candidate()
    with pytest.raises(NotFoundError, match="has no candidate debian/base"):
        world.approve("ben", world.proposal(dataclasses.replace(one, tag="candidate-x")))
    with pytest.raises(UsageError, match="each once"):
        world.approve("ben", world.proposal(one), world.proposal(one))


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


def test_a_withdrawn_approval_does_not_count(world: World) -> None:
    one = world.candidate()
    made = world.approve("ben", world.proposal(one))
    world.approve("cleo", world.proposal(one))
    withdraw(made.id, world.deciding("ben"), why="I looked at the wrong page")
    assert "ben@example.org does not count: it was withdrawn" in world.why(one)
    copy = dataclasses.replace(made, author="eve")
    world.ledger().append([copy])
    assert "it was withdrawn" in world.why(one)


def test_an_approval_that_cannot_be_delivered_is_not_kept_for_later(world: World) -> None:
    one = world.candidate()

    class Unplugs(Says):
        def ask(self, text: str) -> bool:
            world.hub.rename(world.hub.with_name("moved.git"))
            return True

    with pytest.raises(LedgerRemoteError):
        world.approve("ben", world.proposal(one), person=Unplugs())
    assert world.ledger().kept() == ()


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


class TestProtectedBranch:
    """The list of who may approve is never the checkout's."""

    def with_eve(self, world: World) -> None:
        names = ("ada", "ben", "cleo", "dan", "eve")
        world.signers(*(listed(world.keys / name) for name in names))
        text = SETTINGS.format(rule="", more="").replace(
            'robot = ["robot@example.org"]', 'robot = ["robot@example.org"]\neve = ["eve@example.org"]'
        ).replace('"dan", "robot"]', '"dan", "eve"]')  # fmt: skip
        world.settings(text)

    @pytest.mark.parametrize("how", ["work tree", "local branch", "feature branch", "other protected branch"])
    def test_a_list_that_was_not_merged_does_not_count(self, world: World, how: str) -> None:
        if how in ("feature branch", "other protected branch"):
            git(world.top, "checkout", "-q", "-b", "feature")
        self.with_eve(world)
        if how == "other protected branch":
            text = (world.images / "pipeline.toml").read_text()
            world.settings(text.replace('branch = "main"', 'branch = "feature"'))
        if how != "work tree":
            world.commit("let eve in", "eve")
        if how in ("feature branch", "other protected branch"):
            git(world.top, "push", "-q", "origin", "feature")
        one = world.candidate()
        with pytest.raises(UsageError, match="is not on the list of signers of origin/main"):
            world.approve("eve", world.proposal(one))
        found = world.rules().read()
        assert "eve" not in found.settings.people
        assert any("allowed_signers differs in this checkout" in notice for notice in found.notices)
        assert any("pipeline.toml differs in this checkout" in notice for notice in found.notices)

    def test_a_key_that_came_in_the_same_merge_does_not_count(self, world: World) -> None:
        self.with_eve(world)
        world.commit("let eve in", "ada")
        world.push()
        one = world.candidate()
        with pytest.raises(GateRefusedError, match="signed with a key that came with this very change"):
            world.approve("eve", world.proposal(one, since=world.first))
        next_one = world.candidate(2)
        world.approve("eve", world.proposal(next_one, since=next_one.source.commit))
        unknown = dataclasses.replace(one.source, commit=None, clean=None)
        lost = dataclasses.replace(one, source=unknown)
        assert world.known(lost, since=world.first).newcomers == world.known(one, since=world.first).newcomers

    def test_the_newest_list_of_the_remote_counts_without_a_pull(self, world: World, tmp_path: Path) -> None:
        one = world.candidate()
        git(tmp_path, "clone", "-q", str(world.hub), "elsewhere")
        (tmp_path / "elsewhere/images/keys/allowed_signers").write_text(listed(world.keys / "dan"))
        git(tmp_path / "elsewhere", "commit", "-qam", "only dan")
        git(tmp_path / "elsewhere", "push", "-q", "origin", "main")
        with pytest.raises(UsageError, match="is not on the list"):
            world.approve("ben", world.proposal(one))
        before = git(world.top, "rev-parse", "refs/remotes/origin/main")
        assert before == world.first

    def test_the_remote_says_which_branch_is_its_default(self, world: World) -> None:
        git(world.top, "push", "-q", "origin", "main:trunk")
        git(world.hub, "symbolic-ref", "HEAD", "refs/heads/trunk")
        with pytest.raises(NotFoundError, match="there is no branch origin/gone"):
            ProtectedBranch(world.images, remote="origin", branch="gone").read()
        assert world.rules().read().source.startswith("origin/main at")
        git(world.top, "checkout", "-q", "-b", "trunk")
        world.settings(SETTINGS.format(rule="", more="").replace('"main"', '"trunk"'))
        world.commit("trunk protects itself", "ada")
        git(world.top, "push", "-q", "origin", "trunk")
        assert world.rules().read().source.startswith("origin/trunk at")
        git(world.top, "push", "-q", "origin", "trunk:main")
        with pytest.raises(DefinitionError, match="names the branch 'trunk' as the protected one"):
            ProtectedBranch(world.images, remote="origin", branch="main").read()

    def test_the_default_branch_may_name_another_one_that_names_itself(self, world: World) -> None:
        git(world.top, "checkout", "-q", "-b", "release")
        world.settings(SETTINGS.format(rule="", more="").replace('branch = "main"', 'branch = "release"'))
        world.signers(listed(world.keys / "dan"))
        world.commit("rules of releases", "ada")
        git(world.top, "push", "-q", "origin", "release")
        assert world.rules().read().source.startswith("origin/main at")
        git(world.top, "checkout", "-q", "main")
        world.settings(SETTINGS.format(rule="", more="").replace('branch = "main"', 'branch = "release"'))
        world.commit("releases have rules of their own", "ada")
        world.push()
        found = world.rules().read()
        assert found.source.startswith("origin/release at")
        assert len(found.signers.keys) == 1

    def test_a_branch_that_names_a_third_one_is_refused(self, world: World) -> None:
        for branch, named in (("release", "third"), ("main", "release")):
            git(world.top, "checkout", "-q", "-B", branch)
            world.settings(SETTINGS.format(rule="", more="").replace('"main"', f'"{named}"'))
            world.commit("x", "ada")
            git(world.top, "push", "-q", "origin", branch)
        with pytest.raises(DefinitionError, match="names the branch 'third' as the protected one"):
            world.rules().read()

    def test_without_a_remote_the_local_branch_is_read_and_that_is_loud(self, world: World) -> None:
        git(world.top, "remote", "remove", "origin")
        one = world.candidate()
        world.approve("ben", world.proposal(one))
        assert any(text.startswith("UNPROTECTED") for text in world.shown[0][1])
        self.with_eve(world)
        with pytest.raises(UsageError, match="is not on the list of signers of main"):
            world.approve("eve", world.proposal(one))

    @pytest.mark.parametrize(
        ("file", "content", "error"),
        [
            ("keys/allowed_signers", None, "has no file images/keys/allowed_signers"),
            ("keys/allowed_signers", Path("/etc/passwd"), "has no file images/keys/allowed_signers"),
            ("keys/allowed_signers", b"* ssh-ed25519 AAAA\n", "is a pattern"),
            ("pipeline.toml", b"[approval\n", r"pipeline\.toml"),
            ("pipeline.toml", b"[approval]\nbranhc = 'x'\n", "unknown key"),
            ("pipeline.toml", b"\xff\xfe", r"pipeline\.toml"),
        ],
    )
    def test_broken_files_on_the_branch_end_in_one_message(
        self, world: World, file: str, content: bytes | Path | None, error: str
    ) -> None:
        path = world.images / file
        path.unlink()
        if isinstance(content, Path):
            path.symlink_to(content)
        elif content is not None:
            path.write_bytes(content)
        world.commit("broken", "ada")
        world.push()
        with pytest.raises(PipelineError, match=error):
            world.rules().read()

    def test_a_remote_that_is_gone_is_told(self, world: World) -> None:
        world.hub.rename(world.hub.with_name("moved.git"))
        with pytest.raises(PipelineError, match="for who may approve"):
            world.rules().read()


def test_a_ci_job_that_nobody_lists_lets_nobody_approve(world: World) -> None:
    job = Builder(identity="https://gitlab.example.org/os/-/jobs/9", host="CI runner")
    one = world.candidate(5, builder=job)
    with pytest.raises(GateRefusedError, match="not told who 'https://gitlab"):
        world.approve("ben", world.proposal(one))
