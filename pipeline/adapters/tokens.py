"""Who we are to a registry: basic credentials and the bearer tokens that its token service gives for them.

Rules: a token is asked for exactly the scopes an operation needs and kept until it is refused; the realm a
registry names must be encrypted unless the registry itself was named insecure; no secret is ever part of a
message or of a `repr`. Flow: the distribution project's token authentication specification.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from pipeline.errors import RegistryError

Fetch = Callable[[str, str, Mapping[str, str], bytes | None], tuple[int, bytes]]
"""Sends METHOD, URL, headers and body; returns status and body."""

_PARAMETER = re.compile(r'([A-Za-z0-9_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))\s*,?\s*')
_SCHEME = re.compile(r"\s*,?\s*([A-Za-z0-9-]+)(?:\s+|$)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """A user with a password, or an identity token that stands for both."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)

    @property
    def basic(self) -> str:
        """The value of a basic `Authorization` header."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """One way in that a registry offers: the scheme in lower case and its parameters."""

    scheme: str
    parameters: Mapping[str, str]


def parse_challenges(values: Sequence[str]) -> tuple[Challenge, ...]:
    """Parse `WWW-Authenticate` headers; what is not understood is left out."""
    found: list[Challenge] = []
    for value in values:
        at = 0
        while match := _SCHEME.match(value, at):
            at, parameters = match.end(), {}
            while parameter := _PARAMETER.match(value, at):
                at = parameter.end()
                text = parameter[3] if parameter[2] is None else re.sub(r"\\(.)", r"\1", parameter[2])
                parameters[parameter[1].lower()] = text
            found.append(Challenge(scheme=match[1].lower(), parameters=parameters))
    return tuple(found)


class Authorizer:
    """Gives the header for a request, and another one when the first was refused. Thread safe.

    Args:
        credentials: Ours, or None.
        insecure: Whether secrets may travel unencrypted, because the registry was named insecure.
        fetch: Asks a token service.
    """

    def __init__(self, credentials: Credentials | None, *, insecure: bool, fetch: Fetch) -> None:
        self._credentials = credentials
        self._insecure = insecure
        self._fetch = fetch
        self._lock = threading.Lock()
        self._tokens: dict[tuple[str, ...], str] = {}
        self._service: Challenge | None = None
        self._basic = False

    def header(self, scopes: Sequence[str]) -> dict[str, str]:
        """Return what can be sent ahead of any challenge; empty before the first one."""
        with self._lock:
            if self._basic and self._credentials:
                return {"Authorization": self._credentials.basic}
            service, token = self._service, self._tokens.get(tuple(scopes))
        if token is None and service is not None:
            token = self._token(service, tuple(scopes))
        return {"Authorization": f"Bearer {token}"} if token else {}

    def answer(
        self, challenges: Sequence[Challenge], scopes: Sequence[str], *, refused: Mapping[str, str]
    ) -> dict[str, str] | None:
        """Return the header that answers a 401, or None when there is nothing better to send.

        Raises:
            RegistryError: The token service refuses, is not encrypted, or answers nonsense.
        """
        for challenge in challenges:
            if challenge.scheme == "bearer" and challenge.parameters.get("realm"):
                with self._lock:
                    self._service = challenge
                    self._tokens.pop(tuple(scopes), None)
                return {"Authorization": f"Bearer {self._token(challenge, tuple(scopes))}"}
            if challenge.scheme == "basic" and self._credentials and self._credentials.username:
                answer = {"Authorization": self._credentials.basic}
                if dict(refused) == answer:
                    return None
                with self._lock:
                    self._basic = True
                return answer
        return None

    def _token(self, service: Challenge, scopes: tuple[str, ...]) -> str:
        realm = service.parameters["realm"]
        scheme, host = urlsplit(realm)[:2]
        if scheme != "https" and not (self._insecure and scheme == "http"):
            raise RegistryError(
                f"the registry names a token service that is not encrypted: {realm[:120]!r}",
                hint="let it name an https address, or name the registry insecure if it is on this machine",
            )
        method, url, headers, body = self._question(service, scopes)
        status, answer = self._fetch(method, url, headers, body)
        if status != 200:  # noqa: PLR2004
            raise RegistryError(
                f"the token service {host} answered {status} for {' '.join(scopes) or 'no scope'}",
                hint="log in (`podman login HOST`), or use an account that has this right",
            )
        token = _token_in(answer, host)
        with self._lock:
            self._tokens[scopes] = token
        return token

    def _question(
        self, service: Challenge, scopes: tuple[str, ...]
    ) -> tuple[str, str, dict[str, str], bytes | None]:
        credentials = self._credentials
        name = service.parameters.get("service", "")
        wanted = scopes or tuple(service.parameters.get("scope", "").split())
        if credentials and credentials.identity_token:
            fields = {
                "grant_type": "refresh_token",
                "service": name,
                "client_id": "bootc-pipeline",
                "scope": " ".join(wanted),
                "refresh_token": credentials.identity_token,
            }
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            return "POST", service.parameters["realm"], headers, urlencode(fields).encode()
        parts = urlsplit(service.parameters["realm"])
        query = (
            parse_qsl(parts.query) + ([("service", name)] if name else []) + [("scope", s) for s in wanted]
        )
        headers = {"Authorization": credentials.basic} if credentials and credentials.username else {}
        return "GET", urlunsplit(parts._replace(query=urlencode(query))), headers, None


def _token_in(answer: bytes, host: str) -> str:
    try:
        value = json.loads(answer)
        token = value.get("token") or value.get("access_token")
    except (ValueError, AttributeError, RecursionError):
        token = None
    if not isinstance(token, str) or not token.isascii() or not token.isprintable():
        raise RegistryError(
            f"the token service {host} answered without a token", hint="see that service's log"
        )
    return token
