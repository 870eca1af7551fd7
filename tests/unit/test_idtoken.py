"""Identity tokens: what is in one, what it must say of a decision, and that nobody can use one twice."""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
from functools import partial
from typing import Any

import pytest
from approvalkit import (
    CANDIDATE,
    LATER,
    NAMES,
    NOW,
    PEOPLE,
    ROLES,
    approval,
    base_rule,
    decided,
    facts,
    rejection,
    settings,
    vote,
    withdrawal,
)
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from records import digest
from tokenkit import APPROVAL, GITLAB, ISSUER, b64, claims_for, proof_of, signed

from pipeline.domain.approvals import Decisions, Entry, Proved, Signed, ballot
from pipeline.domain.decision import Approval, Decision
from pipeline.domain.idtoken import IdToken, TokenIssuer, audience_of, refusal, subject_of
from pipeline.domain.image import Tier
from pipeline.domain.protected_rules import rule_of
from pipeline.domain.record import Record
from pipeline.errors import SignatureError

MINUTE = dt.timedelta(minutes=1)
GITLAB_TABLE = {"issuer": GITLAB, "projects": ("os/images",), "environments": ("release-approval",)}


def proved(decision: Decision, *, issuer: TokenIssuer = ISSUER, **changes: Any) -> str:
    """Why a token with changed claims does not prove a decision."""
    token = signed(claims_for(APPROVAL, **changes))
    shown = dataclasses.replace(decision, proof=proof_of(token))
    return refusal(IdToken.parse(token), shown, issuer)


def test_the_token_of_exactly_this_decision_proves_it() -> None:
    assert proved(APPROVAL) == ""
    assert proved(APPROVAL, environment_action=None) == ""  # older versions do not tell
    assert proved(APPROVAL, issuer=dataclasses.replace(ISSUER, users={"ben": 42})) == ""


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"aud": "bootc-pipeline"}, "has the aud 'bootc-pipeline', expected bootc-pipeline:approval:sha256:"),
        ({"aud": [audience_of("bootc-pipeline", APPROVAL)]}, "has the aud"),
        ({"aud": audience_of("bootc-pipeline", APPROVAL).replace("approval", "rejection")}, "has the aud"),
        ({"aud": None}, "has the aud nothing"),
        ({"iss": "https://gitlab.example.com"}, "has the iss 'https://gitlab.example.com', expected"),
        ({"project_path": "mallory/images"}, "has the project_path 'mallory/images', expected os/images"),
        ({"project_path": ["os/images"]}, "has the project_path"),
        ({"ref": "feature"}, "has the ref 'feature', expected main"),
        ({"ref_protected": "false"}, "has the ref_protected 'false', expected true"),
        ({"ref_protected": True}, "has the ref_protected"),
        ({"ref_type": "tag"}, "has the ref_type 'tag', expected branch"),
        ({"environment": "test"}, "has the environment 'test', expected release-approval"),
        ({"environment": None}, "has the environment nothing"),
        ({"environment_protected": "false"}, "has the environment_protected 'false'"),
        ({"environment_action": "access"}, "has the environment_action 'access', expected start"),
        ({"user_login": "cleo", "user_id": "43"}, "is of gitlab:cleo .*#43.*, not of gitlab:ben"),
        ({"user_id": "43"}, "is of gitlab:ben .*#43.*, not of gitlab:ben"),
        ({"user_login": "ben\x1b[2J"}, "does not say who started the job"),
        ({"user_id": 42}, "does not say who started the job"),
        ({"user_id": "042"}, "does not say who started the job"),
        ({"exp": None}, "does not say when it is valid"),
        ({"iat": "yesterday"}, "does not say when it is valid"),
        ({"nbf": True}, "does not say when it is valid"),
        ({"exp": 10**40}, "does not say when it is valid"),
        ({"iat": -62_135_596_800, "nbf": -62_135_596_800}, "is valid for 739"),
        ({"exp": -62_135_596_800}, "expired at 0001-01-01"),
        ({"exp": int(LATER.timestamp()) + 86_400}, "is valid for 1 day, .* 1:00:00 at most: give the job"),
        ({"exp": int(LATER.timestamp())}, "expired at 2026-11-21T13:00:01Z, the decision is of 2026-11"),
        ({"nbf": int(LATER.timestamp()) + 61}, "is valid from 2026-11-21T13:01:02Z on, the decision is of"),
        ({"iat": int(LATER.timestamp()) + 61}, "is valid from 2026-11-21T13:01:02Z on"),
    ],
)  # fmt: skip
def test_a_token_that_says_something_else_proves_nothing(changes: dict[str, Any], why: str) -> None:
    assert re.search(why, proved(APPROVAL, **changes))


