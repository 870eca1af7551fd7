"""The table `[approval]`, the list of signers, and what a person is shown and asked before signing."""

from __future__ import annotations

import base64
import dataclasses
import io
import tomllib

import dossiers
import jsonschema
import pytest
from approvalkit import CANDIDATE, NAMES, decided, settings
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from records import candidate

from pipeline.adapters.terminal import Terminal, somebody
from pipeline.domain.allowed_signers import fingerprint, parse_allowed_signers
from pipeline.domain.approval_settings import ApprovalSettings
from pipeline.domain.approval_summary import Brief, facts_of, grouped
from pipeline.domain.gate import Verdict
from pipeline.domain.image import Tier
from pipeline.domain.people import People
from pipeline.domain.protected_rules import rule_of
from pipeline.domain.record import GateRecord, SourceState
from pipeline.errors import DefinitionError

TWO = ({"at_least": 2, "role": "managers"},)


def test_nothing_configured_lets_nothing_be_released() -> None:
    empty = ApprovalSettings()
    for tier in Tier:
        assert rule_of(empty, tier).people == ()
    assert (empty.branch, empty.remote, empty.allowed_signers) == ("main", "origin", "keys/allowed_signers")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"roles": {"managers": ("nobody",)}}, "'nobody' in the role 'managers' is nobody"),
        ({"people": {**NAMES, "eve": ("BEN@example.org",)}}, "belongs to 'ben' and 'eve'"),
        ({"rules": {"base": {"people": ({"at_least": 1, "role": "x"},)}}}, "role 'x', which"),
        ({"rules": {"base": {"people": ({"at_least": 5, "role": "managers"},)}}}, "fewer have the role"),
        (
            {"rules": {"base": {"people": ({"at_least": 0, "role": "managers"},)}}},
            "greater than or equal to 1",
        ),
        ({"rules": {"base": {"people": TWO, "evidence": ("sbmo",)}}}, "'sbmo' is no kind of evidence"),
        ({"rules": {"base": {"people": TWO, "unsafe_no_approval": True}}}, "contradicts"),
        ({"rules": {"base": {"poeple": TWO}}}, "Extra inputs"),
        ({"rules": {"base": {"people": TWO, "not_older_than_days": 0}}}, "greater than or equal to 1"),
        ({"rules": {"base": {"people": TWO, "ci_identities": ("*",)}}}, "is no principal"),
        ({"outsiders": ("*",)}, "8 characters and more"),
        ({"outsiders": ("a*b@example.org",)}, "8 characters and more"),
        ({"allowed_signers": "../signers"}, "is no path inside"),
        ({"allowed_signers": "/etc/signers"}, "is no path inside"),
        ({"branch": "-x"}, "is no word"),
    ],
)
def test_settings_that_contradict_themselves_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        settings(**changes)


def test_the_schema_for_editors_takes_what_is_valid() -> None:
    text = """
    people = { ada = ["ada@example.org"] }
    outsiders = ["https://gitlab.example.org/os/*", "renovate"]
    roles = { managers = ["ada"] }
    [rules.base]
    people = [{ at_least = 1, role = "managers" }]
    ci_identities = ["robot@example.org"]
    """
    schema = ApprovalSettings.model_json_schema()
    jsonschema.validate(tomllib.loads(text), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"outsiders": ["*"]}, schema)


def line(kind: str = "ssh-ed25519", body: bytes = b"\x00\x00\x00\x20" + b"k" * 32) -> str:
    blob = len(kind).to_bytes(4, "big") + kind.encode() + body
    return f"{kind} {base64.b64encode(blob).decode()}"


def test_a_list_gives_keys_to_principals() -> None:
    text = (
        "# people\n\n"
        f"ada@example.org,ada {line()} a comment, with, commas\n"
        f'\tben@example.org namespaces="a,b",valid-before="20300101Z" {line(body=b"b")}\r\n'
        f"old@example.org {line()}\n"
    )
    found = parse_allowed_signers(text.encode(), file="f")
    key = fingerprint(base64.b64decode(line().split()[1]))
    assert [one.principals for one in found.keys] == [
        ("ada@example.org", "ada"), ("ben@example.org",), ("old@example.org",),
    ]  # fmt: skip
    assert found.principals_of(key) == ("ada", "ada@example.org", "old@example.org")
    assert found.principals_of("SHA256:x") == ()
    assert found.data == text.encode()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"*@example.org {line()}", "is a pattern"),
        (f"!ada {line()}", "is a pattern"),
        (f"ada? {line()}", "is a pattern"),
        (f"ada, {line()}", "is a pattern"),
        (f'"ada lovelace" {line()}', "is not understood"),
        (f"ada cert-authority {line()}", "names an authority"),
        (f"ada Cert-Authority {line()}", "names an authority"),
        (f'ada namespaces="x",cert-authority {line()}', "names an authority"),
        (f"ada no-touch-required {line()}", "is not understood"),
        (f'ada verify-required,namespaces="x" {line()}', "is not understood"),
        (f"ada {line('ssh-ed25519-cert-v01@openssh.com')}", "is not of the type"),
        (f"ada ssh-rsa {line().split()[1]}", "is not of the type"),
        ("ada ssh-ed25519 AAAA", "is not of the type"),
        ("ada ssh-ed25519 AAA", "is no base64"),
        ("ada", "is not understood"),
        ("\x00", "is not understood"),
        ("ada \x1b[2J x", "is not understood"),
    ],
)
def test_a_line_that_is_no_plain_one_is_refused_with_its_number(text: str, message: str) -> None:
    with pytest.raises(DefinitionError, match=message) as caught:
        parse_allowed_signers(f"# first\n{text}\n".encode(), file="main:images/keys/allowed_signers")
    assert "main:images/keys/allowed_signers:2: " in caught.value.message
    assert caught.value.message.isprintable() or "\n" in caught.value.message
    assert "\x1b" not in caught.value.message


