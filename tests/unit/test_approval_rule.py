from __future__ import annotations

import dataclasses
import datetime as dt

import pytest
from approvalkit import CANDIDATE, KEYS, KINDS, NOW, PEOPLE, ROLES, SIGNERS, base_rule, facts, settings, vote
from hypothesis import given
from hypothesis import strategies as st
from records import digest

from pipeline.domain.allowed_signers import AllowedKey, AllowedSigners
from pipeline.domain.approval_parts import (
    EvidenceComplete,
    GatesPass,
    NotAuthor,
    NotBuilder,
    NotNewcomer,
    NotOlderThan,
    NotRejected,
    OfPredecessor,
)
from pipeline.domain.approval_rule import AllOf, AnyOf, AtLeast, Facts
from pipeline.domain.approval_settings import ApprovalSettings
from pipeline.domain.approvals import Ballot, Refused
from pipeline.domain.decision import Release
from pipeline.domain.gate import Verdict
from pipeline.domain.image import Tier
from pipeline.domain.people import Same
from pipeline.domain.protected_rules import rule_of
from pipeline.domain.record import Builder, GateRecord

TWO = AtLeast(count=2, role="managers")


def said(found: ApprovalSettings, seen: Facts) -> str:
    return "\n".join(str(one) for one in rule_of(found, Tier.BASE).whole.refusals(seen))


def test_two_people_who_neither_built_nor_wrote_satisfy_the_rule() -> None:
    assert said(settings(), facts(vote("ben"), vote("cleo"))) == ""


def test_one_person_is_not_two_and_both_sides_are_quoted() -> None:
    text = said(settings(), facts(vote("ben")))
    assert "got 1 (ben@example.org), expected 2 distinct people" in text


@pytest.mark.parametrize(
    "part", [AllOf(()), AnyOf(()), AllOf([AnyOf(())]), AtLeast(count=0, role="managers")]
)
def test_a_rule_that_asks_nothing_refuses(part: AllOf | AnyOf | AtLeast) -> None:
    assert part.refusals(facts(vote("ben"), vote("cleo")))


def test_a_tier_without_people_refuses() -> None:
    assert "a rule that asks nothing" in said(base_rule(), facts(vote("ben"), vote("cleo")))
    assert "a rule that asks nothing" in said(settings(rules={}), facts(vote("ben"), vote("cleo")))


def test_any_of_is_satisfied_by_one_of_its_parts() -> None:
    either = base_rule(any_of=({"at_least": 1, "role": "leads"}, {"at_least": 2, "role": "managers"}))
    assert said(either, facts(vote("cleo"))) == ""
    assert said(either, facts(vote("ben"), vote("dan"))) == ""
    text = said(either, facts(vote("ben")))
    assert "in the role 'leads': got none" in text
    assert "in the role 'managers': got 1" in text


def test_who_is_in_no_role_does_not_count() -> None:
    assert "eve@example.org is not in the role 'managers'" in said(
        settings(), facts(vote("ben"), vote("eve"))
    )


def test_the_builder_does_not_count_under_any_name() -> None:
    built = dataclasses.replace(CANDIDATE, builder=Builder(identity="ben@example.org", host="h"))
    text = said(settings(), facts(vote("ben"), vote("cleo"), candidate=built))
    assert "ben@example.org built it" in text
    recorded = dataclasses.replace(CANDIDATE, author="B. <BEN@example.org>")
    assert "ben@example.org built it" in said(
        settings(), facts(vote("ben"), vote("cleo"), candidate=recorded)
    )


def test_an_unknown_builder_lets_nobody_count() -> None:
    built = dataclasses.replace(CANDIDATE, builder=Builder(identity="root@box", host="h"))
    text = said(settings(), facts(vote("ben"), vote("cleo"), candidate=built))
    assert "not told who 'root@box' is" in text
    job = Builder(identity="https://gitlab.example.org/os/-/jobs/7", host="h")
    assert (
        said(
            settings(),
            facts(vote("ben"), vote("cleo"), candidate=dataclasses.replace(CANDIDATE, builder=job)),
        )
        == ""
    )