@pytest.mark.parametrize(
    "other",
    [
        approval("ben", decided(digest=digest(9)), proof=None),
        approval("ben", decided(version="9.0.0"), proof=None),
        approval("ben", decided(candidate="f" * 64), proof=None),
        approval("ben", decided(evidence={}), proof=None),
        approval("ben", decided(), decided(image="other"), proof=None),
        rejection("ben"),
        withdrawal(APPROVAL),
    ],
)
def test_a_token_for_one_decision_proves_no_other(other: Decision) -> None:
    assert subject_of(other) != subject_of(APPROVAL)
    assert "has the aud" in proved(other)


def test_words_and_times_are_not_in_the_subject_because_nobody_knows_them_before() -> None:
    later = approval("ben", what="x", why="y", time=LATER + MINUTE, author="z", expires=NOW + MINUTE)
    assert subject_of(later) == subject_of(APPROVAL)


def test_a_copied_token_is_good_for_minutes_only() -> None:
    assert proved(dataclasses.replace(APPROVAL, time=LATER + 13 * MINUTE)) == ""
    assert "expired at" in proved(dataclasses.replace(APPROVAL, time=LATER + 14 * MINUTE))
    assert proved(dataclasses.replace(APPROVAL, time=LATER - 2 * MINUTE)) == ""  # clocks differ
    assert "valid from" in proved(dataclasses.replace(APPROVAL, time=LATER - 3 * MINUTE))


def test_an_account_that_took_over_a_login_is_another() -> None:
    pinned = dataclasses.replace(ISSUER, users={"ben": 42, "cleo": 43})
    assert "user_id of ben '99', expected 42" in proved(APPROVAL, issuer=pinned, user_id="99")
    only = dataclasses.replace(ISSUER, users={"cleo": 43})
    assert "user_id of ben '42', expected no account" in proved(APPROVAL, issuer=only)


TWICE = b64(b'{"iss": 1, "iss": 2}')
HEADER, CLAIMS, _ = signed(claims_for(APPROVAL)).split(".")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "three parts"),
        ("a.b", "three parts"),
        ("a.b.c.d", "three parts"),
        (f"{HEADER}.{CLAIMS}.", "its signature is no base64"),
        (f"{HEADER}.{CLAIMS}.e30=", "its signature is no base64"),
        (f"{HEADER}.{CLAIMS}.e3 0", "its signature is no base64"),
        (f"{HEADER}.{CLAIMS}.QR", "its signature is no base64 as tokens write it"),
        (f"{HEADER}.e30.\u00e9\u00e9", "its signature is no base64"),
        (f"{b64(b'[]')}.{CLAIMS}.QQ", "its header is no JSON object"),
        (f"{HEADER}.{b64(b'3')}.QQ", "its claims is no JSON object"),
        (f"{HEADER}.{b64(b'{')}.QQ", "its claims is no JSON object"),
        (f"{HEADER}.{b64(b'[' * 5000)}.QQ", "its claims is no JSON object"),
        (f"{HEADER}.{b64(bytes([0xFF, 0xFE, 0]))}.QQ", "its claims is no JSON object"),
        (f"{HEADER}.{TWICE}.QQ", "each key once"),
        (signed({}, alg="none"), "signed by 'none', expected RS256 or ES256"),
        (signed({}, alg="HS256"), "signed by 'HS256'"),
        (signed({}, alg="RS512"), "signed by 'RS512'"),
        (signed({}, alg=None), "signed by nothing"),
        (signed({}, alg=["RS256"]), "signed by"),
        (signed({}, kid=None), "names no key"),
        (signed({}, kid=""), "names no key"),
        (signed({}, kid=3), "names no key"),
        (signed({}, crit=["exp"]), "crit"),
        (signed({"x": "y" * 20_000}), "three parts"),
    ],
)
def test_what_is_no_token_is_refused(text: str, why: str) -> None:
    with pytest.raises(SignatureError, match=why):
        IdToken.parse(text)


@given(st.text(max_size=40).map(lambda text: f"{HEADER}.{text}.QQ") | st.text(max_size=60))
def test_any_text_is_a_token_or_one_error(text: str) -> None:
    try:
        token = IdToken.parse(text)
    except SignatureError as error:
        told = error.message
    else:
        assert isinstance(token.principal + token.account, str)
        told = refusal(token, APPROVAL, ISSUER)
    assert told.startswith(("this is no identity token", "its token has the iss"))


def accept(entry: Entry) -> Proved:
    """Every proof holds."""
    proof = entry.decision.proof
    assert proof is not None
    return Signed(identity=proof.identity, key=proof.key)


def count(*records: Record) -> tuple[list[str], list[str]]:
    found = ballot(CANDIDATE, Decisions(records), accept, NOW)
    return [one.why for one in found.votes], [one.why for one in found.discounted]