@given(st.binary(max_size=200).map(lambda data: b"ada " + data.replace(b"#", b"") + b"\n"))
def test_any_bytes_but_a_key_are_one_error(data: bytes) -> None:
    with pytest.raises(DefinitionError, match=r"understood|type|base64|principal|authority"):
        parse_allowed_signers(data + b"x", file="f")


@pytest.mark.parametrize(
    ("name", "persons"),
    [
        ("ada@laptop", {"ada"}),
        ("ADA@example.org", {"ada"}),
        ("A. L. <ada@example.org>", {"ada"}),
        ("Ben <who@else.example>", {"ben"}),
        ("Ben <ada@example.org>", {"ada", "ben"}),
        ("ada@example.org.evil.example", set()),
        ("", set()),
    ],
)
def test_a_name_is_everybodys_it_may_be(name: str, persons: set[str]) -> None:
    assert People(names=NAMES).persons(name) == persons


def test_an_outsider_is_known_by_the_whole_name_or_by_how_it_begins() -> None:
    people = People(outsiders=("renovate@example.org", "https://ci.example.org/*"))
    assert people.knows("Bot <renovate@example.org>")
    assert people.knows("https://ci.example.org/jobs/1")
    assert not people.knows("https://ci.example.com/jobs/1")
    assert not people.knows("renovate@example.org.evil")


@pytest.mark.parametrize(
    ("answer", "yes"), [("yes\n", True), (" yes \n", True), ("y\n", False), ("YES\n", False), ("", False)]
)
def test_only_yes_is_yes(answer: str, yes: bool) -> None:  # noqa: FBT001 - a table of answers
    questions = io.StringIO()
    assert Terminal(answers=io.StringIO(answer), questions=questions).ask("Approve?") is yes
    assert questions.getvalue() == "Approve? Type yes to sign: "


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_there_is_somebody_only_at_a_terminal_outside_ci() -> None:
    assert somebody(Screen(), Screen(), {}) is not None
    assert somebody(Screen(), Screen(), {"CI": "true"}) is None
    assert somebody(io.StringIO(), Screen(), {}) is None
    assert somebody(Screen(), io.StringIO(), {}) is None


def test_alike_images_are_one_group_and_others_say_what_differs() -> None:
    names = ["web", "db", "cache"]
    briefs = [
        Brief(
            decided=decided(candidate(number, image=name)),
            facts=("gates: 9 passed", "look at: its key")
            if name == "db"
            else ("gates: 9 passed", "kernel: 6"),
        )
        for number, name in enumerate(names)
    ]
    first, second = grouped(briefs)
    assert [one.image for one in first.images] == ["cache", "web"]
    assert (first.only, first.lacks) == ((), ())
    assert (second.only, second.lacks) == (("look at: its key",), ("kernel: 6",))
    assert grouped([]) == ()


@given(
    st.lists(
        st.tuples(st.sampled_from("abcdefgh"), st.sampled_from(["x", "y", "z"])), unique_by=lambda p: p[0]
    )
)
def test_every_image_is_in_one_group_and_keeps_its_facts(rows: list[tuple[str, str]]) -> None:
    briefs = [Brief(decided=decided(candidate(1, image=name)), facts=(fact, "same")) for name, fact in rows]
    groups = grouped(briefs)
    assert sorted(one.image for group in groups for one in group.images) == sorted(name for name, _ in rows)
    told = {one.image: group.facts for group in groups for one in group.images}
    assert told == {name: (fact, "same") for name, fact in rows}


def test_facts_of_a_record_say_what_is_not_as_it_should_be() -> None:
    text = "\n".join(facts_of(CANDIDATE))
    assert "gates: 1 of 1 passed" in text
    assert "evidence: boot-test, diff, gates, provenance, sbom" in text
    waived = GateRecord(gate="size", verdict=Verdict.WAIVED, summary="for now")
    odd = dataclasses.replace(
        CANDIDATE,
        gates=(*CANDIDATE.gates, waived),
        evidence={},
        source=SourceState(commit="a" * 40, clean=False),
    )
    text = "\n".join(facts_of(odd))
    assert "of them waived: size" in text
    assert "evidence: NONE" in text
    assert "WITH CHANGES THAT ARE IN NO COMMIT" in text
    assert "gates: 0 of 0 passed" in facts_of(dataclasses.replace(CANDIDATE, gates=()))


def test_facts_of_a_dossier_begin_with_what_to_look_at() -> None:
    whole = dossiers.dossier()
    facts = facts_of(whole.candidate, whole)
    text = "\n".join(facts)
    assert facts[0].startswith(("BLOCKS: ", "look at: "))
    for word in ("changes: ", "bump: ", "boot test: ", "SBOM: ", "provenance: SLSA build level", "gates: "):
        assert f"\n{word}" in text
    bare = dossiers.dossier(documents={})
    text = "\n".join(facts_of(bare.candidate, bare))
    assert "changes: not known, " in text
    assert "BLOCKS: " in text
