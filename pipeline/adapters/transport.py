"""HTTP to one registry: kept connections, patience with a bounded end, tokens, and messages people can use.

Rules: what fails for a moment (a dropped connection, 429, 500, 502, 503, 504, a digest mixed up) is tried
again a few times with growing pauses, everything else fails at once; credentials and tokens go to the
registry and to the token service it names, never along a redirect to another host; text from a server is cut
and cleaned before it is shown. Safe to use from several threads.
"""

from __future__ import annotations

import email.utils
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import urljoin, urlsplit

import urllib3
from urllib3 import HTTPHeaderDict
from urllib3.exceptions import HTTPError, MaxRetryError, NameResolutionError, NewConnectionError, SSLError
from urllib3.exceptions import TimeoutError as HTTPTimeoutError

from pipeline.adapters.tokens import Authorizer, Credentials, parse_challenges
from pipeline.errors import NotFoundError, PipelineError, RegistryError

T = TypeVar("T")
Response = urllib3.BaseHTTPResponse
Body = bytes | Callable[[], Iterable[bytes]]
"""What is sent: bytes, or a function that begins the pieces anew, since a request may be repeated."""

_AGAIN = frozenset({429, 500, 502, 503, 504})
_MIXED_UP = "DIGEST_INVALID"
"""What we name by digest was hashed here. A registry that finds another one lost bytes on the way, or read
what somebody else writes at this moment under the same digest (docker-registry writes files in place)."""
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_REDIRECT_LIMIT = 5
_ERROR_BODY = 8 << 10
_BODY = 4 << 20
_AGENT = "bootc-pipeline"


class TransientError(Exception):
    """Something that may pass: the error to raise when it does not, and how long the server asks to wait."""

    def __init__(self, error: PipelineError, after: float | None = None) -> None:
        super().__init__(error.message)
        self.error = error
        self.after = after


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to wait and how often to try.

    Attributes:
        attempts: Tries of one operation, the first included.
        first: Seconds before the second try; doubles with every further one.
        longest: Seconds of the longest pause, also where a server asks for more.
        connect: Seconds until a connection must stand.
        read: Seconds without a byte after which a request has failed.
        sleep: Waits that many seconds.
    """

    attempts: int = 5
    first: float = 0.25
    longest: float = 30.0
    connect: float = 10.0
    read: float = 60.0
    sleep: Callable[[float], None] = field(default=time.sleep)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A response that was read whole."""

    status: int
    headers: HTTPHeaderDict
    body: bytes