def by_token(why: str = "first", token: str = "a.b.c", **changes: object) -> Approval:
    return approval("ben", proof=proof_of(token), why=why, **changes)


def test_a_token_counts_for_the_first_decision_that_shows_it() -> None:
    assert count(by_token(), by_token("again")) == (["first"], ["its token was used for an earlier decision"])
    assert count(by_token(), by_token("again", "a.d.c"))[0] == ["first", "again"]


def test_another_form_of_its_signature_makes_no_new_token() -> None:
    assert count(by_token(), by_token("again", "a.b.d"))[0] == ["first"]


def test_the_same_decision_written_again_is_no_second_use() -> None:
    assert count(by_token(), by_token(author="somebody else")) == (["first", "first"], [])


def test_a_withdrawn_approval_does_not_come_back_with_its_token_and_other_words() -> None:
    first = by_token()
    assert count(first, withdrawal(first), by_token("once more")) == (
        [],
        ["it was withdrawn", "its token was used for an earlier decision"],
    )
    assert count(first, withdrawal(first), by_token("anew", "d.e.f"))[0] == ["anew"]


def test_a_record_that_copies_a_decision_with_an_old_token_does_not_spoil_the_real_one() -> None:
    first, real = by_token(), by_token("second", "d.e.f")
    assert count(first, real, by_token("second"))[0] == ["first", "second"]


def table(**changes: object) -> dict[str, object]:
    return {**GITLAB_TABLE, **changes}


def test_the_table_names_the_issuer_and_the_branch_it_is_on() -> None:
    found = settings(gitlab=table(), branch="trunk").token_issuer(b"keys")
    assert found == dataclasses.replace(ISSUER, refs=("trunk",), keys=b"keys")
    assert settings(gitlab=table(refs=("main", "stable/1"))).token_issuer(None) == dataclasses.replace(
        ISSUER, refs=("main", "stable/1")
    )
    assert settings().token_issuer(None) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"issuer": "http://gitlab.example.org"},
        {"issuer": "https://gitlab.example.org/"},
        {"issuer": "https://gitlab.example.org?x"},
        {"issuer": "https://ada@gitlab.example.org"},
        {"projects": ()},
        {"projects": ("images",)},
        {"projects": ("os/*",)},
        {"environments": ()},
        {"environments": ("*",)},
        {"audience": "Two Words"},
        {"users": {"ada": 0}},
        {"users": {"*": 1}},
        {"jwks": "../keys"},
        {"unknown": True},
    ],
)
def test_a_wrong_table_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        settings(gitlab=table(**changes))


def test_ci_identities_are_principals_or_accounts_and_accounts_need_an_issuer() -> None:
    rules = {"base": {"people": ({"at_least": 1, "role": "managers"},), "ci_identities": ("gitlab:ben",)}}
    assert settings(gitlab=table(), rules=rules).rules.base.ci_identities == ("gitlab:ben",)
    with pytest.raises(ValidationError, match=r"names 'gitlab:ben', and there is no \[approval.gitlab\]"):
        settings(rules=rules)
    for name in ("gitlab:", "gitlab:*", "github:ben", "gitlab:ben ada"):
        with pytest.raises(ValidationError, match="is no principal"):
            base_rule(ci_identities=(name,))


def test_a_token_counts_only_for_whom_the_rule_names() -> None:
    people = dataclasses.replace(PEOPLE, names={**NAMES, "ben": ("ben@example.org", "gitlab:ben")})
    one = vote("ben", identity="gitlab:ben", key=f"{GITLAB}#42")
    here = partial(facts, one, people=people, roles=ROLES)
    for named, why in (((), "is none of the rule's ci_identities"), (("gitlab:ben",), "")):
        rules = {"base": {"people": ({"at_least": 1, "role": "managers"},), "ci_identities": named}}
        rule = rule_of(settings(gitlab=table(), rules=rules), Tier.BASE)
        assert why in "".join(rule.why_not(one, here()))
        assert bool(rule.why_not(one, here())) is bool(why)


def test_a_persons_key_and_token_are_one_person() -> None:
    people = dataclasses.replace(PEOPLE, names={**NAMES, "ben": ("ben@example.org", "gitlab:ben")})
    both = (vote("ben"), vote("ben", identity="gitlab:ben", key=f"{GITLAB}#42"))
    rules = {
        "base": {"people": ({"at_least": 2, "role": "managers"},), "ci_identities": ("gitlab:ben",)},
    }
    rule = rule_of(settings(gitlab=table(), rules=rules), Tier.BASE)
    found = rule.approvals.refusals(facts(*both, people=people))
    assert "are 1 by their keys and names" in str(found[0])
