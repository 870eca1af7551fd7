"""A registry in memory that speaks OCI 1.1, with the referrers API or without it.

It checks what it is sent (digests, and that what a manifest refers to is there), pages its referrers, and
calls a hook before a tag is written, so that a test can let another writer in at exactly that moment.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

INDEX = "application/vnd.oci.image.index.v1+json"
_ROUTE = re.compile(r"/v2/(?P<name>.+?)/(?P<what>blobs/uploads|blobs|manifests|referrers|tags)/(?P<rest>.*)")


def _nothing(_tag: str) -> None:
    """Let the writer go on."""


@dataclass(kw_only=True)
class MemoryRegistry:
    """The running registry.

    Attributes:
        host: `host:port`.
        api: Whether it has the referrers API.
        says_subject: Whether it answers OCI-Subject when it filed a manifest.
        page: Entries on one page of referrers.
        before_tag: Called with a tag before it is written; runs in the server's thread of that request.
        blobs, manifests, tags: What it holds: (repository, digest or tag) to bytes, or to a digest.
        types: Digest of a manifest to the media type it was sent with.
        requests: What was asked, `METHOD /path`.
    """

    host: str = ""
    api: bool = True
    says_subject: bool = True
    page: int = 100
    before_tag: Callable[[str], None] = _nothing
    blobs: dict[tuple[str, str], bytes] = field(default_factory=dict)
    manifests: dict[tuple[str, str], bytes] = field(default_factory=dict)
    tags: dict[tuple[str, str], str] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def tag_bytes(self, name: str, tag: str) -> bytes:
        """Return what lies under a tag."""
        return self.manifests[name, self.tags[name, tag]]

    def plant(self, name: str, data: bytes, *, tag: str = "", media_type: str = INDEX) -> str:
        """Put a manifest there without any check; return its digest."""
        digest = _digest(data)
        self.manifests[name, digest] = data
        self.types[digest] = media_type
        if tag:
            self.tags[name, tag] = digest
        return digest

    def referring(self, name: str, subject: str) -> list[dict[str, Any]]:
        """Return the entries of everything that refers to a digest."""
        found = []
        for (where, digest), data in sorted(self.manifests.items()):
            value = json.loads(data)
            if where != name or (value.get("subject") or {}).get("digest") != subject:
                continue
            found.append(
                {
                    "mediaType": self.types[digest],
                    "digest": digest,
                    "size": len(data),
                    "artifactType": value.get("artifactType") or value["config"]["mediaType"],
                    "annotations": value.get("annotations") or {},
                }
            )
        return found


@contextlib.contextmanager
def memory_registry(
    *, api: bool = True, says_subject: bool = True, page: int = 100
) -> Iterator[MemoryRegistry]:
    """Start one and end it."""
    state = MemoryRegistry(api=api, says_subject=says_subject, page=page)

    class Handler(_Handler):
        registry = state

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.host = f"127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    registry: MemoryRegistry

    def setup(self) -> None:
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().setup()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name the base class gives
        """Say nothing."""

    def __getattr__(self, name: str) -> Callable[[], None]:
        if name.startswith("do_"):
            return self._any
        raise AttributeError(name)

    def _any(self) -> None:
        self._body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.registry.requests.append(f"{self.command} {self.path}")
        url = urlsplit(self.path)
        route = _ROUTE.fullmatch(url.path)
        if route is None:
            self._answer(404)
            return
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        name, rest = route["name"], route["rest"]
        {
            "blobs/uploads": self._upload,
            "blobs": self._blob,
            "manifests": self._manifest,
            "referrers": self._referrers,
            "tags": self._tags,
        }[route["what"]](name, rest, query)

    def _upload(self, name: str, rest: str, query: dict[str, str]) -> None:
        blobs = self.registry.blobs
        if self.command == "PUT":
            if _digest(self._body) != query["digest"]:
                self._answer(400)
                return
            blobs[name, query["digest"]] = self._body
            self._answer(201)
        elif (query.get("from", ""), query.get("mount", "")) in blobs:
            blobs[name, query["mount"]] = blobs[query["from"], query["mount"]]
            self._answer(201)
        else:
            self._answer(202, {"Location": f"/v2/{name}/blobs/uploads/1"})

    def _blob(self, name: str, rest: str, query: dict[str, str]) -> None:
        data = self.registry.blobs.get((name, rest))
        self._answer(404) if data is None else self._answer(200, {"Docker-Content-Digest": rest}, data)

    def _manifest(self, name: str, rest: str, query: dict[str, str]) -> None:
        if self.command == "PUT":
            self._put_manifest(name, rest)
            return
        registry = self.registry
        with registry.lock:
            digest = registry.tags.get((name, rest), rest)
            data = registry.manifests.get((name, digest))
        if data is None:
            self._answer(404)
            return
        headers = {"Docker-Content-Digest": digest, "Content-Type": registry.types[digest]}
        self._answer(200, headers, data)

    def _put_manifest(self, name: str, reference: str) -> None:
        registry, value, digest = self.registry, json.loads(self._body), _digest(self._body)
        if not reference.startswith("sha256:"):
            registry.before_tag(reference)
        parts = [value.get("config"), *value.get("layers", [])]
        there = all((name, part["digest"]) in registry.blobs for part in parts if part)
        there &= all((name, child["digest"]) in registry.manifests for child in value.get("manifests", []))
        if not there:
            self._answer(400, body=b'{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown"}]}')
            return
        with registry.lock:
            registry.manifests[name, digest] = self._body
            registry.types[digest] = self.headers["Content-Type"]
            if not reference.startswith("sha256:"):
                registry.tags[name, reference] = digest
        headers = {"Docker-Content-Digest": digest}
        if registry.api and registry.says_subject and "subject" in value:
            headers["OCI-Subject"] = value["subject"]["digest"]
        self._answer(201, headers)

    def _referrers(self, name: str, subject: str, query: dict[str, str]) -> None:
        registry = self.registry
        if not registry.api:
            self._answer(404)
            return
        with registry.lock:
            found = registry.referring(name, subject)
        begin = int(query.get("begin", "0"))
        end = begin + registry.page
        headers = {"Content-Type": INDEX}
        if end < len(found):
            headers["Link"] = f'</v2/{name}/referrers/{subject}?begin={end}>; rel="next"'
        value = {"schemaVersion": 2, "mediaType": INDEX, "manifests": found[begin:end]}
        self._answer(200, headers, json.dumps(value).encode())

    def _tags(self, name: str, rest: str, query: dict[str, str]) -> None:
        with self.registry.lock:
            tags = sorted(tag for where, tag in self.registry.tags if where == name)
        self._answer(200, {}, json.dumps({"name": name, "tags": tags}).encode())

    def _answer(self, status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
        self.send_response_only(status)
        for key, text in (headers or {}).items():
            self.send_header(key, text)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()
