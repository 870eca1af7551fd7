"""Requests to one registry, below its repositories: paths, scopes, pages, and whose digest is believed.

Rules: a path names a repository of this registry and no other; what a registry says of a digest is only ever
compared with what the bytes say. What the answers mean is `registry`'s job.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NoReturn
from urllib.parse import urljoin

from pipeline.adapters.tokens import Credentials
from pipeline.adapters.transport import Answer, Patience, Transport
from pipeline.domain.image import Digest, ImageRef, Repository
from pipeline.domain.oci import ACCEPT, digest_of
from pipeline.errors import RegistryError, UsageError

OK = frozenset({200})
"""The one status of a plain answer."""

_PAGES = 1000
_NEXT = re.compile(r'<([^<>\s]+)>\s*;[^,]*\brel="?next"?', re.IGNORECASE)


class Repositories:
    """The repositories of one registry, as paths to ask for.

    Args:
        host: `host` or `host:port`.
        insecure: Speak plain HTTP, for registries on this machine.
        credentials: For this host, or None to stay anonymous.
        connections: Connections kept open, one per thread that uses this client at once.
        patience: How long to wait and how often to try.
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
        self._http = Transport(
            host, insecure=insecure, credentials=credentials, connections=connections, patience=patience
        )

    def close(self) -> None:
        """Close every kept connection."""
        self._http.close()

    def _ask(self, method: str, ref: ImageRef, good: frozenset[int] = OK) -> Answer:
        path = self._path(ref.repository, f"manifests/{ref.digest or ref.tag}")
        accept = {"Accept": ACCEPT}
        return self._send(method, path, ref.repository, what=f"manifest {ref}", good=good, headers=accept)

    def _put(self, ref: ImageRef, data: bytes, media_type: str) -> Answer:
        if ref.digest is not None and ref.digest != digest_of(data):
            refuse_other(f"manifest to be written as {ref}", digest_of(data))
        return self._send(
            "PUT",
            self._path(ref.repository, f"manifests/{ref.digest or ref.tag}"),
            ref.repository,
            what=f"manifest {ref}",
            good=frozenset({200, 201}),
            actions="pull,push",
            headers={"Content-Type": media_type},
            body=data,
        )

    def _pages(
        self, repository: Repository, rest: str, what: str, good: frozenset[int] = OK
    ) -> Iterator[Answer]:
        path = self._path(repository, rest)
        for _ in range(_PAGES):
            answer = self._send("GET", path, repository, what=what, good=good)
            yield answer
            link = _NEXT.search(answer.headers.get("Link", ""))
            if link is None:
                return
            path = urljoin(path, link[1])
        raise RegistryError(f"the {what} do not end after {_PAGES} pages", hint="see the registry's log")

    def _send(
        self,
        method: str,
        path: str,
        repository: Repository,
        *,
        what: str,
        good: frozenset[int] = OK,
        actions: str = "pull",
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Answer:
        scopes = scopes_of(repository, actions)
        return self._http.patiently(
            lambda: self._http.ask(
                method, path, scopes=scopes, good=good, what=what, headers=headers, body=body
            )
        )

    def _upload_url(self, start: Answer, repository: Repository, digest: Digest) -> str:
        location = start.headers.get("Location", "")
        if not location:
            raise RegistryError(
                f"{self.host} opened an upload to {repository} but did not say where", hint="see its log"
            )
        return f"{location}{'&' if '?' in location else '?'}digest={digest}"

    def _path(self, repository: Repository, rest: str) -> str:
        if repository.registry != self.host:
            raise UsageError(
                f"{repository} was asked of the registry {self.host}",
                hint="use the client of its own registry",
            )
        return f"/v2/{repository.path}/{rest}"


def scopes_of(repository: Repository, actions: str) -> tuple[str, ...]:
    """Return what a token must allow for these actions (`pull,push`) in a repository."""
    return (f"repository:{repository.path}:{actions}",)


def reference_of(repository: Repository, reference: str | Digest) -> ImageRef:
    """Return the reference of a tag or a digest."""
    return repository.at(reference) if isinstance(reference, Digest) else repository.tagged(reference)


def checked(ref: ImageRef, answer: Answer) -> Digest:
    """Return the digest of the bytes that came for a reference.

    Raises:
        RegistryError: It is not the one that was asked for, or not the one the registry tells.
    """
    found = digest_of(answer.body)
    wanted = ref.digest or told_digest(answer) or found
    if found != wanted:
        refuse_other(f"manifest {ref}, told to be {wanted}", found)
    return found


def told_digest(answer: Answer) -> Digest | None:
    """Return the digest the registry tells, None where it tells none."""
    told = answer.headers.get("Docker-Content-Digest", "")
    try:
        return Digest(told)
    except UsageError:
        return None


def media_type_of(answer: Answer) -> str:
    """Return the media type the registry tells, without its parameters."""
    return answer.headers.get("Content-Type", "").partition(";")[0].strip()[:120]


def refuse_other(what: str, found: Digest) -> NoReturn:
    """Raise because content has another digest than it must have."""
    raise RegistryError(
        f"{what} is {found} in truth",
        hint="somebody changed or damaged it on the way; do not use it, and see the registry's storage",
    )