def test_the_author_of_the_change_does_not_count() -> None:
    text = said(settings(), facts(vote("ben"), vote("cleo"), authors=("Cleo B <cleo@example.org>",)))
    assert "cleo@example.org wrote the change" in text
    assert "authors of the change are not known" in said(
        settings(), facts(vote("ben"), vote("cleo"), authors=None)
    )
    assert said(settings(), facts(vote("ben"), vote("cleo"), authors=("bot <renovate@example.org>",))) == ""


def test_two_names_with_one_key_are_one_person() -> None:
    twice = facts(vote("ben"), vote("cleo", key=KEYS["ben"]))
    assert "are 1 by their keys and names" in said(settings(), twice)


def test_one_person_with_two_principals_and_two_keys_is_one_person() -> None:
    signers = AllowedSigners(
        data=b"", keys=(*SIGNERS.keys, AllowedKey(principals=("dan@old.example.org",), key="SHA256:dan2"))
    )
    seen = facts(
        vote("dan"), vote("dan2", identity="dan@old.example.org", key="SHA256:dan2"), signers=signers
    )
    assert "got 1 (" in said(settings(), seen) or "are 1 by" in said(settings(), seen)


def test_a_list_that_gives_one_key_two_names_makes_them_one_person() -> None:
    signers = AllowedSigners(
        data=b"",
        keys=(
            *SIGNERS.keys,
            AllowedKey(principals=("ben@example.org", "cleo@example.org"), key="SHA256:shared"),
        ),
    )
    assert "are 1 by their keys" in said(settings(), facts(vote("ben"), vote("cleo"), signers=signers))


def test_the_builder_does_not_count_with_a_friends_name_on_his_key() -> None:
    signers = AllowedSigners(
        data=b"", keys=(*SIGNERS.keys, AllowedKey(principals=("cleo@example.org",), key=KEYS["ada"]))
    )
    text = said(settings(), facts(vote("ben"), vote("cleo", key=KEYS["ada"]), signers=signers))
    assert "cleo@example.org built it" in text


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("1234")), max_size=8))
def test_people_are_counted_as_groups_that_share_names_or_keys(pairs: list[tuple[str, str]]) -> None:
    groups: list[set[str]] = []
    for name, key in pairs:
        hit = [group for group in groups if {name, key} & group]
        groups = [group for group in groups if group not in hit] + [set().union({name, key}, *hit)]
    nobody = AllowedSigners(data=b"", keys=())
    count = Same(dataclasses.replace(PEOPLE, names={}), nobody).count(pairs)
    assert count == len(groups)
    assert count <= min(len({name for name, _ in pairs}), len({key for _, key in pairs}))


def test_old_approvals_stop_counting() -> None:
    old = NOW - dt.timedelta(days=8)
    assert "approved 8 days ago, expected 7 at most" in said(
        settings(), facts(vote("ben", time=old), vote("cleo"))
    )


def test_what_was_compared_with_another_release_does_not_count() -> None:
    newer = Release(version="1.1.0", digest=digest(5))
    text = said(settings(), facts(vote("ben"), vote("cleo"), predecessor=newer))
    assert "approved the difference to none, the last release is v1.1.0" in text


def test_a_key_that_came_with_the_change_does_not_count() -> None:
    text = said(settings(), facts(vote("ben"), vote("cleo"), newcomers=frozenset({KEYS["cleo"]})))
    assert "cleo@example.org signed with a key that came with this very change" in text


def test_a_rejection_refuses_whatever_else_is_there() -> None:
    no = Refused(rejection="e" * 64, identity="dan@example.org", why="broken", proved=False)
    seen = facts(ballot=Ballot(votes=(vote("ben"), vote("cleo")), rejections=(no,)))
    assert "by dan@example.org (not proved): broken, expected none that stands" in said(settings(), seen)


