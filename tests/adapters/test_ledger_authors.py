"""Who may write the ledger: real keys, real git remotes, records pushed around the program."""

from __future__ import annotations

import datetime as dt
import subprocess
from pathlib import Path

import pytest
from ledgers import KEPT, REF, git
from records import NOON, candidate, reservation, seal, yank
from sshkeys import PROCESSES, public, ssh_key
from writersworld import CI, GIT, RELEASE, TABLE, WritersWorld

from pipeline.adapters.gitrepo import GitRepo
from pipeline.adapters.protected import ProtectedBranch
from pipeline.adapters.signed_commit import read_commit
from pipeline.domain.record import Kind
from pipeline.errors import (
    DefinitionError,
    LedgerError,
    LedgerRemoteError,
    NotFoundError,
    SignatureError,
    UsageError,
)

DAY = dt.timedelta(days=1)


@pytest.fixture
def world(tmp_path: Path) -> WritersWorld:
    return WritersWorld(tmp_path)


def refused(world: WritersWorld, words: str, *, at: Path | None = None) -> LedgerError:
    """Let both a reader and a writer meet what is wrong."""
    tip = world.tip()
    with pytest.raises(LedgerError, match=words) as found:
        world.ledger(at=at).read()
    with pytest.raises(LedgerError, match=words):
        world.ledger("ci", at=at).append([candidate(99)])
    assert world.tip() == tip
    return found.value


def test_a_writer_of_the_kind_writes_and_everybody_reads(world: WritersWorld) -> None:
    first = world.ledger("ci").append([candidate(1)])
    second = world.ledger("release").append([seal("1.0.0"), reservation("1.0.0")])
    assert world.git_says_good(first) == f"G {CI}"
    assert world.git_says_good(second) == f"G {RELEASE}"
    elsewhere = world.clone("elsewhere")
    assert {one.kind for one in world.ledger(at=elsewhere).read()} == {
        Kind.CANDIDATE,
        Kind.SEAL,
        Kind.RESERVATION,
    }
    assert world.ledger(at=elsewhere).sift().breaches == ()


def test_git_signs_as_this_program_does(world: WritersWorld) -> None:
    world.ledger("ci").append([candidate(1)])
    world.pushed(candidate(2), who="ci")
    assert len(world.ledger().read()) == 2


def test_a_record_without_a_signature_is_named(world: WritersWorld) -> None:
    world.ledger("ci").append([candidate(1)])
    forged = seal("9.9.9")
    commit = world.pushed(forged)
    error = refused(world, "it is not signed")
    for words in (forged.id[:12], "seal debian/base", commit[:12], "Eve", RELEASE, "origin/main at"):
        assert words in error.message
    assert "since" in error.hint
    sifted = world.ledger().sift()
    assert [one.kind for one in sifted.records] == [Kind.CANDIDATE]
    assert [one.commit for one in sifted.breaches] == [commit]
    # What was refused is not remembered as seen: taken off the branch, the ledger is good again.
    git(world.hub, "update-ref", REF, f"{commit}^")
    assert len(world.ledger("ci").read()) == 1


def test_a_kind_that_is_not_listed_needs_nobody(world: WritersWorld) -> None:
    world.ledger("release").append([seal("1.0.0")])
    world.ledger().append([yank(seal("1.0.0"))])
    assert len(world.ledger().read()) == 2


@pytest.mark.parametrize(
    ("who", "options", "words"),
    [
        ("eve", GIT, "signed by eve@example.org; seal records are for release@example.org"),
        ("ci", GIT, "signed by ci@example.org"),
        ("release", 'namespaces="decision@bootc-pipeline"', 'may not sign for "git"'),
        ("release", 'namespaces="*,!git"', 'may not sign for "git"'),
        ("release", f'{GIT},valid-after="{NOON + DAY:%Y%m%d}"', "did not count at that time"),
        ("release", f'{GIT},valid-before="{NOON - DAY:%Y%m%d}"', "did not count at that time"),
    ],
)
def test_another_signer_or_another_time_is_refused(
    world: WritersWorld, who: str, options: str, words: str
) -> None:
    lines = [world.line(name, options if name == who else GIT) for name in ("ci", "release", "eve")]
    world.says(TABLE, *lines)
    world.ledger("ci").append([candidate(1)])
    world.pushed(seal("1.0.0"), who=who)
    refused(world, words)


