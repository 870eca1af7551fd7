"""One OCI registry: names become digests, content comes and goes, and every byte is checked on its way.

Rules: what was asked for by digest is compared with it before it is given out; what was written under a tag
is read again; nothing is converted on the way, bytes stay the bytes they were. Safe to use from several
threads. Protocol: OCI distribution specification 1.1, as registries without referrers also speak it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from urllib.parse import urlencode

from urllib3.exceptions import HTTPError

from pipeline.adapters.repositories import (
    OK,
    Repositories,
    checked,
    media_type_of,
    reference_of,
    refuse_other,
    scopes_of,
    told_digest,
)
from pipeline.adapters.transport import Answer, Response, TransientError
from pipeline.domain.image import Digest, ImageRef, Repository
from pipeline.domain.oci import DOCUMENT_LIMIT, OCI_INDEX, Descriptor, digest_of, load, parse
from pipeline.errors import NotFoundError, RegistryError, UsageError

_NO_SUCH_API = frozenset({400, 404, 405, 406, 501})
_CREATED = 201
_ACCEPTED = 202
_CHUNK = 1 << 20


class Registry(Repositories):
    """A client of one registry; made as `Repositories` says."""

    def resolve(self, ref: ImageRef) -> Descriptor:
        """Return digest, media type and size of what a reference names now.

        Raises:
            NotFoundError: There is no such tag or digest.
            RegistryError: The registry refuses or fails, or names another digest than was asked for.
        """
        good = frozenset({200, 405, 501})
        answer = self._ask("HEAD", ref, good=good)
        told = told_digest(answer)
        if answer.status not in OK or told is None:
            # Some registries do not answer HEAD, or name no digest: then the bytes themselves tell.
            return self._described(ref, self._ask("GET", ref))
        if ref.digest is not None and told != ref.digest:
            refuse_other(f"manifest {ref}", told)
        size = answer.headers.get("Content-Length", "")
        if not (size.isascii() and size.isdigit()):
            return self._described(ref, self._ask("GET", ref))
        return Descriptor(media_type=media_type_of(answer), digest=told, size=int(size[:12]))

    def manifest(self, ref: ImageRef) -> bytes:
        """Return a manifest or index, byte for byte; its digest is checked against the reference.

        Raises:
            NotFoundError: There is no such tag or digest.
            RegistryError: The registry refuses or fails, or gives other bytes than their digest says.
        """
        answer = self._ask("GET", ref)
        self._described(ref, answer)
        return answer.body

    def unparsed(self, ref: ImageRef) -> bytes:
        """Return what lies under a reference as `manifest` does, but do not look into it.

        For indexes that several programs write, where one bad entry must not hide the others.

        Raises:
            NotFoundError: There is no such tag or digest.
            RegistryError: The registry refuses or fails, or gives other bytes than their digest says.
        """
        answer = self._ask("GET", ref)
        checked(ref, answer)
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
            refuse_other(f"blob {digest} of {repository} ({got} bytes)", Digest("sha256:" + seen.hexdigest()))

    def has_blob(self, repository: Repository, digest: Digest) -> bool:
        """Tell whether a repository has a blob."""
        path = self._path(repository, f"blobs/{digest}")
        what = f"blob {digest} of {repository}"
        return self._send("HEAD", path, repository, what=what, good=frozenset({200, 404})).status in OK

    def put_blob(self, repository: Repository, data: bytes) -> Digest:
        """Upload a blob in one piece; return its digest.

        Raises:
            RegistryError: The registry refuses it, is full, or fails.
        """
        digest = digest_of(data)
        self.put_stream(repository, digest, len(data), lambda: (data,))
        return digest

    def offer_blob(self, repository: Repository, data: bytes) -> bool:
        """Upload a small blob unless the repository has it; return whether it was sent.

        The upload is opened as a mount of the repository's own blob: where it is there, that one request is
        all; where it is not, the same request has opened the upload.

        Raises:
            RegistryError: The registry refuses it, is full, or fails.
        """
        digest = digest_of(data)
        start = self._mount(repository, digest, repository)
        if start.status == _CREATED:
            return False
        if start.status != _ACCEPTED or not self._finished(repository, digest, data, start):
            self.put_blob(repository, data)
        return True

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
        scopes = scopes_of(repository, "pull,push")

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
        return self._mount(repository, digest, source).status == _CREATED

    def _mount(self, repository: Repository, digest: Digest, source: Repository) -> Answer:
        query = urlencode({"mount": digest.value, "from": source.path}, safe=":/")
        further = () if source == repository else scopes_of(source, "pull")
        scopes = (*scopes_of(repository, "pull,push"), *further)
        return self._http.patiently(
            lambda: self._http.ask(
                "POST",
                self._path(repository, f"blobs/uploads/?{query}"),
                scopes=scopes,
                # 202 opens an upload instead; the rest is how registries say that they do not mount.
                good=frozenset({201, 202, 400, 403, 404, 405, 501}),
                what=f"mount of blob {digest} from {source} into {repository}",
                headers={"Content-Length": "0"},
            )
        )

    def _finished(self, repository: Repository, digest: Digest, data: bytes, start: Answer) -> bool:
        """Send a blob to an upload that is open; False when that failed and a new upload is to be tried."""
        try:
            self._http.ask(
                "PUT",
                self._upload_url(start, repository, digest),
                scopes=scopes_of(repository, "pull,push"),
                good=frozenset({201}),
                what=f"upload of blob {digest} to {repository}",
                headers={"Content-Type": "application/octet-stream"},
                body=data,
            )
        except (TransientError, NotFoundError):
            return False
        return True

    def put_manifest(self, repository: Repository, reference: str | Digest, data: bytes) -> Digest:
        """Write a manifest or index under a tag or its digest, byte for byte; return its digest.

        A tag is read again afterwards.

        Raises:
            RegistryError: The registry refuses it, or holds something else than was written.
        """
        digest = digest_of(data)
        ref = reference_of(repository, reference)
        answer = self._put(ref, data, parse(data, f"the manifest {ref}").media_type)
        held = told_digest(answer) if ref.digest is not None else None
        held = held or self.resolve(ref).digest
        if held != digest:
            refuse_other(f"manifest {ref}, written as {digest}", held)
        return digest

    def put_unread(
        self, repository: Repository, reference: str | Digest, data: bytes, media_type: str
    ) -> bool:
        """Write a manifest or index as `put_manifest` does, but do not read a tag again.

        For tags that other programs may replace at any moment: who writes one looks after it himself.

        Returns:
            Whether the registry says that it filed the manifest under its subject (OCI-Subject).

        Raises:
            NotFoundError: The registry has no such repository, or not what the manifest refers to.
            RegistryError: The registry refuses it, or says it took something else.
        """
        ref = reference_of(repository, reference)
        answer = self._put(ref, data, media_type)
        held = told_digest(answer)
        if held is not None and held != digest_of(data):
            refuse_other(f"manifest {ref}, written as {digest_of(data)}", held)
        return bool(answer.headers.get("OCI-Subject"))

    def tags(self, repository: Repository) -> tuple[str, ...]:
        """Return every tag of a repository, sorted.

        Raises:
            NotFoundError: There is no such repository.
            RegistryError: The registry refuses, fails, or lists what is no tag.
        """
        what = f"tags of {repository}"
        found: set[str] = set()
        for answer in self._pages(repository, "tags/list?n=1000", what):
            names = load(answer.body, f"the list of {what}").get("tags") or []
            found.update(_tag(repository, name) for name in names)
        return tuple(sorted(found))

    def referrers(self, repository: Repository, subject: Digest) -> tuple[bytes, ...] | None:
        """Return what the referrers API tells of a digest, index by index as paged; None without that API.

        Nothing in the indexes is believed or parsed here.

        Raises:
            RegistryError: The registry refuses or fails, or the pages do not end.
        """
        pages: list[bytes] = []
        what = f"referrers of {repository}@{subject}"
        for answer in self._pages(repository, f"referrers/{subject}", what, good=OK | _NO_SUCH_API):
            # A web page under 200 is a proxy's, not this API.
            if answer.status not in OK or media_type_of(answer) != OCI_INDEX:
                return None
            pages.append(answer.body)
        return tuple(pages)

    def delete_manifest(self, repository: Repository, digest: Digest) -> None:
        """Delete a manifest and with it every tag that names it.

        Raises:
            NotFoundError: There is no such manifest.
            RegistryError: The registry does not allow it, or fails.
        """
        self._send(
            "DELETE",
            self._path(repository, f"manifests/{digest}"),
            repository,
            what=f"manifest {digest} of {repository}",
            good=frozenset({200, 202}),
            actions="pull,push,delete",
        )

    def _described(self, ref: ImageRef, answer: Answer) -> Descriptor:
        found = checked(ref, answer)
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
                scopes=scopes_of(repository, "pull"),
                good=frozenset({200, 206}) if at else OK,
                what=f"blob {digest} of {repository}",
                headers={"Range": f"bytes={at}-"} if at else {},
            )
        )
        return response, 0 if response.status == 206 else at  # noqa: PLR2004


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
