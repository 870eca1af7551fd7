"""Tokens of GitLab jobs, signed and published for real: what proves a decision, and every forgery refused."""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from approvalkit import LATER, SIGNERS, approval, decided
from approvalworld import SETTINGS, START, Says, World
from cryptography.hazmat.primitives import serialization
from sshkeys import PROCESSES, listed
from tokenkit import (
    APPROVAL,
    GITLAB,
    ISSUER,
    Publisher,
    b64,
    certificate,
    claims_for,
    ec_key,
    jwk,
    jwks,
    proof_of,
    publishing,
    rsa_key,
    serve,
    signed,
)

from pipeline.adapters.gitlab import LIMIT, GitlabToken, GitlabTokens, PublishedKeys
from pipeline.adapters.signatures import AnySignatures
from pipeline.adapters.sshsig import SshSignatures
from pipeline.domain.allowed_signers import AllowedSigners
from pipeline.domain.approvals import Signed, Unproved
from pipeline.domain.decision import Approval, Decision, Method, Proof
from pipeline.domain.idtoken import TokenIssuer
from pipeline.domain.record import Candidate
from pipeline.errors import DefinitionError, GateRefusedError, NotFoundError, SignatureError, UsageError
from pipeline.verbs.approval_plan import plan_approval
from pipeline.verbs.approve import approve
from pipeline.verbs.standing import Standing, Standings

YEARS = dt.timedelta(days=3650)


def nobody(issuer: str) -> bytes:
    raise AssertionError(f"{issuer} was asked for its keys")


def trusting(issuer: TokenIssuer | None) -> AllowedSigners:
    return dataclasses.replace(SIGNERS, issuer=issuer)


def why(token: str, *, of: Decision = APPROVAL, keys: bytes | None = None, **proof: str) -> str:
    """Why a token does not prove a decision, with pinned keys; empty when it does."""
    shown = dataclasses.replace(of, proof=proof_of(token, **proof))
    issuer = dataclasses.replace(ISSUER, keys=jwks() if keys is None else keys)
    found = GitlabTokens(nobody).check(shown, trusting(issuer), b"", LATER + YEARS)
    if isinstance(found, Signed):
        assert found == Signed(identity="gitlab:ben", key=f"{GITLAB}#42")
        return ""
    return found.why


def test_a_token_proves_its_decision_for_years_with_pinned_keys_and_nobody_is_asked() -> None:
    assert why(signed(claims_for(APPROVAL))) == ""


def test_either_algorithm_will_do() -> None:
    token = signed(claims_for(APPROVAL), key=ec_key(), kid="curve")
    assert why(token, keys=jwks(jwk(rsa_key()), jwk(ec_key(), "curve"))) == ""


def edited(token: str, **changes: object) -> str:
    head, _, signature = token.split(".")
    return f"{head}.{b64(json.dumps(claims_for(APPROVAL, **changes)).encode())}.{signature}"