@pytest.mark.parametrize(
    ("gates", "document", "expected"),
    [
        ((), {}, "got none asked, expected all pass"),
        (("fail",), {"one-kernel": Verdict.FAIL}, "got one-kernel fail, expected all pass"),
        (("pass",), None, "the gates' document: got none"),
        (
            ("pass",),
            {"one-kernel": Verdict.FAIL},
            "got pass in the record, expected fail, as in its document",
        ),
        (("pass",), {"one-kernel": Verdict.PASS, "x": Verdict.FAIL}, "gate x: got not asked in the record"),
        (("waived",), {"one-kernel": Verdict.PASS}, "got waived in the record"),
    ],
)
def test_gates_have_to_pass_and_to_be_those_of_the_document(
    gates: tuple[str, ...], document: dict[str, Verdict] | None, expected: str
) -> None:
    edited = dataclasses.replace(
        CANDIDATE,
        gates=tuple(GateRecord(gate="one-kernel", verdict=Verdict(one), summary="") for one in gates),
    )
    seen = facts(vote("ben"), vote("cleo"), candidate=edited, gates=document)
    assert expected in "\n".join(map(str, GatesPass().refusals(seen)))


def test_evidence_has_to_be_recorded_and_there() -> None:
    part = EvidenceComplete(frozenset(KINDS))
    assert part.refusals(facts()) == ()
    bare = dataclasses.replace(CANDIDATE, evidence={"sbom": digest(100)})
    assert "also boot-test, diff, gates, provenance" in str(part.refusals(facts(candidate=bare))[0])
    assert "boot-test missing or changed" in str(part.refusals(facts(held=frozenset(KINDS[:-1])))[0])


ONE = {"people": ({"at_least": 1, "role": "managers"},)}
UNTESTED = dataclasses.replace(CANDIDATE, evidence=dict.fromkeys(KINDS[:-1], digest(1)))


@pytest.mark.parametrize(
    ("keys", "seen"),
    [
        ({"unsafe_no_approval": True}, facts()),
        ({**ONE, "unsafe_builder_may_approve": True, "unsafe_author_may_approve": True}, facts(vote("ada"))),
        ({**ONE, "unsafe_without_evidence": ("boot-test",)}, facts(vote("ben"), candidate=UNTESTED)),
    ],
)
def test_what_weakens_a_rule_is_loud(keys: dict[str, object], seen: Facts) -> None:
    weak = base_rule(**keys)
    rule = rule_of(weak, Tier.BASE)
    assert rule.whole.refusals(seen) == ()
    switches = [key for key in keys if key.startswith("unsafe_")]
    warned = rule.whole.warnings()
    assert all(any(f"UNSAFE: {switch} is set" in warning for warning in warned) for switch in switches)
    assert rule_of(settings(), Tier.BASE).whole.warnings() == ()


def test_why_not_names_why_an_approval_would_count_nowhere() -> None:
    rule = rule_of(settings(), Tier.BASE)
    assert rule.why_not(vote("ada"), facts()) == ("built it",)
    assert rule.why_not(vote("ben"), facts()) == ()


VOTES = st.lists(st.sampled_from(["ada", "ben", "cleo", "dan", "eve"]).map(vote), max_size=6)


@given(VOTES, VOTES)
def test_no_approval_that_does_not_count_helps(first: list[object], second: list[object]) -> None:
    good = {one.identity for one in (*first, *second) if one.identity[0] in "bcd"}  # type: ignore[attr-defined]
    tests = (NotBuilder(), NotAuthor(), NotNewcomer(), NotOlderThan(dt.timedelta(days=7)), OfPredecessor())
    part = AllOf([AtLeast(count=2, role="managers", counting=tests), NotRejected()])
    assert (part.refusals(facts(*first, *second)) == ()) == (len(good) >= 2)  # type: ignore[arg-type]


def test_roles_are_those_of_the_facts() -> None:
    assert TWO.refusals(facts(vote("ben"), vote("cleo"), roles={})) != ()
    assert TWO.refusals(facts(vote("ben"), vote("cleo"), roles=ROLES)) == ()
