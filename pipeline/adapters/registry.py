"""One OCI registry: names become digests, content comes and goes, and every byte is checked on its way.

Rules: what was asked for by digest is compared with it before it is given out; what was written under a tag
is read again; nothing is converted on the way, bytes stay the bytes they were. Safe to use from several
threads. Protocol: OCI distribution specification 1.1, as registries without referrers also speak it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from typing import NoReturn
from urllib.parse import quote, urlencode, urljoin

from urllib3.exceptions import HTTPError

from pipeline.adapters.tokens import Credentials
from pipeline.adapters.transport import Answer, Patience, Response, Transport
from pipeline.domain.image import Digest, ImageRef, Repository
from pipeline.domain.oci import ACCEPT, DOCUMENT_LIMIT, Descriptor, digest_of, load, parse
from pipeline.errors import RegistryError, UsageError

_OK = frozenset({200})
_CHUNK = 1 << 20
_PAGES = 1000
_NEXT = re.compile(r'<([^<>\s]+)>\s*;[^,]*\brel="?next"?', re.IGNORECASE)


class Registry:
    """A client of one registry.

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

    def resolve(self, ref: ImageRef) -> Descriptor:
        """Return digest, media type and size of what a reference names now.

        Raises:
            NotFoundError: There is no such tag or digest.
            RegistryError: The registry refuses or fails, or names another digest than was asked for.
        """
        good = frozenset({200, 405, 501})
        answer = self._ask("HEAD", ref, good=good)
        told = _told_digest(answer)
        if answer.status not in _OK or told is None:
            # Some registries do not answer HEAD, or name no digest: then the bytes themselves tell.
            return self._described(ref, self._ask("GET", ref))
        if ref.digest is not None and told != ref.digest:
            _other(f"manifest {ref}", told)
        size = answer.headers.get("Content-Length", "")
        if not (size.isascii() and size.isdigit()):
            return self._described(ref, self._ask("GET", ref))
        return Descriptor(media_type=_media_type(answer), digest=told, size=int(size[:12]))

    def manifest(self, ref: ImageRef) -> bytes:
        """Return a manifest or index, byte for byte; its digest is checked against the reference.

        Raises:
            NotFoundError: There is no such tag or digest.
            RegistryError: The registry refuses or fails, or gives other bytes than their digest says.
        """
        answer = self._ask("GET", ref)
        self._described(ref, answer)
        return answer.body

    def blob(self, repository: Repository, digest: Digest, *, limit: int = DOCUMENT_LIMIT) -> bytes:
        """Return a small blob whole, checked.

        Raises:
            NotFoundError: There is no such blob.
            RegistryError: It is larger than `limit` bytes, is not what its digest says, or cannot be had.
        """
        parts: list[bytes] = []
        size = 0
        for chunk in self.stream_blob(repository, digest):
            size += len(chunk)
            if size > limit:
                raise RegistryError(
                    f"blob {digest} of {repository} is larger than {limit} bytes",
                    hint="this is no config or document; name the right digest",
                )
            parts.append(chunk)
        return b"".join(parts)

    def stream_blob(self, repository: Repository, digest: Digest) -> Iterator[bytes]:
        """Yield a blob in pieces; a dropped connection is resumed where it broke.

        The digest is checked when the last piece was yielded, so nothing may be kept before the end.

        Raises:
            NotFoundError: There is no such blob.
            RegistryError: It is not what its digest says, or cannot be had.
        """
        seen = hashlib.sha256()
        got = 0
        for chunk in self._resumed(repository, digest):
            seen.update(chunk)
            got += len(chunk)
            yield chunk
        if "sha256:" + seen.hexdigest() != digest.value:
            _other(f"blob {digest} of {repository} ({got} bytes)", Digest("sha256:" + seen.hexdigest()))

    def has_blob(self, repository: Repository, digest: Digest) -> bool:
        """Tell whether a repository has a blob."""
        answer = self._http.patiently(
            lambda: self._http.ask(
                "HEAD",
                self._path(repository, f"blobs/{digest}"),
                scopes=_scopes(repository, "pull"),
                good=frozenset({200, 404}),
                what=f"blob {digest} of {repository}",
            )
        )
        return answer.status in _OK

    def put_blob(self, repository: Repository, data: bytes) -> Digest:
        """Upload a blob in one piece; return its digest.

        Raises:
            RegistryError: The registry refuses it, is full, or fails.
        """
        digest = digest_of(data)
        self.put_stream(repository, digest, len(data), lambda: (data,))
        return digest

    def put_stream(
        self, repository: Repository, digest: Digest, size: int, chunks: Callable[[], Iterable[bytes]]
    ) -> None:
        """Upload a blob from pieces, without holding it in memory.

        Args:
            repository: Where to.
            digest: The digest the registry must find.
            size: Bytes in all.
            chunks: Begins the pieces; called again for every try.

        Raises:
            RegistryError: The registry refuses it, is full, or fails.
        """
        what = f"upload of blob {digest} to {repository}"
        scopes = _scopes(repository, "pull,push")

        def upload() -> None:
            start = self._http.ask(
                "POST",
                self._path(repository, "blobs/uploads/"),
                scopes=scopes,
                good=frozenset({202}),
                what=what,
                headers={"Content-Length": "0"},
            )
            self._http.ask(
                "PUT",
                self._upload_url(start, repository, digest),
                scopes=scopes,
                good=frozenset({201}),
                what=what,
                headers={"Content-Type": "application/octet-stream", "Content-Length": str(size)},
                body=chunks,
            )

        self._http.patiently(upload)

    def mount_blob(self, repository: Repository, digest: Digest, source: Repository) -> bool:
        """Let a repository have a blob of another one of the same registry; False when it refuses.

        Raises:
            RegistryError: The registry fails; a refusal of the mount itself is no error.
        """
        query = urlencode({"mount": digest.value, "from": source.path})
        answer = self._http.patiently(
            lambda: self._http.ask(
                "POST",
                self._path(repository, f"blobs/uploads/?{query}"),
                scopes=(*_scopes(repository, "pull,push"), *_scopes(source, "pull")),
                # 202 opens an upload instead; the rest is how registries say that they do not mount.
                good=frozenset({201, 202, 400, 403, 404, 405, 501}),
                what=f"mount of blob {digest} from {source} into {repository}",
                headers={"Content-Length": "0"},
            )
        )
        return answer.status == 201  # noqa: PLR2004

    def put_manifest(self, repository: Repository, reference: str | Digest, data: bytes) -> Digest:
        """Write a manifest or index under a tag or its digest, byte for byte; return its digest.

        A tag is read again afterwards.

        Raises:
            RegistryError: The registry refuses it, or holds something else than was written.
        """
        digest = digest_of(data)
        ref = repository.at(reference) if isinstance(reference, Digest) else repository.tagged(reference)
        if ref.digest is not None and ref.digest != digest:
            _other(f"manifest to be written as {ref}", digest)
        answer = self._http.patiently(
            lambda: self._http.ask(
                "PUT",
                self._path(repository, f"manifests/{reference}"),
                scopes=_scopes(repository, "pull,push"),
                good=frozenset({200, 201}),
                what=f"manifest {ref}",
                headers={"Content-Type": parse(data, f"the manifest {ref}").media_type},
                body=data,
            )
        )
        held = _told_digest(answer) if ref.digest is not None else None
        held = held or self.resolve(ref).digest
        if held != digest:
            _other(f"manifest {ref}, written as {digest}", held)
        return digest

    def tags(self, repository: Repository) -> tuple[str, ...]:
        """Return every tag of a repository, sorted.

        Raises:
            NotFoundError: There is no such repository.
            RegistryError: The registry refuses, fails, or lists what is no tag.
        """
        what = f"tags of {repository}"
        path = self._path(repository, "tags/list?n=1000")
        found: set[str] = set()
        for _ in range(_PAGES):
            answer = self._get(path, repository, what)
            names = load(answer.body, f"the list of {what}").get("tags") or []
            found.update(_tag(repository, name) for name in names)
            link = _NEXT.search(answer.headers.get("Link", ""))
            if link is None:
                return tuple(sorted(found))
            path = urljoin(path, link[1])
        raise RegistryError(f"the {what} do not end after {_PAGES} pages", hint="see the registry's log")

    def delete_manifest(self, repository: Repository, digest: Digest) -> None:
        """Delete a manifest and with it every tag that names it.

        Raises:
            NotFoundError: There is no such manifest.
            RegistryError: The registry does not allow it, or fails.
        """
        self._http.patiently(
            lambda: self._http.ask(
                "DELETE",
                self._path(repository, f"manifests/{digest}"),
                scopes=_scopes(repository, "pull,push,delete"),
                good=frozenset({200, 202}),
                what=f"manifest {digest} of {repository}",
            )
        )

    def _ask(self, method: str, ref: ImageRef, good: frozenset[int] = _OK) -> Answer:
        return self._http.patiently(
            lambda: self._http.ask(
                method,
                self._path(ref.repository, f"manifests/{ref.digest or ref.tag}"),
                scopes=_scopes(ref.repository, "pull"),
                good=good,
                what=f"manifest {ref}",
                headers={"Accept": ACCEPT},
            )
        )

    def _get(self, path: str, repository: Repository, what: str) -> Answer:
        scopes = _scopes(repository, "pull")
        return self._http.patiently(lambda: self._http.ask("GET", path, scopes=scopes, good=_OK, what=what))

    def _described(self, ref: ImageRef, answer: Answer) -> Descriptor:
        found = digest_of(answer.body)
        wanted = ref.digest or _told_digest(answer) or found
        if found != wanted:
            _other(f"manifest {ref}, told to be {wanted}", found)
        parsed = parse(answer.body, f"the manifest {ref}")
        return Descriptor(media_type=parsed.media_type, digest=found, size=len(answer.body))

    def _resumed(self, repository: Repository, digest: Digest) -> Iterator[bytes]:
        got = 0
        broken = 0
        while True:
            response, skip = self._opened(repository, digest, got)
            try:
                for chunk in _skipping(response.stream(_CHUNK, decode_content=False), skip):
                    got += len(chunk)
                    yield chunk
                response.release_conn()
            except HTTPError as error:
                broken += 1
                if broken == self._http.patience.attempts:
                    raise RegistryError(
                        f"{self.host} dropped blob {digest} of {repository} {broken} times, at byte {got}",
                        hint="check the network to the registry and run the same command again",
                    ) from error
            else:
                return
            finally:
                response.close()

    def _opened(self, repository: Repository, digest: Digest, at: int) -> tuple[Response, int]:
        """Open a blob at an offset; return the response and how many of its bytes are known already."""
        response = self._http.patiently(
            lambda: self._http.open(
                "GET",
                self._path(repository, f"blobs/{digest}"),
                scopes=_scopes(repository, "pull"),
                good=frozenset({200, 206}) if at else _OK,
                what=f"blob {digest} of {repository}",
                headers={"Range": f"bytes={at}-"} if at else {},
            )
        )
        return response, 0 if response.status == 206 else at  # noqa: PLR2004

    def _upload_url(self, start: Answer, repository: Repository, digest: Digest) -> str:
        location = start.headers.get("Location", "")
        if not location:
            raise RegistryError(
                f"{self.host} opened an upload to {repository} but did not say where", hint="see its log"
            )
        return f"{location}{'&' if '?' in location else '?'}digest={quote(digest.value, safe='')}"

    def _path(self, repository: Repository, rest: str) -> str:
        if repository.registry != self.host:
            raise UsageError(
                f"{repository} was asked of the registry {self.host}",
                hint="use the client of its own registry",
            )
        return f"/v2/{repository.path}/{rest}"


def _scopes(repository: Repository, actions: str) -> tuple[str, ...]:
    return (f"repository:{repository.path}:{actions}",)


def _told_digest(answer: Answer) -> Digest | None:
    told = answer.headers.get("Docker-Content-Digest", "")
    try:
        return Digest(told)
    except UsageError:
        return None


def _media_type(answer: Answer) -> str:
    return answer.headers.get("Content-Type", "").partition(";")[0].strip()[:120]


def _tag(repository: Repository, name: object) -> str:
    try:
        return str(repository.tagged(name if isinstance(name, str) else "").tag)
    except UsageError:
        raise RegistryError(
            f"{repository} lists a tag that is none: {name!r:.120}", hint="see the registry's log"
        ) from None


def _skipping(chunks: Iterable[bytes], skip: int) -> Iterator[bytes]:
    for chunk in chunks:
        if skip >= len(chunk):
            skip -= len(chunk)
            continue
        yield chunk[skip:]
        skip = 0


def _other(what: str, found: Digest) -> NoReturn:
    raise RegistryError(
        f"{what} is {found} in truth",
        hint="somebody changed or damaged it on the way; do not use it, and see the registry's storage",
    )