def public_pem() -> bytes:
    return (
        rsa_key()
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


GOOD = claims_for(APPROVAL)
OTHER = approval("ben", decided(version="9.9.9"), proof=None)
MINE = signed(GOOD, key=rsa_key(1))
THEIRS = jwk(rsa_key(1))
FORGED = {
    "another audience": (signed(claims_for(APPROVAL, aud="sts.example.org")), "the aud 'sts.example.org'"),
    "expired": (signed(claims_for(APPROVAL, exp=int(LATER.timestamp()) - 1)), "expired at"),
    "not yet valid": (signed(claims_for(APPROVAL, nbf=int(LATER.timestamp()) + 600)), "is valid from"),
    "wrong issuer": (signed(claims_for(APPROVAL, iss="https://evil.example.org")), "has the iss 'https://evil"),
    "wrong project": (signed(claims_for(APPROVAL, project_path="eve/images")), "project_path 'eve/images'"),
    "unprotected ref": (signed(claims_for(APPROVAL, ref_protected="false")), "the ref_protected 'false'"),
    "unknown key": (signed(GOOD, kid="second"), "names the key 'second', which is not among the keys pinned"),
    "no signature": (signed(GOOD, alg="none"), "signed by 'none', expected RS256 or ES256"),
    "the public key as a secret": (signed(GOOD, key=public_pem(), alg="HS256"), "signed by 'HS256'"),
    "a secret that says RS256": (signed(GOOD, key=public_pem(), alg="RS256"), "was not signed with the key"),
    "another key's signature": (MINE, "was not signed with the key 'first' of the keys pinned for https://gitlab"),
    "a key of its own along": (signed(GOOD, key=rsa_key(1), jwk=THEIRS), "was not signed with the key"),
    "a key somewhere else": (signed(GOOD, key=rsa_key(1), jku="https://evil.example"), "was not signed with"),
    "the wrong algorithm": (signed(GOOD, key=ec_key()), "says ES256, for which the key 'first' of"),
    "edited claims": (edited(signed(claims_for(OTHER))), "was not signed with the key 'first'"),
    "another user's": (signed(claims_for(APPROVAL, user_login="dan", user_id="44")), "is of gitlab:dan"),
    "another decision's": (signed(claims_for(OTHER)), "has the aud 'bootc-pipeline:approval:sha256:"),
    "cut off": (signed(GOOD).rpartition(".")[0] + ".QQ", "was not signed with the key"),
}  # fmt: skip


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_token_is_refused_with_its_reason(name: str) -> None:
    token, reason = FORGED[name]
    assert reason in why(token)


def test_a_proof_cannot_claim_another_name_or_account_than_its_token() -> None:
    token = signed(GOOD)
    assert "is of gitlab:ben" in why(token, identity="gitlab:cleo")
    assert "is of gitlab:ben" in why(token, key=f"{GITLAB}#43")
    assert "is of gitlab:ben" in why(token, identity="ben@example.org")


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        (b"", "is no JSON object"),
        (b"[]", "is no JSON object"),
        (b"[" * 100_000, "is no JSON object"),
        (b'{"keys": []}' + b" " * LIMIT, "is no JSON object"),
        (b"{}", "not among the keys pinned"),
        (b'{"keys": {"first": 1}}', "not among the keys pinned"),
        (b'{"keys": [3, null]}', "not among the keys pinned"),
        (jwks(jwk(rsa_key()), jwk(rsa_key(1))), "have several of the name 'first'"),
        (jwks(jwk(rsa_key(), use="enc")), "says RS256, for which the key"),
        (jwks(jwk(rsa_key(), alg="RS512")), "says RS256, for which the key"),
        (jwks({"kty": "oct", "k": b64(b"secret"), "kid": "first"}), "says RS256, for which the key"),
        (jwks({"kty": "RSA", "kid": "first"}), "cannot be verified"),
        (jwks({"kty": "RSA", "kid": "first", "n": 3, "e": 3}), "cannot be verified"),
        (jwks(jwk(rsa_key(bits=1024))), "has 1024 bits"),
    ],
)
def test_keys_that_do_not_do_prove_nothing(keys: bytes, reason: str) -> None:
    assert reason in why(signed(GOOD), keys=keys)


def test_without_an_issuer_on_the_protected_branch_no_token_proves_anything() -> None:
    shown = dataclasses.replace(APPROVAL, proof=proof_of(signed(GOOD)))
    found = GitlabTokens(nobody).check(shown, trusting(None), b"", LATER)
    assert found == Unproved(why="it is proved by a token, and [approval.gitlab] names no issuer")


# What an issuer publishes.


@pytest.fixture
def server() -> Iterator[Publisher]:
    with serve(publishing(jwks())) as found:
        yield found


def live(url: str, published: PublishedKeys | None = None) -> str:
    """Why a token of the issuer at an address does not prove a decision, with the keys it publishes."""
    issuer = dataclasses.replace(ISSUER, issuer=url)
    proof = proof_of(signed(claims_for(APPROVAL, iss=url)), key=f"{url}#42")
    shown = dataclasses.replace(APPROVAL, proof=proof)
    checker = GitlabTokens(published or PublishedKeys(insecure_loopback=True))
    found = checker.check(shown, trusting(issuer), b"", LATER)
    return found.why if isinstance(found, Unproved) else ""


def test_published_keys_are_asked_for_once(server: Publisher) -> None:
    published = PublishedKeys(insecure_loopback=True)
    assert live(server.url, published) == ""
    assert live(server.url, published) == ""
    assert server.asked == ["/.well-known/openid-configuration", "/oauth/discovery/keys"]


