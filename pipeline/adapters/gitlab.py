"""Identity tokens of GitLab jobs: handed on as proofs, and checked with the keys that their issuer has.

Rules: the keys are those that the protected branch pins, and then nothing is asked of anybody, so that a
decision can be checked for as long as the ledger is kept; without pinned ones they are what the issuer
publishes now, over TLS, from its own address, without redirects, in few bytes. A key is used with the one
algorithm that fits its type, never with the one a token asks for; what cannot be checked proves nothing.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jwt
import urllib3
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from urllib3.exceptions import HTTPError

from pipeline.domain.allowed_signers import AllowedSigners
from pipeline.domain.approvals import Proved, Signed, Unproved
from pipeline.domain.decision import Decision, Method, Proof
from pipeline.domain.idtoken import IdToken, TokenIssuer, refusal
from pipeline.domain.text import plain
from pipeline.errors import SignatureError

LIMIT = 256 << 10
"""Bytes of a document that an issuer publishes, or of a file of keys."""

_DISCOVERY = "/.well-known/openid-configuration"
_FITS = {"RS256": {"kty": "RSA"}, "ES256": {"kty": "EC", "crv": "P-256"}}
_PUBLIC = ("kty", "n", "e", "crv", "x", "y")
_RSA_BITS = range(2048, 16_385)
_WAIT = urllib3.Timeout(connect=10, read=30)
_OK = 200


class GitlabToken:
    """The key of who started a job: its token.

    Args:
        text: The token, as GitLab put it into the job's variable.

    Raises:
        SignatureError: It is no token.
    """

    def __init__(self, text: str) -> None:
        self._token = IdToken.parse(text.strip())

    def fingerprint(self) -> str:
        """Return what stands for the account, `ISSUER#NUMBER`."""
        return self._token.account

    def principals(self, signers: AllowedSigners) -> tuple[str, ...]:
        """Return whom it speaks for: its account, where the protected branch names its issuer."""
        issuer = signers.issuer
        known = issuer is not None and self._token.claims.get("iss") == issuer.issuer
        return (self._token.principal,) if known and self._token.principal else ()

    def sign(self, statement: bytes, identity: str) -> Proof:  # noqa: ARG002 - the token was made for it before
        """Return the proof of a statement; whether the token is for that one is seen when it is checked.

        Raises:
            SignatureError: It does not say whose it is.
        """
        if not self._token.account:
            raise SignatureError(
                "the token does not say who started the job",
                hint="hand on a token of `id_tokens`, not the job's own token",
            )
        return Proof(method=Method.GITLAB, identity=identity, key=self._token.account, text=self._token.text)


Publisher = Callable[[str], bytes]
"""Returns the keys (JWKS) that an issuer publishes; `PublishedKeys` is one."""


class GitlabTokens:
    """Checks proofs that are tokens.

    Args:
        published: Returns the keys of an issuer that the protected branch pins none of.
    """

    def __init__(self, published: Publisher) -> None:
        self._published = published

    def check(self, decision: Decision, signers: AllowedSigners, revoked: bytes, now: dt.datetime) -> Proved:  # noqa: ARG002
        """Return who proved a decision, or why nobody did.

        A token is valid for minutes around the decision; what has to hold later is that its issuer's key is
        trusted still, which the keys say that are looked at.

        Args:
            decision: The decision with its proof.
            signers: Names the issuer.
            revoked: Revoked SSH keys, not looked at: an issuer's key is revoked by taking it away.
            now: When it is relied on; UTC. Not looked at: the token has to hold when it was used.
        """
        proof, issuer = decision.proof, signers.issuer
        if proof is None or proof.method is not Method.GITLAB:
            return Unproved(why="it is not proved by a token")
        if issuer is None:
            return Unproved(why="it is proved by a token, and [approval.gitlab] names no issuer")
        try:
            token = IdToken.parse(proof.text)
            why = refusal(token, decision, issuer)
            if not why:  # nobody is asked for the keys of what would not count anyway
                keys = self._published(issuer.issuer) if issuer.keys is None else issuer.keys
                _verify(token, keys, _source(issuer))
        except SignatureError as error:
            why = plain(error.message)
        return Unproved(why=why) if why else Signed(identity=proof.identity, key=proof.key)


class PublishedKeys:
    """The keys that issuers publish; each issuer is asked once.

    Args:
        ca_file: Certificates to trust instead of the system's, PEM; None for the system's.
        insecure_loopback: Speak plain HTTP to an issuer on this machine.
    """

    def __init__(self, *, ca_file: Path | None = None, insecure_loopback: bool = False) -> None:
        self._pool = urllib3.PoolManager(
            retries=urllib3.Retry(
                total=2, redirect=False, status_forcelist=(502, 503, 504), backoff_factor=0.2
            ),
            timeout=_WAIT,
            ca_certs=None if ca_file is None else str(ca_file),
            headers={"User-Agent": "bootc-pipeline", "Accept": "application/json"},
        )
        self._insecure = insecure_loopback
        self._known: dict[str, bytes] = {}

    def __call__(self, issuer: str) -> bytes:
        """Return an issuer's keys, JWKS.

        Raises:
            SignatureError: They cannot be had, or not from the issuer itself.
        """
        if issuer not in self._known:
            self._known[issuer] = self._fetch(issuer)
        return self._known[issuer]

    def _fetch(self, issuer: str) -> bytes:
        found = _object(self._get(issuer + _DISCOVERY, issuer), f"{issuer}{_DISCOVERY}")
        if found.get("issuer") != issuer:
            raise _untrusted(f"{issuer} calls itself {plain(str(found.get('issuer')), 200)!r}")
        return self._get(str(found.get("jwks_uri")), issuer)

    def _get(self, url: str, issuer: str) -> bytes:
        if not self._allowed(url, issuer):
            raise _untrusted(f"{plain(url, 200)!r} is no address of {issuer} over https")
        try:
            response = self._pool.request("GET", url, redirect=False, preload_content=False)
            data = response.read(LIMIT + 1)
            response.release_conn()
        except HTTPError as error:
            raise _untrusted(f"{plain(url, 200)} cannot be read: {plain(str(error), 200)}") from error
        if response.status != _OK:
            raise _untrusted(f"{plain(url, 200)} answered {response.status}")
        if len(data) > LIMIT:
            raise _untrusted(f"{plain(url, 200)} is longer than {LIMIT} bytes")
        return data

    def _allowed(self, url: str, issuer: str) -> bool:
        try:
            asked, own = urlsplit(url), urlsplit(issuer)
            same = (asked.scheme, asked.hostname, asked.port) == (own.scheme, own.hostname, own.port)
        except ValueError:  # a port that is none
            return False
        if not same or not own.hostname or asked.username is not None:
            return False
        return own.scheme == "https" or (
            self._insecure and own.scheme == "http" and _is_loopback(own.hostname)
        )


def _verify(token: IdToken, keys: bytes, source: str) -> None:
    """Let a token pass whose signature was made with the key it names.

    Raises:
        SignatureError: There is no such key, it does not fit the algorithm, or did not make the signature.
    """
    jwk = _named(token, keys, source)
    try:
        key = jwt.PyJWK(jwk, algorithm=token.algorithm)
        if isinstance(key.key, RSAPublicKey) and key.key.key_size not in _RSA_BITS:
            raise _untrusted(f"the key {plain(token.key, 80)!r} of {source} has {key.key.key_size} bits")
        jwt.PyJWS().decode_complete(token.text, key, algorithms=[token.algorithm])
    except jwt.InvalidSignatureError as error:
        raise _untrusted(
            f"its token was not signed with the key {plain(token.key, 80)!r} of {source}, or changed since"
        ) from error
    except jwt.PyJWTError as error:
        raise _untrusted(f"its token cannot be verified: {plain(str(error), 200)}") from error


def _named(token: IdToken, keys: bytes, source: str) -> dict[str, Any]:
    """Return the public half of the key that a token names; only members that make a public key."""
    listed = _object(keys, source).get("keys")
    every = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    found = [one for one in every if one.get("kid") == token.key]
    name = plain(token.key, 80)
    if not found:
        raise _untrusted(f"its token names the key {name!r}, which is not among {source}")
    if len(found) > 1:
        raise _untrusted(f"{source} have several of the name {name!r}")
    jwk, fits = found[0], _FITS[token.algorithm]
    usable = jwk.get("use", "sig") == "sig" and jwk.get("alg", token.algorithm) == token.algorithm
    if not usable or any(jwk.get(member) != value for member, value in fits.items()):
        raise _untrusted(f"its token says {token.algorithm}, for which the key {name!r} of {source} is not")
    return {member: jwk[member] for member in _PUBLIC if member in jwk}


def _source(issuer: TokenIssuer) -> str:
    return f"the keys {'published by' if issuer.keys is None else 'pinned for'} {issuer.issuer}"


def _object(data: bytes, what: str) -> Mapping[str, Any]:
    try:
        value = json.loads(data) if len(data) <= LIMIT else None
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise _untrusted(f"{what}: this is no JSON object")
    return value


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _untrusted(why: str) -> SignatureError:
    return SignatureError(
        why,
        hint="pin the issuer's keys in [approval.gitlab] jwks on the protected branch, or mend its address",
    )