@pytest.mark.parametrize(
    "options", ["", 'namespaces="g*t,other"', f'{GIT},valid-before="{NOON:%Y%m%d%H%M%S}"']
)
def test_what_a_line_of_the_list_allows_counts(world: WritersWorld, options: str) -> None:
    world.says(TABLE, world.line("ci", options))
    assert world.git_says_good(world.ledger("ci").append([candidate(1)])) == f"G {CI}"
    assert len(world.ledger().read()) == 1


def test_a_removed_and_a_revoked_key_are_refused(world: WritersWorld) -> None:
    world.ledger("release").append([seal("1.0.0")])
    world.says(TABLE, world.line("ci"))
    refused(world, "is nobody's on the list of signers")
    everybody = [world.line(name) for name in ("ci", "release")]
    world.says(TABLE, *everybody, revoked=f"# gone\n{public(world.keys / 'release')}\n")
    refused(world, "of release@example.org was revoked")
    world.says(TABLE, *everybody, revoked=public(world.keys / "eve"))
    assert len(world.ledger().read()) == 1


def test_a_binary_list_of_revoked_keys_counts(world: WritersWorld, tmp_path: Path) -> None:
    world.ledger("release").append([seal("1.0.0")])
    krl = tmp_path / "krl"
    for name, count in (("eve", 1), ("release", 0)):
        subprocess.run(
            ["ssh-keygen", "-q", "-k", "-f", str(krl), str(world.keys / f"{name}.pub")], check=True
        )
        world.says(TABLE, revoked="x")
        (world.top / "images/keys/revoked").write_bytes(krl.read_bytes())
        git(world.top, "commit", "-q", "-a", "-m", "krl")
        git(world.top, "push", "-q", "origin", "main")
        if count:
            assert len(world.ledger().read()) == 1
        else:
            refused(world, "was revoked")


def test_an_expired_key_cannot_sign_by_dating_back(world: WritersWorld) -> None:
    until = f'{GIT},valid-before="{NOON + DAY:%Y%m%d}"'
    world.says(TABLE, world.line("ci"), world.line("release", until))
    world.ledger("release").append([seal("1.0.0")])
    world.now = NOON + 3 * DAY
    world.ledger("ci").append([candidate(1)])
    assert len(world.ledger().read()) == 2
    with pytest.raises(SignatureError, match="did not count at that time"):
        world.ledger("release").append([seal("2.0.0", 2)])
    world.pushed(seal("2.0.0", 2), who="release", when=NOON)
    refused(world, "did not count at that time")


def test_a_signature_of_another_commit_is_refused(world: WritersWorld) -> None:
    good = world.ledger("release").append([seal("1.0.0")])
    bare = world.object_with(seal("2.0.0", 2))
    head, _, rest = world.text(good).partition(b"gpgsig ")
    assert head
    pasted = b"gpgsig " + rest.partition(b"\n\n")[0]
    data = world.text(bare).replace(b"\n\n", b"\n" + pasted + b"\n\n", 1)
    world.push(world.write(data))
    refused(world, "its signature is not good: it is of something else")


def test_a_signature_in_another_namespace_is_refused(world: WritersWorld, tmp_path: Path) -> None:
    world.says(TABLE, world.line("ci", ""), world.line("release", ""))
    world.ledger("ci").append([candidate(1)])
    bare = world.object_with(seal("1.0.0"))
    file = tmp_path / "payload"
    file.write_bytes(world.text(bare))
    subprocess.run(
        ["ssh-keygen", "-q", "-Y", "sign", "-n", "file", "-f", str(world.keys / "release"), str(file)],
        check=True,
    )
    lines = file.with_name("payload.sig").read_bytes().strip().replace(b"\n", b"\n ")
    world.push(world.write(world.text(bare).replace(b"\n\n", b"\ngpgsig " + lines + b"\n\n", 1)))
    refused(world, "its signature is for 'file', not for 'git'")