def test_they_are_asked_for_over_tls_with_a_certificate_that_is_trusted(tmp_path: Path) -> None:
    path = certificate(tmp_path)
    with serve(publishing(jwks()), path) as found:
        assert live(found.url, PublishedKeys(ca_file=path)) == ""
        assert "cannot be read" in live(found.url, PublishedKeys())


def test_a_key_that_was_rotated_away_says_so(server: Publisher) -> None:
    server.answer = publishing(jwks(jwk(rsa_key(1), "second")))
    assert "names the key 'first', which is not among the keys published by" in live(server.url)


def test_nobody_is_asked_for_the_keys_of_a_token_that_would_not_count(server: Publisher) -> None:
    issuer = dataclasses.replace(ISSUER, issuer=server.url)
    shown = dataclasses.replace(OTHER, proof=proof_of(signed(claims_for(APPROVAL, iss=server.url))))
    found = GitlabTokens(PublishedKeys(insecure_loopback=True)).check(shown, trusting(issuer), b"", LATER)
    assert isinstance(found, Unproved)
    assert "has the aud" in found.why
    assert server.asked == []


def test_plain_http_is_refused_unless_a_test_allows_it_for_this_machine(server: Publisher) -> None:
    assert "is no address of" in live(server.url, PublishedKeys())
    assert server.asked == []
    with pytest.raises(SignatureError, match="is no address of http://gitlab"):
        PublishedKeys(insecure_loopback=True)("http://gitlab.example.org")


@pytest.mark.parametrize(
    ("path", "answer", "reason"),
    [
        ("/.well-known", (404, {}, b""), "answered 404"),
        ("/.well-known", (503, {}, b""), "cannot be read"),
        ("/.well-known", (301, {"Location": "{url}/else"}, b""), "answered 301"),
        ("/.well-known", (200, {}, b"<html>"), "is no JSON object"),
        ("/.well-known", (200, {}, b'{"issuer": "https://evil.example.org"}'), "calls itself 'https://evil"),
        ("/.well-known", (200, {}, b'{"issuer": "{url}"}'), "'None' is no address of"),
        (
            "/.well-known",
            (200, {}, b'{"issuer": "{url}", "jwks_uri": "https://evil.example.org/keys"}'),
            "'https://evil.example.org/keys' is no address of",
        ),
        (
            "/.well-known",
            (200, {}, b'{"issuer": "{url}", "jwks_uri": "http://127.0.0.1:99999/keys"}'),
            "is no address of",
        ),
        (
            "/.well-known",
            (200, {}, b'{"issuer": "{url}", "jwks_uri": "file:///etc/keys"}'),
            "is no address of",
        ),
        ("/oauth", (302, {"Location": "http://127.0.0.1:1/keys"}, b""), "answered 302"),
        ("/oauth", (200, {}, b" " * (LIMIT + 1)), "is longer than"),
        ("/oauth", (200, {}, b"no"), "is no JSON object"),
    ],
)
def test_an_issuer_that_answers_otherwise_proves_nothing(
    server: Publisher, path: str, answer: tuple[int, dict[str, str], bytes], reason: str
) -> None:
    good = server.answer
    server.answer = lambda asked: answer if asked.startswith(path) else good(asked)
    assert reason in live(server.url)


def test_an_issuer_that_is_away_proves_nothing() -> None:
    with serve(publishing(jwks())) as found:
        url = found.url
    assert "cannot be read" in live(url)


# The whole way, with a real ledger and a real protected branch.

TABLE = f"""
[approval.gitlab]
issuer = "{GITLAB}"
projects = ["os/images"]
environments = ["release-approval"]
jwks = "keys/gitlab.jwks"
"""
NAMED = 'ci_identities = ["gitlab:cleo"]'
CLEO = {"user_login": "cleo", "user_id": "43"}


