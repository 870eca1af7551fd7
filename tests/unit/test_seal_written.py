"""What is shown and written of a seal, and how refusals are told."""

from __future__ import annotations

import dataclasses
import io
import json

import pytest
from approvalkit import EVIDENCE, LATER, vote
from records import NOON, candidate, digest, seal
from rich.console import Console

from pipeline.arguments.common import Parser
from pipeline.arguments.sealing import add_seal
from pipeline.domain.decision import Release
from pipeline.domain.image import Tier
from pipeline.domain.oci import OCI_MANIFEST, Descriptor
from pipeline.domain.sealing import PlannedSeal, ProposedBump, Sealed, SealSummary
from pipeline.errors import GateRefusedError, UsageError
from pipeline.render.seal import plan_json, sealed_json, show_plan, show_sealed
from pipeline.verbs.seal_checks import refuse
from pipeline.verbs.seal_entry import changelog_entry, seal_record
from pipeline.verbs.seal_parts import Sealing
from pipeline.verbs.standing import Known

CANDIDATE = candidate(1, evidence=EVIDENCE)
BUMP = ProposedBump(word="minor", reasons=("package zfs 2.3.1 → 2.3.2", "units: 1 change"))
BEN, CLEO = (dataclasses.replace(vote(name), approval=name[0] * 64) for name in ("ben", "cleo"))
ONE = Sealing(
    candidate=CANDIDATE,
    subject=Descriptor(media_type=OCI_MANIFEST, digest=CANDIDATE.digest, size=400),
    version="1.2.0",
    reserved=False,
    before=seal("1.1.0", 9),
    parent=Release(version="1.0.0", digest=digest(7)),
    bump=BUMP,
    known=Known(),
    votes=(CLEO, BEN, BEN),
    what="a newer kernel",
    why="fixes the pool import",
)


def shown(write: object) -> str:
    console = Console(file=io.StringIO(), width=220)
    write(console)  # type: ignore[operator]
    return str(console.file.getvalue())  # type: ignore[attr-defined]


def test_the_entry_says_what_why_who_and_what_differs() -> None:
    assert changelog_entry(ONE, signed=True).split("\n") == [
        "debian/base v1.2.0",
        "",
        "What: a newer kernel",
        "Why: fixes the pool import",
        "Approved-by: ben@example.org, cleo@example.org",
        "Before: v1.1.0",
        "On: debian/upstream v1.0.0",
        f"Image: 127.0.0.1:5000/os/debian/base@{CANDIDATE.digest}",
        "Bump: minor",
        "- package zfs 2.3.1 → 2.3.2",
        "- units: 1 change",
    ]


def test_the_entry_of_a_first_unsigned_release_that_nobody_approved() -> None:
    first = dataclasses.replace(ONE, before=None, parent=None, votes=())
    text = changelog_entry(first, signed=False)
    assert "Approved-by: nobody, the rule asks for none" in text
    assert "Before: none, this is the first release" in text
    assert "Signed: no, and hosts with a policy refuse it" in text
    assert "On: " not in text


def test_texts_from_images_cannot_add_lines_to_an_entry_nor_fill_it() -> None:
    hostile = "package \x1b[2Jx\n-----BEGIN SSH SIGNATURE-----"
    many = ProposedBump(word="minor", reasons=(hostile, "y" * 9000, *(f"reason {n}" for n in range(40))))
    lines = changelog_entry(dataclasses.replace(ONE, bump=many), signed=True).split("\n")
    assert not [line for line in lines if line.startswith("-----BEGIN")]
    assert not [line for line in lines if "\x1b" in line]
    assert lines[-1] == "- and 22 more"
    assert max(map(len, lines)) < 600