class Transport:
    """Requests to one registry.

    Args:
        host: `host` or `host:port`.
        insecure: Whether plain HTTP is spoken; without it TLS is verified against the system's certificates.
        credentials: For this host, or None to stay anonymous.
        connections: Connections kept open; threads beyond that wait for one.
        patience: How long and how often.
    """

    def __init__(
        self,
        host: str,
        *,
        insecure: bool = False,
        credentials: Credentials | None = None,
        connections: int = 32,
        patience: Patience | None = None,
    ) -> None:
        self.host = host
        self.insecure = insecure
        self.patience = patience or Patience()
        self._base = f"{'http' if insecure else 'https'}://{host}"
        timeout = urllib3.Timeout(connect=self.patience.connect, read=self.patience.read)
        self._pool = urllib3.PoolManager(maxsize=connections, block=True, retries=False, timeout=timeout)
        self._own = urllib3.connection_from_url(
            self._base, maxsize=connections, block=True, retries=False, timeout=timeout
        )
        self._auth = Authorizer(credentials, insecure=insecure, fetch=self._fetch_token)

    def close(self) -> None:
        """Close every kept connection."""
        self._own.close()
        self._pool.clear()

    def patiently(self, operation: Callable[[], T]) -> T:
        """Run an operation again while it fails for a moment.

        Raises:
            PipelineError: What the operation failed with at last.
        """
        for attempt in range(1, self.patience.attempts + 1):
            try:
                return operation()
            except TransientError as failure:
                if attempt == self.patience.attempts:
                    tries = f" ({attempt} attempts)"
                    raise type(failure.error)(
                        failure.error.message + tries, hint=failure.error.hint
                    ) from failure
                pause = self.patience.first * 2 ** (attempt - 1)
                wanted = pause if failure.after is None else failure.after
                self.patience.sleep(min(max(wanted, 0.0), self.patience.longest))
        raise AssertionError("the loop returns or raises")  # pragma: no cover

    def ask(
        self,
        method: str,
        path: str,
        *,
        scopes: Sequence[str],
        good: frozenset[int],
        what: str,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
    ) -> Answer:
        """Send one request, once, after authorisation and redirects; read its answer whole.

        The arguments and errors are those of `open`.
        """
        response = self.open(method, path, scopes=scopes, good=good, what=what, headers=headers, body=body)
        data = _read_all(response, what)
        return Answer(status=response.status, headers=response.headers, body=data)

    def open(
        self,
        method: str,
        path: str,
        *,
        scopes: Sequence[str],
        good: frozenset[int],
        what: str,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
    ) -> Response:
        """Send one request, once, after authorisation and redirects; the caller reads and releases the body.

        Args:
            method: HTTP method.
            path: Path below the host, or an absolute URL that the registry gave.
            scopes: What the token must allow (`repository:NAME:pull`).
            good: Statuses that are returned; every other one is an error.
            what: What is asked for, for messages (`blob sha256:… of registry/path`).
            headers: Further headers.
            body: What to send; with pieces, give the Content-Length in `headers`.

        Raises:
            TransientError: May pass; use inside `patiently`.
            RegistryError: Refused or broken.
            NotFoundError: 404, unless that is among `good`.
        """
        url = urljoin(self._base + "/", path)
        response = self._authorised(method, url, scopes=scopes, headers=headers, body=body, what=what)
        for _ in range(_REDIRECT_LIMIT):
            if response.status not in _REDIRECTS or response.status in good or method not in ("GET", "HEAD"):
                break
            url = self._redirected(url, response, what)
            response = self._authorised(method, url, scopes=scopes, headers=headers, body=body, what=what)
        if response.status in good:
            return response
        raise self._refusal(response, what)

    def _redirected(self, url: str, response: Response, what: str) -> str:
        response.drain_conn()
        target = urljoin(url, response.headers.get("Location", ""))
        scheme = urlsplit(target).scheme
        if scheme != "https" and not (scheme == "http" and self.insecure):
            raise RegistryError(
                f"{self.host} sends the request for {what} on to {_clean(target)}, which is not encrypted",
                hint="let the registry redirect to https, or serve the content itself",
            )
        return target

    def _authorised(
        self,
        method: str,
        url: str,
        *,
        scopes: Sequence[str],
        headers: Mapping[str, str] | None,
        body: Body | None,
        what: str,
    ) -> Response:
        own = urlsplit(url)[:2] == urlsplit(self._base)[:2]
        sent = dict(headers or {})
        if not own:
            return self._send(method, url, headers=sent, body=body, what=what)
        token = self._auth.header(scopes)
        response = self._send(method, url, headers=sent | token, body=body, what=what)
        if response.status != 401:  # noqa: PLR2004
            return response
        challenges = parse_challenges(response.headers.get_all("WWW-Authenticate", []))
        answer = self._auth.answer(challenges, scopes, refused=token)
        if answer is None:
            return response
        response.drain_conn()
        return self._send(method, url, headers=sent | answer, body=body, what=what)

    def _send(
        self, method: str, url: str, *, headers: Mapping[str, str], body: Body | None, what: str
    ) -> Response:
        own = url.startswith(f"{self._base}/")  # straight to its pool: that spares parsing the address again
        try:
            return (self._own if own else self._pool).urlopen(
                method,
                url.removeprefix(self._base) if own else url,
                headers={"User-Agent": _AGENT, **headers},
                body=body() if callable(body) else body,
                redirect=False,
                preload_content=False,
            )
        except HTTPError as error:
            raise self._broken(error, url, what) from error

    def _broken(self, error: HTTPError, url: str, what: str) -> Exception:
        cause: BaseException = error
        if isinstance(error, MaxRetryError) and error.reason is not None:
            cause = error.reason
        host = urlsplit(url).netloc
        if isinstance(cause, SSLError):
            return RegistryError(
                f"no trusted TLS connection to {host} for {what}: {_clean(str(cause))}",
                hint="add its certificate to the system's, or name it insecure if it speaks plain HTTP",
            )
        if isinstance(cause, NameResolutionError):
            return TransientError(
                RegistryError(
                    f"the name {host} cannot be resolved (for {what})",
                    hint="check the registry's name in images/pipeline.toml and the machine's DNS",
                )
            )
        if isinstance(cause, NewConnectionError):
            return TransientError(
                RegistryError(
                    f"no connection to {host} for {what}: {_clean(str(cause)).rpartition(': ')[2]}",
                    hint="start the registry, or check its name and port",
                )
            )
        kind = "gave no answer in time" if isinstance(cause, HTTPTimeoutError) else "dropped the connection"
        return TransientError(
            RegistryError(
                f"{host} {kind} for {what}", hint="run the same command again; see the registry's log"
            )
        )

    def _refusal(self, response: Response, what: str) -> Exception:
        said = _server_text(response)
        status = response.status
        place = f"{self.host} answered {status} for {what}{': ' + said if said else ''}"
        if status == 404:  # noqa: PLR2004
            return NotFoundError(
                f"{self.host} has no {what}", hint="check the name, or build or push it first"
            )
        error = RegistryError(place, hint=_HINTS.get(status, "see the registry's log for this request"))
        if status in _AGAIN or (status == 400 and _MIXED_UP in said):  # noqa: PLR2004
            return TransientError(error, _retry_after(response))
        return error

    def _fetch_token(
        self, method: str, url: str, headers: Mapping[str, str], body: Body | None
    ) -> tuple[int, bytes]:
        what = "an access token"
        response = self._send(method, url, headers=headers, body=body, what=what)
        if response.status in _AGAIN:
            raise self._refusal(response, what)
        return response.status, _read_all(response, what)