class TokenWorld(World):
    """A project that takes tokens of Cleo's jobs."""

    def __init__(self, folder: Path, *, rule: str = NAMED) -> None:
        super().__init__(folder, rule=rule)
        text = SETTINGS.replace('"cleo@example.org"', '"cleo@example.org", "gitlab:cleo"')
        self.settings(text.format(rule=rule, more="") + TABLE)
        (self.images / "keys/gitlab.jwks").write_bytes(jwks())
        self.first = self.commit("take tokens", "ada")
        self.push()
        self.signatures = AnySignatures(
            {Method.SSH: SshSignatures(PROCESSES), Method.GITLAB: GitlabTokens(nobody)}
        )

    def token(self, draft: Decision, **changes: object) -> str:
        issued = int(START.timestamp()) - 60
        times = {"iat": issued, "nbf": issued, "exp": issued + 900}
        return signed(claims_for(draft, **{**times, **CLEO, **changes}))

    def here(self, one: Candidate) -> Standing:
        found = Standings(self.ledger().read(), self.rules().read(), self.signatures, now=self.now)
        return found.of(one, self.known(one))

    def by_token(self, token: str, *proposals: object, person: Says | None = None) -> Approval:
        parts = dataclasses.replace(self.deciding("ben"), key=GitlabToken(token), signatures=self.signatures)
        return approve(
            proposals,  # type: ignore[arg-type]
            parts,
            person=person,
            show=lambda briefs, warnings: self.shown.append((briefs, warnings)),
            what="a newer kernel",
            why="fixes the pool import",
        )


def draft_of(*images: object) -> Approval:
    return approval("ben", *images, proof=None)  # type: ignore[arg-type]


def test_a_job_approves_where_the_rule_names_who_started_it(tmp_path: Path) -> None:
    world = TokenWorld(tmp_path)
    one = world.candidate()
    proposal = world.proposal(one)
    made = world.by_token(world.token(draft_of(proposal.decided)), proposal)
    assert made.proof is not None
    assert (made.proof.method, made.proof.identity) == (Method.GITLAB, "gitlab:cleo")
    read = [record for record in world.ledger().read() if isinstance(record, Approval)]
    assert read == [made]
    rules = world.rules().read()
    assert world.signatures.check(read[0], rules.signers, b"", START + YEARS) == Signed(
        identity="gitlab:cleo", key=f"{GITLAB}#43"
    )


@pytest.mark.parametrize("person", [None, Says()])
def test_a_job_does_not_approve_where_the_rule_does_not_name_who_started_it(
    tmp_path: Path, person: Says | None
) -> None:
    world = TokenWorld(tmp_path, rule='ci_identities = ["robot@example.org"]')
    proposal = world.proposal(world.candidate())
    with pytest.raises(
        (UsageError, GateRefusedError), match=r"ci_identities|names no CI identity gitlab:cleo"
    ):
        world.by_token(world.token(draft_of(proposal.decided)), proposal, person=person)
    assert not any(isinstance(record, Approval) for record in world.ledger().read())


def test_a_token_for_other_images_is_refused_and_nothing_is_recorded(tmp_path: Path) -> None:
    world = TokenWorld(tmp_path)
    reviewed, other = world.candidate(1), world.candidate(2, image="other")
    token = world.token(draft_of(world.proposal(reviewed).decided))
    with pytest.raises(SignatureError, match=r"has the aud .*; nothing was recorded"):
        world.by_token(token, world.proposal(other))
    with pytest.raises(SignatureError, match="has the aud"):
        world.by_token(token, world.proposal(reviewed, version="3.0.0"))
    assert not any(isinstance(record, Approval) for record in world.ledger().read())


def test_the_approval_by_token_and_one_by_key_release_together(tmp_path: Path) -> None:
    world = TokenWorld(tmp_path)
    one = world.candidate()
    proposal = world.proposal(one)
    world.by_token(world.token(draft_of(proposal.decided)), proposal)
    world.by_token(world.token(draft_of(proposal.decided), jti="second"), proposal)
    assert "got 1 (gitlab:cleo, gitlab:cleo), expected 2 distinct people" in str(world.here(one).refusals[0])
    world.approve("dan", proposal)
    assert {vote.identity for vote in world.here(one).require()} == {"gitlab:cleo", "dan@example.org"}


def test_keys_in_the_checkout_do_not_count_those_of_the_protected_branch_do(tmp_path: Path) -> None:
    world = TokenWorld(tmp_path)
    (world.images / "keys/gitlab.jwks").write_bytes(jwks(jwk(rsa_key(1))))
    proposal = world.proposal(world.candidate())
    draft = draft_of(proposal.decided)
    claims = json.loads(base64.urlsafe_b64decode(world.token(draft).split(".")[1] + "=="))
    with pytest.raises(SignatureError, match="was not signed with the key 'first' of the keys pinned"):
        world.by_token(signed(claims, key=rsa_key(1)), proposal)
    assert world.by_token(world.token(draft), proposal)