def hostile(text: bytes) -> dict[str, tuple[bytes, str]]:
    """Spoil a well signed commit in many ways."""
    head, _, message = text.partition(b"\n\n")
    at = head.index(b"\ngpgsig ")
    bare, signature = head[:at], head[at + 1 :]
    whole = b"\n\n" + message

    def committed(line: bytes) -> bytes:
        return b"\n".join(line if one.startswith(b"committer ") else one for one in bare.split(b"\n"))

    armour = b"-----BEGIN SSH SIGNATURE-----\n {}\n -----END SSH SIGNATURE-----"
    return {
        "two signatures": (head + b"\n" + signature + whole, "more than one signature"),
        "both kinds": (head + b"\ngpgsig-sha256 x" + whole, "more than one signature"),
        "of the other kind": (
            bare + b"\ngpgsig-sha256" + signature[6:] + whole,
            "another kind of repository",
        ),
        "PGP": (bare + b"\ngpgsig -----BEGIN PGP SIGNATURE-----" + whole, "no SSH signature"),
        "empty": (bare + b"\ngpgsig " + whole, "no SSH signature"),
        "no base64": (bare + b"\ngpgsig " + armour.replace(b"{}", b"\xff\xfe") + whole, "no base64"),
        "short": (bare + b"\ngpgsig " + armour.replace(b"{}", b"U1NIU0lHAAAAAQ==") + whole, "ends too early"),
        "in the message": (bare + b"\n\n" + signature + whole, "it is not signed"),
        "edited": (head + b"\n\nanother message\n", "it is of something else"),
        "a far time": (
            committed(b"committer Eve <e@e> 99999999999999999999 +0000") + b"\n" + signature + whole,
            "head is not understood|damaged",
        ),
    }


def spoiled_names() -> list[str]:
    return list(hostile(b"committer a <b> 1 +0000\ngpgsig x\n\nm\n"))


@pytest.mark.parametrize("how", spoiled_names())
def test_a_spoiled_commit_is_an_answer_and_no_traceback(world: WritersWorld, how: str) -> None:
    world.ledger("ci").append([candidate(1)])
    good = world.by_git(world.object_with(seal("1.0.0")), "release")
    data, words = hostile(world.text(good))[how]
    world.push(world.write(data))
    refused(world, words)


def test_records_from_before_the_rule_are_taken_as_they_are(world: WritersWorld) -> None:
    world.says("")
    world.ledger().append([candidate(1)])
    old = world.ledger().append([seal("1.0.0")])
    world.says(TABLE.replace("[ledger.writers]", f'[ledger.writers]\nsince = "{old}"'))
    assert len(world.ledger().read()) == 2
    world.ledger("ci").append([candidate(2)])
    # However it is dated, what comes after it in the history needs a signature.
    forged = world.pushed(seal("2.0.0", 2), when=NOON - 300 * DAY)
    refused(world, f"{forged[:12]}.*it is not signed")


def test_a_ledger_without_the_commit_that_the_rule_begins_with_is_refused(world: WritersWorld) -> None:
    world.says("")
    first = world.ledger().append([candidate(1)])
    old = world.ledger().append([candidate(2)])
    world.says(TABLE.replace("[ledger.writers]", f'[ledger.writers]\nsince = "{old}"'))
    git(world.hub, "update-ref", REF, first)
    with pytest.raises(LedgerError, match=f"does not hold {old[:12]}"):
        world.ledger(at=world.clone("fresh")).read()