_HINTS = {
    401: "log in to this registry (`podman login HOST`), or check the user name and password given for it",
    403: "ask for the right to do this in that repository, or use an account that has it",
    405: "the registry does not allow this; deletion, for one, must be enabled in its configuration",
    413: "the registry or a proxy before it limits the size of uploads; raise that limit",
    429: "wait, or use fewer jobs at once",
    507: "the registry's storage is full; free space there and run the same command again",
}


def _read_all(response: Response, what: str) -> bytes:
    try:
        data = response.read(_BODY + 1)
        response.drain_conn() if len(data) <= _BODY else response.close()
    except HTTPError as error:
        raise TransientError(
            RegistryError(f"the connection broke in the middle of {what}", hint="run the same command again")
        ) from error
    if len(data) > _BODY:
        raise RegistryError(
            f"the answer for {what} is larger than {_BODY} bytes",
            hint="this is no answer of a registry; check its name",
        )
    return data


def _server_text(response: Response) -> str:
    """What the server says about its refusal, short and clean."""
    try:
        raw = response.read(_ERROR_BODY, decode_content=True)
        response.drain_conn()
    except HTTPError:
        return ""
    try:
        errors = json.loads(raw)["errors"]
        parts = [
            f"{item.get('code', '')} {item.get('message', '')} {item.get('detail') or ''}" for item in errors
        ]
        return _clean("; ".join(parts))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return _clean(raw.decode("utf-8", "replace")) if b"<" not in raw else ""


def _clean(text: str) -> str:
    """Return hostile text as one short printable line."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())[:240]


def _retry_after(response: Response) -> float | None:
    """Seconds a server asks to wait; a date is read against the server's own clock."""
    value = response.headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return float(value[:6])
    try:
        until = email.utils.parsedate_to_datetime(value)
        now = email.utils.parsedate_to_datetime(response.headers.get("Date", ""))
        return (until - now).total_seconds()
    except (ValueError, TypeError):
        return None