def test_pinned_keys_that_are_not_on_the_protected_branch_are_missed_not_replaced(tmp_path: Path) -> None:
    world = TokenWorld(tmp_path)
    (world.images / "keys/gitlab.jwks").unlink()
    assert any("keys/gitlab.jwks differs" in notice for notice in world.rules().read().notices)
    world.commit("lose the keys", "ada")
    world.push()
    with pytest.raises(NotFoundError, match=r"has no file images/keys/gitlab\.jwks"):
        world.rules().read()


def test_a_token_of_a_foreign_gitlab_speaks_for_nobody(tmp_path: Path) -> None:
    world = TokenWorld(tmp_path)
    proposal = world.proposal(world.candidate())
    token = world.token(draft_of(proposal.decided), iss="https://gitlab.example.com")
    with pytest.raises(UsageError, match="is not on the list of signers"):
        world.by_token(token, proposal)


def test_one_checker_for_each_method(tmp_path: Path) -> None:
    world = World(tmp_path)
    one = world.candidate()
    made = world.approve("ben", world.proposal(one))
    both = AnySignatures({Method.SSH: SshSignatures(PROCESSES)})
    rules = world.rules().read()
    assert isinstance(both.check(made, rules.signers, b"", START), Signed)
    by_token = dataclasses.replace(made, proof=proof_of("a.b.c"))
    assert both.check(by_token, rules.signers, b"", START) == Unproved(
        why="it is proved by gitlab, which is not looked at here"
    )
    bare = dataclasses.replace(made, proof=None)
    assert both.check(bare, rules.signers, b"", START) == Unproved(why="it is not signed")


def test_a_list_of_signers_cannot_name_accounts(tmp_path: Path) -> None:
    world = TokenWorld(tmp_path)
    world.signers(listed(world.keys / "ben", "gitlab:cleo"))
    world.commit("claim an account", "ada")
    world.push()
    with pytest.raises(DefinitionError, match="is a pattern or no principal"):
        world.rules().read()


def test_an_ssh_proof_cannot_say_it_is_a_token(tmp_path: Path) -> None:
    world = TokenWorld(tmp_path)
    made = world.approve("ben", world.proposal(world.candidate()))
    assert made.proof is not None
    forged = Proof(method=Method.GITLAB, identity="gitlab:cleo", key=f"{GITLAB}#43", text=made.proof.text)
    found = world.signatures.check(
        dataclasses.replace(made, proof=forged), world.rules().read().signers, b"", START
    )
    assert isinstance(found, Unproved)
    assert "three parts" in found.why


def test_what_a_dry_run_hands_on_is_what_the_job_must_ask_a_token_for(tmp_path: Path) -> None:
    world = TokenWorld(tmp_path)
    pair = [world.proposal(world.candidate(number, image=name)) for number, name in enumerate(("web", "db"))]
    before = world.ledger().read()
    plan = plan_approval(
        pair,
        ledger=world.ledger(),
        rules=world.rules(),
        signatures=world.signatures,
        show=lambda briefs, warnings: world.shown.append((briefs, warnings)),
        author="the review job",
        now=START,
    )
    assert world.ledger().read() == before
    assert [brief.decided.image for brief in world.shown[-1][0]] == ["db", "web"]
    assert plan.dotenv == f"PIPELINE_APPROVAL_SUBJECT={plan.subject}\n"
    assert len(plan.references.splitlines()) == len(pair)
    token = world.token(APPROVAL, aud=f"bootc-pipeline:{plan.subject}")
    made = world.by_token(token, *reversed(pair))
    assert [one.image for one in made.decided] == ["db", "web"]


def test_a_dry_run_refuses_what_nobody_could_approve(tmp_path: Path) -> None:
    world = TokenWorld(tmp_path)
    proposal = dataclasses.replace(world.proposal(world.candidate(), gates={}), blocks=("no boot test",))
    with pytest.raises(GateRefusedError, match="no boot test") as caught:
        plan_approval(
            [proposal],
            ledger=world.ledger(),
            rules=world.rules(),
            signatures=world.signatures,
            show=lambda _briefs, _warnings: None,
            author="the review job",
            now=START,
        )
    assert "gate one-kernel" in caught.value.message