def test_who_may_not_write_is_told_before_anything_is_done(world: WritersWorld) -> None:
    with pytest.raises(UsageError, match="has to be signed, and no SSH key is named") as keyless:
        world.ledger().require([Kind.CANDIDATE])
    assert CI in keyless.value.message
    assert "PIPELINE_GIT_KEY" in keyless.value.hint
    with pytest.raises(SignatureError, match=r"signed by eve@example\.org; candidate records are for ci@"):
        world.ledger("eve").require([Kind.CANDIDATE])
    with pytest.raises(SignatureError, match="may not sign"):
        world.ledger("eve").append([candidate(1)])
    with pytest.raises(UsageError, match="no SSH key is named"):
        world.ledger().append([candidate(1)])
    assert git(world.hub, "for-each-ref", REF) == ""
    world.ledger().require([Kind.YANK, Kind.APPROVAL])
    world.ledger("ci").require([Kind.CANDIDATE])
    (world.keys / "ci").chmod(0o644)
    with pytest.raises(UsageError, match="others may read the key"):
        world.ledger("ci").require([Kind.CANDIDATE])
    (world.keys / "ci").unlink()
    (world.keys / "ci.pub").unlink()
    with pytest.raises(UsageError, match="there is no key"):
        world.ledger("ci").require([Kind.YANK])


def test_the_key_of_gits_settings_signs_where_it_has_to(world: WritersWorld) -> None:
    git(world.top, "config", "gpg.format", "ssh")
    git(world.top, "config", "user.signingkey", str(world.keys / "ci"))
    demanded = world.ledger().append([candidate(1)])
    assert world.git_says_good(demanded) == f"G {CI}"
    asked_for_by_nobody = world.ledger().append([yank(seal())])
    assert b"gpgsig" not in world.text(asked_for_by_nobody)
    named = world.ledger("eve").append([yank(seal("2.0.0", 2))])
    assert b"gpgsig" in world.text(named)


def test_without_a_table_everybody_writes_as_before(world: WritersWorld) -> None:
    world.says("")
    plain = world.ledger().append([candidate(1)])
    assert b"gpgsig" not in world.text(plain)
    assert len(world.ledger("ci").read()) == 1


def test_a_wrong_table_is_refused_with_its_place(world: WritersWorld) -> None:
    world.says("[ledger.writers]\napproval = ['ci@example.org']\n")
    with pytest.raises(DefinitionError, match="decisions are signed by their own"):
        world.ledger().read()
    world.says('[ledger.writers]\nsael = ["ci@example.org"]\n')
    with pytest.raises(DefinitionError, match="did you mean seal"):
        world.ledger().read()
    world.says("[ledger.writers]\nseal = []\n")
    with pytest.raises(DefinitionError, match="seal"):
        world.ledger().read()
    world.says('[ledger.writers]\nseal = ["*@example.org"]\n')
    with pytest.raises(DefinitionError, match="principal"):
        world.ledger().read()


def test_a_table_counts_on_the_branch_that_is_protected_and_nowhere_else(world: WritersWorld) -> None:
    settings = world.top / "images/pipeline.toml"
    settings.write_text('[approval]\nbranch = "stable"\n' + TABLE)
    git(world.top, "commit", "-q", "-a", "-m", "another branch is protected")
    git(world.top, "push", "-q", "origin", "main")
    with pytest.raises(NotFoundError, match="no branch origin/stable"):
        world.ledger().read()
    settings.write_text('[approval]\nbranch = "stable"\n')
    git(world.top, "commit", "-q", "-a", "-m", "nobody is asked here")
    git(world.top, "push", "-q", "origin", "HEAD:stable")
    assert world.ledger().read() == ()
    settings.write_text('[approval]\nbranch = "stable"\n' + TABLE)
    git(world.top, "commit", "-q", "-a", "-m", "nor in a checkout")
    world.ledger().append([candidate(1)])
    git(world.top, "push", "-q", "origin", "HEAD:stable")
    refused(world, "it is not signed")


