"""Identity tokens of GitLab jobs as proofs of decisions: what a token says, and what it has to say.

Rules: a token shows that somebody started a job, so the job's audience has to name the decision. It is
`AUDIENCE:KIND:sha256:…`, with the hash of everything a decision is about: images, digests, versions,
predecessors, evidence (GitLab puts variables into `aud`, so an earlier job can hand the hash on). It covers
neither the words nor the times, which nobody knows before the button is pressed; they are held by two other
rules: the decision is made while the token is valid, which is an hour at the most, and of all decisions of
the ledger that show one token only the first counts (`approvals`). So a copied token can repeat what its
owner did, and nothing else, and the repetition does not count.

Who started the job is known by the number of the account; a login can change hands. The job ran on a
protected branch and in a protected environment of a listed project. Whether a person pressed a button or the
job started by itself is not in a token: that is what protected environments are for.
Claims: GitLab's documentation of ID token authentication; form and algorithms: RFC 7515, 7518, 7519.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.domain.canonical import canonical_digest, no_key_twice
from pipeline.domain.decision import NAMESPACE, PROOF_LIMIT, Decision, Proof
from pipeline.domain.image import Digest
from pipeline.domain.record_codec import stamp
from pipeline.domain.text import plain
from pipeline.errors import SignatureError

ALGORITHMS = ("RS256", "ES256")
"""How a token may be signed."""

ACCOUNT = "gitlab:"
"""How principals begin that are accounts; no name on a list of signers holds a colon."""

LOGIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}")
"""Name of an account."""

LONGEST = dt.timedelta(hours=1)
"""For how long a token may be valid. GitLab takes the job's timeout."""

SKEW = dt.timedelta(seconds=60)
"""How far the clock of who decides may be behind the issuer's."""

_PART = re.compile(r"[A-Za-z0-9_-]+")
_NUMBER = re.compile(r"[1-9][0-9]{0,17}")
_OPEN = frozenset({"author", "proof", "time", "what", "why", "expires"})
"""Fields of decisions that nobody knows before the job starts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenIssuer:
    """Whose tokens count, and what they must say; from the protected branch.

    Attributes:
        issuer: The GitLab, `https://host[:port][/path]`.
        audience: What the audience begins with.
        projects: Paths of projects whose jobs count.
        refs: Branches the job may run on; they have to be protected.
        environments: Environments the job may run in; they have to be protected.
        users: Login to the account's number; when it names any, those alone count.
        keys: The issuer's keys (JWKS) as the protected branch pins them; None for those it publishes.
    """

    issuer: str
    audience: str
    projects: tuple[str, ...]
    refs: tuple[str, ...]
    environments: tuple[str, ...]
    users: Mapping[str, int] = field(default_factory=dict)
    keys: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IdToken:
    """A token whose signature nobody has checked yet.

    Attributes:
        text: As it was issued.
        algorithm: How it says to be signed, one of `ALGORITHMS`.
        key: Which of the issuer's keys it says to be signed with.
        claims: What it says.
    """

    text: str
    algorithm: str
    key: str
    claims: Mapping[str, Any]

    @classmethod
    def parse(cls, text: str) -> IdToken:
        """Return the token.

        Raises:
            SignatureError: It is none, or is signed in another way than those allowed.
        """
        parts = text.split(".")
        if len(text) > PROOF_LIMIT or len(parts) != len(("header", "claims", "signature")):
            raise _no_token("it has not three parts")
        header, claims = _json(parts[0], "header"), _json(parts[1], "claims")
        _bytes(parts[2], "signature")
        algorithm, key = header.get("alg"), header.get("kid")
        if algorithm not in ALGORITHMS:
            raise _no_token(f"it is signed by {_shown(algorithm)}, expected {' or '.join(ALGORITHMS)}")
        if not isinstance(key, str) or not key:
            raise _no_token("it names no key")
        if "crit" in header:
            raise _no_token("it wants something understood that nobody here knows (crit)")
        return cls(text=text, algorithm=algorithm, key=key, claims=claims)

    @property
    def principal(self) -> str:
        """Whose it is, `gitlab:LOGIN`; "" where it says nobody's."""
        login = self.claims.get("user_login")
        return ACCOUNT + login if isinstance(login, str) and LOGIN.fullmatch(login) else ""

    @property
    def account(self) -> str:
        """What stands for the account whatever its login is, `ISSUER#NUMBER`; "" where it says none."""
        issuer, number = self.claims.get("iss"), self.claims.get("user_id")
        if not isinstance(issuer, str) or not isinstance(number, str) or not _NUMBER.fullmatch(number):
            return ""
        return f"{plain(issuer, 200)}#{number}"