def test_the_record_holds_what_the_release_rests_on() -> None:
    made = seal_record(ONE, {"signature": digest(3)}, LATER, "Ada")
    assert made.candidate == CANDIDATE.id
    assert made.approvals == ("b" * 64, "c" * 64)
    assert made.approvers == ("ben@example.org", "cleo@example.org")
    assert (made.predecessor, made.parent) == (Release(version="1.1.0", digest=digest(9)), ONE.parent)
    assert made.aliases == ("v1.2", "v1")
    assert made.git_tag == "debian/base/v1.2.0"
    assert made.bump == ("minor", *BUMP.reasons)
    assert made.evidence == EVIDENCE
    host = dataclasses.replace(ONE, candidate=candidate(1, tier=Tier.INSTANCE, image="web-1"))
    assert seal_record(host, {}, LATER, "Ada").aliases == ("v1.2", "v1", "current")


def test_an_image_of_no_commit_has_no_git_tag() -> None:
    source = dataclasses.replace(CANDIDATE.source, commit=None, clean=None)
    one = dataclasses.replace(ONE, candidate=dataclasses.replace(CANDIDATE, source=source))
    assert one.git_tag == ""
    assert seal_record(one, {}, NOON, "Ada").git_tag == ""


def test_alike_reasons_are_told_once_for_all_images() -> None:
    reasons = [(f"debian/web-{number}", "approvals: got none") for number in range(100)]
    with pytest.raises(GateRefusedError) as error:
        refuse([*reasons, ("debian/web-7", "its parent was yanked")])
    assert error.value.message.split("\n")[1:] == [
        "  debian/web-0, debian/web-1, debian/web-2 and 97 more: approvals: got none",
        "  debian/web-7: its parent was yanked",
    ]
    refuse([])


def test_a_plan_is_shown_harmless_and_whole() -> None:
    planned = PlannedSeal(
        name="debian/base", version="1.2.0", before=None, digest=digest(1),
        bump=ProposedBump(word="minor", reasons=("[red]x[/]\x1b[2J", "b", "c", "d")),
        approvers=(), tags=("v1.2.0", "v1.2", "v1"), git_tag="", what="w", why="y", reserved=True,
    )  # fmt: skip
    summary = SealSummary(planned=(planned,), already=(seal("1.0.0", 5),), warnings=("UNSAFE: \x1b[2J",))
    text = shown(lambda console: show_plan(summary, console=console))
    assert "v1.2.0 (begun before)" in text
    assert "minor: [red]x[/]\\x1b[2J, b and 2 more" in text
    assert "nobody" in text
    assert "is already released as v1.0.0" in text
    assert "UNSAFE: \\x1b[2J" in text
    data = json.loads(json.dumps(plan_json(summary)))
    assert data["plan"][0]["begun"] is True
    assert data["already"][0]["version"] == "1.0.0"


def test_releases_are_shown_with_what_is_not_signed() -> None:
    made = (Sealed(seal=seal("1.2.0", 4), new=True), Sealed(seal=seal("1.0.0", 5), new=False))
    text = shown(lambda console: show_sealed(made, ["UNSAFE: x"], console=console))
    assert "NO" in text
    assert "v1.2.0 v1.2 v1" in text
    assert "is already released as v1.0.0" in text
    assert text.rstrip().endswith("UNSAFE: x")
    data = json.loads(json.dumps(sealed_json(made, [])))
    assert data["new"] == [made[0].seal.id]
    assert [one["version"] for one in data["seals"]] == ["1.2.0", "1.0.0"]


def test_the_words_of_the_verb() -> None:
    top = Parser()
    add_seal(top.add_subparsers())
    options = top.parse_args(["seal", "debian/base", "--bump", "major", "--git-key", "k", "--dry-run"])
    assert (options.candidates, options.bump, options.git_key, options.dry_run) == (
        ["debian/base"], "major", "k", True,
    )  # fmt: skip
    assert top.parse_args(["seal", "--run", "run-1"]).run == "run-1"
    for wrong in (["--bump", "major", "--version", "1.0.0"], ["--bump", "huge"], ["--jobs", "0"]):
        with pytest.raises(UsageError):
            top.parse_args(["seal", *wrong])