def test_a_branch_that_was_named_has_to_be_there(world: WritersWorld) -> None:
    branch = ProtectedBranch(world.top / "images", remote="origin", branch="stable")
    with pytest.raises(NotFoundError, match="no branch origin/stable"):
        branch.writers()
    git(world.top, "push", "-q", "origin", "HEAD:main")
    stated = ProtectedBranch(world.top / "images", remote="origin", branch="main").writers()
    assert stated is not None
    assert stated[0].seal == (RELEASE,)


def test_a_race_is_signed_anew_each_time(world: WritersWorld) -> None:
    other = world.clone("other")
    first, second = world.ledger("ci"), world.ledger("release", at=other)
    first.read()
    second.read()
    first.append([candidate(1)])
    second.append([seal("1.0.0")], check=lambda there: None)
    first.append([candidate(2)])
    assert len(world.ledger(at=other).read()) == 3
    for commit in git(world.hub, "rev-list", REF).split():
        assert world.git_says_good(commit).startswith("G ")


def test_kept_records_wait_for_who_may_write_them(world: WritersWorld) -> None:
    world.ledger("ci").append([candidate(1)])
    away = world.hub.with_name("away.git")
    writer = world.ledger("ci")
    writer.read()
    world.hub.rename(away)
    with pytest.raises(LedgerRemoteError, match="kept in this clone"):
        writer.append([candidate(2)])
    away.rename(world.hub)
    world.ledger("release").append([seal("1.0.0")])
    assert git(world.top, "for-each-ref", "--format=%(refname)", KEPT) == KEPT
    assert len(world.ledger().read()) == 2
    world.ledger("ci").append([candidate(3)])
    assert len(world.ledger().read()) == 4
    assert git(world.top, "for-each-ref", KEPT) == ""


def test_cut_off_from_the_remote_the_rule_fetched_last_counts(world: WritersWorld) -> None:
    world.ledger("release").append([seal("1.0.0")])
    git(world.top, "fetch", "-q", "origin")
    world.hub.rename(world.hub.with_name("away.git"))
    with pytest.raises(LedgerRemoteError):
        world.ledger().read()
    assert len(world.ledger().read(offline=True)) == 1
    with pytest.raises(UsageError, match="has to be signed"):
        world.ledger().require([Kind.SEAL])
    with pytest.raises(LedgerRemoteError, match="kept in this clone"):
        world.ledger("release").append([seal("2.0.0", 2)])
    assert [one.version for one in world.ledger("release").kept()] == ["2.0.0"]  # type: ignore[attr-defined]


def test_keys_of_every_kind_sign(world: WritersWorld) -> None:
    lines = []
    for kind, options in {
        "ecdsa256": ("-t", "ecdsa", "-b", "256"),
        "ecdsa384": ("-t", "ecdsa", "-b", "384"),
        "ecdsa521": ("-t", "ecdsa", "-b", "521"),
        "rsa": ("-t", "rsa", "-b", "2048"),
    }.items():
        ssh_key(world.keys, kind, *options)
        lines.append(world.line(kind).replace(f"{kind}@example.org", CI))
    world.says(TABLE, *lines)
    for number, kind in enumerate(("ecdsa256", "ecdsa384", "ecdsa521", "rsa"), 1):
        world.ledger(kind).append([candidate(number)])
    assert len(world.ledger().read()) == 4


def test_a_repository_of_sha256_signs_in_its_own_header(tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    git(tmp_path, "init", "-q", "--object-format=sha256", "-b", "main", str(repo))
    key = ssh_key(tmp_path, "ci")
    (repo / "a").write_text("a")
    git(repo, "add", "a")
    git(repo, "-c", "gpg.format=ssh", "-c", f"user.signingkey={key}", "commit", "-q", "-S", "-m", "signed")
    commit = git(repo, "rev-parse", "HEAD")
    found = GitRepo.find(repo)
    assert found is not None
    read = read_commit(commit, found.ask("cat-file", "commit", commit).out)
    assert (read.fault, read.signature[:29]) == ("", "-----BEGIN SSH SIGNATURE-----")
    assert PROCESSES.which("ssh-keygen")