def subject_of(decision: Decision) -> Digest:
    """Return the hash of what a decision is about: all that is known before somebody decides."""
    about = {key: value for key, value in decision.content().items() if key not in _OPEN}
    return canonical_digest({"statement": NAMESPACE, **about})


def audience_of(audience: str, decision: Decision) -> str:
    """Return the audience a token must have to prove a decision."""
    return f"{audience}:{decision.kind}:{subject_of(decision)}"


def signed_part(proof: Proof) -> str:
    """Return the part of a token that its signature covers, whoever wrote the signature how."""
    return proof.text.rpartition(".")[0]


def refusal(token: IdToken, decision: Decision, issuer: TokenIssuer) -> str:
    """Return why what a token says does not prove a decision; empty when it does, if its signature holds."""
    found = (*_where(token.claims, decision, issuer), *_when(token.claims, decision), *_who(token, issuer))
    return found[0] if found else _claimed(token, decision.proof)


def _where(claims: Mapping[str, Any], decision: Decision, issuer: TokenIssuer) -> Iterator[str]:
    """Yield what is wrong with where the token comes from and what it is for."""
    one_of = {
        "iss": (issuer.issuer,),
        "aud": (audience_of(issuer.audience, decision),),
        "project_path": issuer.projects,
        "ref_type": ("branch",),
        "ref": issuer.refs,
        "ref_protected": ("true",),
        "environment": issuer.environments,
        "environment_protected": ("true",),
    }
    for name, expected in one_of.items():
        if claims.get(name) not in expected:
            yield _wrong(name, claims.get(name), expected)
    # Other actions look at an environment and start nothing in it; older versions do not tell.
    action = claims.get("environment_action", "start")
    if action != "start":
        yield _wrong("environment_action", action, ("start",))


def _when(claims: Mapping[str, Any], decision: Decision) -> Iterator[str]:
    times = [_moment(claims.get(name)) for name in ("iat", "nbf", "exp")]
    if None in times:
        yield "its token does not say when it is valid"
        return
    issued, begins, ends = (one for one in times if one is not None)
    if ends - issued > LONGEST:
        yield f"its token is valid for {ends - issued}, expected {LONGEST} at most: give the job a timeout"
    first = max(issued, begins)
    if decision.time + SKEW < first:
        yield f"its token is valid from {stamp(first)} on, the decision is of {stamp(decision.time)}"
    if decision.time >= ends:
        yield f"its token expired at {stamp(ends)}, the decision is of {stamp(decision.time)}"


def _who(token: IdToken, issuer: TokenIssuer) -> Iterator[str]:
    if not token.principal or not token.account:
        yield "its token does not say who started the job"
        return
    login = token.principal.removeprefix(ACCOUNT)
    if issuer.users and str(issuer.users.get(login)) != token.claims["user_id"]:
        known = issuer.users.get(login, "no account")
        yield _wrong(f"user_id of {login}", token.claims["user_id"], (str(known),))


def _claimed(token: IdToken, proof: Proof | None) -> str:
    """Return in what the proof says something else than its token."""
    said = ("", "") if proof is None else (proof.identity, proof.key)
    if said == (token.principal, token.account):
        return ""
    return f"its token is of {token.principal} ({token.account}), not of {plain(said[0], 80)}"


def _wrong(name: str, got: object, expected: tuple[str, ...]) -> str:
    return f"its token has the {name} {_shown(got)}, expected {' or '.join(expected) or 'none'}"


def _shown(value: object) -> str:
    return "nothing" if value is None else repr(plain(str(value), 200))


def _moment(value: object) -> dt.datetime | None:
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    try:
        return dt.datetime.fromtimestamp(value, dt.UTC)
    except (OverflowError, OSError, ValueError):
        return None


def _json(part: str, what: str) -> Mapping[str, Any]:
    try:
        value = json.loads(_bytes(part, what), object_pairs_hook=no_key_twice)
    except (ValueError, RecursionError) as error:
        raise _no_token(f"its {what} is no JSON object with each key once") from error
    if not isinstance(value, dict):
        raise _no_token(f"its {what} is no JSON object")
    return value


def _bytes(part: str, what: str) -> bytes:
    """Return what a part holds; there is one way to write it, so that one token is one text."""
    try:
        data = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except (binascii.Error, ValueError) as error:
        raise _no_token(f"its {what} is no base64") from error
    if not _PART.fullmatch(part) or base64.urlsafe_b64encode(data).decode().rstrip("=") != part:
        raise _no_token(f"its {what} is no base64 as tokens write it")
    return data


def _no_token(why: str) -> SignatureError:
    return SignatureError(
        f"this is no identity token that can be relied on: {why}",
        hint="hand on what GitLab put into the variable of the job's `id_tokens`, unchanged",
    )
